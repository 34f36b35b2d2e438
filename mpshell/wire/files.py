"""Messages about files on the host of an engine that all engines there read: input, and sources of copies."""

from __future__ import annotations

from mpshell.runtime.lean import NamedTuple
from mpshell.wire import checks

#: In place of the size of a file: it is complete.
WHOLE = -2


class StoredAt(NamedTuple):
    """As `Write`, with the bytes in a file on the engine's host, which an engine there has stored (`Keep`)."""

    job_id: int
    size: int
    path: str


class Keep(NamedTuple):
    """Bytes of a file on the engine's host, for all engines there; they may have been written before."""

    path: str
    offset: int
    data: bytes


class KeepEnd(NamedTuple):
    """The file is complete: its mode, and the times of its last access and change, in nanoseconds."""

    path: str
    mode: int
    accessed: int
    modified: int


class Drop(NamedTuple):
    """The file is not read any more."""

    path: str


class Kept(NamedTuple):
    """`size` bytes of a file can be read (`Keep`), or it is WHOLE; with a text it cannot be stored."""

    path: str
    size: int
    text: str


#: Events about files that other engines read as well.
KEEPING = (Keep, KeepEnd, Drop)

_INT, _STR = checks.kind(int), checks.kind(str)

#: Every message of this module, with the check of its fields.
FILE_CHECKS: dict[type, checks.Check] = {
    StoredAt: checks.fields(_INT, _INT, _STR),
    Keep: checks.fields(_STR, _INT, checks.kind(bytes)),
    KeepEnd: checks.fields(_STR, _INT, _INT, _INT),
    Drop: checks.fields(_STR),
    Kept: checks.fields(_STR, _INT, _STR),
}
