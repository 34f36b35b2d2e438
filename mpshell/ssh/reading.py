"""A request's options and files, and the profile that they make for a node. Imports no AsyncSSH.

Engines resolve by it; the user's process checks a request by it before anything starts (`mpshell.ssh.check`).
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Hashable, Mapping

from mpshell.errors import WorkerError
from mpshell.ssh.configfile import ConfigReader
from mpshell.ssh.profile import Interpreter, Profile
from mpshell.ssh.request import PREFER, REQUIRE, Request
from mpshell.ssh.resolver import Ask, HostSettings, Resolver, Undecided
from mpshell.ssh.tokens import Here, has_tokens
from mpshell.ssh.words import CommandLine, quoted, read_options

#: The last of the transport's own options: as for the transport `ssh`, unless the user's options differ.
_OWN = ("ForwardAgent no", "ForwardX11 no")

_SYSTEM_FILE = "/etc/ssh/ssh_config"

#: Sections of all readings that are kept for the next run, at most; the last reading is kept in any case.
_KEPT = 50_000
_kept: dict[Hashable, Reading] = {}


def local_account() -> pwd.struct_passwd:
    """Return the account of this process's user; WorkerError, like ssh(1), if there is none."""
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        raise WorkerError(f"ssh: no user exists for uid {os.getuid()}") from None


class Reading:
    """Options and files, read once; WorkerError when they cannot be."""

    def __init__(
        self, request: Request, environ: Mapping[bytes, bytes], home: str, ask: Ask
    ) -> None:
        if request.kex not in (PREFER, REQUIRE):
            raise WorkerError(f"ssh_kex {request.kex!r}: neither {PREFER!r} nor {REQUIRE!r}")
        self._given = dict(environ)
        self.environ = {os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()}
        self.command_line = read_options(request.options)
        self._file = self.command_line.file or request.config
        local_user = local_account().pw_name
        here = Here(local_user, home)
        self._reader = ConfigReader(self.environ, home)
        self._reader.undecided = self.command_line.for_ssh
        self._reader.read_lines(_lines(request, self.command_line))
        self._read_files(home)
        self._resolver = Resolver(self._reader, here, local_user, ask)
        self._interpreter = Interpreter(here, local_user, home, self.environ)
        #: Profiles that hold for every host with the same settings.
        self._made: dict[tuple[int, str | None], Profile] = {}

    @classmethod
    def of(cls, request: Request, environ: Mapping[bytes, bytes], home: str, ask: Ask) -> Reading:
        """Return the reading of a request: that of an earlier run, if nothing has changed since.

        One with a `Match exec` is not kept: its commands may give other answers.
        """
        ids = *os.getresuid(), *os.getresgid(), *os.getgroups()
        key = request, home, ids, local_account().pw_name, os.uname().nodename
        found = _kept.get(key)
        if found is None or found._given != dict(environ) or not found._reader.is_current():
            found = cls(request, environ, home, ask)
            _kept.pop(key, None)
            if not found.has_exec:
                # Another thread may do the same at any moment: each step is right without the others.
                room = _KEPT - found.size
                for other, kept in reversed(list(_kept.items())):
                    room -= kept.size
                    if room < 0:
                        _kept.pop(other, None)
                _kept[key] = found
        return found

    @property
    def size(self) -> int:
        """The number of sections in the files."""
        return len(self._reader.stretches)

    @property
    def file_words(self) -> tuple[str, ...]:
        """The option that ssh(1) hands on to the ssh of a host on the way."""
        return () if self._file is None else ("-F", self._file)

    def _read_files(self, home: str) -> None:
        if self._file is None:
            self._reader.read_file(f"{home}/.ssh/config", user=True, needed=False)
            self._reader.read_file(_SYSTEM_FILE, user=False, needed=False)
        elif self._file != "none":
            self._reader.read_file(self._file, user=True, needed=True)

    @property
    def has_exec(self) -> bool:
        """Whether a `Match exec` stands in the files."""
        return self._resolver.has_exec

    def settings(self, node: str) -> tuple[HostSettings, str, str | None, str]:
        """Return the settings for a node, the name to connect to, the user in it, and the name without that."""
        user, at, host = node.rpartition("@")
        if not host or "/" in host or (at and not user):
            raise Undecided(f"node {node}")
        # The command line, and the info key, go before the user of a node, which goes before the files.
        given = None if self._reader.stretches[0].first.get("user") else user or None
        first, target = self._resolver.settings(host, given)
        return first, target, given, host

    def profile(self, node: str) -> Profile:
        """Return how a node is connected to; Undecided when ssh(1) has to do it."""
        settings, target, user, host = self.settings(node)
        key = (id(settings), user)
        found = self._made.get(key)
        if found is not None:
            return found._replace(host=target)
        made = self._interpreter.profile(settings, target, host, user)
        if not self._depends(settings):
            self._made[key] = made
        return made

    def _depends(self, settings: HostSettings) -> bool:
        """Return whether a setting has tokens, and so may differ from host to host."""
        return any(
            has_tokens(word)
            for entry in settings.lines()
            if entry.keyword != "hostname"
            for word in entry.words
        )


def _lines(request: Request, given: CommandLine) -> list[tuple[str, str]]:
    """Return the lines before those of the files: the user's words, then those of info keys."""
    lines = [*given.lines, *((line, "") for line in _OWN)]
    if request.user:
        lines.append((f"User {quoted(request.user)}", f"user {request.user!r}"))
    if request.connect_timeout:
        seconds = max(1, -int(-request.connect_timeout // 1))
        lines.append((f"ConnectTimeout {min(seconds, 2_000_000)}", "connect_timeout"))
    return lines
