"""Where engines come from: an engine, and the means that start it, as a run knows them.

    Launcher.start() ──► Link ══ frames ══ engine

A run knows nothing else: engines may be forked here (`mpshell.launch.fork`) or run anywhere that frames reach.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from mpshell.runtime.lean import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from threading import RLock
    from typing import TypeAlias

    from mpshell.runtime.loop import EventLoop
    from mpshell.wire.messages import Configure, Message, Ready

FrameHandler: TypeAlias = "Callable[[Link, list[Message]], object]"
LinkHandler: TypeAlias = "Callable[[Link], object]"


def ignore(link: Link) -> None:
    """Do nothing about some news."""


#: Seconds that an engine has for its first message, unless its link has a patience of its own: it may have to
#: wait for a fork server that is just starting, on a machine that is busy.
PATIENCE = 10.0


class Link(Protocol):
    """One incarnation of an engine, leased to one run at a time.

    Frames arrive in order, each once, and stop at some moment. The engine is *gone* when nothing of it runs any
    more, and all of its messages that arrive have been delivered.
    """

    engine_id: int
    #: Its first message; None until it arrives.
    ready: Ready | None
    #: The Configure that it was last sent.
    configured: Configure | None
    #: How it ended ("signal 9"), or why it was fenced.
    detail: str
    #: As whom it runs commands, as its launcher has it (`Launcher.credentials`).
    credentials: object
    #: The library of connections that it hosts; "" for none.
    ssh_library: str
    #: Whether it runs on another host. Then its process ids mean nothing here, it may never come to its first
    #: message and is given no work before that, and its reports are checked: they are another machine's.
    far: bool
    #: The name of that host; "" for an engine of this one.
    host: str
    #: Seconds from its monotonic clock to the one here.
    offset: float
    #: Until when it may have an open connection to a node, on the clock here, by the node's key in results.
    connected: dict[Hashable, float]
    #: The directory there for files that all engines of that host read.
    stage: str
    #: Why it does not host the connections that it was asked to; "" if it does.
    lacks: str

    @property
    def patience(self) -> float:
        """Seconds that it has for its first message, from when it was leased."""

    @property
    def passes_descriptors(self) -> bool:
        """Whether open files can be sent with a frame: it runs on this machine."""

    @property
    def pending(self) -> int:
        """Bytes sent that have not left this process."""

    @property
    def gone(self) -> bool:
        """Whether nothing of it runs any more."""

    @property
    def certain(self) -> bool:
        """Whether all that it has sent arrives: a client that it has not announced when it is gone has not run.

        False when some of it cannot be read, or may have been lost on the way: anything that the engine was
        handed may have run then.
        """

    def attach(
        self,
        loop: EventLoop,
        on_frame: FrameHandler,
        on_gone: LinkHandler,
        on_flushed: LinkHandler,
        on_silent: LinkHandler = ignore,
    ) -> None:
        """Deliver on `loop` its frames, and the news about it.

        `on_flushed`: all that was pending has left. `on_silent`, once at most: it sends and hears nothing any
        more, but its commands may go on until it is gone. `on_gone`, once.
        """

    def detach(self) -> None:
        """Leave the loop; messages that arrive meanwhile wait."""

    def send(self, commands: list[Message], descriptors: Sequence[int] = ()) -> None:
        """Send a frame, in order; never blocks, and does nothing once the engine hears no more.

        With it go copies of `descriptors`, where it `passes_descriptors`.
        """

    def fence(self, why: str = "") -> None:
        """Make sure that it does not go on; `why` is its detail. That it is gone is reported later."""

    def ended(self) -> bool:
        """Return whether it has ended, or sent something but a Pong, while no run leased it."""

    def close(self) -> None:
        """Give it up: an engine that still lives takes that as its end. Harmless when done before."""


class Leased:
    """The run that a `Link` is leased to: its loop, and where the link reports to. Nobody before `attach`."""

    #: As long as nothing else is known, the engine is on another host.
    passes_descriptors = False

    def __init__(self) -> None:
        self.loop: EventLoop | None = None
        self.on_frame: FrameHandler | None = None
        self.on_gone: LinkHandler | None = None
        self.on_flushed: LinkHandler | None = None
        self.on_silent: LinkHandler = ignore
        self.connected: dict[Hashable, float] = {}

    def attach(
        self,
        loop: EventLoop,
        on_frame: FrameHandler,
        on_gone: LinkHandler,
        on_flushed: LinkHandler,
        on_silent: LinkHandler = ignore,
    ) -> None:
        """Note them, and begin to listen (`Link.attach`)."""
        self.loop, self.on_frame = loop, on_frame
        self.on_gone, self.on_flushed, self.on_silent = on_gone, on_flushed, on_silent
        self.on_attached(loop)

    def on_attached(self, loop: EventLoop) -> None:
        """Have the loop watch the descriptors of the engine."""


class Closable(Protocol):
    """Something to be closed."""

    def close(self) -> None:
        """End it; may wait for that, some seconds at most."""


class Launcher(Protocol):
    """Starts engines somewhere. It carries frames and never sees a node's name."""

    #: Held over forks of this process, so that no engine is half started then.
    lock: RLock

    def capacity(self) -> int:
        """Return how many engines there are processors for."""

    def prepare(self) -> None:
        """Begin with the work of a start, without waiting for it: one is soon to come."""

    def surroundings(self) -> Configure:
        """Return the working directory, mask and environment that commands of this process have there."""

    def credentials(self) -> object:
        """Return as whom an engine runs commands that is started now; that of others must not run them."""

    def part_with(self, used: set[object]) -> Sequence[Closable]:
        """Return the servers of no engine of these credentials, nor of a next one: to be closed."""

    def start(self, library: str = "") -> Link:
        """Start an engine, without waiting for its first message; EngineStartError when that cannot be.

        With a `library` it hosts connections of that, beside child processes.
        """

    def forget(self) -> None:
        """In the child of a fork: close the copies of the parent's descriptors."""

    def close(self) -> None:
        """End all engines and their servers."""
