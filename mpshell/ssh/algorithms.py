"""Lists of algorithms: OpenSSH's defaults, and how a configuration and AsyncSSH's own list change them. Pure.

The defaults are those of OpenSSH 10.0 (myproposal.h). AsyncSSH has more, weaker ones, which are never offered
unless the configuration names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mpshell.ssh.text import match_pattern

KEX = (
    "mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521", "diffie-hellman-group-exchange-sha256", "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512", "diffie-hellman-group14-sha256",
)  # fmt: skip

#: AES-GCM first: it costs half of chacha20 here, and both are OpenSSH's own choice (docs/decisions.md).
CIPHERS = (
    "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr",
    "aes192-ctr", "aes256-ctr",
)  # fmt: skip

MACS = (
    "umac-64-etm@openssh.com", "umac-128-etm@openssh.com", "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com", "hmac-sha1-etm@openssh.com", "umac-64@openssh.com",
    "umac-128@openssh.com", "hmac-sha2-256", "hmac-sha2-512", "hmac-sha1",
)  # fmt: skip

_PLAIN_KEYS = (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com", "rsa-sha2-512", "rsa-sha2-256",
)  # fmt: skip

_CERTIFICATES = (
    "ssh-ed25519-cert-v01@openssh.com", "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com", "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com", "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com",
)  # fmt: skip

HOST_KEYS = (*_CERTIFICATES, *_PLAIN_KEYS)
SIGNATURES = HOST_KEYS
CA_SIGNATURES = _PLAIN_KEYS

#: Algorithms that are not defaults of ssh(1), but that it accepts by name.
_BY_NAME = {
    "kexalgorithms": (
        "diffie-hellman-group1-sha1", "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha1",
    ),
    "ciphers": ("3des-cbc", "aes128-cbc", "aes192-cbc", "aes256-cbc"),
    "macs": ("hmac-sha1-96", "hmac-md5", "hmac-md5-96", "hmac-sha1-96-etm@openssh.com",
             "hmac-md5-etm@openssh.com", "hmac-md5-96-etm@openssh.com"),
    "hostkeyalgorithms": ("ssh-rsa", "ssh-rsa-cert-v01@openssh.com"),
    "pubkeyacceptedalgorithms": ("ssh-rsa", "ssh-rsa-cert-v01@openssh.com"),
    "casignaturealgorithms": ("ssh-rsa",),
}  # fmt: skip

DEFAULTS = {
    "kexalgorithms": KEX, "ciphers": CIPHERS, "macs": MACS, "hostkeyalgorithms": HOST_KEYS,
    "pubkeyacceptedalgorithms": SIGNATURES, "casignaturealgorithms": CA_SIGNATURES,
}  # fmt: skip

#: Key exchanges that a quantum computer does not break later.
QUANTUM_SAFE = (
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
)


class UnknownAlgorithm(ValueError):
    """A name that is not an algorithm of OpenSSH; the text is the name."""


def assemble(keyword: str, text: str | None, default: Sequence[str]) -> tuple[str, ...]:
    """Return the list that a value makes of the default, as kex_assemble_names() of OpenSSH does.

    Raise UnknownAlgorithm for a name that neither the default nor OpenSSH has.
    """
    if text is None:
        return tuple(default)
    mode, names = (text[0], text[1:].split(",")) if text[:1] in "+-^" else ("", text.split(","))
    known = (*default, *_BY_NAME[keyword])
    if mode == "-":
        return tuple(d for d in default if not any(match_pattern(d, name) for name in names))
    if unknown := [name for name in names if name not in known]:
        raise UnknownAlgorithm(unknown[0])
    if mode == "+":
        return _without_doubles((*default, *names))
    if mode == "^":
        return _without_doubles((*names, *default))
    return _without_doubles(names)


def _without_doubles(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def common(wanted: Sequence[str], supported: Iterable[str]) -> tuple[str, ...]:
    """Return those of a list that are supported, in its order."""
    there = set(supported)
    return tuple(name for name in wanted if name in there)


def agreed(ours: Iterable[str], theirs: Iterable[str]) -> str | None:
    """Return the algorithm that a client with a list and a server with one agree on (RFC 4253, 7.1)."""
    there = set(theirs)
    return next((name for name in ours if name in there), None)


def weaker_kex(ssh: Sequence[str], ours: Sequence[str], server: Iterable[str]) -> str | None:
    """Return the quantum-safe key exchange that ssh(1) would take where ours is not one, else None."""
    offered = set(server)
    by_ssh = agreed(ssh, offered)
    if by_ssh in QUANTUM_SAFE and agreed(ours, offered) not in QUANTUM_SAFE:
        return by_ssh
    return None


def order_host_keys(
    algorithms: Sequence[str], known: Iterable[str], authority: bool
) -> tuple[str, ...]:
    """Return algorithms of host keys, those of known keys first, as order_hostkeyalgs() of ssh(1) does.

    `known` are types of keys as in known_hosts; `authority`: whether there is a certificate authority among
    them.
    """
    types = set(known)
    if not algorithms or _type(algorithms[0]) in types:
        return tuple(algorithms)
    first = [a for a in algorithms if _type(a) in types or (authority and "-cert-v01@" in a)]
    return (*first, *(a for a in algorithms if a not in first))


def _type(algorithm: str) -> str:
    """Return the type of key of an algorithm, plain for a certificate's."""
    plain = algorithm.replace("-cert-v01@openssh.com", "")
    if plain.startswith("sk-") and not plain.endswith("@openssh.com"):
        plain += "@openssh.com"
    return "ssh-rsa" if plain.startswith("rsa-sha2-") else plain
