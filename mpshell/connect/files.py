"""Files here that are copied: read, written in place, or written beside their target and renamed when whole.

Their methods may block, for as long as a file system likes, so an engine calls them in threads (`Files`).
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mpshell.connect.threads import Threads

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mpshell.connect.loop import ConnectionLoop

#: Calls about files at once: one file system that does not answer may hold up all of them.
_THREADS = 4

#: Rights of others to make an entry in a directory.
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Files:
    """The files that an engine has open for copies."""

    def __init__(self, loop: ConnectionLoop, on_idle: Callable[[], object]) -> None:
        self._threads = Threads(loop, "mpshell-files", _THREADS)
        #: Called each time the last one has been closed.
        self._on_idle = on_idle
        self._open = 0

    @property
    def busy(self) -> bool:
        """Whether files are open, or being closed."""
        return self._open > 0

    def open(self, file: LocalFile) -> asyncio.Future[Any]:
        """Open a file in a thread; `close` follows in any case."""
        self._open += 1
        return self._threads.call(file.open)

    def call(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Call a method of a file in a thread."""
        return self._threads.call(function, *args)

    def close(self, file: LocalFile) -> None:
        """Close a file when its last call has returned, without waiting for that."""
        self._threads.submit(file.close, self._closed)

    def _closed(self, result: None, error: Exception | None) -> None:
        self._open -= 1
        if not self._open:
            self._on_idle()


class LocalFile(ABC):
    """A descriptor that is used by one call at a time: none finds it closed, or its number another file's."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._fd = -1
        self._closed = False

    def open(self) -> Any:
        """Open it, once; OSError when that cannot be."""
        with self._lock:
            if not self._closed:
                return self._open()

    @abstractmethod
    def _open(self) -> Any:
        """Open it; OSError when that cannot be."""

    def close(self) -> None:
        """Close it for good."""
        with self._lock:
            self._closed = True
            if self._fd >= 0:
                fd, self._fd = self._fd, -1
                os.close(fd)


class SourceFile(LocalFile):
    """A regular file that is read from its byte `first` to its end."""

    def __init__(self, path: bytes, first: int = 0) -> None:
        super().__init__(path)
        self._first = first

    def _open(self) -> os.stat_result:
        # Before it is opened: a FIFO would wait for its writer.
        if stat.S_ISREG(os.stat(self.path).st_mode):
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
            found = os.fstat(self._fd)
            if stat.S_ISREG(found.st_mode):
                os.lseek(self._fd, self._first, os.SEEK_SET)
                return found
        raise OSError(errno.EINVAL, "not a regular file")

    def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end."""
        with self._lock:
            return b"" if self._closed else os.read(self._fd, size)


class TargetFile(LocalFile):
    """A file that is written in place, as by scp(1): a longer old file is truncated at the end."""

    def __init__(self, path: bytes, mode: int) -> None:
        super().__init__(path)
        self._mode = mode

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY
        self._fd = os.open(self.path, flags, self._mode | stat.S_IWUSR)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        with self._lock:
            view = memoryview(data)
            while view and not self._closed:
                view = view[os.write(self._fd, view) :]

    def finish(self, size: int, kept: tuple[int, tuple[int, int]] | None) -> str | None:
        """Be a file of that size, and of a mode and times that are kept; return why these cannot be set."""
        with self._lock:
            return None if self._closed else self._finish(size, kept)

    def _finish(self, size: int, kept: tuple[int, tuple[int, int]] | None) -> str | None:
        os.ftruncate(self._fd, size)
        try:
            self._keep(kept)
        except OSError as error:
            # Another user's file that may be written: no failure for scp(1) either.
            return f"mode and times: {error.strerror}"
        return None

    def _keep(self, kept: tuple[int, tuple[int, int]] | None) -> None:
        if kept is not None:
            os.fchmod(self._fd, kept[0])
            os.utime(self._fd, kept[1])


class WholeFile(TargetFile):
    """A file that is moved to its place when it is complete, by the rules of `mpshell.worker.atomic`.

    Until then it is in a directory of its own, of mode 0700, beside the target. All operations there use
    that directory's descriptor, because another user may replace its name.
    """

    def __init__(self, path: bytes, mode: int, temporary: bytes) -> None:
        super().__init__(path, mode)
        self._name = b"%s-%d" % (temporary, os.getpid())
        self._directory = os.path.join(os.path.dirname(path), self._name)
        self._directory_fd = -1
        self._made = False

    def _open(self) -> None:
        if os.path.isdir(self.path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        os.mkdir(self._directory, 0o700)
        self._made = True
        flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._directory_fd = os.open(self._directory, os.O_RDONLY | flags)
        if not self._is_ours():
            raise PermissionError(errno.EPERM, "other users can change what is beside it")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(self._name, flags, self._mode, dir_fd=self._directory_fd)

    def _is_ours(self) -> bool:
        """Return whether no other user can make an entry in the opened directory."""
        fd = self._directory_fd
        found = os.fstat(fd)
        user = os.geteuid()
        if stat.S_IMODE(found.st_mode) & 0o777 == 0o700:
            if found.st_uid == user:
                return True
            # The file system shows another owner (NFS for root): then also of a directory that is made now.
            os.mkdir(b"d", 0o700, dir_fd=fd)
            inner = os.stat(b"d", dir_fd=fd, follow_symlinks=False)
            os.rmdir(b"d", dir_fd=fd)
            return inner.st_uid == found.st_uid
        # It has no modes (FAT): only root or this user can make an entry beside the target.
        parent = os.stat(b"..", dir_fd=fd)
        named = os.stat(self._directory, follow_symlinks=False)
        return (
            not parent.st_mode & _OTHERS_WRITE
            and parent.st_uid in (0, user)
            and os.path.samestat(named, found)
        )

    def _finish(self, size: int, kept: tuple[int, tuple[int, int]] | None) -> None:
        self._keep(kept)
        if (there := os.fstat(self._fd).st_size) != size:
            raise OSError(errno.EIO, f"got {there} bytes of {size}")
        target = os.path.join(b"..", os.path.basename(self.path))
        fd = self._directory_fd
        os.rename(self._name, target, src_dir_fd=fd, dst_dir_fd=fd)

    def close(self) -> None:
        super().close()
        with self._lock:
            fd, self._directory_fd = self._directory_fd, -1
            if fd >= 0:
                # Renamed, or never made; else it goes.
                with suppress(OSError):
                    os.unlink(self._name, dir_fd=fd)
                os.close(fd)
            if self._made:
                self._made = False
                # Not when another user has put something else in its place.
                with suppress(OSError):
                    os.rmdir(self._directory)
