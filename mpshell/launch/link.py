"""The interfaces of an engine, and of the launcher that starts it, for a run.

    Launcher.start() ──► Link ══ frames ══ engine

A run uses nothing else: engines may be forked here (`mpshell.launch.fork`) or run anywhere that frames reach.
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
    """Ignore a report."""


#: Seconds that an engine has for its first message, unless its link has its own patience: it may have to
#: wait for a fork server that is starting on a busy machine.
PATIENCE = 10.0


class Link(Protocol):
    """One incarnation of an engine, leased to one run at a time.

    Frames arrive in order, each once, until some time. The engine is *gone* when none of its processes runs any
    more, and all of its messages that arrive have been delivered.
    """

    engine_id: int
    #: Its first message; None until it arrives.
    ready: Ready | None
    #: The Configure that it was last sent.
    configured: Configure | None
    #: How it ended ("signal 9"), or why it was fenced.
    detail: str
    #: The credentials with which it runs commands (`Launcher.credentials`).
    credentials: object
    #: The library of connections that it hosts; "" for none.
    ssh_library: str
    #: Whether it runs on another host. Then its process ids mean nothing here, its first message may never
    #: arrive, it gets no work before that, and its reports are checked, since they come from another machine.
    far: bool
    #: The name of that host; "" for an engine of this one.
    host: str
    #: Seconds to add to its monotonic clock for the one here.
    offset: float
    #: The times until which it may have an open connection to a node, on the local clock, by the node's key.
    connected: dict[Hashable, float]
    #: The directory on that host for files that all engines there read.
    stage: str
    #: Why it does not host the requested connections; "" if it does.
    lacks: str

    @property
    def patience(self) -> float:
        """Seconds that it has for its first message, from when it was leased."""

    @property
    def passes_descriptors(self) -> bool:
        """Whether open files can be sent with a frame, since it runs on this machine."""

    @property
    def pending(self) -> int:
        """Bytes sent that have not left this process."""

    @property
    def gone(self) -> bool:
        """Whether none of its processes runs any more."""

    @property
    def certain(self) -> bool:
        """Whether everything that it has sent arrives: then a client that it did not announce has not run.

        False if some of it cannot be read, or may have been lost on the way: then every client of the
        engine may have run.
        """

    def attach(
        self,
        loop: EventLoop,
        on_frame: FrameHandler,
        on_gone: LinkHandler,
        on_flushed: LinkHandler,
        on_silent: LinkHandler = ignore,
    ) -> None:
        """Deliver its frames, and reports about it, on `loop`.

        `on_flushed`: everything pending has left. `on_silent`, at most once: it neither sends nor receives any
        more, but its commands may go on until it is gone. `on_gone`, once.
        """

    def detach(self) -> None:
        """Leave the loop; messages that arrive before the next `attach` wait."""

    def send(self, commands: list[Message], descriptors: Sequence[int] = ()) -> None:
        """Send a frame, in order; never blocks, and does nothing once the engine receives no more.

        Copies of `descriptors` are sent with it, if it `passes_descriptors`.
        """

    def fence(self, why: str = "") -> None:
        """Make sure that it does not go on; `why` is its detail. `on_gone` is called later."""

    def ended(self) -> bool:
        """Return whether it has ended, or sent anything except a Pong, while no run leased it."""

    def close(self) -> None:
        """Give it up: an engine that still lives ends because of that. Repeatable."""


class Leased:
    """The run that leases a `Link`: its loop, and the callbacks for reports. No effect before `attach`."""

    #: Unless a subclass changes it, the engine is on another host.
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
        """Store them, and begin to watch (`Link.attach`)."""
        self.loop, self.on_frame = loop, on_frame
        self.on_gone, self.on_flushed, self.on_silent = on_gone, on_flushed, on_silent
        self.on_attached(loop)

    def on_attached(self, loop: EventLoop) -> None:
        """Let the loop watch the descriptors of the engine."""


class Closable(Protocol):
    """An object that can be closed."""

    def close(self) -> None:
        """End it; this may take some seconds."""


class Launcher(Protocol):
    """Starts engines at some place. It carries frames and never sees the name of a node."""

    #: Held during forks of this process, so that no engine is half started then.
    lock: RLock

    def capacity(self) -> int:
        """Return the number of processors for engines."""

    def prepare(self) -> None:
        """Prepare a start that will follow soon, without waiting."""

    def surroundings(self) -> Configure:
        """Return the working directory, mask and environment for commands of this process there."""

    def credentials(self) -> object:
        """Return the credentials of an engine that is started now; engines with others must not be used."""

    def may_keep(self, credentials: object) -> bool:
        """Return whether an engine with these credentials may wait for the next run, as far as that is known.

        It costs next to nothing; all is compared before the engine is leased again.
        """

    def part_with(self, used: set[object]) -> Sequence[Closable]:
        """Return the servers that neither an engine with these credentials nor a new one needs: close them."""

    def start(self, library: str = "") -> Link:
        """Start an engine, without waiting for its first message; EngineStartError if that is not possible.

        With a `library` it hosts connections of that library, in addition to child processes.
        """

    def forget(self) -> None:
        """In the child of a fork: close the copies of the parent's descriptors."""

    def close(self) -> None:
        """End all engines and their servers."""
