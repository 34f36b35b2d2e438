"""Descriptors recognized by the file that they lead to: a number alone may be the user's by now.

A program may close every descriptor above 2, as daemons do when they start, or put another one in the place
of any (dup2(2)), and these numbers are given out again. So before a descriptor that stays open between two
calls is written to or closed, its device and inode (fstat(2)) are held against those of when it was opened.
"""

from __future__ import annotations

import os

#: The bits of a mode that are the type of a file.
_TYPE = 0o170000
#: Tells two descriptors apart that share an inode: pidfds before Linux 6.9 for one (proc_pid_fdinfo(5)).
_PROPER = ("Pid:", "eventfd-id:")
#: The number of a process that has been reaped.
_REAPED = "Pid:\t-1\n"


class Descriptor:
    """An open descriptor of this package's."""

    __slots__ = ("_device", "_inode", "_proper", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        status = os.fstat(fd)
        self._device, self._inode = status.st_dev, status.st_ino
        # Sockets, pipes and files have an inode each, and a type; objects of the kernel alone have none.
        self._proper = "" if status.st_mode & _TYPE else _proper(fd)

    def ours(self) -> bool:
        """Return whether it is open, and still leads to the same file."""
        try:
            status = os.fstat(self.fd)
        except OSError:
            return False
        if status.st_ino != self._inode or status.st_dev != self._device:
            return False
        if not self._proper:
            return True
        proper = _proper(self.fd)
        return proper == self._proper or (_REAPED in proper and "Pid:" in self._proper)

    def close(self) -> None:
        """Close it if it is ours; harmless when that was done already."""
        if self.ours():
            os.close(self.fd)
        self.fd = -1


def _proper(fd: int) -> str:
    """Return the identity of a descriptor that shares its inode with others."""
    try:
        with open(f"/proc/self/fdinfo/{fd}") as file:
            lines = [line for line in file if line.startswith(_PROPER)]
        return os.readlink(f"/proc/self/fd/{fd}") + "".join(lines)
    except OSError:
        return ""
