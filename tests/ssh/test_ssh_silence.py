"""Servers that are stopped, and links that pass nothing on any more, over both transports."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mpshell import EventHandler, Task
from tests.ssh.conftest import SshServer
from tests.ssh.test_ssh_faults import check_good, outcomes, write_config

pytestmark = pytest.mark.needs("ssh", "sshd")

GOOD = "node[1-3]"

#: Seconds of silence, and how many times, until ssh(1) gives a connection up (ssh_config(5)).
ALIVE = "  ServerAliveInterval 1\n  ServerAliveCountMax 2\n"


class Link:
    """A connection between a client and the server that can stop passing bytes on, and stays open."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self.port = self._listener.getsockname()[1]
        #: Set: nothing more is passed on.
        self.silent = threading.Event()
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                for ends in ((client, server), (server, client)):
                    self._threads.append(threading.Thread(target=self._copy, args=ends))
                    self._threads[-1].start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self.silent.is_set():
                    target.sendall(data)
            if not self.silent.is_set():
                target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        for sock in self._sockets:
            sock.close()


@contextmanager
def link(task: Task, server: SshServer, path: Path, more: str) -> Iterator[Link]:
    """Give a link to `node9`, with more lines of its configuration."""
    made = Link(server.address("node1"))
    text = f"Host node9\n  HostName 127.0.0.1\n  Port {made.port}\n{more}"
    task.set_info("ssh_options", write_config(path, server, text))
    try:
        yield made
    finally:
        made.close()


class Silencing(EventHandler):
    """Has the link silent when the command has begun."""

    def __init__(self, made: Link) -> None:
        self._link = made

    def ev_read(self, *args: object) -> None:
        self._link.silent.set()


def test_a_link_that_is_silent_is_given_up(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """In the middle of a command: it may have run to its end, so it is lost."""
    with link(ssh_task, ssh_server, tmp_path, ALIVE) as made:
        worker = ssh_task.run(
            "echo begun; sleep 60", nodes="node9", handler=Silencing(made), timeout=50
        )
    [outcome] = worker.outcomes()
    assert (outcome.reason, outcome.returncode) == ("lost", 255)
    assert outcome.duration is not None and outcome.duration < 45
    assert (worker.node_buffer("node9") or b"").startswith(b"begun")


def test_without_alive_messages_the_timeout_ends_it(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    with link(ssh_task, ssh_server, tmp_path, "") as made:
        worker = ssh_task.run(
            "echo begun; sleep 60", nodes="node9", handler=Silencing(made), timeout=6
        )
    assert [outcome.reason for outcome in worker.outcomes()] == ["timeout"]
    assert worker.node_buffer("node9") == b"begun"


def test_a_server_that_is_stopped_in_the_middle(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """It stops itself, by its child; that ends it later, as nothing else here would."""
    text = "Host node5\n" + ALIVE
    ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
    command = (
        'case "$SSH_CONNECTION" in *" 127.100.0.6 "*)'
        " echo begun; sleep 0.5; kill -STOP $PPID; sleep 8; kill -KILL $PPID;; esac; exit 3"
    )
    found = outcomes(ssh_task, f"node5,{GOOD}", command, timeout=50)
    assert (found["node5"].reason, found["node5"].returncode) == ("lost", 255)
    check_good(ssh_task, found)


def test_a_server_that_is_stopped_before_its_first_word(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """The kernel takes the connection for it."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        text = f"Host node9\n  HostName 127.0.0.1\n  Port {listener.getsockname()[1]}\n  ConnectTimeout 4\n"
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        ssh_task.set_info("connect_timeout", 0)
        found = outcomes(ssh_task, f"node9,{GOOD}")
    assert (found["node9"].reason, found["node9"].returncode) == ("unreachable", 255)
    check_good(ssh_task, found)
