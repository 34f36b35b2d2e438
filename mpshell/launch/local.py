"""One engine as the process of the coordinator has it: its channel, and the news that it is gone.

Made by a Launcher; from then on it belongs to the thread that leased it (`mpshell.launch.pool`).
"""

import os
import select
from collections.abc import Callable

from mpshell.errors import ProtocolError
from mpshell.launch import force
from mpshell.runtime.loop import EventLoop, TimerHandle
from mpshell.wire import messages
from mpshell.wire.channel import Channel

FrameHandler = Callable[["EngineHandle", list[messages.Message]], object]
GoneHandler = Callable[["EngineHandle"], object]

#: Seconds that an engine has to end by itself, or by its fork server's means, before each harder measure.
_MEASURE = 3.0

#: The measures, in this order; after the last one an engine counts as gone, whatever it hangs in.
_MEASURES = (force.kill_commands, force.kill)


class EngineHandle:
    """One incarnation of an engine, as the process of the coordinator sees it.

    `attach` binds it to the loop of a run. It is gone when its sentinel is at its end, which is when
    its process and all that it left behind are gone, and its last words have been read.
    """

    def __init__(
        self, engine_id: int, channel: Channel, sentinel: int, fence: Callable[[], object]
    ):
        self.engine_id = engine_id
        self.channel = channel
        #: Seconds, clients and words of the engine itself; None until it has said so.
        self.ready: messages.Ready | None = None
        #: The Configure it was last sent.
        self.configured: messages.Configure | None = None
        #: How it ended, as the fork server told ("signal 9"), or why it was given up.
        self.detail = ""
        #: As whom it runs commands, as its launcher calls it.
        self.credentials: object = None
        #: The session of its fork server, and its own: its process is known by that. 0: not of this machine.
        self.session = 0
        self.gone = False
        #: Its words cannot be read any more: what it has announced since nobody knows.
        self.garbled = False
        self._fence = fence
        self._sentinel = sentinel
        self._channel_ended = False
        self._fenced = False
        #: The fork server has told how it ended.
        self._end_told = False
        #: When the next measure against it is due.
        self._measure: TimerHandle | None = None
        self._loop: EventLoop | None = None
        self._on_frame: FrameHandler | None = None
        self._on_gone: GoneHandler | None = None
        self._on_drained: GoneHandler | None = None

    def attach(
        self, loop: EventLoop, on_frame: FrameHandler, on_gone: GoneHandler, on_drained: GoneHandler
    ) -> None:
        """Receive on `loop`; `on_drained` is called when all that was sent has left."""
        self._loop, self._on_frame = loop, on_frame
        self._on_gone, self._on_drained = on_gone, on_drained
        loop.add_reader(self.channel.fileno(), self._receive)
        loop.add_reader(self._sentinel, self._on_sentinel)

    def detach(self) -> None:
        """Leave the loop; what comes meanwhile waits in the kernel."""
        if self._loop is not None and not self.gone:
            if not self._channel_ended:
                self._loop.remove_reader(self.channel.fileno())
                self._loop.remove_writer(self.channel.fileno())
            if not self._fenced:
                self._loop.remove_reader(self._sentinel)
        self._leave_loop()

    def _leave_loop(self) -> None:
        if self._measure is not None:
            self._measure.cancel()
            self._measure = None
        self._loop = None

    def send(self, commands: list[messages.Message]) -> None:
        """Send a frame, in order; never blocks, and is nothing to a gone engine."""
        if self._channel_ended or self.gone:
            return
        self.channel.send(messages.encode(commands))
        if self.channel.pending and self._loop is not None:
            self._loop.add_writer(self.channel.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        if self.channel.flush() and self._loop is not None:
            self._loop.remove_writer(self.channel.fileno())
            if self._on_drained is not None:
                self._on_drained(self)

    def _receive(self) -> None:
        # All that one read completes is told at once: an error of the user's handler ends the run, and would
        # leave the frames behind it untold.
        events: list[messages.Message] = []
        end: Exception | None = None
        try:
            for frame in self.channel.receive():
                events += messages.decode(frame)
            end = self.channel.error
        except (EOFError, ProtocolError) as error:
            end = error
        if self.ready is None:
            said = (event for event in events if isinstance(event, messages.Ready))
            self.ready = next(said, None)
        try:
            if events and self._on_frame is not None:
                self._on_frame(self, events)
        finally:
            if isinstance(end, ProtocolError):
                self.garbled = True
                self.detail = str(end)
                self.fence()
            if end is not None:
                self._end_channel()

    def _end_channel(self) -> None:
        if not self._channel_ended:
            self._channel_ended = True
            if self._loop is not None:
                self._loop.remove_reader(self.channel.fileno())
                self._loop.remove_writer(self.channel.fileno())
            self._check_gone()

    def _on_sentinel(self) -> None:
        text = os.read(self._sentinel, 200).decode(errors="replace")
        if text:
            self.detail = self.detail or text
            self._end_told = True
            return
        self._fenced = True
        if self._loop is not None:
            self._loop.remove_reader(self._sentinel)
        if self._end_told:
            self._drain()
        elif not self._channel_ended:
            # The fork server is gone, and this engine on its way: woken, if it was stopped.
            self._insist()
            if self.ready is None:
                self._receive()
            if self.ready is None:
                # Stopped before it could ask for that, maybe. It starts nothing, as its lifeline is cut.
                self._end_channel()
        self._check_gone()

    def fence(self) -> None:
        """Make sure that it does not go on."""
        self._fence()
        if self._fenced and not self.gone:
            self._let_go_on()
        self._insist()

    def _let_go_on(self) -> None:
        """Wake the engine if somebody has stopped it."""
        if self.ready is not None and self.session and not self._channel_ended:
            force.wake(self.ready.pid, self.session)

    # -- an engine that does not end -------------------------------------------------------------

    def _insist(self) -> None:
        """See to it that it is gone in a while, also when it hangs in the kernel."""
        if self._measure is None and self._loop is not None and not self.gone:
            self._measure = self._loop.call_later(_MEASURE, self._take_measure, 0)

    def _take_measure(self, step: int) -> None:
        if self._loop is None or self.gone:
            return
        if step == len(_MEASURES):
            if not self._fenced:
                self._loop.remove_reader(self._sentinel)
                self._fenced = True
            self._drain()
            return
        if self.ready is not None and self.session:
            _MEASURES[step](self.ready.pid, self.session)
        self._measure = self._loop.call_later(_MEASURE, self._take_measure, step + 1)

    def _drain(self) -> None:
        """Read what it has said, which has all come, and take its channel for closed.

        It may be open still: a command between vfork and exec has all descriptors of its engine, and where
        it cannot be killed there, as in a file system that hangs, it holds them for ever.
        """
        if self._loop is None or self._channel_ended:
            return
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        if not poll.poll(0):
            self._end_channel()
            return
        # Again also after an error of the listener's, for as long as there is somebody to listen.
        self._loop.call_soon(self._drain)
        self._receive()

    def _check_gone(self) -> None:
        if self._channel_ended and self._fenced and not self.gone:
            self.gone = True
            on_gone = self._on_gone
            self.close()
            if on_gone is not None:
                on_gone(self)

    def ended(self) -> bool:
        """Return whether it has ended, or said something, while nobody leased it."""
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        poll.register(self._sentinel, select.POLLIN)
        return self.gone or bool(poll.poll(0))

    def close(self) -> None:
        """Close this process's ends: an engine that still lives takes it as its end."""
        self._leave_loop()
        if self._sentinel >= 0:
            self._let_go_on()
            self.channel.close()
            os.close(self._sentinel)
            self._sentinel = -1
