"""The directory of an outpost for files that its engines read: input of commands, and sources of copies.

The outpost removes it at its end. After a killed outpost the next one of the same user removes it: it
finds it by its name, and by a lock that no process holds any more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile

_PREFIX = "mpshell-outpost-"


class StageDirectory:
    """A directory that this process has to itself, mode 0700."""

    def __init__(self) -> None:
        self._make()
        while not os.path.exists(self.path):
            # Another outpost has taken it for one that was left, before the lock was held.
            os.close(self._fd)
            self._make()
        _remove_left(os.path.dirname(self.path))

    def _make(self) -> None:
        self.path = tempfile.mkdtemp(prefix=_PREFIX)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._fd)


def _remove_left(place: str) -> None:
    """Remove the directories of outposts that have not come to their end."""
    try:
        with os.scandir(place) as entries:
            left = [entry.path for entry in entries if entry.name.startswith(_PREFIX)]
    except OSError:
        return  # files can be made there, and it cannot be read
    for path in left:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # another user's, or just removed
        try:
            if os.fstat(fd).st_uid == os.geteuid():
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            pass  # its outpost lives
        finally:
            os.close(fd)
