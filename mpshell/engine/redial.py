"""Starts a program that makes a connection again, if its log proves that the server dropped it.

    MAKING ─► OPEN (logged in: something may run there) ─────────────────────┐
     │  ▲                                                                    ├─► OVER
     │  └──── a new program, at its turn (`mpshell.engine.gate`) ──┐         │
     ├─ dropped ──► PAUSING ──► WAITING ───────────────────────────┘         │
     │                 └────────── the time is over ─────────────────────────┤
     └─ the time is over ──► LATE (its program is killed) ───────────────────┘

sshd drops connections while too many are not logged in. If a `Redial` has the proof, nothing has run, so
another program may be started, as often as needed within the time to connect. That time runs while a program
connects and in the pauses, not while it waits for its turn. All of this is one attempt of the client, which
keeps its slot. Between two programs the `Dial` itself is the client's carrier.

Messages of a program are held back until it is logged in or has ended: those of a dropped one are discarded.
In the engine's thread, called by its loop.
"""

from __future__ import annotations

from mpshell.engine import client as states
from mpshell.engine.gate import LONGEST
from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final, Protocol

    from mpshell.engine.family import Owner
    from mpshell.engine.gate import Gate
    from mpshell.engine.log import ClientLog, RedialTexts
    from mpshell.engine.work import Execution
    from mpshell.runtime.loop import EventLoop, TimerHandle

    class Starter(Protocol):
        """The interface that starts programs."""

        loop: EventLoop
        owner: Owner

        @property
        def gate(self) -> Gate:
            """The gate of the connections that this engine makes."""

        def start_again(self, execution: Execution) -> bool:
            """Start the program of a client once more; return False if there is no room for it now."""


MAKING: Final = "MAKING"
OPEN: Final = "OPEN"
LATE: Final = "LATE"
PAUSING: Final = "PAUSING"
WAITING: Final = "WAITING"
OVER: Final = "OVER"

_RUNNING = (states.RUNNING, states.STOPPING, states.KILLING)


class Dial:
    """The programs of one client, one after the other; its carrier between two of them."""

    __slots__ = (
        "_begun", "_deadline", "_execution", "_gate", "_held", "_last", "_left", "_loop", "_pause", "_place",
        "_since", "_starter", "_texts", "fed", "state",
    )  # fmt: skip

    def __init__(self, starter: Starter, execution: Execution, texts: RedialTexts) -> None:
        self._starter = starter
        self._loop = starter.loop
        self._gate = starter.gate
        self._execution = execution
        self._texts = texts
        self.state: str = MAKING
        #: Where its program connects to, and the value that the gate has returned for that; None: not counted
        #: there.
        self._place: tuple[str, int] | None = None
        self._begun: int | None = None
        #: Messages of its program that have not been passed on.
        self._held = b""
        #: Log and messages of the program that was dropped last.
        self._last: tuple[ClientLog, bytes] | None = None
        #: Seconds to connect that are left.
        self._left = texts.limit or LONGEST
        self._since = self._loop.time()
        self._deadline: TimerHandle | None = None
        self._pause: TimerHandle | None = None
        #: Bytes of standard input that have been reported as written.
        self.fed = 0

    # -- its program -----------------------------------------------------------------------------

    def look(self, notes: bytes, messages: bytes) -> bytes:
        """Take the notes of its program's log, and new messages; return those to pass on now."""
        if self.state is not MAKING:
            return messages
        self._held += messages
        if self._begun is None:
            self._count(self._texts.place(notes))
        if not self._texts.is_opened(notes):
            return b""
        self._stop_clock()
        self._leave_gate(dropped=False)
        self.state = OPEN
        return self.take_messages()

    @property
    def undecided(self) -> bool:
        """Whether the log has to be read to its end to interpret the end of its program."""
        return self.state is not OPEN

    def take_messages(self) -> bytes:
        """Return the messages that were held back."""
        held, self._held = self._held, b""
        return held

    def goes_on(self, status: int, signaled: bool) -> bool:
        """Take the end of its program; return whether there is to be another one: `pause` follows then."""
        log = self._execution.log
        dropped = False
        if self.state is MAKING and status != 0 and not signaled and log is not None:
            self._count(self._texts.place(log.notes))
            proven = self._texts.is_dropped(log.notes, self._held)
            dropped = proven and self._place is not None
        self._leave_gate(dropped)
        if not dropped or log is None or self._execution.state is not states.RUNNING:
            return False
        self._last = log, self._held
        if self._deadline is None:
            self._left -= self._loop.time() - self._since
            self._start_clock()
        if self._left <= 0:
            self._starter.owner.notice(self._texts.notice)
        return self._left > 0

    def verdict(self, status: int, signaled: bool) -> tuple[int, bool]:
        """Return the client's end, from the end of its last program; a client that may have run is lost."""
        late, log = self.state is LATE, self._execution.log
        self._stop_clock()
        self.state = OVER
        if not late or log is None:
            return status, signaled
        if self._last is not None and not self._texts.is_opened(log.notes):
            self._execution.log, self._held = self._last
            self._starter.owner.notice(self._texts.notice)
        return states.NO_STATUS, False

    def _count(self, place: tuple[str, int] | None) -> None:
        """Have the gate count the connection at its place; of several addresses, the last one tried."""
        if place is not None and (place != self._place or self._begun is None):
            self._leave_gate(dropped=False)
            self._place = place
            self._begun = self._gate.join(place)

    def _leave_gate(self, dropped: bool) -> None:
        begun, self._begun = self._begun, None
        if begun is not None:
            self._gate.leave(self._place, begun, dropped)

    # -- between two programs ----------------------------------------------------------------------

    def pause(self) -> None:
        """Have the next program started, a little later."""
        self.state = PAUSING
        self._pause = self._loop.call_later(self._gate.pause(self._place), self._on_pause_over)

    def _on_pause_over(self) -> None:
        self._pause = None
        self._stop_clock()
        self.state = WAITING
        self._gate.enter(self._place, self._on_turn)

    def _on_turn(self, begun: int) -> None:
        if self.state is not WAITING:
            # It was called off after it had been let in.
            self._gate.leave(self._place, begun, dropped=False)
            return
        self._begun = begun
        self.state = MAKING
        self._held = b""
        self._start_clock()
        if not self._starter.start_again(self._execution):
            self._leave_gate(dropped=False)
            self.pause()

    # -- the time to connect -----------------------------------------------------------------------

    def _start_clock(self) -> None:
        self._since = self._loop.time()
        self._deadline = self._loop.call_later(self._left, self._on_deadline)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self._left -= self._loop.time() - self._since

    def _on_deadline(self) -> None:
        self._deadline = None
        log, carrier = self._execution.log, self._execution.carrier
        if self.state is PAUSING:
            self._give_up()
            self._starter.owner.notice(self._texts.notice)
            self._end()
            return
        # As with ssh(1), whose limit is over with the key exchange.
        secured = log is None or self._texts.is_secured(log.notes)
        if self.state is MAKING and not secured and carrier is not None:
            self.state = LATE
            self._leave_gate(dropped=False)
            carrier.kill()

    def _give_up(self) -> None:
        """Start no program any more."""
        if self.state is WAITING:
            self._gate.withdraw(self._on_turn)
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._stop_clock()
        self._leave_gate(dropped=False)
        self.state = OVER

    def _end(self) -> None:
        if self._execution.state in _RUNNING:
            self._starter.owner.ended(self._execution, states.NO_STATUS, False)

    # -- as a carrier ------------------------------------------------------------------------------

    has_input = False
    paused = False

    def write(self, data: memoryview) -> int | None:
        return 0

    def await_room(self, callback: Callable[[], None] | None) -> None:
        """There is no room before the next program."""

    def close_input(self) -> None:
        """There is no input to close."""

    def resume_reading(self) -> None:
        """Nothing is read."""

    def rest(self) -> Iterable[tuple[int, bytes]]:
        return ()

    def rest_of_log(self) -> bytes:
        return b""

    def terminate(self) -> None:
        self._give_up()
        self._loop.call_soon(self._end)

    kill = terminate

    def abandon(self) -> None:
        self._give_up()

    def close(self) -> None:
        """There is nothing to close between two programs; `abandon` calls off the next one."""
