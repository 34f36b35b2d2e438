"""--outdir and --errdir: a file for each node, with what it has said on one stream.

Used in the thread of the Task, closed by the main thread after the run.
"""

from __future__ import annotations

import os

from mpshell.cli.terminal import write_all

#: Files kept open: a run has more nodes than a process may have descriptors.
_OPEN = 64

#: What Linux takes for the name of a file, in bytes.
_LONGEST = 255


class NodeFiles:
    """The files of both directories; a directory may be None."""

    def __init__(self, outdir: str | None, errdir: str | None) -> None:
        """Make the directories; ValueError when that is not possible."""
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
                    f"{option} {directory!r} is no directory and cannot be made: {error.strerror}"
                ) from None
            self._directories[sname] = directory
        #: The one used last comes last.
        self._files: dict[tuple[str, str], int] = {}

    def begin(self, node: str) -> None:
        """Make a node's files, empty: what an earlier run has left there is not of this one."""
        for sname in self._directories:
            self._open(node, sname, os.O_TRUNC)

    def write(self, node: str, sname: str, data: bytes) -> None:
        """Add to a node's file of a stream."""
        if sname in self._directories:
            file = self._files.pop((node, sname), None)
            if file is None:
                file = self._open(node, sname, 0)
            else:
                self._files[node, sname] = file
            write_all(file, data)

    def _open(self, node: str, sname: str, flag: int) -> int:
        path = os.path.join(self._directories[sname], safe_name(node))
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | flag, 0o666)
        if (old := self._files.pop((node, sname), None)) is not None:
            os.close(old)
        self._files[node, sname] = file
        if len(self._files) > _OPEN:
            os.close(self._files.pop(next(iter(self._files))))
        return file

    def end(self, node: str) -> None:
        """Close a node's files."""
        for sname in self._directories:
            if (file := self._files.pop((node, sname), None)) is not None:
                os.close(file)

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.popitem()[1])


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
