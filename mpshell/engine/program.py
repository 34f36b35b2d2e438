"""The program that a fork server and its engines serve: which process it is, and its rights.

These processes keep the ids and capabilities that the program had when it started the fork server. A program
that drops some of them afterwards, as a daemon does before it reads from the network, must not be able to use
the rights that they still hold: they obey that process alone, and only while its rights are the same.
"""

import os

from mpshell.runtime.privileges import privileges_of
from mpshell.wire.credentials import Sender

#: Seconds between two looks at the program, while nothing is run for it.
LOOK = 1.0


class Program:
    """A process, its real ids, and its privileges: "" for one of an ordinary user, who has none."""

    def __init__(self, pid: int, privileges: str) -> None:
        #: 0 if it is in another PID namespace: the kernel then reports this number.
        self.sender = Sender(pid, os.getuid(), os.getgid())
        self._privileges = privileges
        if privileges and (not pid or privileges_of(str(pid)) is None):
            # Not to be seen from here: the senders of messages have to do.
            self._privileges = ""
        #: Whether its real ids do not show its privileges, as with a set-user-ID program.
        self.disguised = bool(self._privileges) and self.sender.uid != 0

    @property
    def watched(self) -> bool:
        """Whether there is anything that it could drop."""
        return bool(self._privileges)

    def unchanged(self) -> bool:
        """Return whether it still has the rights that it had when these processes were started."""
        return not self._privileges or privileges_of(str(self.sender.pid)) == self._privileges
