"""The report of one turn of an engine, collected until it is sent as one frame."""

from __future__ import annotations

from mpshell.engine.bodies import BodyTable
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.wire.messages import (
    Bodies,
    Finished,
    HostKeys,
    InputLost,
    Notices,
    Output,
    PasswordNews,
    Pong,
    RunEnded,
    SlotsHeld,
    Starting,
    Trace,
    Warn,
    Written,
)

if TYPE_CHECKING:
    from mpshell.wire.files import Kept
    from mpshell.wire.messages import Message, Result


class Report:
    """Lists that are filled during a turn, in their order in a frame."""

    __slots__ = (
        "bodies",
        "finished",
        "host_keys",
        "inputs_lost",
        "kept",
        "notices",
        "output",
        "passwords",
        "pong",
        "run_ended",
        "size",
        "slots_held",
        "starting",
        "trace",
        "warnings",
        "written",
    )  # fmt: skip

    def __init__(self) -> None:
        self.bodies = BodyTable()
        self._empty()

    def _empty(self) -> None:
        self.trace: list[tuple[int, str]] = []
        self.output: list[tuple[int, int, bytes]] = []
        self.written: list[tuple[int, int]] = []
        self.finished: list[Result] = []
        self.slots_held: list[tuple[int, int]] = []
        self.starting: list[int] = []
        self.warnings: list[str] = []
        self.inputs_lost: list[tuple[int, str]] = []
        self.kept: list[Kept] = []
        self.notices: dict[str, int] = {}
        self.host_keys: list[tuple[str, str]] = []
        self.passwords: list[tuple[int, str]] = []
        self.pong = False
        self.run_ended = False
        #: Bytes in `output`, and of the new bodies.
        self.size = 0

    def new_run(self) -> None:
        """Forget the bodies that the next run's coordinator does not have."""
        bodies = BodyTable()
        bodies.new = self.bodies.new
        self.bodies = bodies

    def take(self) -> list[Message]:
        """Return the messages of the frame, and begin anew.

        Bytes that were written to commands go before the output, which may be the answer to them; a client's
        output before its outcome, an outcome's bodies before it.
        """
        frame: list[Message] = []
        if self.trace:
            frame.append(Trace(self.trace))
        if self.written:
            frame.append(Written(self.written))
        if self.output:
            frame.append(Output(self.output))
        if self.bodies.new:
            frame.append(Bodies(*self.bodies.take()))
        if self.finished:
            frame.append(Finished(self.finished))
        frame += [SlotsHeld(slot_pool, slots) for slot_pool, slots in self.slots_held]
        frame += [Warn(text) for text in self.warnings]
        if self.host_keys:
            frame.append(HostKeys(self.host_keys))
        if self.passwords:
            frame.append(PasswordNews(self.passwords))
        if self.notices:
            frame.append(Notices(list(self.notices.items())))
        frame += [InputLost(job_id, text) for job_id, text in self.inputs_lost]
        frame += self.kept
        if self.pong:
            frame.append(Pong())
        if self.starting:
            frame.append(Starting(self.starting))
        if self.run_ended:
            frame.append(RunEnded())
        if frame:
            self._empty()
        return frame
