"""One engine of this machine in the coordinator's process: its channel, its sentinel, its end.

A launcher makes it; from then on it belongs to the thread that leased it (`mpshell.launch.pool`). The table of
`mpshell.launch.lifecycle` orders its actions; this module detects the events and carries out the effects.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable, Sequence

from mpshell.errors import ProtocolError
from mpshell.launch import force, lifecycle
from mpshell.launch.link import PATIENCE, Leased
from mpshell.launch.outbox import ForkProgress
from mpshell.runtime.descriptors import Descriptor
from mpshell.runtime.loop import EventLoop, TimerHandle
from mpshell.wire import codec, messages
from mpshell.wire.channel import Channel

#: Seconds that an engine has for its first message while its fork server makes progress: a thousand engines
#: that are requested at once start one after the other. A single engine that hangs is given up after this
#: time.
_LONGEST = 120.0

#: Seconds that an engine has to end by itself, or by its fork server, before each harder measure.
_MEASURE = 3.0

#: The measures, in this order; after the last one an engine counts as gone, even if it hangs in the kernel.
_MEASURES = (force.kill_commands, force.kill)


def _is_readable(fd: int) -> bool:
    """Return whether a descriptor can be read now, or is at its end."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


class LocalLink(Leased):
    """A `Link` to an engine that a fork server of this machine has forked.

    `attach` binds it to the loop of a run. It is gone when its sentinel is at its end, which means that
    its process and everything it left behind have ended, and its last messages have been read.
    """

    far = False
    host = ""
    offset = 0.0
    stage = ""
    lacks = ""

    def __init__(
        self,
        engine_id: int,
        channel: Channel,
        sentinel: int,
        fence: Callable[[], object],
        *,
        credentials: object = None,
        library: str = "",
        session: int = 0,
        served: Callable[[], bool] = lambda: True,
        requested: Callable[[], bool] = lambda: True,
        progress: ForkProgress | None = None,
    ) -> None:
        super().__init__()
        self.engine_id = engine_id
        self.channel = channel
        self.ready: messages.Ready | None = None
        self.configured: messages.Configure | None = None
        self.detail = ""
        self.credentials = credentials
        self.ssh_library = library
        #: The session of its fork server and of itself, by which its process is recognized. 0: not known.
        self.session = session
        #: Whether its fork server can still be reached: without it the engine ends.
        self._served = served
        #: Whether the request for it was sent to the fork server: there may be no room for that yet.
        self._requested = requested
        #: When its fork server last made progress.
        self._progress = progress or ForkProgress()
        #: When it was made, and when its request was last seen unsent.
        self._made = self._unrequested = time.monotonic()
        self._lifecycle = lifecycle.Lifecycle()
        self._kill = fence
        self._sentinel = Descriptor(sentinel)
        #: When the next measure to end it is due.
        self._measure: TimerHandle | None = None
        self._effects: dict[str, Callable[[], object]] = {
            lifecycle.KILL: lambda: self._kill(),
            lifecycle.WAKE: self._wake,
            lifecycle.INSIST: self._insist,
            lifecycle.UNWATCH_CHANNEL: self._unwatch_channel,
            lifecycle.UNWATCH_SENTINEL: self._unwatch_sentinel,
            lifecycle.LOOK: self._look,
            lifecycle.DRAIN: self._drain,
            lifecycle.REPORT_SILENT: lambda: self.on_silent(self),
            lifecycle.RELEASE: self._release,
            lifecycle.REPORT_GONE: self._report_gone,
        }

    #: Both ends are on this machine.
    passes_descriptors = True

    # -- for a run -----------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        return self.channel.pending

    @property
    def patience(self) -> float:
        # Its time runs from its request, and begins again whenever its fork server makes progress.
        if not self._requested():
            self._unrequested = time.monotonic()
            return math.inf
        waited = min(max(self._progress.at - self._unrequested, 0), _LONGEST - PATIENCE)
        return PATIENCE + waited + self._unrequested - self._made

    @property
    def gone(self) -> bool:
        return self._lifecycle.state is lifecycle.GONE

    @property
    def certain(self) -> bool:
        # A local socket delivers everything that was sent, also after the death of the sender.
        return self._lifecycle.certain

    def on_attached(self, loop: EventLoop) -> None:
        loop.add_reader(self.channel.fileno(), self._receive)
        loop.add_reader(self._sentinel.fd, self._on_sentinel)

    def detach(self) -> None:
        if self.loop is not None and self.loop.intact():
            if self._lifecycle.state in lifecycle.SPEAKING:
                self._forget_channel(self.loop)
            if self._lifecycle.state in lifecycle.GUARDED:
                self.loop.remove_reader(self._sentinel.fd)
        self._leave_loop()

    def _leave_loop(self) -> None:
        if self._measure is not None:
            self._measure.cancel()
            self._measure = None
        self.loop = None

    def send(self, commands: list[messages.Message], descriptors: Sequence[int] = ()) -> None:
        if self._lifecycle.state not in lifecycle.SPEAKING or not self.channel.ours():
            return
        self.channel.send(codec.encode(commands), descriptors)
        if self.channel.pending and self.loop is not None:
            self.loop.add_writer(self.channel.fileno(), self._on_writable)

    def fence(self, why: str = "") -> None:
        self.detail = why or self.detail
        self._handle(lifecycle.FENCE)

    def ended(self) -> bool:
        if self.gone or not (self._served() and self.channel.ours() and self._sentinel.ours()):
            return True
        return _is_readable(self._sentinel.fd) or self._has_news()

    def _has_news(self) -> bool:
        """Return whether more has arrived than answers to the last Pings, which may cross the end of a run."""
        channel = self.channel
        if not _is_readable(channel.fileno()):
            return False
        try:
            events = [event for frame in channel.receive() for event in codec.decode(frame)]
        except (EOFError, ProtocolError):
            return True
        if channel.error is not None or not all(isinstance(e, messages.Pong) for e in events):
            return True
        # The end may follow. One read is enough: Pings are seconds apart, and their answers are short.
        return _is_readable(channel.fileno())

    def close(self) -> None:
        self._handle(lifecycle.CLOSE)

    # -- events --------------------------------------------------------------------------------

    def _handle(self, event: str) -> None:
        for effect in self._lifecycle.handle(event):
            self._effects[effect]()

    def _on_writable(self) -> None:
        if self.channel.ours() and self.channel.flush() and self.loop is not None:
            self.loop.remove_writer(self.channel.fileno())
            if self.on_flushed is not None:
                self.on_flushed(self)

    def _receive(self) -> None:
        if not self.channel.ours():
            # Closed by the program, perhaps by a handler of this turn. A loop without its own descriptors
            # reports that.
            speaking = self._lifecycle.state in lifecycle.SPEAKING
            if self.loop is not None and self.loop.intact() and speaking:
                self._handle(lifecycle.CHANNEL_END)
            return
        # Everything that one read completes is delivered at once: messages before garbage count.
        events: list[messages.Message] = []
        end: Exception | None = None
        try:
            for frame in self.channel.receive():
                events += codec.decode(frame)
            end = self.channel.error
        except (EOFError, ProtocolError) as error:
            end = error
        events = self._hear(events)
        try:
            if events and self.on_frame is not None:
                self.on_frame(self, events)
        finally:
            if end is not None and self._lifecycle.state in lifecycle.SPEAKING:
                self._end_of_channel(end)

    def _hear(self, events: list[messages.Message]) -> list[messages.Message]:
        """Process the messages for the link itself; return those for the run."""
        if self.ready is None:
            self.ready = next((e for e in events if isinstance(e, messages.Ready)), None)
            if self.ready is not None:
                self._progress.note()
                self._handle(lifecycle.FIRST_MESSAGE)
        return events

    def _end_of_channel(self, end: Exception) -> None:
        if isinstance(end, ProtocolError):
            self.detail = str(end)
            self._handle(lifecycle.GARBAGE)
        else:
            self._handle(lifecycle.CHANNEL_END)

    def _on_sentinel(self) -> None:
        if not self._sentinel.ours():
            return
        text = os.read(self._sentinel.fd, 200).decode(errors="replace")
        if text:
            self.detail = self.detail or text
            self._handle(lifecycle.DEATH)
        else:
            self._handle(lifecycle.NOTHING_LEFT)

    # -- effects -------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self.ready is not None and self.session:
            force.wake(self.ready.pid, self.session)

    # Do not touch a loop that has lost its descriptors: their numbers may belong to another loop by now.

    def _unwatch_channel(self) -> None:
        if self.loop is not None and self.loop.intact():
            self._forget_channel(self.loop)

    def _forget_channel(self, loop: EventLoop) -> None:
        loop.remove_reader(self.channel.fileno())
        loop.remove_writer(self.channel.fileno())

    def _unwatch_sentinel(self) -> None:
        if self.loop is not None and self.loop.intact():
            self.loop.remove_reader(self._sentinel.fd)

    def _insist(self) -> None:
        """Make sure that it is gone after a while, even if it hangs in the kernel."""
        if self._measure is None and self.loop is not None:
            self._measure = self.loop.call_later(_MEASURE, self._take_measure, 0)

    def _take_measure(self, step: int) -> None:
        if self.loop is None:
            return
        if step == len(_MEASURES):
            self._give_up()
            return
        if self.ready is not None and self.session:
            _MEASURES[step](self.ready.pid, self.session)
        self._measure = self.loop.call_later(_MEASURE, self._take_measure, step + 1)

    def _give_up(self) -> None:
        self._handle(lifecycle.GIVEN_UP)

    def _look(self) -> None:
        """Read once: its fork server has ended before its first message.

        It may have been stopped before it could ask the kernel to wake it then. It starts nothing any more, as
        its lifeline is cut.
        """
        self._receive()
        if self.ready is None and self._lifecycle.state in lifecycle.SPEAKING:
            self._handle(lifecycle.CHANNEL_END)

    def _drain(self) -> None:
        """Read its last messages, which have all arrived, and treat its channel as ended.

        The channel may still be open: a command between vfork and exec has all descriptors of its engine, and
        if it cannot be killed there, as in a file system that hangs, it holds them for ever.
        """
        if self.loop is None or self._lifecycle.state not in lifecycle.SPEAKING:
            return
        if not (self.channel.ours() and _is_readable(self.channel.fileno())):
            self._handle(lifecycle.CHANNEL_END)
            return
        # Repeat this also after an error of the listener, as long as there is one.
        self.loop.call_soon(self._drain)
        self._receive()

    def _release(self) -> None:
        self._leave_loop()
        self.channel.close()
        self._sentinel.close()

    def _report_gone(self) -> None:
        if self.on_gone is not None:
            self.on_gone(self)
