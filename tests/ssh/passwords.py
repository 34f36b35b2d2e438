"""Servers that take a password: OpenSSH's with a user of its own, and one that counts what it is sent."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncssh

from tests.ssh.conftest import SshServer
from tests.support import eventually

RIGHT = "correct horse"

#: The user whom the machine knows only where the server runs.
USER = "mpshell-test"


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def hashed(password: str) -> str:
    """Return a password as shadow(5) has it."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    found: bytes = crypt(password.encode(), b"$6$mpshell$")
    return found.decode()


@contextmanager
def password_sshd(
    server: SshServer, path: Path, text: str = "", password: str = RIGHT
) -> Iterator[int]:
    """Give the port of an sshd that takes the password of USER, in a mount namespace of its own."""
    port = free_port()
    users = Path("/etc/passwd").read_text()
    (path / "passwd").write_text(f"{users}{USER}:x:4242:4242::/:/bin/sh\n")
    (path / "shadow").write_text(f"{USER}:{password and hashed(password)}:19000:0:99999:7:::\n")
    (path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {server.directory}/host_key\nPidFile none\n"
        f"StrictModes no\nUsePAM no\nPasswordAuthentication yes\nPrintMotd no\nPrintLastLog no\n"
        f"{server.session_paths}{text}"
    )
    files = ["passwd", "shadow"]
    if os.path.exists("/etc/sudoers"):
        # It may do anything with its password, which is asked for each time.
        sudoers = path / "sudoers"
        sudoers.write_text(f"Defaults !lecture, timestamp_timeout=0\n{USER} ALL=(ALL) ALL\n")
        sudoers.chmod(0o440)
        files.append("sudoers")
    mounted = (
        "".join(f"mount --bind {path}/{name} /etc/{name} && " for name in files)
        + f"exec {server.programs.sshd} -D -f {path}/sshd_config"
    )
    sshd = subprocess.Popen(["unshare", "--mount", "sh", "-c", mounted])
    try:
        assert eventually(lambda: answers(port))
        yield port
    finally:
        sshd.terminate()
        sshd.wait(20)


class Counting(asyncssh.SSHServer):
    """Takes the right password, and notes each that it is sent."""

    def __init__(self, sent: list[str], method: str) -> None:
        self._sent = sent
        self._method = method

    def public_key_auth_supported(self) -> bool:
        return False

    def password_auth_supported(self) -> bool:
        return self._method == "password"

    def kbdint_auth_supported(self) -> bool:
        return self._method != "password"

    def validate_password(self, username: str, password: str) -> bool:
        self._sent.append(password)
        return password == RIGHT

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, Sequence[tuple[str, bool]]]:
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        self._sent += responses
        return list(responses) == [RIGHT]


@contextmanager
def counting_server(server: SshServer, method: str = "password") -> Iterator[tuple[int, list[str]]]:
    """Give the port of a server with the host key of another one, and the passwords that it has been sent."""
    sent: list[str] = []
    loop = asyncio.new_event_loop()
    key = asyncssh.read_private_key(server.directory / "host_key")

    def handle(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write("let in\n")
        process.exit(0)

    listening = loop.run_until_complete(
        asyncssh.listen(
            "127.0.0.1", 0, server_factory=lambda: Counting(sent, method), server_host_keys=[key],
            process_factory=handle, kex_algs=["curve25519-sha256"], backlog=500,
        )
    )  # fmt: skip
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield listening.get_port(), sent
    finally:
        closing = asyncio.run_coroutine_threadsafe(_close(listening), loop)
        closing.result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(listening: asyncssh.SSHAcceptor) -> None:
    listening.close()
    await listening.wait_closed()


def hosts(names: str, port: int, more: str = "") -> str:
    """Return a section of ssh_config for nodes that no key is for."""
    return (
        f"Host {names}\n  HostName 127.0.0.1\n  Port {port}\n  User {USER}\n  IdentityFile none\n"
        f"  BatchMode no\n{more}"
    )


Config = Callable[[Path, SshServer, str], str]
