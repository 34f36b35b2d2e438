"""The launcher that forks engines on this machine.

    coordinator ─► Launcher.start() ─► LocalLink ◄── frames, and the end of the engine
                        │
                   ForkServer (one process for all Tasks) ── fork ──► engine

In the process of the user. `ForkLauncher.start` may be called from any thread. This module is
loaded before most of the package: the rest is imported while the fork server starts.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import select
import sys
import threading
from collections.abc import Callable, Sequence

import mpshell
from mpshell.errors import EngineStartError
from mpshell.launch.cpus import usable_cpus
from mpshell.launch.outbox import Outbox
from mpshell.runtime.descriptors import Descriptor
from mpshell.runtime.lean import TYPE_CHECKING, NamedTuple, signal
from mpshell.runtime.privileges import privileges_of
from mpshell.runtime.procfs import started
from mpshell.wire import control
from mpshell.wire.credentials import ask_for_senders

if TYPE_CHECKING:
    from mpshell.launch.link import Closable
    from mpshell.launch.local import LocalLink
    from mpshell.wire.channel import Channel
    from mpshell.wire.messages import Configure

#: In the environment of a program that is started as a fork server, until it is one. If it is found in the
#: environment, the started program is this one again, and would start itself for ever.
_MARK = "MPSHELL_FORK_SERVER"

# The program of the fork server: its module is looked up after the standard library, so that no module of the
# user can replace a part of that.
_CODE = (
    f"import os, sys; os.environ.pop({_MARK!r}); control = int(sys.argv[1]);"
    " os.closerange(control + 1, os.sysconf('SC_OPEN_MAX'));"
    " sys.path.append(sys.argv[4]); from {module} import main;"
    " main(control, int(sys.argv[2]), sys.argv[3])"
)
_CONTROL_FD = 3

#: Ids of this process with which it was found to have no capabilities.
_plain: set[object] = set()

#: Seconds that the fork server may take to clean up at the end.
_END = 3.0


class ServerProcess:
    """The exec'ed fork server and the control socket to it.

    Also for a process of another module whose `main` is called in the same way.
    """

    def __init__(self, lock: threading.RLock, module: str = "mpshell.engine.forkserver") -> None:
        _check_interpreter()
        self._module = module
        self._pidfd: Descriptor | None = None
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0)
        ask_for_senders(theirs)
        ours.setblocking(False)
        self.outbox = Outbox(ours, lock, self.go_on)
        try:
            # If there is no room for the pidfd, nothing is started.
            room = os.dup(theirs.fileno())
            try:
                pid = self._spawn(theirs.fileno())
            finally:
                os.close(room)
            #: Its process, and its session, which its engines share.
            self.pid = pid
            self._watch(pid)
        except OSError as error:
            self.outbox.close()
            raise EngineStartError(f"{sys.executable}: {error}") from error
        finally:
            theirs.close()

    def _spawn(self, control: int) -> int:
        home = os.path.dirname(mpshell.__path__[0])
        argv = [
            sys.executable,
            "-I",
            "-S",
            # -I ignores PYTHONUTF8, and a locale may have been set since: engines must encode text in the
            # same way.
            "-X",
            f"utf8={int(sys.getfilesystemencoding() == 'utf-8')}",
            "-c",
            _CODE.format(module=self._module),
            str(_CONTROL_FD),
            str(os.getpid()),
            # Read before the process is started with them: the program may drop them from now on.
            privileges_of("self") or "",
            home,
        ]
        # dup2 onto itself would leave close-on-exec set; a duplicate with a higher number avoids that.
        actions: list[tuple[object, ...]] = [
            (os.POSIX_SPAWN_DUP2, control, _CONTROL_FD),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        ]
        if not _is_inherited(2):
            actions.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0))
        return os.posix_spawn(
            sys.executable, argv, {**os.environ, _MARK: "1"}, file_actions=actions, setsid=True, setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE),
        )  # fmt: skip

    def _watch(self, pid: int) -> None:
        """Keep a handle of the process: its number may be reused as soon as it was reaped."""
        #: Its start time: together with its number this identifies it, also without a descriptor.
        self._started = started(pid)
        try:
            self._pidfd = Descriptor(os.pidfd_open(pid))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                # It ends when the control socket is closed.
                raise
            # Reaped already, or not permitted here: then it has to end by itself.

    def close(self) -> None:
        """Close the control socket, wait for the process (bounded), and reap it."""
        self.outbox.close(shutdown=True)
        if self._pidfd is None:
            return
        if not self._pidfd.ours():
            # Closed by the program, like the control socket: the fork server is ending.
            self._watch_again()
        self.go_on()
        poll = select.poll()
        if self._pidfd.ours():
            poll.register(self._pidfd.fd, select.POLLIN)
            if not poll.poll(_END * 1000) and self._signal(signal.SIGKILL):
                poll.poll()
            with contextlib.suppress(ChildProcessError):  # reaped elsewhere
                os.waitid(os.P_PIDFD, self._pidfd.fd, os.WEXITED | os.WNOHANG)
        self._pidfd.close()

    def _watch_again(self) -> None:
        """Open the process once more, if its number still belongs to it."""
        with contextlib.suppress(OSError):
            again = Descriptor(os.pidfd_open(self.pid))
            if self._started and started(self.pid) == self._started:
                self._pidfd = again
            else:
                again.close()

    def go_on(self) -> None:
        """Wake it if it was stopped: no other process can clean up after an engine."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> bool:
        """Return whether it could be signalled: it may have ended, or belong to another user now."""
        if self._pidfd is None or not self._pidfd.ours():
            return False
        try:
            signal.pidfd_send_signal(self._pidfd.fd, number)
        except OSError:
            return False
        return True

    def forget(self) -> None:
        """In a fork of the user's process: close its copies of the descriptors."""
        self.outbox.close()
        if self._pidfd is not None:
            self._pidfd.close()


class Credentials(NamedTuple):
    """The rights with which a thread runs commands, and its root directory."""

    ids: object
    privileges: str | None
    device: int
    inode: int


def _ids() -> object:
    """Return the users and groups of this thread."""
    return os.getresuid(), os.getresgid(), tuple(os.getgroups())


def credentials() -> Credentials:
    """Return the credentials with which this thread would run commands now."""
    root = os.stat("/")
    ids = _ids()
    # A process without capabilities gets some only by executing a program; its ids show whether it may have
    # any.
    if ids not in _plain:
        privileges = privileges_of("thread-self")
        if privileges == "":
            _plain.add(ids)
    else:
        privileges = ""
    return Credentials(ids, privileges, root.st_dev, root.st_ino)


def _check_interpreter() -> None:
    """Raise EngineStartError if `sys.executable` cannot start a fork server."""
    if not sys.executable:
        raise EngineStartError(f"no interpreter to start: sys.executable is {sys.executable!r}")
    frozen = getattr(sys, "frozen", False) and "python" not in os.path.basename(sys.executable)
    if frozen or _MARK in os.environ:
        raise EngineStartError(
            f"sys.executable, {sys.executable!r}, is not a Python interpreter but another program"
        )


def _is_inherited(fd: int) -> bool:
    """Return whether a descriptor is open and stays open in an executed program."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


class Wanted(NamedTuple):
    """A requested engine: its number, the library of connections that it hosts, its place."""

    engine_id: int
    ssh_library: str
    place: int


class NewEngine(NamedTuple):
    """An engine that is being started: this process's ends of its channel and sentinel."""

    engine_id: int
    channel: Channel
    sentinel: int
    fence: Callable[[], object]
    credentials: object
    server: ServerProcess


class ForkLauncher:
    """Engines forked by the fork server of this process, which is started at the first request.

    There is one for each of the credentials that the process has had, while engines with them are leased.
    """

    def __init__(self) -> None:
        #: Also held during forks of this process (`mpshell.launch.pool`).
        self.lock = threading.RLock()
        self._servers: dict[object, ServerProcess] = {}
        self._next_id = 0

    def capacity(self) -> int:
        """Return the number of usable processors of this machine."""
        return usable_cpus()

    def prepare(self) -> None:
        """Start the fork server if there is none; `start` reports a failure."""
        with self.lock, contextlib.suppress(OSError, EngineStartError):
            now = credentials()
            if now not in self._servers:
                self._servers[now] = self._new_server()

    def _new_server(self) -> ServerProcess:
        """Start the process from which engines are requested."""
        return ServerProcess(self.lock)

    def surroundings(self) -> Configure:
        """Return the surroundings that commands have from this process."""
        from mpshell.launch.surroundings import surroundings

        return surroundings()

    def credentials(self) -> object:
        """Return the credentials of an engine that is started now."""
        return credentials()

    def may_keep(self, credentials: object) -> bool:
        """Return whether the users and groups of these credentials are still those of this thread."""
        return isinstance(credentials, Credentials) and credentials.ids == _ids()

    def part_with(self, used: set[object]) -> Sequence[Closable]:
        """Return the fork servers with other credentials than these and the present ones."""
        with self.lock:
            if self._servers.keys() <= used:
                return []
            used = {*used, credentials()}
            return [self._servers.pop(old) for old in list(self._servers) if old not in used]

    def start(self, library: str = "") -> LocalLink:
        """Fork an engine, hosting connections of a `library`; a fork server that was killed is replaced."""
        from mpshell.launch.local import LocalLink

        new = self.start_process(library)
        return LocalLink(
            new.engine_id,
            new.channel,
            new.sentinel,
            new.fence,
            credentials=new.credentials,
            library=library,
            session=new.server.pid,
            served=new.server.outbox.ours,
            requested=lambda: not new.server.outbox.holds(new.engine_id),
            progress=new.server.outbox.progress,
        )

    def start_process(
        self, library: str = "", longest: int | None = None, place: int = 0
    ) -> NewEngine:
        """Request the process of an engine, at a place of the launcher; EngineStartError if there is none.

        Frames of more than `longest` bytes are not accepted from it.
        """
        from mpshell.wire.channel import MAX_FRAME, channel_pair

        with self.lock:
            self._next_id += 1
            engine_id = self._next_id
            wanted = Wanted(engine_id, library, place)
            try:
                sentinel, sentinel_write = os.pipe()
                try:
                    channel, theirs = channel_pair(longest or MAX_FRAME)
                except OSError:
                    os.close(sentinel)
                    os.close(sentinel_write)
                    raise
            except OSError as error:
                raise EngineStartError(f"no engine process can be started: {error}") from error
            now = credentials()
            try:
                server = self._ask(now, wanted, (theirs, sentinel_write))
            except (OSError, EngineStartError) as error:
                channel.close()
                os.close(sentinel)
                raise EngineStartError(f"no engine process can be started: {error}") from error
            finally:
                os.close(theirs)
                os.close(sentinel_write)
        fence = lambda: self._fence(server, engine_id)  # noqa: E731
        return NewEngine(engine_id, channel, sentinel, fence, now, server)

    @staticmethod
    def _paths_of(library: str) -> tuple[str, ...]:
        if not library:
            return ()
        # Late: a plain run does not need it.
        from mpshell.launch.libraries import paths_of

        return paths_of(library)

    def _ask(self, now: object, wanted: Wanted, fds: tuple[int, int]) -> ServerProcess:
        if (server := self._servers.get(now)) is not None:
            try:
                self._request(server, wanted, fds)
            except (BrokenPipeError, ConnectionError):
                del self._servers[now]
                server.close()
            else:
                return server
        server = self._servers[now] = self._new_server()
        self._request(server, wanted, fds)
        return server

    def _request(self, server: ServerProcess, wanted: Wanted, fds: tuple[int, int]) -> None:
        """Send the request for an engine to a server."""
        paths = self._paths_of(wanted.ssh_library)
        server.outbox.send(control.fork_packet(wanted.engine_id, wanted.ssh_library, paths), fds)

    def _fence(self, server: ServerProcess, engine_id: int) -> None:
        """Make sure that an engine does not go on."""
        # Without its fork server an engine ends, since its lifeline is cut (see also `fence` of the link).
        with contextlib.suppress(OSError):
            if not server.outbox.recall(engine_id):
                server.outbox.send(control.PACKET.pack(control.KILL, engine_id))

    def close(self) -> None:
        """End every fork server, and with it its engines."""
        with self.lock:
            servers, self._servers = self._servers, {}
        for server in servers.values():
            server.close()

    def forget(self) -> None:
        """In the child of a fork: close the copies of the parent's descriptors."""
        for server in self._servers.values():
            server.forget()
