"""ssh_config files, read once into stretches of lines, each with the `Host` and `Match` lines above it.

    FILE ──► Stretch(section, entries), Stretch(...), ...      `mpshell.ssh.resolver` chooses by node

A line that cannot be parsed is a WorkerError with file and line, whichever node it is for.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from mpshell.errors import WorkerError
from mpshell.ssh import keywords, values
from mpshell.ssh.text import Unreadable, argument_of, next_word, split_words

#: ssh(1) takes no more files within files.
_DEPTH = 16

_SYSTEM = "/etc/ssh"

#: Parsed lines that are kept.
_KEPT = 1 << 13

#: Stands for ProxyCommand and ProxyJump, of which the one that comes first counts.
PROXY = "proxy"

#: Criteria of Match without a word of their own.
_BARE = frozenset(("all", "canonical", "final"))

#: Criteria that are decided here; others leave the node to ssh(1).
_DECIDED = frozenset(("host", "originalhost", "user", "localuser", "tagged", "exec"))


class Entry(NamedTuple):
    """A line: its keyword in lower case, its words, and its place."""

    keyword: str
    words: tuple[str, ...]
    place: str


class Criterion(NamedTuple):
    """One criterion of a Match line."""

    name: str
    negated: bool
    argument: str

    @property
    def decided(self) -> bool:
        return self.name in _BARE or self.name in _DECIDED


@dataclass(eq=False)
class Section:
    """A Host or a Match line; `outer` is the one around the file that includes this line's."""

    outer: Section | None
    patterns: tuple[str, ...] = ()
    criteria: tuple[Criterion, ...] = ()

    @property
    def names(self) -> tuple[str, ...] | None:
        """The only hosts to which it applies, None if more has to be checked."""
        plain = not self.criteria and not any(set("*?!") & set(p) for p in self.patterns)
        return self.patterns if plain and self.outer is None else None


@dataclass(eq=False)
class Stretch:
    """Lines under the same section, in their order."""

    section: Section | None
    entries: list[Entry] = field(default_factory=list)
    first: dict[str, Entry] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.first.setdefault(entry.keyword, entry)
        if entry.keyword in ("proxycommand", "proxyjump"):
            self.first.setdefault(PROXY, entry)


class ConfigReader:
    """Reads files and single lines, in the order in which they count."""

    def __init__(self, environ: Mapping[str, str], home: str) -> None:
        self.stretches: list[Stretch] = []
        #: Stretch and entry of keywords that no list has, with their names.
        self.unknown: list[tuple[int, int, str]] = []
        #: Why all nodes go to ssh(1), None when nothing requires it.
        self.undecided: str | None = None
        #: The files that were asked for, each as it was before it was read, and those that Include has found.
        self._sources: dict[str, tuple[object, ...]] = {}
        self._found: dict[str, list[str]] = {}
        self._environ = environ
        self._home = home
        self._section: Section | None = None
        #: The sections around the files that are being read.
        self._around: list[Section | None] = []
        self._user = True

    def is_current(self) -> bool:
        """Return whether the files are still as they were when they were read."""
        return all(_present(path) == before for path, before in self._sources.items()) and all(
            sorted(glob.glob(word)) == before for word, before in self._found.items()
        )

    def read_lines(self, lines: list[tuple[str, str]]) -> None:
        """Read lines of the command line, each with the option that it comes from."""
        self.stretches.append(Stretch(None))
        for line, place in lines:
            keyword = next_word(line.strip())[0].lower()
            if keyword in ("host", "match", "include"):
                raise WorkerError(f"{place}: {keyword} is for files only")
            self._read_line(line, place, 0)

    def read_file(self, path: str, user: bool, needed: bool) -> None:
        """Read a file; WorkerError when it cannot be read and is needed."""
        self._user, self._section = user, None
        checked = user and not needed
        try:
            lines = self._lines(path, checked)
        except OSError as error:
            if needed:
                raise WorkerError(f"ssh_config {path}: {error.strerror}") from error
            return
        self._read_all(path, lines, 0)

    def _read_all(self, path: str, lines: list[str], depth: int) -> None:
        self.stretches.append(Stretch(self._section))
        for number, line in enumerate(lines, 1):
            self._read_line(line, f"{path} line {number}", depth)

    def _read_line(self, line: str, place: str, depth: int) -> None:
        try:
            entry = self._parse(line.strip(" \t\r\n\f"), place)
            if entry is None:
                return
            if entry.keyword == "include":
                self._include(entry, depth)
            elif entry.keyword in ("host", "match"):
                self._begin(entry)
            else:
                self.stretches[-1].add(entry)
        except Unreadable as error:
            raise WorkerError(f"ssh_config {place}: {error}") from error

    def _parse(self, line: str, place: str) -> Entry | None:
        keyword, words = _parse(line)
        if words is None:
            if keyword:
                at = len(self.stretches) - 1, len(self.stretches[-1].entries)
                self.unknown.append((*at, keyword))
            return None
        return Entry(keyword, words, place)

    def _begin(self, entry: Entry) -> None:
        """Begin the section of a Host or a Match line."""
        outer = self._around[-1] if self._around else None
        if entry.keyword == "host":
            if not entry.words or "" in entry.words:
                raise Unreadable("Host: a pattern is empty")
            self._section = Section(outer, patterns=entry.words)
        else:
            criteria = tuple(_criteria(entry.words[0]))
            self._section = Section(outer, criteria=criteria)
        self.stretches.append(Stretch(self._section))

    def _include(self, entry: Entry, depth: int) -> None:
        if depth >= _DEPTH:
            raise Unreadable("Include: too many files within files")
        section = self._section
        for word in entry.words:
            if "%" in word or "${" in word:
                self.undecided = self.undecided or f"Include {word}"
                continue
            for path in self._paths(word):
                self._around.append(section)
                self._section = section
                self._read_included(path, depth + 1)
                self._around.pop()
        self._section = section
        self.stretches.append(Stretch(section))

    def _read_included(self, path: str, depth: int) -> None:
        try:
            lines = self._lines(path, True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise Unreadable(f"Include: {path}: {error.strerror}") from error
        self._read_all(path, lines, depth)

    def _paths(self, word: str) -> list[str]:
        """Return the files that a word of Include stands for."""
        if word.startswith("~"):
            if not self._user:
                raise Unreadable(f"Include: {word!r} in a file of the system")
            word = expand_home(word, self._home)
        elif not word.startswith("/"):
            word = f"{self._home}/.ssh/{word}" if self._user else f"{_SYSTEM}/{word}"
        self._found[word] = sorted(glob.glob(word))
        return self._found[word]

    def _lines(self, path: str, checked: bool) -> list[str]:
        """Return a file's lines; WorkerError if other users may write to it, if that is checked."""
        try:
            with open(path, "rb") as file:
                about = os.fstat(file.fileno())
                allowed = (
                    about.st_uid in (0, os.getuid()) and not stat.S_IMODE(about.st_mode) & 0o022
                )
                if checked and not allowed:
                    raise WorkerError(f"ssh_config {path}: bad owner or permissions")
                self._sources[path] = _signature(about)
                return os.fsdecode(file.read()).split("\n")
        except OSError as error:
            self._sources[path] = (error.errno,)
            raise


def expand_home(path: str, home: str) -> str:
    """Return a path with its leading ~ as tilde_expand(3) of OpenSSH has it."""
    if path == "~" or path.startswith("~/"):
        return home + path[1:]
    return os.path.expanduser(path)


def _present(path: str) -> tuple[object, ...]:
    """Return the signature of a file as it is now, or the number of the error that prevents reading it."""
    try:
        # Opened: over NFS that alone shows what another host has changed.
        with open(path, "rb") as file:
            return _signature(os.fstat(file.fileno()))
    except OSError as error:
        return (error.errno,)


def _signature(about: os.stat_result) -> tuple[object, ...]:
    """Return what changes with a file, its content, owner or mode."""
    change = about.st_mtime_ns, about.st_ctime_ns, about.st_size
    return about.st_dev, about.st_ino, about.st_uid, about.st_mode, *change


@lru_cache(_KEPT)
def _parse(line: str) -> tuple[str, tuple[str, ...] | None]:
    """Return the keyword of a line in lower case, and its words.

    None for words: the keyword as it stands, where no list has it, or "" for a line without one. Unreadable for
    a line that cannot be parsed. The lines of one run are those of the next: they are parsed once.
    """
    if not line or line.startswith("#"):
        return "", None
    name, rest = next_word(line)
    keyword = keywords.ALIASES.get(name.lower(), name.lower())
    if keyword in keywords.OBSOLETE:
        return "", None
    known = keyword in keywords.HONOURED or keyword in keywords.FALLS_BACK
    if not known and keyword not in keywords.HARMLESS:
        return name, None
    if not rest:
        raise Unreadable(f"{name} has no value")
    whole = keyword == "match" or keywords.HONOURED.get(keyword) == keywords.LINE
    words = (rest.lstrip(" \t="),) if whole else tuple(split_words(rest))
    try:
        values.check(keyword, words)
    except Unreadable as error:
        raise Unreadable(f"{name}: {error}") from error
    return keyword, words


def _criteria(text: str) -> Iterator[Criterion]:
    """Return the criteria of a Match line."""
    while text and not text.startswith("#"):
        name, text = next_word(text)
        negated = name.startswith("!")
        name = name.lstrip("!").lower()
        if name in _BARE:
            if name == "all" and text and not text.startswith("#"):
                raise Unreadable("Match: all stands alone, or after canonical or final")
            yield Criterion(name, negated, "")
            continue
        if not text:
            raise Unreadable(f"Match: {name} has no value")
        argument, text = argument_of(text)
        if not argument and name in ("host", "originalhost", "user", "localuser", "exec"):
            raise Unreadable(f"Match: {name} has no value")
        yield Criterion(name, negated, argument)
