"""--outdir and --errdir: a file for each node, with its output on one stream.

Used in the thread of the Task, closed by the main thread after the run.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from mpshell.cli.terminal import write_all

#: Files kept open: a run has more nodes than a process may have descriptors.
_OPEN = 64

#: The longest name of a file on Linux, in bytes.
_LONGEST = 255


class NodeFiles:
    """The files of both directories; a directory may be None."""

    def __init__(
        self, outdir: str | None, errdir: str | None, report: Callable[[str], object]
    ) -> None:
        """Make the directories; ValueError when that is not possible. `report` takes errors of files."""
        self._report = report
        #: The files that could not be written to, by node and stream.
        self.failed: set[tuple[str, str]] = set()
        self._directories: dict[str, str] = {}
        for option, sname, directory in (
            ("--outdir", "stdout", outdir), ("--errdir", "stderr", errdir),
        ):  # fmt: skip
            if directory is None:
                continue
            try:
                os.makedirs(directory, exist_ok=True)
            except OSError as error:
                raise ValueError(
                    f"{option} {directory!r} is not a directory and cannot be created: {error.strerror}"
                ) from None
            self._directories[sname] = directory
        #: The one used last comes last.
        self._files: dict[tuple[str, str], int] = {}

    def begin(self, node: str) -> None:
        """Make a node's files, empty: they must not keep output of an earlier run."""
        for sname in self._directories:
            self._to_file(node, sname, b"", os.O_TRUNC)

    def write(self, node: str, sname: str, data: bytes) -> None:
        """Add to a node's file of a stream."""
        if sname in self._directories:
            self._to_file(node, sname, data, 0)

    def _to_file(self, node: str, sname: str, data: bytes, flag: int) -> None:
        """Add to a file; one that cannot be written to is reported, once, and the others go on."""
        key = node, sname
        if key in self.failed:
            return
        try:
            file = self._files.pop(key, None)
            if file is None:
                file = open_regular(self._path(node, sname), flag)
            self._files[key] = file
            if len(self._files) > _OPEN:
                os.close(self._files.pop(next(iter(self._files))))
            write_all(file, data)
        except OSError as error:
            self.failed.add(key)
            option = "--outdir" if sname == "stdout" else "--errdir"
            self._report(
                f"{node}: {option} file {self._path(node, sname)!r} cannot be written: {error.strerror}"
            )

    def _path(self, node: str, sname: str) -> str:
        return os.path.join(self._directories[sname], safe_name(node))

    def end(self, node: str) -> None:
        """Close a node's files."""
        for sname in self._directories:
            if (file := self._files.pop((node, sname), None)) is not None:
                os.close(file)

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.popitem()[1])


def open_regular(path: str, flag: int) -> int:
    """Open or make a file to append to; OSError for anything that is not a regular file.

    A named pipe would block, a device would do something, a symbolic link leads elsewhere:
    none of them is opened, or kept open if it appeared in between.
    """
    try:
        _check_regular(os.lstat(path))
    except FileNotFoundError:
        pass
    # O_NONBLOCK is without effect on a regular file.
    how = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    file = os.open(path, how | flag, 0o666)
    try:
        _check_regular(os.fstat(file))
    except OSError:
        os.close(file)
        raise
    return file


def _check_regular(found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "it is a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def safe_name(node: str) -> str:
    """Return a node's name as that of a file in a directory; two nodes have never the same."""
    name = node.replace("%", "%25").replace("/", "%2F")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(os.fsencode(name)) > _LONGEST:
        import hashlib

        digest = hashlib.sha256(os.fsencode(node)).hexdigest()[:32]
        name = f"{os.fsencode(name)[:200].decode(errors='replace')[:60]}%{digest}"
    return name
