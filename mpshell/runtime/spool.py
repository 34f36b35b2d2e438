"""A log of bytes, all of which can be read again: in memory while they are few.

Bytes beyond that go to a file. The file has no name, so nothing is left of it however the process ends. A
process that has the first bytes can read the rest from the file of another process, whose descriptor it gets.
"""

from __future__ import annotations

import errno
import os

from mpshell.errors import InputStorageError
from mpshell.runtime.descriptors import Descriptor
from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The size of a piece in memory, in bytes.
BLOCK = 1 << 18

#: Bytes that are kept in memory, a multiple of BLOCK.
IN_MEMORY = 1 << 26

#: Directories for files, after the directory in TMPDIR.
_FOLDERS = (b"/tmp", b"/var/tmp")

#: Errors of a file system without files that have no name (open(2), O_TMPFILE).
_NAMES_ONLY = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)


class Spool:
    """A log of bytes. TMPDIR is looked up in the environment `variables`."""

    __slots__ = ("_blocks", "_file", "_variables", "in_memory", "size")

    def __init__(
        self, variables: Mapping[bytes, bytes] | None = None, in_memory: int = IN_MEMORY
    ) -> None:
        self._variables = variables
        #: Bytes that are kept in memory.
        self.in_memory = in_memory
        self._blocks: list[bytearray] = []
        self._file: Descriptor | None = None
        #: Bytes in all.
        self.size = 0

    def append(self, data: bytes) -> None:
        """Add bytes, all or none of them; InputStorageError if there is no room on the disk."""
        view = memoryview(data)
        here = view[: max(0, self.in_memory - self.size)]
        if len(here) < len(view):
            self._store(view[len(here) :], self.size + len(here) - self.in_memory)
        self._keep(here)
        self.size += len(view)

    def file(self) -> int:
        """Return the descriptor of the file for bytes beyond memory's room; InputStorageError without one."""
        try:
            return self._fd()
        except OSError as error:
            raise InputStorageError.of(error) from error

    def adopt(self, fd: int) -> None:
        """Read the bytes beyond memory's room from the file of another process, and close it at the end."""
        self._file = Descriptor(fd)

    def extend(self, size: int) -> None:
        """Note that the other process has added bytes to its file."""
        self.size += size

    def _keep(self, view: memoryview) -> None:
        at = self.size
        while view:
            number, start = divmod(at, BLOCK)
            part = view[: BLOCK - start]
            if number == len(self._blocks):
                # At its full size at once: a growing block leaves holes in the memory that are as large as
                # itself. Except the first block: most inputs are small, and each worker has its own.
                self._blocks.append(bytearray(BLOCK if number else 0))
            self._blocks[number][start : start + len(part)] = part
            at += len(part)
            view = view[len(part) :]

    def _store(self, view: memoryview, at: int) -> None:
        try:
            if self._file is None:
                self._file = Descriptor(self._new_file())
            fd = self._fd()
            while view:
                written = os.pwrite(fd, view, at)
                at += written
                view = view[written:]
        except OSError as error:
            raise InputStorageError.of(error) from error

    def _fd(self) -> int:
        # Its number may belong to a file of the user by now.
        if self._file is None or not self._file.ours():
            raise OSError(errno.EBADF, "the program has closed its file")
        return self._file.fd

    def _new_file(self) -> int:
        first: OSError | None = None
        variables = os.environb if self._variables is None else self._variables
        for folder in (variables.get(b"TMPDIR", b""), *_FOLDERS):
            if folder:
                try:
                    return _open_unnamed(folder)
                except OSError as error:
                    first = first or error
        raise first or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def piece(self, offset: int, most: int) -> memoryview:
        """Return bytes from `offset` on, at least one and up to `most`; `offset` is below `size`.

        InputStorageError if the file cannot be read.
        """
        most = min(most, self.size - offset)
        if offset < self.in_memory:
            block, start = self._blocks[offset // BLOCK], offset % BLOCK
            # A block that still grows could not do so while a view of it exists.
            whole = block if len(block) == BLOCK else bytes(block)
            return memoryview(whole)[start : start + most]
        try:
            data = os.pread(self._fd(), most, offset - self.in_memory)
            if not data:
                raise OSError(errno.EIO, "its file has become shorter")
        except OSError as error:
            raise InputStorageError.of(error) from error
        return memoryview(data)

    def close(self) -> None:
        """Drop everything. Repeatable."""
        self._blocks.clear()
        self.size = 0
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()


def _open_unnamed(folder: bytes) -> int:
    """Open a new file in a directory, for this process alone, without a name."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError as error:
        if error.errno not in _NAMES_ONLY:
            raise
    path = os.path.join(folder, b"mpshell-" + os.urandom(12).hex().encode())
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    os.unlink(path)
    return fd
