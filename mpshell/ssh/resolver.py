"""The settings of a node: which sections of the configuration apply to it, and which line counts.

Sections with plain names are found by name, so a file of many hosts costs a node no more than a short one; the
result for the same sections is made once. `ssh -G` is the oracle of tests/ssh/test_ssh_config.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mpshell.ssh import keywords
from mpshell.ssh.configfile import PROXY, ConfigReader, Entry, Section, Stretch
from mpshell.ssh.text import match_hostname, match_list, match_pattern
from mpshell.ssh.tokens import Here, NotExpanded, expand
from mpshell.ssh.values import read_port


class Undecided(Exception):
    """ssh(1) has to decide about the node; the text is the line or the option that requires it."""


class HostSettings:
    """The lines that count for a node."""

    def __init__(
        self, stretches: Iterable[Stretch], reader: ConfigReader, active: tuple[int, ...]
    ) -> None:
        self._first: dict[str, Entry] = {}
        self._all: dict[str, list[Entry]] = {}
        for stretch in stretches:
            for name, entry in stretch.first.items():
                self._first.setdefault(name, entry)
            for entry in stretch.entries:
                if entry.keyword in keywords.ACCUMULATING:
                    self._all.setdefault(entry.keyword, []).append(entry)
        self.reason = reader.undecided or self._not_honoured() or self._unknown(reader, active)

    def entry(self, keyword: str) -> Entry | None:
        """Return the line that sets a keyword."""
        found = self._first.get(keyword)
        proxy = self._first.get(PROXY)
        if found is None or proxy is None or keyword not in ("proxycommand", "proxyjump"):
            return found
        # A jump over nothing leaves the word to a command, and not the other way round.
        over_nothing = proxy.keyword == "proxyjump" and proxy.words[0].lower() == "none"
        return found if proxy is found or (over_nothing and keyword == "proxycommand") else None

    def words(self, keyword: str) -> tuple[str, ...] | None:
        found = self.entry(keyword)
        return None if found is None else found.words

    def word(self, keyword: str) -> str | None:
        found = self.entry(keyword)
        return None if found is None else found.words[0]

    def all(self, keyword: str) -> list[Entry]:
        """Return all lines with a keyword of which every line counts."""
        return self._all.get(keyword, [])

    def lines(self) -> list[Entry]:
        """Return all lines that count."""
        return [*self._first.values(), *(entry for found in self._all.values() for entry in found)]

    def _not_honoured(self) -> str | None:
        """Return the first option that only ssh(1) honours."""
        for entry in self._first.values():
            idle = keywords.FALLS_BACK.get(entry.keyword)
            if idle is None or (entry.words and entry.words[0].lower() in idle):
                continue
            if entry.keyword.endswith("forward") and self._cleared:
                continue
            if entry.keyword != "gssapiauthentication":
                return _named(entry)
        return None

    @property
    def _cleared(self) -> bool:
        """Whether all forwardings are off."""
        found = self._first.get("clearallforwardings")
        return found is not None and found.words[0].lower() in ("yes", "true")

    def _unknown(self, reader: ConfigReader, active: tuple[int, ...]) -> str | None:
        """Return the first keyword that no list has and that the configuration does not have ignored."""
        if not reader.unknown:
            return None
        ignore = self._first.get("ignoreunknown")
        patterns = () if ignore is None else tuple(ignore.words[0].lower().split(","))
        since = _position(reader.stretches, active, ignore)
        for stretch, at, name in reader.unknown:
            ignored = (stretch, at) >= since and match_list(name.lower(), patterns) == 1
            if not ignored:
                return name
        return None


def _position(
    stretches: list[Stretch], active: tuple[int, ...], entry: Entry | None
) -> tuple[int, int]:
    """Return the stretch and the line of an entry."""
    for number in active:
        for at, candidate in enumerate(stretches[number].entries):
            if candidate is entry:
                return number, at
    return len(stretches), 0


def _named(entry: Entry) -> str:
    return f"{entry.keyword} {' '.join(entry.words)}"


#: Answers whether a command of `Match exec` ends with success, None when that is not known here.
Ask = Callable[[str], "bool | None"]


class Resolver:
    """Chooses the lines of one configuration, node by node."""

    def __init__(self, reader: ConfigReader, here: Here, local_user: str, ask: Ask) -> None:
        self._reader = reader
        self._here = here
        self._local_user = local_user
        self._ask = ask
        self._always: list[int] = []
        self._by_name: dict[str, list[int]] = {}
        self._made: dict[tuple[int, ...], HostSettings] = {}
        #: Stretches that set the name to connect to, and nothing else.
        self._naming = {
            number
            for number, stretch in enumerate(reader.stretches)
            if stretch.first and all(keyword == "hostname" for keyword in stretch.first)
        }
        #: Whether a criterion requires a second reading, or a command.
        self.final = self.has_exec = False
        for number, stretch in enumerate(reader.stretches):
            self._index(number, stretch.section)

    def _index(self, number: int, section: Section | None) -> None:
        if section is None or section.names is None:
            self._always.append(number)
        else:
            for name in set(section.names):
                self._by_name.setdefault(name, []).append(number)
        if section is not None:
            names = {criterion.name for criterion in section.criteria}
            self.final |= "final" in names
            self.has_exec |= "exec" in names

    def settings(self, host: str, user: str | None) -> tuple[HostSettings, str]:
        """Return the settings for a host of that name, except `HostName`, and the name to connect to.

        `user` is the one given with the node. Raise Undecided if only ssh(1) can decide it.
        """
        active = _Pass(self, host, host, user, False, []).active
        target = self._target(active, host)
        if self.final:
            active = _Pass(self, target, host, user, True, active).active
        # The name is known: hosts that differ in nothing else have the same settings.
        key = tuple(number for number in active if number not in self._naming)
        made = self._made.get(key)
        if made is None:
            stretches = [self._reader.stretches[number] for number in key]
            # One object for all threads: profiles are kept by its id.
            made = self._made.setdefault(key, HostSettings(stretches, self._reader, key))
        return made, target

    def _target(self, active: list[int], host: str) -> str:
        name = self.first(active, "hostname")
        try:
            target = host if name is None else expand(name, {"h": host})
        except NotExpanded as error:
            raise Undecided(f"hostname {name}: {error}") from error
        return target.lower()

    def candidates(self, host: str) -> list[int]:
        """Return the stretches that may be for a host, in their order."""
        named = self._by_name.get(host)
        return self._always if named is None else sorted([*self._always, *named])

    def first(self, active: list[int], keyword: str) -> str | None:
        """Return the word that the first of some stretches has for a keyword."""
        for number in active:
            entry = self._reader.stretches[number].first.get(keyword)
            if entry is not None:
                return entry.words[0]
        return None

    def section(self, number: int) -> Section | None:
        return self._reader.stretches[number].section

    def exec(self, command: str, tokens: dict[str, str]) -> bool:
        try:
            expanded = expand(command, tokens)
        except NotExpanded as error:
            raise Undecided(f"Match exec {command}: {error}") from error
        answer = self._ask(expanded)
        if answer is None:
            raise Undecided(f"Match exec {command}")
        return answer

    def criterion_values(
        self, active: list[int], host: str, original: str, user: str | None
    ) -> dict[str, str]:
        """Return the texts that criteria are compared with."""
        name = self.first(active, "hostname")
        try:
            target = host if name is None else expand(name, {"h": host})
        except NotExpanded as error:
            raise Undecided(f"hostname {name}: {error}") from error
        return {
            "host": target,
            "originalhost": original,
            "user": user or self.first(active, "user") or self._local_user,
            "localuser": self._local_user,
            "tagged": self.first(active, "tag") or "",
        }

    def tokens(self, active: list[int], values: dict[str, str]) -> dict[str, str]:
        port = self.first(active, "port")
        alias = self.first(active, "hostkeyalias")
        return self._here.tokens(
            values["host"], values["originalhost"], read_port(port or "22"), values["user"], alias
        )


class _Pass:
    """One reading of the configuration for a node."""

    def __init__(
        self, resolver: Resolver, host: str, original: str, user: str | None, final: bool,
        before: list[int],
    ) -> None:  # fmt: skip
        self._resolver = resolver
        self._host, self._original, self._user = host, original, user
        self._final = final
        self._holds: dict[int, bool] = {}
        self.active = list(before)
        for number in resolver.candidates(host):
            section = resolver.section(number)
            if section is None or self._held(section):
                self.active.append(number)

    def _held(self, section: Section) -> bool:
        """Return whether a section is for the node; asked in the order of the file."""
        found = self._holds.get(id(section))
        if found is None:
            outer = section.outer is None or self._held(section.outer)
            found = self._holds[id(section)] = outer and self._matches(section)
        return found

    def _matches(self, section: Section) -> bool:
        if section.patterns:
            return self._host_matches(section.patterns)
        values = self._resolver.criterion_values(
            self.active, self._host, self._original, self._user
        )
        for criterion in section.criteria:
            if not criterion.decided:
                raise Undecided(f"Match {criterion.name}")
            if self._criterion(criterion.name, criterion.argument, values) == criterion.negated:
                return False
        return True

    def _host_matches(self, patterns: tuple[str, ...]) -> bool:
        found = False
        for pattern in patterns:
            negated = pattern.startswith("!")
            if match_pattern(self._host, pattern.removeprefix("!")):
                if negated:
                    return False
                found = True
        return found

    def _criterion(self, name: str, argument: str, values: dict[str, str]) -> bool:
        if name in ("canonical", "final"):
            return self._final
        if name == "all":
            return True
        if name == "exec":
            return self._resolver.exec(argument, self._resolver.tokens(self.active, values))
        if name in ("host", "originalhost"):
            return match_hostname(values[name], argument)
        return match_list(values[name], argument.split(",")) == 1
