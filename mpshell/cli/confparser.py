"""Parses the text of a configuration file, in the format of clush.conf, that of Python's ConfigParser.

Loaded if there is a file. `%(key)s`, the value of another key, is inserted when a value is read.
"""

from __future__ import annotations

import codecs
import configparser
import io
from collections.abc import Iterator, Mapping

from mpshell.cli.conffile import ConfEntry, ConfError, Sections

#: A name that no section of a file can have.
_NOWHERE = "\0"


class _Parser(configparser.ConfigParser):
    """A parser of one file that notes the line of each key."""

    def __init__(self) -> None:
        # DEFAULT is a section as any other one here, wherever it stands: files are merged afterwards.
        super().__init__(interpolation=None, default_section=_NOWHERE)
        self.line = 0
        #: By section and key.
        self.lines: dict[tuple[str, str], int] = {}

    def numbered(self, text: str) -> Iterator[str]:
        """Yield the lines of a text, which are taken one by one."""
        for self.line, line in enumerate(io.StringIO(text, newline=None), 1):
            yield line.rstrip("\n")

    def optionxform(self, optionstr: str) -> str:
        key = super().optionxform(optionstr)
        self.lines[self.sections()[-1], key] = self.line
        return key


def parse(path: str, data: bytes) -> Sections:
    """Return the sections of a file; ConfError with the first invalid line."""
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfError(
            f"{path}:{line}", f"the byte 0x{data[error.start]:02x} is not UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfError(f"{path}:{line}", "a NUL byte has no meaning here")
    parser = _Parser()
    try:
        parser.read_file(parser.numbered(text), path)
    except configparser.Error as error:
        raise _named(path, error, text) from None
    return {
        section: {
            key: ConfEntry(value, f"{path}:{parser.lines[section, key]}")
            for key, value in parser.items(section, raw=True)
        }
        for section in parser.sections()
    }


def _named(path: str, error: configparser.Error, text: str) -> ConfError:
    """Return the error of a parser with its file and line, and the forms of a line."""
    if isinstance(error, configparser.DuplicateSectionError):
        return ConfError(f"{path}:{error.lineno}", f"there is a section [{error.section}] already")
    if isinstance(error, configparser.DuplicateOptionError):
        return ConfError(
            f"{path}:{error.lineno}", f"[{error.section}] has a key {error.option!r} already"
        )
    if isinstance(error, configparser.MissingSectionHeaderError):
        return ConfError(
            f"{path}:{error.lineno}", f"{error.line.strip()!r} stands before any [section]"
        )
    if isinstance(error, configparser.ParsingError) and error.errors:
        # Its own text of the line is a representation up to Python 3.12, and the line itself from 3.13 on.
        line = error.errors[0][0]
        wrong = list(io.StringIO(text, newline=None))[line - 1].rstrip()
        return ConfError(
            f"{path}:{line}",
            f"{wrong!r} is not a [section], a 'key: value' or a comment that begins with #",
        )
    return ConfError(path, " ".join(str(error).split()))


def with_references(section: str, key: str, entries: Mapping[str, ConfEntry]) -> ConfEntry:
    """Return an entry in whose text the values of others replace `%(key)s`, and % replaces %%; ConfError."""
    entry = entries[key]
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict({section: {name: other.text for name, other in entries.items()}})
    texts = dict(parser.items(section, raw=True))
    try:
        text = configparser.BasicInterpolation().before_get(parser, section, key, entry.text, texts)
    except configparser.InterpolationMissingOptionError as error:
        raise ConfError(entry.where, f"{key}: %({error.reference})s is not a key here") from None
    except configparser.InterpolationDepthError:
        raise ConfError(entry.where, f"{key}: {entry.text!r} refers to itself") from None
    except configparser.InterpolationError:
        raise ConfError(
            entry.where,
            f"{key}: {entry.text!r}: a percent sign is written %%, and %(key)s is the value of a key",
        ) from None
    return entry._replace(text=text)
