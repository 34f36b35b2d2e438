"""One other host, at the switchboard: its line, its program, its lease, and its engines.

Its states are the table of `mpshell.hosts.contact`; this module sees the events and carries out the effects.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import mpshell
from mpshell.errors import ProtocolError
from mpshell.hosts import contact, frames, lease
from mpshell.hosts.line import LineEnd
from mpshell.hosts.seat import Seat
from mpshell.runtime.boottime import now
from mpshell.wire import messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from mpshell.hosts.packets import Way
    from mpshell.runtime.loop import EventLoop, TimerHandle

    class LineProgram(Protocol):
        """The connection to a host: a program of its own (`Connector`), or a line through one (`Branch`)."""

        fd: int
        ended: bool

        @property
        def last_words(self) -> str: ...
        def end(self) -> None: ...

    #: Begins a line, and calls back when its program has ended; OSError when it cannot be begun.
    Dial = Callable[[Way, Callable[[], object]], LineProgram]

#: Seconds for the last output of a program whose line has ended.
_LAST_WORDS = 1.0

#: Exceptions of an invalid greeting, from the parser and the conversions.
_MALFORMED = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip

#: Engines of one host, at most.
_MOST_CPUS = 1024


class Host:
    """A host, called when the first engine is wanted there."""

    def __init__(self, way: Way, loop: EventLoop, dial: Dial) -> None:
        self._way = way
        self._loop = loop
        self._dial = dial
        self._contact = contact.Contact()
        self._seats: dict[int, Seat] = {}
        self._line: LineEnd | None = None
        self._program: LineProgram | None = None
        self._lease = lease.Grantor()
        self._patience: TimerHandle | None = None
        #: Why the line has ended, as far as it is known.
        self._why = ""
        #: The data about it for its engines.
        self._located = messages.Located(0.0, 1, "", "")
        #: Why it cannot host connections of a library, by the library's name.
        self._lacks: dict[str, str] = {}
        self._effects: dict[str, Callable[[], object]] = {
            contact.CALL: self._call,
            contact.START_ALL: self._start_all,
            contact.HANG_UP: self.hang_up,
            contact.REFUSE: lambda: self._each(lambda seat: seat.refuse(self._words())),
            contact.FREEZE: lambda: self._each(Seat.freeze),
            contact.AWAIT_LEASE: self._await_lease,
            contact.GIVE_UP: lambda: self._each(lambda seat: seat.give_up(self._words())),
        }

    def _handle(self, event: str) -> None:
        for effect in self._contact.handle(event):
            self._effects[effect]()

    def _each(self, call: Callable[[Seat], object]) -> None:
        for seat in list(self._seats.values()):
            call(seat)

    def _words(self) -> str:
        last = "" if self._program is None else self._program.last_words
        return f"{self._way.name}: {self._why or last or 'its line has ended'}"

    # -- engines -------------------------------------------------------------------------------

    def take(self, seat: Seat) -> None:
        """Run an engine there, or refuse it."""
        seat.wait_for(self)
        self._seats[seat.number] = seat
        if self._contact.state is contact.UP:
            seat.start(self, self._located_for(seat.ssh_library))
        elif self._contact.state is not contact.CALLING:
            self._loop.call_later(self._way.patience, self._refuse, seat)
            self._open()

    def _open(self) -> None:
        """Call it if an engine waits for that, and nothing of the last call is left."""
        waiting = any(seat.waits for seat in self._seats.values())
        if waiting and self._contact.state is contact.IDLE and not self.has_program:
            self._handle(contact.OPEN)

    def _refuse(self, seat: Seat) -> None:
        """Remove an engine that waits for the end of the last call."""
        if seat.waits and self._contact.state not in (contact.CALLING, contact.UP):
            seat.refuse(self._words())

    def send(self, kind: bytes, engine: int = 0, body: bytes = b"") -> None:
        """Send a frame, if there is a line."""
        if self._line is not None:
            self._line.send(kind, engine, body)

    def forget(self, number: int) -> None:
        """An engine's end is reported."""
        self._seats.pop(number, None)

    def _located_for(self, library: str) -> messages.Located:
        return self._located._replace(lacks=self._lacks.get(library, ""))

    def _start_all(self) -> None:
        self._each(lambda seat: seat.start(self, self._located_for(seat.ssh_library)))

    # -- the line ------------------------------------------------------------------------------

    def _call(self) -> None:
        way = self._way
        self._why = ""
        self._lease = lease.Grantor()
        try:
            self._program = self._dial(way, self._on_program_end)
        except OSError as error:
            self._why = f"{way.argv[0]}: {error.strerror}"
            # The caller's engine is not in the list of a turn that goes on.
            self._loop.call_soon(self._cut, self._why)
            return
        self._line = LineEnd(
            (self._program.fd, self._program.fd),
            self._loop,
            self._on_frame,
            self._on_line_end,
            False,
        )
        self._patience = self._loop.call_later(way.patience, self._on_no_greeting)

    def _on_no_greeting(self) -> None:
        self._cut(f"no answer within {self._way.patience:g} s")

    def _on_frame(self, kind: bytes, engine: int, body: bytes) -> None:
        clock = now()
        self._lease.heard(clock)
        if kind == frames.HELLO:
            self._greet(body, clock)
        elif kind == frames.BEAT:
            self._confirm(frames.unpack_clock(body), clock)
        elif (seat := self._seats.get(engine)) is not None:
            seat.take(kind, body)

    def _greet(self, body: bytes, clock: float) -> None:
        if self._contact.state is not contact.CALLING:
            raise ProtocolError("it has sent a second greeting")
        try:
            about = json.loads(body)
            # Refuses what no JSON has and Python reads all the same: numbers without end, halves of characters.
            json.dumps(about, allow_nan=False, ensure_ascii=False).encode()
            version, cpus = str(about["version"]), int(about["cpus"])
            sent, monotonic = float(about["boottime"]), float(about["monotonic"])
            stage = str(about["stage"])
            self._lacks = {str(name): str(why)[:200] for name, why in about["lacks"].items()}
        except _MALFORMED as error:
            raise ProtocolError(f"its greeting cannot be read: {error!r}") from error
        if version != mpshell.__version__:
            raise ProtocolError(f"it has mpshell {version}, this program {mpshell.__version__}")
        if not stage.startswith("/") or "\0" in stage:
            raise ProtocolError(f"it reports {stage!r} as its directory for files")
        offset = time.monotonic() - monotonic
        self._located = messages.Located(offset, max(1, min(cpus, _MOST_CPUS)), stage, "")
        if self._patience is not None:
            self._patience.cancel()
        self._confirm(sent, clock)
        self._loop.call_later(lease.BEAT, self._watch, self._line)
        self._handle(contact.GREET)

    def _confirm(self, sent: float, clock: float) -> None:
        self._lease.beat(sent, clock)
        self.send(frames.CONFIRM, 0, frames.pack_clock(sent))

    def _watch(self, line: LineEnd) -> None:
        """Take a host for cut off that has been silent for too long."""
        if line is not self._line or line.closed:
            return
        # Data that arrived while this process stood still count as signs of life.
        line.receive()
        if patience := self._lease.patience(now()):
            # On the clock of a loop no time passes while the machine is suspended: often enough for that.
            self._loop.call_later(min(patience, lease.BEAT), self._watch, line)
        else:
            self._cut(f"no sign of life for {lease.SILENCE:g} s")

    def _on_line_end(self, why: str) -> None:
        if self._contact.state is contact.CALLING and not why and self.has_program:
            # Its program reports the reason before it ends.
            self._loop.call_later(_LAST_WORDS, self._cut_line, self._line)
        else:
            self._cut(why)

    def _cut_line(self, line: LineEnd) -> None:
        if line is self._line:
            self._cut("")

    def _on_program_end(self) -> None:
        while self._line is not None and self._line.receive():
            pass  # all that it has passed on before its end
        self._cut("")
        if self._contact.state is contact.IDLE:
            self._program = None
        self._open()

    def _cut(self, why: str) -> None:
        if self._contact.state in (contact.CALLING, contact.UP):
            self._why = why
            self._handle(contact.CUT)

    def _await_lease(self) -> None:
        self._loop.call_later(max(0.0, self._lease.ended() - now()), self._on_lease_end)

    def _on_lease_end(self) -> None:
        self._handle(contact.OVER)
        if self._program is not None and self._program.ended:
            self._program = None
        self._open()

    # -- the end -------------------------------------------------------------------------------

    @property
    def has_program(self) -> bool:
        """Whether its program runs."""
        return self._program is not None and not self._program.ended

    def hang_up(self) -> None:
        """Close the line: its program, and the outpost, end because of that."""
        if self._patience is not None:
            self._patience.cancel()
        if self._line is not None:
            self._line.close()
            self._line = None
        if self.has_program:
            self._loop.call_later(_LAST_WORDS, self.kill)

    def kill(self) -> None:
        """End its program."""
        if self._program is not None and not self._program.ended:
            self._program.end()
