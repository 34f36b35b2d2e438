"""One engine's connection over a line: frames of a channel to pieces on the line, and back, on both ends.

    coordinator ══ Channel ══ Circuit ── pieces, credit on the line ── Circuit ══ Channel ══ engine

A side sends at most `WINDOW` bytes that the other one has not passed on: so an engine that does not read, or
a coordinator with a slow handler, delays neither the other engines of its host nor the beats of the line.
"""

import select
from collections import deque
from collections.abc import Callable
from typing import Final

from mpshell.errors import ProtocolError
from mpshell.hosts import frames
from mpshell.runtime.loop import EventLoop
from mpshell.runtime.states import Stated
from mpshell.wire.channel import Channel

#: Bytes on the way to one engine, or from it.
WINDOW = 1 << 20

Send = Callable[[bytes, int, bytes], object]

# The states of a circuit.
OPEN: Final = "OPEN"  # its channel is read
ENDED: Final = "ENDED"  # the channel is at its end; pieces of it may wait for the window
REPORTED: Final = "REPORTED"  # all of the channel was sent, and its end was reported
CLOSED: Final = "CLOSED"  # this end of the channel is closed
STATES: Final = (OPEN, ENDED, REPORTED, CLOSED)

END: Final = "END"
REPORT: Final = "REPORT"
CLOSE: Final = "CLOSE"
EVENTS: Final = (END, REPORT, CLOSE)

#: An event that a state does not name does not change a circuit.
TABLE: Final[dict[str, dict[str, str]]] = {
    OPEN: {END: ENDED, CLOSE: CLOSED},
    ENDED: {REPORT: REPORTED, CLOSE: CLOSED},
    REPORTED: {CLOSE: CLOSED},
    CLOSED: {},
}


class Circuit(Stated):
    """Passes on the data of a channel and the line; `on_end` is called when the channel is at its end."""

    table = TABLE

    def __init__(
        self,
        number: int,
        channel: Channel,
        loop: EventLoop,
        send: Send,
        on_end: Callable[["Circuit"], object],
        longest: int,
    ) -> None:
        self.number = number
        self.channel = channel
        self._loop = loop
        self._send = send
        self._on_end = on_end
        #: Bytes of a frame from the line, at most.
        self._longest = longest
        self._window = WINDOW
        #: Pieces for the line that wait for the window.
        self._out: deque[tuple[bytes, bytes]] = deque()
        #: The beginning of a frame from the line.
        self._frame = bytearray()
        #: Bytes that have come from the line, and those of them that were given credit for.
        self._taken = self._credited = 0
        self.state: str = OPEN
        #: Whether the loop watches the channel, for data and for room.
        self._reading = self._writing = False
        #: Whether the channel is at its end when it is empty: nothing more comes into it.
        self._draining = False
        self._on_flushed: list[Callable[[], object]] = []
        self._on_drained: Callable[[], object] | None = None

    def open(self) -> None:
        """Begin to read from the channel."""
        self._pump()

    # -- from the channel to the line ------------------------------------------------------------

    def _on_readable(self) -> None:
        self._receive()
        self._pump()

    def _receive(self) -> None:
        try:
            found = self.channel.receive()
        except (EOFError, ProtocolError):
            self.handle(END)
            return
        if self.channel.altered:
            # A program that has dropped privileges has nothing run by those that it had
            # (`mpshell.engine.program`).
            self.handle(END)
            return
        for frame in found:
            for start in range(0, len(frame), frames.BODY):
                kind = frames.LAST if start + frames.BODY >= len(frame) else frames.PIECE
                self._out.append((kind, frame[start : start + frames.BODY]))

    def _pump(self) -> None:
        """Send as much as the window allows, and read on when everything was sent."""
        while True:
            while self._out and self._window > 0:
                kind, piece = self._out.popleft()
                self._window -= len(piece)
                self._send(kind, self.number, piece)
            if self._out or self.state is not OPEN or not self._draining:
                break
            if _has_input(self.channel.fileno()):
                self._receive()
            else:
                self.handle(END)
        self._read(self.state is OPEN and not self._out)
        if not self._out and self.handle(REPORT):
            self._on_end(self)
            self._report_drained()

    def _report_drained(self) -> None:
        if self._on_drained is not None:
            call, self._on_drained = self._on_drained, None
            call()

    def when_ended(self, call: Callable[[], object], drained: bool) -> None:
        """Call it once everything from the channel, and its end, was sent; or this circuit is closed.

        `drained`: nothing is written to the channel any more, so it is at its end when it is empty, even if
        other processes have it open.
        """
        self._on_drained = call
        self._draining = drained
        if self.state in (REPORTED, CLOSED):
            self._report_drained()
        else:
            self._pump()

    def credit(self, size: int) -> None:
        """The other side has passed on `size` bytes; ProtocolError for more than were sent."""
        self._window += size
        if self._window > WINDOW:
            raise ProtocolError("more credit than was used")
        self._pump()

    def _read(self, wanted: bool) -> None:
        if wanted and not self._reading:
            self._loop.add_reader(self.channel.fileno(), self._on_readable)
        elif self._reading and not wanted:
            self._loop.remove_reader(self.channel.fileno())
        self._reading = wanted

    # -- from the line to the channel ------------------------------------------------------------

    def take(self, kind: bytes, piece: bytes) -> None:
        """Take a piece; ProtocolError for a frame that is too long, or more than the window."""
        if self.state is CLOSED:
            return
        self._taken += len(piece)
        if self._taken - self._credited > WINDOW + frames.BODY:
            raise ProtocolError("more than the window")
        if len(self._frame) + len(piece) > self._longest:
            raise ProtocolError(f"a frame of more than {self._longest} bytes")
        if kind != frames.LAST:
            self._frame += piece
        elif self._frame:
            frame, self._frame = bytes(self._frame + piece), bytearray()
            self.channel.send(frame)
        else:
            self.channel.send(piece)
        self._settle()

    def tell(self, frame: bytes) -> None:
        """Write a frame of this end's own to the channel."""
        if self.state is not CLOSED:
            self.channel.send(frame)
            self._settle()

    def _settle(self) -> None:
        """Write as much as the channel takes, and give credit for it."""
        self.channel.flush()
        pending = self.channel.pending
        if pending and not self._writing:
            self._loop.add_writer(self.channel.fileno(), self._settle)
        elif self._writing and not pending:
            self._loop.remove_writer(self.channel.fileno())
        self._writing = bool(pending)
        # The channel adds its own headers, a few bytes more than were received.
        owed = self._taken - self._credited - pending
        if owed >= WINDOW // 4:
            self._credited += owed
            self._send(frames.CREDIT, self.number, frames.pack_number(owed))
        if not pending:
            self._report_flushed()

    def _report_flushed(self) -> None:
        calls, self._on_flushed = self._on_flushed, []
        for call in calls:
            call()

    def when_flushed(self, call: Callable[[], object]) -> None:
        """Call it once all that has come from the line has left for the channel's other end, or is dropped."""
        if self.channel.pending:
            self._on_flushed.append(call)
        else:
            call()

    def close(self) -> None:
        """Close this end of the channel; its data are dropped. Repeatable."""
        if not self.handle(CLOSE):
            return
        self._out.clear()
        self._read(False)
        if self._writing:
            self._loop.remove_writer(self.channel.fileno())
        self.channel.close()
        # Nothing is left that these could wait for.
        self._report_flushed()
        self._report_drained()


def _has_input(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
