"""How an engine connects to each node: made once for a request, asked node by node.

    Request ──► files, read once ──► settings of a node ──► Profile ──► Target, or Fallback to ssh(1)

Targets that differ in host and port alone share one object of AsyncSSH's options; it is made once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache

import asyncssh

from mpshell.ssh import algorithms, hostkeys
from mpshell.ssh.connecting import make_options, supported
from mpshell.ssh.hostkeys import KnownHosts, host_name
from mpshell.ssh.identities import Identities, IdentityFiles
from mpshell.ssh.kerberos import has_credentials
from mpshell.ssh.password import Password
from mpshell.ssh.profile import OFF, STRICT, Profile
from mpshell.ssh.reading import Reading, local_account
from mpshell.ssh.request import REQUIRE, Request
from mpshell.ssh.resolver import Undecided

#: ssh(1) takes no more hosts in a row for a connection through others.
_HOPS = 8


@dataclass(frozen=True)
class Fallback:
    """The node goes to ssh(1); `reason` is the option, or the line, that requires it."""

    reason: str


@dataclass(frozen=True)
class Target:
    """How to connect to a node.

    `options` is shared with other targets: host, port and the client's factory are set on it before each
    connection. `key` is equal for connections that may stand for each other. `connect_timeout` is in seconds,
    0 for none. `jump` are the hosts on the way, the first one first.
    """

    host: str
    port: int
    user: str
    options: asyncssh.SSHClientConnectionOptions
    key: Hashable
    connect_timeout: float
    jump: tuple[Target, ...]
    proxy_command: str | None
    profile: Profile = field(compare=False)
    hosts: KnownHosts = field(compare=False)
    identities: Identities = field(compare=False)
    password: Password | None = field(compare=False)
    #: Whether algorithms of known host keys are offered first; unless the file would have to be looked through.
    ordered: bool = True
    require_quantum_safe: bool = False
    notices: tuple[str, ...] = ()

    @property
    def alike(self) -> Hashable:
        """Equal for targets whose connections are interchangeable, if their keys are equal too.

        The order in which algorithms of host keys are offered makes no difference for an existing connection.
        """
        return self.profile, self.require_quantum_safe, *(hop.alike for hop in self.jump)

    @property
    def known_name(self) -> str:
        """The name that the host's key is looked up by."""
        return host_name(self.host, self.port, self.profile.alias)

    @property
    def new_hosts_file(self) -> str | None:
        """The file that a new key is written to."""
        return self.profile.new_hosts_file


class Setup:
    """The configuration of a job in one engine.

    `environ` is the environment of the job's commands, `home` the user's directory if it is not that of the
    system. Raise WorkerError for options and files that cannot be read, with file and line or the word.
    """

    def __init__(
        self, request: Request, environ: Mapping[bytes, bytes] | None = None, home: str | None = None,
        depth: int = 0,
    ) -> None:  # fmt: skip
        self._request = request
        self._environ = os.environb if environ is None else environ
        self._home = home or local_account().pw_dir
        self._depth = depth
        self._execs = dict(request.execs)
        self._reading = Reading.of(request, self._environ, self._home, self._execs.get)
        self._options: dict[Hashable, asyncssh.SSHClientConnectionOptions] = {}
        self._identities: dict[IdentityFiles, Identities] = {}
        self._is_token = cache(is_security_key)
        self._hops: dict[tuple[str, ...], Setup] = {}
        #: The password of the job, set by the engine when there is one.
        self.password: Password | None = None

    def resolve(self, node: str) -> Target | Fallback:
        """Return how to connect to a node, named as ssh(1) has it: [USER@]HOST."""
        try:
            return self._target(node)
        except Undecided as error:
            return Fallback(str(error))

    def close(self) -> None:
        """Close the connections to agents."""
        for identities in self._identities.values():
            identities.close()
        for setup in self._hops.values():
            setup.close()

    def _target(self, node: str) -> Target:
        profile = self._reading.profile(node)
        if "gssapi-with-mic" in profile.methods and has_credentials(self._reading.environ):
            raise Undecided("gssapiauthentication yes, with credentials of Kerberos")
        if (token := next(filter(self._is_token, profile.identities), None)) is not None:
            raise Undecided(f"identityfile {token[0]}, a security key")
        if any(os.path.exists(path) for path in profile.masters):
            raise Undecided(f"controlpath {profile.masters[0]}, where a master is")
        hosts = KnownHosts.of(profile.known_files)
        offered, ordered = self._host_key_algorithms(profile, hosts)
        key = (
            profile._replace(host="", port=0, jump=None, proxy_command=None, masters=()),
            offered,
        )
        options = self._options.get(key)
        if options is None:
            options = self._options[key] = self._make_options(profile, offered)
        return Target(
            host=profile.host, port=profile.port, user=profile.user, options=options,
            key=(profile, offered), connect_timeout=profile.connect_timeout,
            jump=self._jump(profile), proxy_command=profile.proxy_command, profile=profile, hosts=hosts,
            identities=self._keys(profile), password=self.password, ordered=ordered,
            require_quantum_safe=self._request.kex == REQUIRE,
        )  # fmt: skip

    def _make_options(
        self, profile: Profile, offered: tuple[str, ...]
    ) -> asyncssh.SSHClientConnectionOptions:
        usable = {"publickey"}
        if self.password is not None:
            usable |= {"keyboard-interactive", "password"}
        return make_options(profile, offered, [m for m in profile.methods if m in usable])

    def _host_key_algorithms(
        self, profile: Profile, hosts: KnownHosts
    ) -> tuple[tuple[str, ...], bool]:
        """Return the algorithms of host keys in the order to offer them, and whether it is ssh(1)'s."""
        offered = supported("hostkeyalgorithms", profile.host_keys)
        if profile.host_keys_ordered:
            return offered, True
        known = hosts.known_types(host_name(profile.host, profile.port, profile.alias))
        if known is None:
            return offered, False
        return algorithms.order_host_keys(offered, *known), True

    def _keys(self, profile: Profile) -> Identities:
        wanted = IdentityFiles(
            profile.identities, profile.certificates, profile.agent, profile.identities_only,
            profile.smallest_rsa,
        )  # fmt: skip
        found = self._identities.get(wanted)
        if found is None:
            found = self._identities[wanted] = Identities(wanted)
        return found

    # -- hosts on the way -----------------------------------------------------------------------------

    def _jump(self, profile: Profile) -> tuple[Target, ...]:
        """Return the hosts that ProxyJump names, each by its own part of the configuration."""
        if profile.jump is None:
            return ()
        if self._depth >= _HOPS:
            raise Undecided(f"proxyjump {profile.jump}")
        *before, last = profile.jump.split(",")
        user, host, port = split_jump(last)
        words = [*self._reading.file_words]
        words += ["-l", user] if user else []
        words += ["-p", port] if port else []
        words += ["-J", ",".join(before)] if before else []
        setup = self._hops.get(tuple(words))
        if setup is None:
            request = Request(
                options=tuple(words), kex=self._request.kex, execs=self._request.execs
            )
            setup = Setup(request, self._environ, self._home, self._depth + 1)
            self._hops[tuple(words)] = setup
        target = setup._target(host)
        return (*target.jump, target)

    # -- large files of host keys ---------------------------------------------------------------------

    async def settle(self, node: str, target: Target, blob: bytes) -> Target | None:
        """Search the files of host keys for a node whose key is not among those found by key.

        `target` is the node or a jump host to it, with the key `blob`.

        Return how to connect once more: with the algorithms of known keys, or because the key may be accepted
        now; None if the refusal is final.
        """
        for _ in target.hosts.slices(target.known_name):
            await asyncio.sleep(0)
        again = self.resolve(node)
        if isinstance(again, Fallback):
            return None
        now = next(
            (hop for hop in (*again.jump, again) if hop.known_name == target.known_name), again
        )
        same = now.options is target.options
        verdict = now.hosts.check_key(now.known_name, blob)
        return None if same and not acceptable(now.profile, verdict.state) else again


def is_security_key(identity: tuple[str, bool]) -> bool:
    """Return whether a file's key is in a token that has to be touched."""
    path = identity[0].removesuffix(".pub")
    try:
        with open(f"{path}.pub", "rb") as file:
            return file.read(3) == b"sk-"
    except OSError:
        return False


def acceptable(profile: Profile, state: str) -> bool:
    """Return whether a host with such a key is connected to."""
    if state == hostkeys.KNOWN:
        return True
    if state == hostkeys.UNKNOWN:
        return profile.strict != STRICT
    return state in (hostkeys.CHANGED, hostkeys.REVOKED) and profile.strict == OFF


def split_jump(text: str) -> tuple[str, str, str]:
    """Return user, host and port of [USER@]HOST[:PORT], "" for missing parts."""
    text = text.removeprefix("ssh://").rstrip("/")
    user, _, place = text.rpartition("@")
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        return user, host, rest.removeprefix(":")
    host, colon, port = place.partition(":")
    if ":" in port:
        return user, place, ""
    return user, host, port if colon else ""
