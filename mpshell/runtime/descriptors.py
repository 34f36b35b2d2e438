"""Descriptors known again by what they lead to: a number alone may be the user's by now.

A program may close every descriptor above 2, as daemons do when they start, or put another one in the place
of any (dup2(2)), and these numbers are given out again. So before what stays open between two calls is
written to or closed, its device and inode (fstat(2)) are held against those of when it was opened.
"""

from __future__ import annotations

import os

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    Identity = tuple[int, int, str]

#: What tells two descriptors apart that share an inode: pidfds before Linux 6.9 for one (proc_pid_fdinfo(5)).
_PROPER = ("Pid:", "eventfd-id:")
#: The number of a process that has been reaped.
_REAPED = "Pid:\t-1\n"


class Descriptor:
    """An open descriptor of this package's."""

    __slots__ = ("_identity", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._identity: Identity | None = identity(fd)

    def ours(self) -> bool:
        """Return whether it is open, and leads to what it was opened for."""
        if self._identity is None:
            return False
        try:
            device, inode, proper = identity(self.fd)
        except OSError:
            return False
        expected = self._identity
        return (device, inode) == expected[:2] and (
            proper == expected[2] or (_REAPED in proper and "Pid:" in expected[2])
        )

    def close(self) -> None:
        """Close it if it is ours; harmless when that was done already."""
        if self.ours():
            os.close(self.fd)
        self._identity = None


def identity(fd: int) -> Identity:
    """Return device and inode of an open descriptor, and where many share these, what it is beside."""
    status = os.fstat(fd)
    # Sockets, pipes and files have an inode each, and a type; what is of the kernel alone has none.
    return status.st_dev, status.st_ino, "" if status.st_mode & 0o170000 else _proper(fd)


def _proper(fd: int) -> str:
    try:
        with open(f"/proc/self/fdinfo/{fd}") as file:
            lines = [line for line in file if line.startswith(_PROPER)]
        return os.readlink(f"/proc/self/fd/{fd}") + "".join(lines)
    except OSError:
        return ""
