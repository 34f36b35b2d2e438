"""Marks of commands: by its mark a process is known as a descendant of a command, also in another session.

A process that has left its session and lost its parents is a child of the engine like any other, and its
environment may be a new one. It keeps its resource limits. The mark of a command is its soft limit of processor
time under a real-time scheduler without a pause (RLIMIT_RTTIME, getrlimit(2)), inherited over fork and exec; as
a limit it is 146,000 years and more. In an engine's only thread.
"""

from __future__ import annotations

import os
import resource

#: A soft limit from here on is a mark, in microseconds.
_FIRST = 1 << 62


class Marks:
    """Marks for the commands of one engine: not those of another one's, that may run within a command."""

    def __init__(self) -> None:
        self._last = _FIRST + int.from_bytes(os.urandom(7), "big")
        soft, self._hard = resource.getrlimit(resource.RLIMIT_RTTIME)
        free = soft == resource.RLIM_INFINITY or soft >= _FIRST
        self._usable = free and self._hard == resource.RLIM_INFINITY

    def next(self) -> int:
        """Mark the command that is started next, and return its mark; 0 where a limit is set."""
        if not self._usable:
            return 0
        self._last += 1
        try:
            resource.setrlimit(resource.RLIMIT_RTTIME, (self._last, self._hard))
        except (OSError, ValueError):
            # A kernel without it, or a sandbox: all that a stopped command leaves is taken for the user's then.
            self._usable = False
            return 0
        return self._last


def mark_of(pid: int) -> int:
    """Return the mark of a child of this process; 0 if it has none, has ended, or has changed its user."""
    try:
        soft, _ = resource.prlimit(pid, resource.RLIMIT_RTTIME)
    except OSError:
        return 0
    return soft if soft >= _FIRST else 0
