"""Configuration files: how they are opened, and their entries, each with its file and line.

A file is parsed by itself (`confparser`), then files are merged.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

#: The most bytes of a file: a longer one is not a configuration (/dev/zero has no end).
_LONGEST = 1 << 20

#: A section whose keys apply to all others.
DEFAULT = "DEFAULT"


class ConfError(Exception):
    """A configuration cannot be used; the text names the file and, if there is one, the line."""

    def __init__(self, where: str, text: str) -> None:
        super().__init__(f"{where}: {text}")


class ConfEntry(NamedTuple):
    """A value as written in a file."""

    text: str
    #: The file with the line, or the option that has it.
    where: str


Sections = dict[str, dict[str, ConfEntry]]
"""The entries of each section, by key in lower case."""


def read_file(path: str, *, named: bool = False) -> bytes | None:
    """Return the bytes of a file; None if it does not exist.  PermissionError, ConfError.

    A file that the user has named must exist, and may be a pipe or a device.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if named else os.O_NONBLOCK))
        with open(fd, "rb") as file:
            if stat.S_ISFIFO(os.fstat(fd).st_mode) and not named:
                raise ConfError(path, "is a pipe, not a file")
            data = file.read(_LONGEST + 1)
    except OSError as error:
        if not named:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            if error.errno in (errno.EACCES, errno.EPERM):
                raise PermissionError(error.errno, error.strerror, path) from None
        raise ConfError(path, f"cannot be read: {error.strerror}") from None
    if len(data) > _LONGEST:
        raise ConfError(path, f"has more than {_LONGEST >> 20} MiB, too much for a configuration")
    return data


def merged(files: Iterable[Sections]) -> Sections:
    """Return the entries of several files; those of a later one go before."""
    result: Sections = {}
    for sections in files:
        for section, entries in sections.items():
            result.setdefault(section, {}).update(entries)
    return result


def section_of(sections: Sections, section: str) -> dict[str, ConfEntry]:
    """Return the entries of a section, those of DEFAULT included."""
    return {**sections.get(DEFAULT, {}), **sections.get(section, {})}
