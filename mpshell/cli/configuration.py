"""The settings of a run of the command, each from the place that takes precedence.

    option ─► -O key=value ─► run mode ─► mpshell.conf ─► clush.conf and files of confdir ─► defaults.conf

Of files with the same name, the one in the last directory of `config_paths` takes precedence, key by key, as in
ClusterShell.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Container, Iterator
from typing import Any, NamedTuple

from mpshell.cli.conffile import (
    DEFAULT,
    ConfEntry,
    ConfError,
    Sections,
    merged,
    read_file,
    section_of,
)
from mpshell.cli.settings import CLUSH_CONF, MAIN, MODE, MPSHELL_CONF, SETTINGS, Setting
from mpshell.defaults import config_paths


class Found(NamedTuple):
    """A value of a file or of -O."""

    setting: Setting
    value: Any
    text: str
    #: The file with the line, or -O.
    where: str


class Ignored(NamedTuple):
    """A line of a file that has no effect."""

    name: str
    text: str
    where: str
    reason: str


#: Why a value is not taken that stands in every clush.conf which ClusterShell installs.
_MAXRC = "scripts rely on the exit status of mpshell: set it in mpshell.conf, or with --always-zero"


class Configuration:
    """The settings of the files and of -O.

    `path` is the one file to read, None for those of the usual places; `overrides` are the texts of -O, `mode`
    is the name of a run mode.  Raise ConfError for a file, a line or a value that cannot be used.
    """

    def __init__(
        self, path: str | None = None, overrides: tuple[str, ...] = (), mode: str | None = None
    ) -> None:
        #: The files that were read, in their order: a later one goes before.
        self.files: list[str] = []
        #: The files that were not, with the reason.
        self.unread: dict[str, str] = {}
        self.ignored: list[Ignored] = []
        self._named = path
        given = _overrides(overrides)
        if path is None:
            clush = [self._read(name) for name in config_paths(CLUSH_CONF)]
            first = self.files[-1:]
            ours = merged(self._read(name) for name in config_paths(MPSHELL_CONF))
            _check_own(ours)
        else:
            clush, ours, first = [self._read(path)], {}, [path]
        base = merged(clush)
        for entries in (given, section_of(ours, MAIN), section_of(base, MAIN)):
            if "confdir" in entries:
                confdir = _whole(MAIN, "confdir", entries)
                found = self._of_directories(confdir, *(first or self.files[-1:]))
                base = merged([base, *found])
                break
        self._modes = (base, ours)
        self._found: dict[str, Found] = {}
        self._take(MAIN, given)
        if mode is not None:
            self._take(MODE + mode, self._mode(mode))
        self._take(MAIN, section_of(ours, MAIN))
        self._take(MAIN, section_of(base, MAIN), self._refused(base))

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key; the default if no file has it."""
        found = self._found.get(key)
        return SETTINGS[key].default if found is None else found.value

    def found(self, key: str) -> Found | None:
        """Return the value with its place, None if no file has the key."""
        return self._found.get(key)

    def __iter__(self) -> Iterator[Found]:
        """Return all that was found."""
        return iter(self._found.values())

    # -- files -------------------------------------------------------------------------------------

    def _read(self, path: str) -> Sections:
        try:
            data = read_file(path, named=path == self._named)
        except PermissionError as error:
            # As clush: it may be for others.
            self.unread[path] = str(error.strerror)
            return {}
        if data is None:
            return {}
        self.files.append(path)
        from mpshell.cli.confparser import parse

        return parse(path, data)

    def _of_directories(self, confdir: ConfEntry, file: str = "") -> Iterator[Sections]:
        """Yield the sections of each file of `confdir`; ConfError if it does not name a directory.

        $CFGDIR is the directory of `file`.
        """
        import glob
        import shlex
        import string

        own = os.path.dirname(file) or "."
        try:
            words = shlex.split(confdir.text)
        except ValueError as error:
            raise ConfError(confdir.where, f"confdir: {confdir.text!r}: {error}") from None
        paths = [
            os.path.normpath(string.Template(word).safe_substitute(CFGDIR=own)) for word in words
        ]
        for path in dict.fromkeys(paths):
            if os.path.isdir(path):
                for name in sorted(glob.glob(os.path.join(glob.escape(path), "*.conf"))):
                    yield self._read(name)
            elif os.path.exists(path):
                raise ConfError(confdir.where, f"confdir: {path!r} is not a directory")

    # -- values ------------------------------------------------------------------------------------

    @property
    def modes(self) -> list[str]:
        """The names of the run modes."""
        names = [name for sections in self._modes for name in sections if name.startswith(MODE)]
        return sorted({name.removeprefix(MODE) for name in names})

    def _mode(self, name: str) -> dict[str, ConfEntry]:
        """Return the entries of a run mode; ConfError when there is none of that name."""
        if name not in self.modes:
            known = ", ".join(self.modes) or "none"
            raise ConfError("-m", f"there is no run mode {name!r} (run modes: {known})")
        clush, ours = (section_of(sections, MODE + name) for sections in self._modes)
        return {**clush, **ours}

    def _take(
        self, section: str, entries: dict[str, ConfEntry], without: Container[str] = ()
    ) -> None:
        """Take the values of a layer that those before do not have; ConfError."""
        for key, entry in entries.items():
            setting = SETTINGS.get(key)
            if setting is None:
                if section != MAIN:
                    reason = _unknown(key, CLUSH_CONF)
                    self.ignored.append(Ignored(key, entry.text, entry.where, reason))
                continue
            if key in self._found or key in without:
                continue
            if setting.ignored:
                self.ignored.append(Ignored(key, entry.text, entry.where, setting.ignored))
            else:
                self._found[key] = _value(setting, _whole(section, key, entries))

    def _refused(self, sections: Sections) -> set[str]:
        """Return the keys of clush.conf that have no effect there, and note them."""
        refused = set()
        for key, entry in section_of(sections, MAIN).items():
            reason = self._without_effect(key, entry)
            if reason:
                self.ignored.append(Ignored(key, entry.text, entry.where, reason))
                refused.add(key)
        for name, others in sections.items():
            if name not in (MAIN, DEFAULT) and not name.startswith(MODE):
                reason = f"clush.conf(5) has no section [{name}]"
                self.ignored += [
                    Ignored(key, entry.text, entry.where, reason) for key, entry in others.items()
                ]
        return refused

    def _without_effect(self, key: str, entry: ConfEntry) -> str:
        setting = SETTINGS.get(key)
        if setting is None:
            return _unknown(key, CLUSH_CONF)
        if self._named is None and CLUSH_CONF not in setting.files:
            return f"is a key of {MPSHELL_CONF}"
        if self._named is None and key == "maxrc" and _value(setting, entry).value is False:
            return _MAXRC
        return ""


def _whole(section: str, key: str, entries: dict[str, ConfEntry]) -> ConfEntry:
    """Return an entry in whose text the values of other keys replace `%(key)s`; ConfError."""
    if "%" not in entries[key].text:
        return entries[key]
    from mpshell.cli.confparser import with_references

    return with_references(section, key, entries)


def _value(setting: Setting, entry: ConfEntry) -> Found:
    """Return the value of an entry; ConfError."""
    try:
        value = setting.kind.read(entry.text)
    except argparse.ArgumentTypeError as error:
        raise ConfError(entry.where, f"{setting.key}: {error}") from None
    return Found(setting, value, entry.text, entry.where)


def _unknown(key: str, where: str) -> str:
    """Return the message for an unknown key, with a similar one or all keys."""
    import difflib

    close = difflib.get_close_matches(key, SETTINGS, 1)
    if close:
        return f"there is no key {key!r}; {close[0]!r} is one"
    if where == CLUSH_CONF:
        return f"there is no key {key!r}"
    return f"there is no key {key!r}; keys: {', '.join(sorted(SETTINGS))}"


def _check_own(sections: Sections) -> None:
    """Raise ConfError for a section or key that mpshell.conf does not have."""
    for name, entries in sections.items():
        for key, entry in entries.items():
            if name not in (MAIN, DEFAULT) and not name.startswith(MODE):
                raise ConfError(
                    entry.where, f"there is no section [{name}]; sections: [{MAIN}], [{MODE}NAME]"
                )
            if key not in SETTINGS and name != DEFAULT:
                raise ConfError(entry.where, _unknown(key, MPSHELL_CONF))


def _overrides(texts: tuple[str, ...]) -> dict[str, ConfEntry]:
    """Return the entries of -O; ConfError. Of two with one key the last goes first."""
    found: dict[str, ConfEntry] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().lower()
        if not equals:
            raise ConfError("-O", f"{text!r} is not KEY=VALUE")
        if key not in SETTINGS:
            raise ConfError("-O", _unknown(key, MPSHELL_CONF))
        found[key] = ConfEntry(value.strip(), "-O")
    return found
