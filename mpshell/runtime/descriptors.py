"""Descriptors recognized by the file that they refer to, because the user may have reused the number.

A program may close every descriptor above 2, as daemons do when they start, or replace any of them by another
one (dup2(2)), and the numbers are reused. So before a descriptor that stays open between two
calls is written to or closed, its device and inode (fstat(2)) are compared with those at its opening.
"""

from __future__ import annotations

import os

#: The bits of a mode that are the type of a file.
_TYPE = 0o170000
#: Distinguishes descriptors that share an inode, such as pidfds before Linux 6.9 (proc_pid_fdinfo(5)).
_PROPER = ("Pid:", "eventfd-id:")
#: The number of a process that has been reaped.
_REAPED = "Pid:\t-1\n"


class Descriptor:
    """An open descriptor of this package."""

    __slots__ = ("_device", "_inode", "_proper", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        status = os.fstat(fd)
        self._device, self._inode = status.st_dev, status.st_ino
        # Sockets, pipes and files each have an inode, and a type; other objects of the kernel have none.
        self._proper = "" if status.st_mode & _TYPE else _proper(fd)

    def ours(self) -> bool:
        """Return whether it is open, and still refers to the same file."""
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
        """Close it if it is ours; repeatable."""
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
