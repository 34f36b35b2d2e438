"""The limits of ssh on this machine: key exchange, known hosts, agent, and the extras of mpshell.

Sources: ssh_config(5), ssh-keygen(1), draft-ietf-sshm-ssh-agent.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

from mpshell.doctor.finding import Finding, count

#: Seconds of CPU that a login takes on this side, by key exchange: those of docs/benchmarks.md.
_LOGIN = {"curve25519": 0.011, "mlkem768x25519": 0.012, "sntrup761x25519": 0.08}

#: Seconds that a program or the agent may take.
_LONGEST = 10.0

#: Keys that a server looks at, by default (MaxAuthTries in sshd_config(5)).
_TRIES = 6

#: A name that no file has.
_NOWHERE = "mpshell-doctor.invalid"

_REQUEST_IDENTITIES, _IDENTITIES_ANSWER = 11, 12

#: The module of each extra, and the feature that is missing without it.
_EXTRAS = {
    "asyncssh": ("asyncssh", "-R asyncssh: ssh in the engines, at less than half the CPU a node"),
    "groups": ("ClusterShell", "groups: @name, -a, -g, -X, and * in node sets"),
    "dask": ("distributed", "--dask: engines on the workers of a dask cluster"),
    "cli": ("tqdm", "the progress line on a terminal"),
}


def examine(processors: int) -> Iterator[Finding]:
    """Yield the limits of logins from this machine, and the missing extras."""
    program = shutil.which("ssh")
    if program is None:
        yield Finding(
            "ssh", "not found", "no node over ssh", fanout=0, advised=True,
            remedy="install OpenSSH's client (openssh-client)",
        )  # fmt: skip
    else:
        settings = _settings(program)
        yield _key_exchange(program, settings, processors)
        yield from _known_hosts(settings)
    yield _agent(os.environ.get("SSH_AUTH_SOCK"))
    yield from _extras()


def _settings(program: str) -> dict[str, str]:
    """Return ssh's settings for a node that no configuration names; {} when ssh refuses its configuration."""
    output = _output(program, "-G", _NOWHERE) or ""
    return dict(line.partition(" ")[::2] for line in output.splitlines())


def _key_exchange(program: str, settings: dict[str, str], processors: int) -> Finding:
    version = (_output(program, "-V") or "").partition(",")[0].strip()
    first = settings.get("kexalgorithms", "").partition(",")[0]
    if not first:
        return Finding(
            "key exchange", version, "nothing: ssh refuses its configuration", fanout=0, advised=True,
            remedy=f"look at `ssh -G {_NOWHERE}`",
        )  # fmt: skip
    took = next((seconds for name, seconds in _LOGIN.items() if first.startswith(name)), None)
    figure = f"{first} ({version})"
    if took is None:
        return Finding("key exchange", figure, "its cost a login is not known here")
    rate = round(processors / took)
    allows = f"about {count(rate)} logins a second: {took * 1000:.0f} ms of CPU each"
    slow = first.startswith("sntrup761")
    remedy = "OpenSSH 10, or -R asyncssh; on a network that is trusted, -o '-o KexAlgorithms=curve25519-sha256'"
    return Finding("key exchange", figure, allows, remedy=remedy if slow else "", advised=slow)


def _known_hosts(settings: dict[str, str]) -> Iterator[Finding]:
    paths = settings.get("userknownhostsfile", "~/.ssh/known_hosts").split()
    paths += settings.get("globalknownhostsfile", "").split()
    for path in map(os.path.expanduser, paths):
        try:
            with open(path, "rb") as file:
                lines = [line for line in file if line.strip() and not line.startswith(b"#")]
        except OSError:
            continue
        hashed = sum(line.startswith(b"|1|") for line in lines)
        took = _lookup(path)
        yield Finding(
            f"known hosts, {path}",
            f"{count(len(lines))} entries, {count(hashed)} of them hashed",
            f"{took * 1000:.0f} ms of CPU a login: each ssh(1) reads all of it (-R asyncssh: once an engine)",
            remedy="names that are not hashed (HashKnownHosts no), or a host certificate authority",
            advised=took > 0.02,
        )


def _lookup(path: str) -> float:
    """Return how long a look through a file takes, in seconds of CPU beyond the start of the program."""
    keygen = shutil.which("ssh-keygen")
    if keygen is None:
        return 0.0

    def spent(*words: str) -> float:
        before = os.times()
        _output(keygen, *words)
        after = os.times()
        return (after.children_user + after.children_system) - (
            before.children_user + before.children_system
        )

    return max(0.0, spent("-F", _NOWHERE, "-f", path) - spent("-F", _NOWHERE, "-f", os.devnull))


def _agent(path: str | None) -> Finding:
    if not path:
        return Finding(
            "ssh agent", "none (SSH_AUTH_SOCK is not set)", "keys in files without a passphrase"
        )
    began = time.monotonic()
    try:
        keys = _keys_of_agent(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        return Finding(
            "ssh agent", f"{path}: {why}", "no login with its keys", advised=True,
            remedy="start an agent and add a key, or unset SSH_AUTH_SOCK",
        )  # fmt: skip
    took = time.monotonic() - began
    figure = f"{count(keys)} keys, answers in {took * 1000:.0f} ms"
    if keys == 0:
        return Finding(
            "ssh agent", figure, "no login with its keys", remedy="ssh-add", advised=True
        )
    if keys >= _TRIES:
        return Finding(
            "ssh agent", figure, f"a server that allows {_TRIES} tries may never see the right key",
            remedy="IdentitiesOnly and IdentityFile in ssh_config(5), or fewer keys", advised=True,
        )  # fmt: skip
    return Finding("ssh agent", figure, "one signature for each login, one after the other")


def _keys_of_agent(path: str) -> int:
    """Return how many keys an agent has; OSError, ValueError when it does not report them."""
    with socket.socket(socket.AF_UNIX) as agent:
        agent.settimeout(_LONGEST)
        agent.connect(path)
        agent.sendall(struct.pack(">IB", 1, _REQUEST_IDENTITIES))
        head = b""
        while len(head) < 9:
            piece = agent.recv(9 - len(head))
            if not piece:
                raise ValueError("it closes the connection")
            head += piece
    _, kind, keys = struct.unpack(">IBI", head)
    if kind != _IDENTITIES_ANSWER:
        raise ValueError("it refuses to list its keys")
    return int(keys)


def _extras() -> Iterator[Finding]:
    for extra, (module, missing) in _EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            yield Finding(
                f"extra {extra}", "not installed", f"without {missing}",
                remedy=f"pip install 'mpshell[{extra}]'",
            )  # fmt: skip


def _output(*words: str) -> str | None:
    """Return the output of a program, None if it fails or takes too long."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=_LONGEST, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace")
