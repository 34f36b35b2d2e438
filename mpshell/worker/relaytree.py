"""Relay copies of trees: a directory as one archive, in a file without a name here.

    directory ── looked through at the call ──► packed ──► the file that is relayed, its size and checksum known

The stream is the same for the same tree: names in order, without owners, and without times unless they are to
be kept. It is made here, not by tar(1), whose options for that differ. Directories are opened by way of the
descriptor of the one above, so what another user puts in the place of one is not followed out of the tree.

In the thread of the caller, which waits for it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from mpshell.errors import InputStorageError, WorkerBadArgumentError, WorkerError
from mpshell.runtime.spool import Spool

#: Bytes read at a time.
_PIECE = 1 << 20

#: Bytes of a block of an archive, and of one of most file systems.
_BLOCK, _ON_DISK = 512, 4096

#: The end of an archive (tar(5)).
_END = bytes(2 * _BLOCK)

_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


class Survey(NamedTuple):
    """A look at a tree before it is packed: bytes of its archive, about, and whether it has symbolic links."""

    size: int
    has_links: bool


class _Member(NamedTuple):
    """An entry of a tree: `path` from its top, `name` in the directory open as `folder`."""

    path: str
    name: str
    folder: int
    found: os.stat_result
    #: Whether it is a directory that all has been found in.
    is_left: bool


class _Folder:
    """An open directory and the names in it that are still to come."""

    def __init__(self, path: str, name: str, folder: int | None, found: os.stat_result) -> None:
        self.path, self.name, self.found = path, name, found
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if folder is not None:
            flags |= os.O_NOFOLLOW
        self.fd = os.open(name, flags, dir_fd=folder)
        try:
            self.names = iter(sorted(os.listdir(self.fd)))
        except OSError:
            os.close(self.fd)
            raise


def survey(root: str) -> Survey:
    """Look through a tree; ValueError for what cannot be read, and for what no archive of a tree has."""
    size, has_links = len(_END), False
    for member in _members(root):
        mode = member.found.st_mode
        if stat.S_ISREG(mode):
            size += _padded(member.found.st_size, _BLOCK)
            if not os.access(member.name, os.R_OK, dir_fd=member.folder, effective_ids=True):
                raise WorkerBadArgumentError(
                    f"source {root!r}: {member.path!r} cannot be read: Permission denied"
                )
        has_links = has_links or stat.S_ISLNK(mode)
        size += _BLOCK
    return Survey(size, has_links)


class PackedTree:
    """The archive of a tree, kept until `close`.

    ValueError for what cannot be packed, WorkerError without room, or when a file changes meanwhile.
    """

    def __init__(self, root: str, preserve: bool) -> None:
        self._root, self._preserve = root, preserve
        self._spool = Spool(in_memory=0)
        self._sum = hashlib.sha256()
        #: What the spool does not have yet.
        self._tail = bytearray()
        #: The first name of each file that has several.
        self._linked: dict[tuple[int, int], str] = {}
        #: Bytes that the tree takes on a disk, its top included.
        self.unpacked = _ON_DISK
        try:
            for member in _members(root):
                self._add(member)
            self._write(_END)
            self._flush()
        except InputStorageError as error:
            self.close()
            raise WorkerError(
                f"source {root!r} cannot be packed in the directory for temporary files (TMPDIR): "
                f"{os.strerror(error.errno or 0)}"
            ) from error
        except BaseException:
            self.close()
            raise
        self.size = self._spool.size
        self.sha256 = self._sum.hexdigest()

    def path(self) -> str:
        """Return a path by which other processes of this user read it; InputStorageError when it is gone."""
        return f"/proc/{os.getpid()}/fd/{self._spool.file()}"

    def close(self) -> None:
        """Drop it. Harmless when done already."""
        self._spool.close()

    def _add(self, member: _Member) -> None:
        info = tarfile.TarInfo(member.path)
        found = member.found
        mode = stat.S_IMODE(found.st_mode)
        # Otherwise tar gives the bits of an owner who is another one there.
        info.mode = mode if self._preserve else mode & 0o777
        info.mtime = int(found.st_mtime) if self._preserve else 0
        if stat.S_ISDIR(found.st_mode):
            info.type = tarfile.DIRTYPE
            if not member.is_left:
                # Until all in it is there: not every tar puts such a mode off.
                info.mode |= stat.S_IRWXU
                self.unpacked += _ON_DISK
            elif not self._preserve and mode & stat.S_IRWXU == stat.S_IRWXU:
                return
            self._write_header(info)
        elif stat.S_ISLNK(found.st_mode):
            info.type = tarfile.SYMTYPE
            info.linkname = self._target(member)
            self.unpacked += _ON_DISK
            self._write_header(info)
        else:
            self._add_file(member, info)

    def _target(self, member: _Member) -> str:
        try:
            return os.readlink(member.name, dir_fd=member.folder)
        except OSError as error:
            raise _unreadable(self._root, member.path, error) from None

    def _add_file(self, member: _Member, info: tarfile.TarInfo) -> None:
        found = member.found
        if found.st_nlink > 1:
            first = self._linked.setdefault((found.st_dev, found.st_ino), member.path)
            if first != member.path:
                info.type, info.linkname = tarfile.LNKTYPE, first
                self._write_header(info)
                return
        info.size = found.st_size
        self.unpacked += _padded(found.st_size, _ON_DISK)
        self._write_header(info)
        try:
            # Without waiting: a pipe may have come to its place.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(member.name, flags, dir_fd=member.folder)
        except OSError as error:
            raise _unreadable(self._root, member.path, error) from None
        try:
            self._copy(fd, member)
        finally:
            os.close(fd)

    def _copy(self, fd: int, member: _Member) -> None:
        if _identity(os.fstat(fd)) != _identity(member.found):
            raise self._changed(member)
        left = member.found.st_size
        while left:
            try:
                data = os.read(fd, min(_PIECE, left))
            except OSError as error:
                raise _unreadable(self._root, member.path, error) from None
            if not data:
                raise self._changed(member)
            self._write(data)
            left -= len(data)
        if _identity(os.fstat(fd)) != _identity(member.found):
            raise self._changed(member)
        self._write(bytes(-member.found.st_size % _BLOCK))

    def _changed(self, member: _Member) -> WorkerError:
        return WorkerError(
            f"source {self._root!r}: {member.path!r} was changed while it was packed"
        )

    def _write_header(self, info: tarfile.TarInfo) -> None:
        # Names of any bytes and length, which pax headers have not, and each tar reads.
        self._write(info.tobuf(tarfile.GNU_FORMAT, sys.getfilesystemencoding(), "surrogateescape"))

    def _write(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) >= _PIECE:
            self._flush()

    def _flush(self) -> None:
        self._sum.update(self._tail)
        self._spool.append(bytes(self._tail))
        self._tail.clear()


def _members(root: str) -> Iterator[_Member]:
    """Yield all that is below a directory, each directory in it before and behind what it holds."""
    open_folders: list[_Folder] = []
    at = root
    try:
        open_folders.append(_Folder("", root, None, os.stat(root)))
        while open_folders:
            folder = open_folders[-1]
            name = next(folder.names, None)
            if name is None:
                os.close(open_folders.pop().fd)
                if open_folders:
                    above = open_folders[-1].fd
                    yield _Member(folder.path, folder.name, above, folder.found, True)
                continue
            at = f"{folder.path}/{name}" if folder.path else name
            found = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
            if kind := _KINDS.get(stat.S_IFMT(found.st_mode)):
                raise WorkerBadArgumentError(
                    f"source {root!r}: {at!r} is {kind}, and a tree that is relayed has files, directories and "
                    "symbolic links"
                )
            yield _Member(at, name, folder.fd, found, False)
            if stat.S_ISDIR(found.st_mode):
                open_folders.append(_Folder(at, name, folder.fd, found))
    except OSError as error:
        raise _unreadable(root, at, error) from None
    finally:
        for folder in open_folders:
            os.close(folder.fd)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_mode, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _unreadable(root: str, path: str, error: OSError) -> ValueError:
    return WorkerBadArgumentError(f"source {root!r}: {path!r} cannot be read: {error.strerror}")


def _padded(size: int, block: int) -> int:
    return -(-size // block) * block
