"""An engine's connection to the coordinator: the reports of a turn are sent as one frame, at the turn's end.

If the coordinator is too slow, the uplink is congested: then children are not read until enough was
sent. So the memory of an engine is bounded for any output of its children.
"""

from collections.abc import Callable

from mpshell.engine import life
from mpshell.engine.report import Report
from mpshell.runtime.loop import EventLoop
from mpshell.wire import codec, messages
from mpshell.wire.channel import Channel

#: Bytes queued for the coordinator at which children are not read any more, and are again.
HIGH_WATER, LOW_WATER = 1 << 20, 1 << 18


class Uplink:
    """The report of the turn, and the channel that it leaves by.

    `on_turn` is called at the end of a turn in which something happened, after `collect`, which may add to
    the reports of the turn; `on_clear` when all that was sent has left, `on_relief` when there is room
    again after a congestion.
    """

    def __init__(
        self,
        channel: Channel,
        loop: EventLoop,
        engine: life.Life,
        *,
        collect: Callable[[], None],
        on_turn: Callable[[], None],
        on_clear: Callable[[], None],
        on_relief: Callable[[], None],
    ) -> None:
        self.report = Report()
        self._channel = channel
        self._loop = loop
        #: In LEAVING nothing is sent any more: the engine exits, and its clients are lost.
        self._engine = engine
        self._collect = collect
        self._on_turn = on_turn
        self._on_clear = on_clear
        self._on_relief = on_relief
        self._turn_is_due = False
        self._sending = False
        #: Seconds that a report may wait while each turn finds more to read: every frame wakes the coordinator.
        self.patience = 0.0
        self._due = 0.0

    def end_of_turn(self) -> None:
        """Make sure that `on_turn` is called at the end of this turn."""
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        if self.patience and self._loop.busy:
            now = self._loop.time()
            self._due = self._due or now + self.patience
            if now < self._due:
                self._loop.call_soon(self._turn)
                return
        self._due = 0.0
        self._collect()
        self._turn_is_due = False
        self._on_turn()

    @property
    def clear(self) -> bool:
        """Whether all that was sent has left this process."""
        return not (self._channel.pending or self._channel.broken)

    @property
    def leaving(self) -> bool:
        """Whether the engine exits: it starts nothing and reports nothing any more."""
        return self._engine.state is life.LEAVING

    @property
    def congested(self) -> bool:
        return self._channel.pending > HIGH_WATER

    def output(self, client: int, stream: int, block: bytes) -> None:
        """Report the output of a client."""
        report = self.report
        report.output.append((client, stream, block))
        report.size += len(block)
        if report.size > HIGH_WATER:
            # One turn can read from a thousand children: don't hold all that in one frame.
            self.send()
        self.end_of_turn()

    def body(self, block: bytes) -> int:
        """Return the number by which an outcome refers to gathered output."""
        bodies = self.report.bodies
        before = len(bodies.new)
        number = bodies.ref(block)
        if len(bodies.new) > before:
            self.report.size += len(block)
        return number

    def finished(self, result: messages.Result) -> None:
        """Report how a client has ended."""
        self.report.finished.append(result)
        if self.report.size > HIGH_WATER:
            # One turn can gather more than a frame from another host may hold.
            self.send()
        self.end_of_turn()

    def send(self) -> None:
        """Send all that there is to report."""
        frame = self.report.take()
        if frame and not self.leaving:
            self._channel.send(codec.encode(frame))
        if self._channel.pending and not self._sending:
            self._sending = True
            self._loop.add_writer(self._channel.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        if self._channel.flush():
            self._sending = False
            self._loop.remove_writer(self._channel.fileno())
            self._on_clear()
        if self._channel.pending <= LOW_WATER:
            self._on_relief()
