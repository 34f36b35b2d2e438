"""A password over connections: which hosts get it, once each, by either method; the servers are AsyncSSH's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from mpshell.coordinator.passwords import Passwords
from mpshell.runtime.secret import Secret
from mpshell.ssh.connection import Connection
from mpshell.ssh.password import Password
from mpshell.ssh.request import Request
from mpshell.ssh.setup import Setup, Target
from mpshell.wire.messages import STOPPED, UNPROVEN, PasswordNews, PasswordState
from tests.ssh.handshake import Client
from tests.ssh.passwords import RIGHT, Counting
from tests.unit.test_passwords import FakeJob


class Engine:
    """The part of an engine's state that the count is about."""

    def __init__(self, outbox: list[PasswordState]) -> None:
        self.outbox = outbox


HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")


async def serve(sock: socket.socket, method: str, sent: list[str]) -> None:
    """Serve one connection until its end; the method "code" asks for another thing than a password."""
    prompt = "One-time code: " if method == "code" else "Password: "
    with contextlib.suppress(asyncssh.Error, OSError):
        connection = await asyncssh.run_server(
            sock, server_factory=lambda: Counting(sent, method, prompt), server_host_keys=[HOST_KEY],
            kex_algs=["curve25519-sha256"],
        )  # fmt: skip
        await connection.wait_closed()


async def attempt(setup: Setup, method: str) -> tuple[Exception | None, list[str], Connection]:
    """Log in to a server; return the error, all passwords that it was sent, and the connection."""
    sent: list[str] = []
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    serving = asyncio.create_task(serve(theirs, method, sent))
    ended: asyncio.Future[Exception | None] = loop.create_future()
    target = setup.resolve("node")
    assert isinstance(target, Target)
    client = Client(ended)
    target.options.protocol_factory = lambda: client
    _, connection = await loop.create_connection(lambda: Connection(loop, target), sock=ours)
    error = await asyncio.wait_for(ended, 60)
    connection.abort()
    await connection.wait_closed()
    await asyncio.wait_for(serving, 60)
    return error, sent, connection


def make_setup(tmp_path: Path, text: str, password: str | None) -> Setup:
    (tmp_path / "known").write_bytes(b"node " + HOST_KEY.export_public_key())
    config = tmp_path / "config"
    config.write_text(f"{text}\nUserKnownHostsFile {tmp_path}/known\nIdentityFile none\n")
    setup = Setup(Request(options=("-F", str(config))), {}, str(tmp_path))
    if password is not None:
        setup.password = counted(password)
    return setup


def counted(text: str) -> Password:
    """Return a password with a coordinator's count of its refusals."""
    passwords: Any = Passwords()
    passwords.enter(FakeJob(text))
    outbox: list[PasswordState] = []
    engine = Engine(outbox)

    def report(event: str) -> None:
        asyncio.get_running_loop().call_soon(pass_on, event)

    def pass_on(event: str) -> None:
        passwords.on_news(engine, PasswordNews([(1, event)]))
        for state in outbox:
            password.take_state(state)
        outbox.clear()

    password = Password(Secret(text), report)
    return password


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_the_right_password_by_either_method(tmp_path: Path, method: str) -> None:
    setup = make_setup(tmp_path, "", RIGHT)
    error, sent, _ = asyncio.run(attempt(setup, method))
    assert error is None
    assert sent == [RIGHT]


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_wrong_one_is_sent_once_a_host_and_to_three_hosts(tmp_path: Path, method: str) -> None:
    setup = make_setup(tmp_path, "", "wrong")
    assert setup.password is not None

    async def all_of_them() -> list[int]:
        return [len((await attempt(setup, method))[1]) for _ in range(5)]

    assert asyncio.run(all_of_them()) == [1, 1, 1, 0, 0]
    assert setup.password.state == STOPPED
    _, _, connection = asyncio.run(attempt(setup, method))
    assert "refused 3 times" in connection.auth_notes


def test_it_is_the_answer_to_no_other_question(tmp_path: Path) -> None:
    error, sent, _ = asyncio.run(attempt(make_setup(tmp_path, "", RIGHT), "code"))
    assert isinstance(error, asyncssh.PermissionDenied)
    assert sent == []


@pytest.mark.parametrize("strict", ["accept-new", "no"])
def test_a_host_whose_key_is_new_does_not_get_it(tmp_path: Path, strict: str) -> None:
    setup = make_setup(tmp_path, f"StrictHostKeyChecking {strict}", RIGHT)
    (tmp_path / "known").write_text("")
    error, sent, connection = asyncio.run(attempt(setup, "password"))
    assert isinstance(error, asyncssh.PermissionDenied)
    assert sent == []
    assert "only to hosts whose key is known" in connection.auth_notes
    assert setup.password is not None
    assert (setup.password.state, setup.password.refusals) == (UNPROVEN, 0)


def test_a_host_whose_key_has_changed_does_not_get_it(tmp_path: Path) -> None:
    setup = make_setup(tmp_path, "StrictHostKeyChecking no", RIGHT)
    other = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "known").write_bytes(b"node " + other.export_public_key())
    error, sent, _ = asyncio.run(attempt(setup, "password"))
    assert isinstance(error, asyncssh.PermissionDenied)
    assert sent == []


def test_without_one_nothing_is_sent(tmp_path: Path) -> None:
    error, sent, _ = asyncio.run(attempt(make_setup(tmp_path, "", None), "password"))
    assert isinstance(error, asyncssh.PermissionDenied)
    assert sent == []


def test_it_is_off_where_the_configuration_has_it_off(tmp_path: Path) -> None:
    for method, text in (
        ("password", "PasswordAuthentication no"),
        ("keyboard-interactive", "KbdInteractiveAuthentication no"),
        ("password", "PreferredAuthentications publickey"),
    ):
        error, sent, _ = asyncio.run(attempt(make_setup(tmp_path, text, RIGHT), method))
        assert isinstance(error, asyncssh.PermissionDenied), text
        assert sent == []
