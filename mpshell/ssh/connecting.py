"""AsyncSSH's options for a profile: nothing is left to its own files and defaults."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import asyncssh
from asyncssh import encryption, kex, mac, public_key

from mpshell.ssh.algorithms import common
from mpshell.ssh.profile import Profile
from mpshell.ssh.resolver import Undecided

#: Bytes of output that a channel takes ahead: paused ones hold that much each.
WINDOW = 256 * 1024

_FAMILIES = {"any": 0, "inet": 2, "inet6": 10}


@cache
def _available(keyword: str) -> frozenset[str]:
    """Return the algorithms that AsyncSSH has for a keyword."""
    lists: dict[str, list[list[bytes]]] = {
        "kexalgorithms": [kex.get_kex_algs()],
        "ciphers": [encryption.get_encryption_algs()],
        "macs": [mac.get_mac_algs()],
        "hostkeyalgorithms": [public_key.get_certificate_algs(), public_key.get_public_key_algs()],
        "pubkeyacceptedalgorithms": [public_key.get_public_key_algs()],
    }
    return frozenset(name.decode() for found in lists[keyword] for name in found)


@cache
def supported(keyword: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the items of a list that AsyncSSH has; Undecided if it has none."""
    found = common(wanted, _available(keyword))
    if not found:
        raise Undecided(f"{keyword} {','.join(wanted)}")
    return found


def make_options(
    profile: Profile, host_keys: Sequence[str], methods: Sequence[str]
) -> asyncssh.SSHClientConnectionOptions:
    """Return options for all hosts of a profile."""
    zlib = ["zlib@openssh.com", "zlib"]
    size, seconds = profile.rekey
    return asyncssh.SSHClientConnectionOptions(
        config=None, username=profile.user, family=_FAMILIES[profile.family],
        known_hosts=_nothing_known, server_host_key_algs=list(host_keys),
        x509_trusted_certs=None, x509_trusted_cert_paths=[], client_keys=None, agent_path=None,
        agent_forwarding=False, gss_host=None, gss_kex=False, gss_auth=False, host_based_auth=False,
        public_key_auth="publickey" in methods, password_auth="password" in methods,
        kbdint_auth="keyboard-interactive" in methods, preferred_auth=list(methods),
        kex_algs=list(supported("kexalgorithms", profile.kex)),
        encryption_algs=list(supported("ciphers", profile.ciphers)),
        mac_algs=list(supported("macs", profile.macs)),
        signature_algs=list(supported("pubkeyacceptedalgorithms", profile.signatures)),
        compression_algs=[*zlib, "none"] if profile.compression else ["none", *zlib],
        tcp_keepalive=profile.tcp_keepalive, keepalive_interval=profile.alive_interval,
        keepalive_count_max=max(1, profile.alive_count), rekey_bytes=size, rekey_seconds=seconds,
        connect_timeout=None, login_timeout=0, encoding=None, window=WINDOW,
        env=dict(profile.environment), send_env=None, request_pty=False, command=None,
    )  # fmt: skip


def _nothing_known(host: str, address: str, port: int | None) -> tuple[list[str], ...]:
    """Return no trusted key: a key that a server presents is judged by `mpshell.ssh.hostkeys` alone."""
    return [], [], []
