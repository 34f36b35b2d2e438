"""A file of this host that is copied from other hosts: read once for each of them."""

from __future__ import annotations

import errno
import os
import stat

from mpshell.errors import InputStorageError

#: Placeholder in a command for the directory of the file; no path of the user begins like this.
_PLACE = "/mpshell-staged"


class StagedSource:
    """An open file; OSError if it cannot be read, or is not a regular file."""

    def __init__(self, path: str) -> None:
        self._path = path
        # Without blocking: open(2) would wait at a FIFO without a writer.
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise OSError(errno.EINVAL, "no regular file")
        self.name = os.path.basename(path)
        self.size = found.st_size
        #: Size, mode and times, for a copy.
        self.found = (found.st_size, stat.S_IMODE(found.st_mode), found.st_atime, found.st_mtime)
        #: Its mode, and the times of its last access and change, in nanoseconds.
        self.status = stat.S_IMODE(found.st_mode), found.st_atime_ns, found.st_mtime_ns
        #: The name of its own directory on each host.
        self.token = os.urandom(12).hex()

    @property
    def placeholder(self) -> str:
        """The placeholder for its path in a command, until the host is known."""
        return f"{_PLACE}/{self.token}/{self.name}"

    def piece(self, offset: int, most: int) -> memoryview:
        """Return bytes from `offset` on; InputStorageError if the file has become shorter."""
        data = os.pread(self._fd, min(most, self.size - offset), offset)
        if not data:
            raise InputStorageError(errno.EIO, f"{self._path} has become shorter while it was read")
        return memoryview(data)

    def close(self) -> None:
        """Close it. Repeatable."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()
