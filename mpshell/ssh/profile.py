"""The meaning of a node's settings: typed values, with ssh(1)'s defaults. Pure.

A value that is not supported raises Undecided: the node goes to ssh(1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha1
from typing import NamedTuple

from mpshell.ssh import algorithms, values
from mpshell.ssh.configfile import expand_home
from mpshell.ssh.resolver import HostSettings, Undecided
from mpshell.ssh.text import match_pattern
from mpshell.ssh.tokens import Here, NotExpanded, expand

#: The files that are read if the configuration names no key.
DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")

_DEFAULT_HOSTS = ("known_hosts", "known_hosts2")
_GLOBAL_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")

#: StrictHostKeyChecking; "ask" means "yes", as the user is not asked.
STRICT, ACCEPT_NEW, OFF = "yes", "accept-new", "no"

#: Seconds: as in Debian's ssh(1) in batch mode. It detects a dead server after a quarter of an hour.
_ALIVE_INTERVAL = 300

#: Seconds and bytes after which ssh(1) exchanges keys by default: none, and what its ciphers need (RFC 4344).
_REKEY_BYTES = 1 << 30

_SMALLEST_RSA = 1024

#: The log levels that are supported; higher ones need ssh(1).
LOG_LEVELS = ("QUIET", "FATAL", "ERROR", "INFO")

#: Bytes of the path of a socket, less the suffix that ssh(1) adds while it makes one.
_LONGEST_SOCKET = 107 - 17

#: Characters that a shell interprets.
_FOR_SHELL = re.compile(r"""['"`$\\;&<>|(){}\s\x00-\x1f\x7f]|^-""")

METHODS = ("gssapi-with-mic", "hostbased", "publickey", "keyboard-interactive", "password")


class Profile(NamedTuple):
    """Everything that decides how to connect to a node, except its known keys."""

    host: str
    port: int
    user: str
    family: str
    alias: str | None
    known_files: tuple[str, ...]
    #: File that new keys are written to, None for none.
    new_hosts_file: str | None
    strict: str
    hash_known_hosts: bool
    identities: tuple[tuple[str, bool], ...]
    certificates: tuple[str, ...]
    identities_only: bool
    agent: str | None
    smallest_rsa: int
    methods: tuple[str, ...]
    kex: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]
    host_keys: tuple[str, ...]
    #: Whether the order of `host_keys` is the configuration's own.
    host_keys_ordered: bool
    signatures: tuple[str, ...]
    ca_signatures: tuple[str, ...]
    compression: bool
    tcp_keepalive: bool
    alive_interval: int
    alive_count: int
    rekey: tuple[int, int]
    environment: tuple[tuple[str, str], ...]
    connect_timeout: float
    jump: str | None
    proxy_command: str | None
    #: QUIET, FATAL, ERROR or INFO: how much is written about a connection.
    log_level: str
    #: Where the socket of a living master may be, under all releases' names.
    masters: tuple[str, ...]


class Interpreter:
    """Makes profiles of settings, for one user on this machine."""

    def __init__(
        self, here: Here, local_user: str, home: str, environ: Mapping[str, str],
        defaults: Mapping[str, tuple[str, ...]] = algorithms.DEFAULTS,
    ) -> None:  # fmt: skip
        self._here = here
        self._local_user = local_user
        self._home = home
        self._environ = environ
        self._defaults = defaults

    def profile(
        self, settings: HostSettings, target: str, original: str, user: str | None
    ) -> Profile:
        """Return the profile of a node's settings; Undecided if it needs ssh(1)."""
        if settings.reason is not None:
            raise Undecided(settings.reason)
        name = user or settings.word("user") or self._local_user
        port = values.read_port(settings.word("port") or "22")
        alias = settings.word("hostkeyalias")
        text = _Text(self, settings, self._here.tokens(target, original, port, name, alias))
        size, seconds = values.read_rekey_limit(settings.words("rekeylimit") or ("default",))
        user_files, shared_files = text.known_files()
        return Profile(
            host=target, port=port, user=name, family=text.choice("addressfamily", "any"),
            alias=alias,
            known_files=(*user_files, *shared_files),
            new_hosts_file=user_files[0] if user_files else None, strict=_strict(text),
            hash_known_hosts=text.flag("hashknownhosts", False), identities=text.identities(),
            certificates=text.paths("certificatefile"),
            identities_only=text.flag("identitiesonly", False), agent=text.agent(),
            smallest_rsa=text.number("requiredrsasize", _SMALLEST_RSA), methods=text.methods(),
            kex=text.algorithms("kexalgorithms"), ciphers=text.algorithms("ciphers"),
            macs=text.algorithms("macs"), host_keys=text.algorithms("hostkeyalgorithms"),
            host_keys_ordered=(settings.word("hostkeyalgorithms") or "+")[0] not in "+-",
            signatures=text.algorithms("pubkeyacceptedalgorithms"),
            ca_signatures=text.algorithms("casignaturealgorithms"),
            compression=text.flag("compression", False),
            tcp_keepalive=text.flag("tcpkeepalive", True),
            alive_interval=text.time("serveraliveinterval", _ALIVE_INTERVAL),
            alive_count=text.number("serveralivecountmax", 3),
            rekey=(size or _REKEY_BYTES, seconds), environment=text.environment(),
            connect_timeout=text.time("connecttimeout", 0), jump=text.proxy("proxyjump"),
            proxy_command=text.proxy("proxycommand"), log_level=text.log_level(),
            masters=text.masters(),
        )  # fmt: skip

    def assembled(self, keyword: str, text: str | None) -> tuple[str, ...]:
        try:
            return algorithms.assemble(keyword, text, self._defaults[keyword])
        except algorithms.UnknownAlgorithm as error:
            raise Undecided(f"{keyword} {error}") from error

    def path(self, keyword: str, word: str, tokens: Mapping[str, str]) -> str:
        """Return a file's name with ~, tokens and variables replaced."""
        try:
            path = expand(expand_home(word, self._home), tokens, self._environ)
        except NotExpanded as error:
            raise Undecided(f"{keyword} {word}: {error}") from error
        if not path.startswith("/"):
            # Of the directory in which ssh(1) is executed.
            raise Undecided(f"{keyword} {word}, which is not an absolute path")
        return path

    def in_home(self, name: str) -> str:
        return f"{self._home}/.ssh/{name}"

    @property
    def environ(self) -> Mapping[str, str]:
        return self._environ


class _Text:
    """Reads the values of one node's settings."""

    def __init__(self, own: Interpreter, settings: HostSettings, tokens: Mapping[str, str]) -> None:
        self._own, self._settings, self._tokens = own, settings, tokens

    def flag(self, keyword: str, default: bool) -> bool:
        word = self._settings.word(keyword)
        return default if word is None else values.read_flag(word)

    def number(self, keyword: str, default: int) -> int:
        word = self._settings.word(keyword)
        return default if word is None else values.read_number(word)

    def time(self, keyword: str, default: int) -> int:
        word = self._settings.word(keyword)
        return default if word is None else values.read_time(word) or 0

    def choice(self, keyword: str, default: str) -> str:
        return (self._settings.word(keyword) or default).lower()

    def algorithms(self, keyword: str) -> tuple[str, ...]:
        return self._own.assembled(keyword, self._settings.word(keyword))

    def paths(self, keyword: str) -> tuple[str, ...]:
        """Return the files of a keyword of which every line counts."""
        words = [entry.words[0] for entry in self._settings.all(keyword)]
        found = [self._path(keyword, w) for w in dict.fromkeys(words) if w.lower() != "none"]
        return tuple(dict.fromkeys(found))

    def _path(self, keyword: str, word: str) -> str:
        return self._own.path(keyword, word, self._tokens)

    def identities(self) -> tuple[tuple[str, bool], ...]:
        """Return the files of the user's keys, with whether they are named."""
        if self._settings.all("identityfile"):
            return tuple((path, True) for path in self.paths("identityfile"))
        return tuple((self._own.in_home(name), False) for name in DEFAULT_KEYS)

    def known_files(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the user's files of host keys, and the system's."""
        return (
            self._files("userknownhostsfile", tuple(map(self._own.in_home, _DEFAULT_HOSTS))),
            self._files("globalknownhostsfile", _GLOBAL_HOSTS),
        )

    def _files(self, keyword: str, default: tuple[str, ...]) -> tuple[str, ...]:
        words = self._settings.words(keyword)
        if words is None:
            return default
        if words == ("none",):
            return ()
        if keyword == "globalknownhostsfile":
            if relative := [word for word in words if not word.startswith("/")]:
                raise Undecided(f"{keyword} {relative[0]}, which is not an absolute path")
            return words
        return tuple(self._path(keyword, word) for word in words)

    def agent(self) -> str | None:
        """Return the socket of the agent, None for none."""
        word = self._settings.word("identityagent")
        if word is None or word == "SSH_AUTH_SOCK":
            return self._own.environ.get("SSH_AUTH_SOCK") or None
        if word == "none":
            return None
        if word.startswith("$") and not word.startswith("${"):
            return self._own.environ.get(word[1:]) or None
        return self._path("identityagent", word)

    def methods(self) -> tuple[str, ...]:
        """Return the methods of authentication that are on, in their order."""
        preferred = self._settings.word("preferredauthentications")
        order = METHODS if preferred is None else tuple(preferred.split(","))
        on = {
            "publickey": self.choice("pubkeyauthentication", "yes") not in ("no", "false"),
            "password": self.flag("passwordauthentication", True),
            "keyboard-interactive": self.flag("kbdinteractiveauthentication", True),
            "gssapi-with-mic": self.flag("gssapiauthentication", False),
        }
        return tuple(method for method in order if on.get(method))

    def log_level(self) -> str:
        level = self.choice("loglevel", "info").upper().replace("SILENT", "QUIET")
        if level not in LOG_LEVELS:
            raise Undecided(f"loglevel {level}")
        return level

    def masters(self) -> tuple[str, ...]:
        word = self._settings.word("controlpath")
        if word is None or word.lower() == "none":
            return ()
        paths = tuple(
            self._own.path("controlpath", word, {**self._tokens, "C": name, "j": jump})
            for jump, name in self._connection_names()
        )
        if len(paths[0].encode()) > _LONGEST_SOCKET:
            raise Undecided(f"controlpath {word}, which is too long")
        return paths

    def _connection_names(self) -> list[tuple[str, str]]:
        """Return the words for ProxyJump and the text for %C, which contains that word in later releases."""
        jump = self.proxy("proxyjump") or ""
        parts = [self._tokens[token] for token in "lhpr"]
        return [(jump, sha1("".join(parts + more).encode()).hexdigest()) for more in ([], [jump])]

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Return the variables that are requested on the node."""
        patterns: list[str] = []
        for entry in self._settings.all("sendenv"):
            for word in entry.words:
                if word.startswith("-"):
                    patterns = [p for p in patterns if not match_pattern(p, word[1:])]
                else:
                    patterns.append(word)
        sent = {
            name: value
            for name, value in self._own.environ.items()
            if any(match_pattern(name, pattern) for pattern in patterns)
        }
        for word in self._settings.words("setenv") or ():
            name, _, value = word.partition("=")
            sent[name] = value
        return tuple(sorted(sent.items()))

    def proxy(self, keyword: str) -> str | None:
        line = self._settings.word(keyword)
        if line is None or line.lower() == "none":
            return None
        known = {letter: self._tokens[letter] for letter in "hnpr"}
        text = line.split()[0].strip('"') if keyword == "proxyjump" else line
        try:
            expanded = expand(text, known)
        except NotExpanded as error:
            raise Undecided(f"{keyword} {line}: {error}") from error
        # A shell reads them: ssh(1) decides which of such names are harmless, depending on its release.
        names = [expanded] if keyword == "proxyjump" else [known["h"], known["n"], known["r"]]
        if expanded != text or keyword == "proxyjump":
            for name in filter(_FOR_SHELL.search, names):
                raise Undecided(f"{keyword} {line}, with {name!r}")
        return expanded


def _strict(text: _Text) -> str:
    word = text.choice("stricthostkeychecking", "ask")
    if word in ("no", "false", "off"):
        return OFF
    return ACCEPT_NEW if word == "accept-new" else STRICT
