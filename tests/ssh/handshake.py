"""One login to a server of its own, by ssh(1) and by the library's connection: no port, nothing listens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from mpshell.ssh.connection import HOSTKEY, UNDECIDED, Connection
from mpshell.ssh.request import Request
from mpshell.ssh.setup import Fallback, Setup, Target
from tests.ssh.conftest import SshServer

#: The outcome of a login.
OK, AUTH = "ok", "auth"

COMMAND = "echo logged in"


@dataclass
class Site:
    """A directory with a server's keys and configuration, and the client's."""

    directory: Path
    server: SshServer

    def keygen(self, *words: str) -> None:
        subprocess.run(
            [self.server.programs.programs["ssh-keygen"], "-q", *words],
            cwd=self.directory, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
        )  # fmt: skip

    def key(self, name: str, kind: str = "ed25519", *more: str) -> str:
        """Make a key if there is none; return its type and blob as known_hosts has them."""
        path = self.directory / name
        if not path.exists():
            self.keygen("-t", kind, "-N", "", "-C", name, "-f", name, *more)
        return " ".join((self.directory / f"{name}.pub").read_text().split()[:2])

    def sshd(self, host_keys: Sequence[str] = ("host_ed25519",), extra: str = "") -> list[str]:
        """Return the arguments of a server that speaks over its standard input and output."""
        base = (self.server.directory / "sshd_config").read_text().splitlines(keepends=True)
        keys = f"AuthorizedKeysFile {self.directory}/authorized_keys\n"
        kept = [line for line in base if not line.startswith(("HostKey", "AuthorizedKeysFile"))]
        lines = [extra + "\n", keys, *(f"HostKey {self.directory}/{name}\n" for name in host_keys)]
        config = self.directory / "sshd_config"
        config.write_text("".join([*lines, *kept]))
        return [self.server.programs.sshd, "-i", "-f", str(config), "-E", f"{self.directory}/log"]

    def client_config(self, text: str, known: str = "") -> Path:
        """Write a client's configuration, and the file of host keys that it names."""
        (self.directory / "known").write_text(known)
        config = self.directory / "config"
        config.write_text(
            f"{text}\nHost *\n UserKnownHostsFile {self.directory}/known\n"
            f" GlobalKnownHostsFile {self.directory}/known_by_all\n IdentityAgent none\n"
            f" IdentityFile {self.directory}/user\n IdentitiesOnly yes\n"
            " KexAlgorithms curve25519-sha256\n"
        )
        return config


def by_ssh(site: Site, config: Path, sshd: list[str], node: str = "node") -> tuple[str, str]:
    """Log in by ssh(1); return the outcome, and the output of ssh."""
    proxy = " ".join(shlex.quote(word) for word in sshd)
    done = subprocess.run(
        [site.server.programs.ssh, "-F", str(config), "-oBatchMode=yes", "-v",
         f"-oProxyCommand={proxy}", node, COMMAND],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode == 0:
        return OK, done.stderr
    if "Host key verification failed" in done.stderr or "Bad server host key" in done.stderr:
        return HOSTKEY, done.stderr
    if "Permission denied" in done.stderr or "Too many authentication" in done.stderr:
        return AUTH, done.stderr
    return "other", done.stderr


class Client(asyncssh.SSHClient):
    """Learns how a login has ended."""

    def __init__(self, ended: asyncio.Future[Exception | None]) -> None:
        self._ended = ended
        self.connection: Connection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        assert isinstance(conn, Connection)
        self.connection = conn

    def auth_completed(self) -> None:
        assert self.connection is not None
        self.connection.logged_in()
        if not self._ended.done():
            self._ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(exc or ConnectionError("closed"))


@dataclass
class Login:
    """How a login by the library has ended."""

    outcome: str
    connection: Connection
    error: Exception | None
    setup: Setup

    @property
    def detail(self) -> str:
        return "" if self.connection.refusal is None else self.connection.refusal.detail


async def log_in(setup: Setup, target: Target, sshd: list[str]) -> Login:
    """Log in to a server that is started for it."""
    loop = asyncio.get_running_loop()
    with server_socket(sshd) as sock:
        ended: asyncio.Future[Exception | None] = loop.create_future()
        client = Client(ended)
        target.options.protocol_factory = lambda: client
        make: Callable[[], Connection] = lambda: Connection(loop, target)  # noqa: E731
        _, connection = await loop.create_connection(make, sock=sock)
        error = await ended
        outcome = OK
        if error is None:
            done: Any = await connection.run(COMMAND, encoding="utf-8")
            assert done.stdout == "logged in\n"
        elif connection.refusal is not None:
            outcome = connection.refusal.reason
        elif isinstance(error, asyncssh.PermissionDenied) or "authentication" in str(error):
            outcome = AUTH
        else:
            outcome = "other"
        connection.abort()
        await connection.wait_closed()
    return Login(outcome, connection, error, setup)


@contextlib.contextmanager
def server_socket(sshd: list[str]) -> Iterator[socket.socket]:
    """Give a connection to a server, and end it afterwards."""
    ours, theirs = socket.socketpair()
    with theirs:
        server = subprocess.Popen(
            sshd, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.DEVNULL
        )
    try:
        yield ours
    finally:
        ours.close()
        server.wait(60)


def by_library(
    site: Site, config: Path, sshd: list[str], node: str = "node",
    environ: dict[bytes, bytes] | None = None, kex: str = "prefer",
) -> Login:  # fmt: skip
    """Log in by the library, once more where its setup requires that."""

    async def both() -> Login:
        request = Request(options=("-F", str(config)), kex=kex)
        setup = Setup(request, os.environb if environ is None else environ, str(site.directory))
        target = setup.resolve(node)
        assert not isinstance(target, Fallback), target
        login = await log_in(setup, target, sshd)
        if login.outcome == UNDECIDED:
            refusal = login.connection.refusal
            assert refusal is not None
            again = await setup.settle(node, target, refusal.blob)
            if again is None:
                login.outcome = HOSTKEY
            else:
                login = await log_in(setup, again, sshd)
        setup.close()
        return login

    return asyncio.run(both())
