"""Children of an engine: start, reap, signal. The only file with system calls about commands (posix_spawn(3)
itself is called in `mpshell.engine.libc`).

In the one thread of an engine process. Every command is the leader of its own session and group; the engine is
the subreaper of everything that a command leaves behind. So it can detect a group that still has members after
its leader was reaped, and signal it without hitting another process: the surviving
members are children of this process, which keep the group's number in use until they are reaped here.
"""

from __future__ import annotations

import os

from mpshell.engine.libc import Environment, Spawner
from mpshell.runtime.lean import TYPE_CHECKING, signal
from mpshell.runtime.procfs import threads_children

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

#: Python ignores the first two, an engine the third, a shell those of its background jobs; and who cannot
#: be terminated cannot end within the grace. Commands get the defaults.
_DEFAULT_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
)


#: Bytes of one read.
READ_SIZE = 65536

#: Reads of a log at its end: all that a pipe holds, and more.
_LOG_READS = 32


class Child:
    """Descriptors of a started command: -1 where there is none."""

    __slots__ = ("pid", "stderr", "stdin", "stdout")

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr


#: Made before the first fork, and inherited by every engine.
_spawner = Spawner(_DEFAULT_SIGNALS)


def spawn(
    path: bytes, argv: list[bytes], env: Environment, stdin: bool, separate_stderr: bool
) -> Child:
    """Start a command with pipes on its streams; OSError when that fails, with nothing left open.

    Without `stdin` it reads end of file at once; without `separate_stderr` both go one way. ValueError
    for a NUL in a word.
    """
    opened: list[int] = []
    in_read = in_write = err_read = -1
    try:
        out_read, out_write = os.pipe()
        opened += (out_read, out_write)
        err_write = out_write
        if stdin:
            in_read, in_write = os.pipe()
            opened += (in_read, in_write)
        if separate_stderr:
            err_read, err_write = os.pipe()
            opened += (err_read, err_write)
        pid = _spawner.spawn(path, argv, env, (in_read, out_write, err_write))
    except (OSError, ValueError):
        for fd in opened:
            os.close(fd)
        raise
    os.close(out_write)
    os.set_blocking(out_read, False)
    if stdin:
        os.close(in_read)
    if separate_stderr:
        os.close(err_write)
        os.set_blocking(err_read, False)
    return Child(pid, in_write, out_read, err_read)


def open_log() -> tuple[int, bytes]:
    """Return a descriptor to read a log from, without blocking, and a path at which others may write it.

    OpenSSH closes all that it inherits, and opens its log by name: the name of this process's own descriptor
    is one, with no file that could be left behind or be opened by another user. Opened for writing too, the
    pipe is never at its end, whether the writer has opened it already or not.
    """
    read_end, write_end = os.pipe()
    try:
        fd = os.open(f"/proc/self/fd/{read_end}", os.O_RDWR | os.O_NONBLOCK)
    finally:
        os.close(read_end)
        os.close(write_end)
    return fd, b"/proc/%d/fd/%d" % (os.getpid(), fd)


def read(fd: int) -> bytes | None:
    """Read from a pipe that does not block; None when there is nothing now."""
    try:
        return os.read(fd, READ_SIZE)
    except BlockingIOError:
        return None


def read_log(fd: int) -> bytes:
    """Read all that is in a log now."""
    pieces: list[bytes] = []
    while len(pieces) < _LOG_READS and (data := read(fd)):
        pieces.append(data)
        if len(data) < READ_SIZE:
            # A pipe returns all that it holds, if there is room for it.
            break
    return b"".join(pieces)


def reap() -> list[tuple[int, int, bool]]:
    """Return (pid, exit status or signal number, whether a signal) of each child that has ended.

    Adopted ones are among them; never waits.
    """
    ended: list[tuple[int, int, bool]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        if os.WIFSIGNALED(status):
            ended.append((pid, os.WTERMSIG(status), True))
        else:
            ended.append((pid, os.WEXITSTATUS(status), False))


def group_lives(pgid: int) -> bool:
    """Return whether children of this process are left in a group."""
    try:
        os.waitid(os.P_PGID, pgid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def has_children() -> bool:
    """Return whether this process has children, zombies included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def signal_group(pgid: int, number: int) -> None:
    """Signal a group whose leader is not reaped yet, or of which `group_lives` is true."""
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        # All zombies, or turned into another user's: nothing that could be done.
        return


def child_watch() -> int:
    """Return a descriptor that can be read when children of this process may have ended (SIGCHLD).

    Call it once a process; the bytes that are read from it do not matter.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _noted)
    return read_end


def _noted(number: int, frame: FrameType | None) -> None:
    """Do nothing: the wake-up descriptor reports the signal."""


def kill(pids: Iterable[int]) -> list[int]:
    """Send SIGKILL to children that are not reaped yet; return those that it was sent to.

    Their descendants become those of the caller, a subreaper, as each of them ends.
    """
    killed = []
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
        killed.append(pid)
    return killed


def kill_tree(root: int) -> list[int]:
    """Send SIGKILL to a child and to all that descends from it; return those that it was sent to.

    The root must not be reaped yet. Each process is stopped before its children are listed, so that it cannot
    begin to fork a new one. A fork in progress may still create a child: it
    becomes a child of the caller after its parent's end, and is not listed.
    """
    waiting, found = [root], []
    while waiting:
        pid = waiting.pop()
        try:
            os.kill(pid, signal.SIGSTOP)
        except (ProcessLookupError, PermissionError):
            continue
        found.append(pid)
        for children in threads_children(pid):
            waiting += children
        # At once: should the caller be killed here, nothing stays stopped for ever.
        kill([pid])
    return found


def terminate_tree(root: int) -> None:
    """Send SIGTERM to the group of a process, and to all that descends from it in other groups.

    The root must be an unreaped child of the caller. It is stopped for that time, so that it
    neither forks nor ends before its children are listed.
    """
    signal_group(root, signal.SIGSTOP)
    waiting, found = [root], []
    while waiting:
        for children in threads_children(waiting.pop()):
            waiting += children
            found += children
    for pid in found:
        try:
            os.kill(pid, signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            continue
    signal_group(root, signal.SIGTERM)
    signal_group(root, signal.SIGCONT)
