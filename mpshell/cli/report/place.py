"""The directory of a journal that a report has for itself, and those that killed programs have left.

A program that uses one has it locked (flock(2)), and the kernel takes the lock away with the process. So the
next program of this user on this host that makes one removes those that nobody has locked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress

#: How often another directory is made when one was removed before it was locked.
_TRIES = 10

#: File systems without such locks: nothing is removed there.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class OwnPlace:
    """A new directory for this user alone; OSError when none can be made. `remove` removes it."""

    def __init__(self) -> None:
        _remove_left()
        for _ in range(_TRIES):
            self.path = tempfile.mkdtemp(prefix=_prefix())
            try:
                self._fd = _opened(self.path)
            except FileNotFoundError:
                # Another program took it for one that was left.
                continue
            if _lock(self._fd) is not False and _is(self.path, self._fd):
                return
            os.close(self._fd)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)

    def remove(self) -> None:
        """Remove it with its content. Repeatable."""
        if self._fd >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._fd)
            self._fd = -1


def _prefix() -> str:
    # The directory may be on a file system that other hosts share, without locks that hold among them.
    return f"mpshell-report-{os.uname().nodename}-"


def _opened(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _lock(fd: int) -> bool | None:
    """Lock a directory; return False if another process has, None where there are no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _is(path: str, fd: int) -> bool:
    """Return whether a path is still that of an open directory."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _remove_left() -> None:
    """Remove the directories of programs of this user that have been killed."""
    folder, prefix = tempfile.gettempdir(), _prefix()
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(prefix):
                with suppress(OSError):
                    _remove_if_left(os.path.join(folder, name))


def _remove_if_left(path: str) -> None:
    fd = _opened(path)
    try:
        if os.fstat(fd).st_uid == os.geteuid() and _lock(fd):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(fd)
