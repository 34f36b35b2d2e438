"""The program whose standard streams are a line: ssh, srun, or any other that starts an outpost."""

import _socket
import os
import signal
from collections.abc import Callable, Mapping, Sequence

from mpshell.engine.process import signal_group
from mpshell.runtime.loop import EventLoop

#: Bytes of its stderr that are kept: the last.
_KEPT = 4096

#: Seconds until a program that was asked to end is killed.
_GRACE = 1.0


class Connector:
    """A program, from its start until it is reaped; `on_end` is called then.

    OSError when it cannot be started. Its standard input and output are one socket, of a `kind`: `fd`, which is
    the caller's to close.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        loop: EventLoop,
        on_end: Callable[[], object],
        kind: int = _socket.SOCK_STREAM,
    ) -> None:
        self._loop = loop
        self._on_end = on_end
        self._words = b""
        self.ended = False
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, kind, 0)
        self._stderr, stderr = os.pipe()
        try:
            socket_fd = theirs.fileno()
            actions: list[tuple[object, ...]] = [
                (os.POSIX_SPAWN_DUP2, socket_fd, 0),
                (os.POSIX_SPAWN_DUP2, socket_fd, 1),
                (os.POSIX_SPAWN_DUP2, stderr, 2),
            ]
            pid = os.posix_spawnp(
                argv[0], list(argv), dict(env), file_actions=actions, setsid=True, setsigmask=(),
                setsigdef=(signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE),
            )  # fmt: skip
        except OSError:
            ours.close()
            os.close(self._stderr)
            raise
        finally:
            theirs.close()
            os.close(stderr)
        self.fd = ours.detach()
        os.set_blocking(self._stderr, False)
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        loop.add_reader(self._pidfd, self._on_exit)
        loop.add_reader(self._stderr, self._read)

    def _read(self) -> bool:
        try:
            data = os.read(self._stderr, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._stderr)
            return False
        self._words = (self._words + data)[-_KEPT:]
        return True

    def _on_exit(self) -> None:
        while self._read():
            pass
        self._loop.remove_reader(self._stderr)
        self._loop.remove_reader(self._pidfd)
        # If a signal ends ssh while it connects, its ProxyCommand goes on; at other ends ssh sends it SIGHUP.
        # Before the program is reaped: after that the number of its group may belong to another one.
        signal_group(self._pid, signal.SIGHUP)
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._stderr)
        os.close(self._pidfd)
        self.ended = True
        self._on_end()

    @property
    def last_words(self) -> str:
        """The last line that it has written to its stderr."""
        lines = [line.strip() for line in self._words.decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")

    def end(self) -> None:
        """Ask it to end, and kill it when it does not."""
        self.signal(signal.SIGTERM)
        self._loop.call_later(_GRACE, self.signal, signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if not self.ended:
            signal.pidfd_send_signal(self._pidfd, number)
