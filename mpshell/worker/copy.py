"""A copy: a worker's source and destination, checked at the call, and names made safe.

Workers use it, in any thread that makes them. It examines local files and never changes one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from mpshell.errors import WorkerBadArgumentError, WorkerError
from mpshell.wire.messages import PART, Template
from mpshell.worker.text import check_text

#: The mark of a node's own name, which may differ from its address.
NAME = PART

#: Names that every program that copies, and a remote shell, take in the same way.
_PLAIN = re.compile(r"[\w./,:+@%=~-]+")


class Copy(NamedTuple):
    """A copy to each node, or with `reverse` from each node to `dest`/basename.node here."""

    source: str
    dest: str
    preserve: bool
    reverse: bool
    atomic: bool
    #: Whether it may be a directory: a local `source` is one; for one on a node this is not known.
    tree: bool
    #: Size, mode and times of a source that is on another host a copy of a file here; None: it is here.
    found: tuple[int, int, float, float] | None = None

    @property
    def name(self) -> str:
        """The last part of the source's path."""
        return os.path.basename(self.source.rstrip("/"))


def check_copy(source: Any, dest: Any, *, preserve: bool, reverse: bool, atomic: bool) -> Copy:
    """Return a copy; TypeError, ValueError with the value for arguments that are not possible."""
    paths = Copy(check_path("source", source), check_path("dest", dest), bool(preserve), bool(reverse),
                 bool(atomic), False)  # fmt: skip
    if reverse:
        if not os.path.isdir(paths.dest):
            raise WorkerBadArgumentError(
                f"dest {paths.dest!r} is not a directory: copies from nodes go into one"
            )
        if paths.name in ("", ".", ".."):
            raise WorkerBadArgumentError(f"source {paths.source!r} has no name to keep it under")
        return paths._replace(tree=not atomic)
    tree = os.path.isdir(paths.source)
    if atomic and tree:
        raise WorkerBadArgumentError(
            f"source {paths.source!r} is a directory: only a file can be copied atomically"
        )
    if atomic and os.path.exists(paths.source) and not os.path.isfile(paths.source):
        raise WorkerBadArgumentError(f"source {paths.source!r} is not a regular file")
    return paths._replace(tree=tree)


def check_path(name: str, path: Any) -> str:
    """Return a path as text; TypeError for another object, ValueError for an empty one (see `check_text`)."""
    if path is None or path == "":
        raise WorkerBadArgumentError(f"a copy needs a {name}, not {path!r}")
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"{name} is a path, not {path!r}")
    return check_text(name, os.fsdecode(path))


def local_path(path: str) -> str:
    """Return a local path that no program takes for an option, or for a node's name before a colon."""
    return path if path.startswith("/") else f"./{path}"


def kept_here(copy: Copy) -> Template:
    """Return the target of a copy from a node."""
    return (f"{local_path(copy.dest).rstrip('/')}/{copy.name}.", NAME)


def check_kept(copy: Copy, nodes: Iterable[str], names: Iterable[str]) -> None:
    """Raise WorkerError if the copy from a node could not be kept under its name, at its place in `names`.

    If there is a directory at its place the copy would go into it, a symbolic link would lead it elsewhere, and
    with a named pipe the program would wait. An atomic copy replaces all of these except a
    directory.
    """
    wanted = set()
    for node, name in zip(nodes, names, strict=True):
        if "/" in name:
            raise WorkerError(
                f"node {node!r} cannot be copied from: its name would be the suffix of a file name here"
            )
        wanted.add(name)
    with os.scandir(copy.dest) as entries:
        for entry in entries:
            if entry.name in wanted and (kind := _in_the_way(entry, copy.atomic)):
                path = os.path.join(copy.dest, entry.name)
                raise WorkerError(f"{path!r} is {kind} already: move it away first")


def _in_the_way(entry: os.DirEntry[str], atomic: bool) -> str | None:
    """Return the kind of a directory's entry, if a copy must not overwrite it."""
    if entry.is_dir():
        return "a directory"
    if atomic or entry.is_file(follow_symlinks=False):
        return None
    return "a symbolic link" if entry.is_symlink() else "a special file"


def check_apart(copy: Copy, nodes: Iterable[str], other: Copy, others: Iterable[str]) -> None:
    """Raise WorkerError for two copies from nodes that would go to the same name here."""
    short, long = sorted((copy.name, other.name), key=len)
    # Different names may meet: `a` from node n.x and a.n from node x both become a.n.x.
    if not f"{long}.".startswith(f"{short}."):
        return
    if os.path.realpath(copy.dest) != os.path.realpath(other.dest):
        return
    names = {f"{copy.name}.{node}" for node in nodes}
    for name in (f"{other.name}.{node}" for node in others):
        if name in names:
            path = os.path.join(copy.dest, name)
            raise WorkerError(
                f"another copy, of {other.source!r}, would have the same name, {path!r}"
            )


def is_plain(path: str) -> bool:
    """Return whether a remote path is the same to every program that copies, and to a shell."""
    return _PLAIN.fullmatch(path) is not None


def check_shell_names(copy: Copy, program: str) -> None:
    """Raise WorkerError for names that `program` would change."""
    remote = copy.source if copy.reverse else copy.dest
    if not is_plain(remote) or remote.startswith("-"):
        raise WorkerError(
            f"{program} would give {remote!r} to a shell on the node, which changes it"
        )
    if "\n" in copy.name:
        raise WorkerError(f"{program} cannot copy a name with a newline: {copy.source!r}")
