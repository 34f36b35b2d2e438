"""Connections that the engines make themselves: their differences from ssh(1), and their limits."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpshell import EventHandler, NodeOutcome, Task, WorkerAsyncSsh, WorkerError
from tests.ssh.conftest import SshServer
from tests.ssh.test_ssh_faults import write_config
from tests.support import eventually

#: Nothing here is about ssh(1).
pytestmark = pytest.mark.parametrize("transport", ["asyncssh"], indirect=True)


def outcomes(task: Task, nodes: str, command: str = "true", **more: Any) -> dict[str, NodeOutcome]:
    worker = task.run(command, nodes=nodes, **more)
    return {outcome.node: outcome for outcome in worker.outcomes()}


def libraries() -> set[str]:
    """Return the names of the libraries that the processes below this one have mapped."""
    found: set[str] = set()
    for child in psutil.Process().children(recursive=True):
        found |= {os.path.basename(mapped.path) for mapped in child.memory_maps()}
    return found


def test_no_ssh_is_executed(ssh_task: Task) -> None:
    """Each command has sshd as its parent, and there is no client of it among this program's processes."""

    class Looking(EventHandler):
        names: set[str] = set()

        def ev_read(self, *args: object) -> None:
            self.names |= {child.name() for child in psutil.Process().children(recursive=True)}

    looking = Looking()
    found = outcomes(ssh_task, "node[1-20]", "echo here; sleep 0.2", handler=looking)
    assert all(outcome.ok for outcome in found.values()) and len(found) == 20
    assert looking.names and "ssh" not in looking.names


def test_a_run_without_connections_loads_nothing_of_them(ssh_task: Task) -> None:
    ssh_task.set_default("distant_workername", "exec")
    assert outcomes(ssh_task, "node1")["node1"].ok
    assert not [name for name in libraries() if "rust" in name]
    ssh_task.set_default("distant_workername", "asyncssh")
    assert outcomes(ssh_task, "node1")["node1"].ok
    assert [name for name in libraries() if "rust" in name]


def test_local_commands_beside_connections(ssh_task: Task) -> None:
    """Engines without connections are leased first; clients that they cannot run wait for others."""
    ssh_task.set_info("fanout", 4)

    class More(EventHandler):
        worker: Any = None

        def ev_hup(self, *args: object) -> None:
            if self.worker is None:
                self.worker = ssh_task.shell("echo there", nodes="node[1-20]")

    more = More()
    ssh_task.set_default("distant_workername", "exec")
    worker = ssh_task.shell("echo %h", nodes="x[1-40]", handler=more)
    ssh_task.set_default("distant_workername", "asyncssh")
    ssh_task.resume()
    assert sum(outcome.ok for outcome in worker.outcomes()) == 40
    assert sum(outcome.ok for outcome in more.worker.outcomes()) == 20


def test_one_warning_has_the_nodes_that_go_to_ssh(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    text = "Host node[12]\n  RevokedHostKeys /dev/null\nHost node3\n  ProxyUseFdpass yes\n".replace(
        "node[12]", "node1 node2"
    )
    ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = outcomes(ssh_task, "node[1-9]")
    assert all(outcome.ok for outcome in found.values()) and len(found) == 9
    [line] = [str(warning.message) for warning in caught]
    assert line == (
        "3 nodes over ssh(1) in place of asyncssh: RevokedHostKeys /dev/null (2), ProxyUseFdpass yes (1)"
    )


def test_without_the_extra_there_is_one_error(
    ssh_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    ssh_task.shell("true", nodes="node[1-3]")
    with pytest.raises(WorkerError, match=r"mpshell\[asyncssh\]"):
        ssh_task.resume()


def test_a_worker_made_by_hand(ssh_task: Task) -> None:
    worker = WorkerAsyncSsh("node3", command="echo alright")
    ssh_task.schedule(worker)
    ssh_task.resume()
    assert (worker.node_buffer("node3"), worker.node_retcode("node3")) == (b"alright", 0)


def test_a_command_in_bytes_that_are_no_text(ssh_task: Task) -> None:
    worker = ssh_task.run(os.fsdecode(b"printf %s '\xff\xe9'"), nodes="node1")
    assert worker.node_buffer("node1") == b"\xff\xe9"


def test_an_empty_command(ssh_task: Task) -> None:
    worker = ssh_task.shell("", nodes="node1")
    worker.write(b"echo read; exit 3\n")
    worker.set_write_eof()
    ssh_task.resume()
    assert (worker.node_buffer("node1"), worker.node_retcode("node1")) == (b"read", 3)


@pytest.mark.parametrize(
    ("name", "number"), [("KILL", 9), ("TERM", 15), ("SEGV", 11), ("USR1", 10), ("HUP", 1)]
)
def test_a_signal_there_is_a_signal(ssh_task: Task, name: str, number: int) -> None:
    outcome = outcomes(ssh_task, "node1", f"kill -{name} $$; sleep 60")["node1"]
    assert (outcome.reason, outcome.signal, outcome.returncode) == ("signal", number, 128 + number)


def test_output_after_the_end_of_input_is_read(ssh_task: Task) -> None:
    """The channel is closed in one direction only (RFC 4254, 5.3)."""
    worker = ssh_task.shell("cat | wc -c; echo end", nodes="node[1-3]")
    worker.write(b"x" * 1000)
    worker.set_write_eof()
    ssh_task.resume()
    assert all(
        (worker.node_buffer(f"node{n}") or b"").split() == [b"1000", b"end"] for n in (1, 2, 3)
    )


def test_much_input_gets_there_whole(ssh_task: Task) -> None:
    data = os.urandom(1 << 20) * 16
    worker = ssh_task.shell("sha256sum", nodes="node[1-2]")
    worker.write(data)
    worker.set_write_eof()
    ssh_task.resume()
    digest = hashlib.sha256(data).hexdigest().encode()
    assert [(worker.node_buffer(f"node{n}") or b"").split()[0] for n in (1, 2)] == [digest] * 2


def test_much_output_comes_whole_with_a_slow_handler(ssh_task: Task) -> None:
    """Reading stops while the coordinator is behind, and goes on."""

    class Slow(EventHandler):
        size = 0
        waited = threading.Event()

        def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
            if not self.size:
                self.waited.wait(1)
            self.size += len(msg) + 1

    slow = Slow()
    found = outcomes(ssh_task, "node[1-4]", "yes 0123456789 | head -c 11000000", handler=slow)
    assert all(outcome.ok for outcome in found.values())
    assert slow.size == 4 * 11_000_000


def test_nothing_is_left_when_a_run_is_over(ssh_task: Task) -> None:
    """Connections are closed with their commands: an engine's descriptors are those of before."""

    def descriptors() -> list[int]:
        children = psutil.Process().children(recursive=True)
        return sorted(child.num_fds() for child in children if child.name() != "sshd")

    outcomes(ssh_task, "node[1-20]")
    before = descriptors()
    for _ in range(3):
        outcomes(ssh_task, "node[1-20]", "exit 3")
        outcomes(ssh_task, "node[1-20]", "sleep 60", timeout=1)
    assert eventually(lambda: descriptors() == before), (descriptors(), before)


def test_the_connections_of_a_killed_engine_are_lost(ssh_task: Task) -> None:
    """Its nodes are lost, once each, and the others go on."""

    class Killing(EventHandler):
        killed = False

        def ev_read(self, *args: object) -> None:
            if not self.killed:
                self.killed = True
                engines = psutil.Process().children(recursive=True)
                newest = max(
                    (child for child in engines if child.ppid() != os.getpid()),
                    key=lambda child: child.pid,
                )
                newest.kill()

    found = outcomes(ssh_task, "node[1-20]", "echo begun; sleep 1", handler=Killing())
    reasons = {outcome.reason for outcome in found.values()}
    assert len(found) == 20 and reasons == {"exit", "lost"}


# -- servers that are none ---------------------------------------------------------------------------


@contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Give the port of a server that treats each connection like that."""
    server = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(20)
            try:
                serve(connection)
            except OSError:
                return  # the client has closed it, which is its right

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=handle, args=(connection,)))
            threads[-1].start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for each in (thread, *threads):
            each.join()


def flood(line: bytes) -> Callable[[socket.socket], object]:
    def serve(connection: socket.socket) -> None:
        for _ in range(2000):
            connection.sendall(line)

    return serve


def after_version(data: bytes) -> Callable[[socket.socket], object]:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-none\r\n" + data)
        while connection.recv(4096):
            pass

    return serve


BAD_SERVERS = {
    "lines without an end": flood(b"x" * 4096),
    "banner lines without a version": flood(b"hello\r\n" * 100),
    "a version of 256 KB": flood(b"SSH-2.0-" + b"x" * 262144),
    "bytes that are no text": flood(b"SSH-2.0-\xff\xfe\r\n"),
    "another protocol": flood(b"SSH-1.5-old\r\n"),
    "a packet of 4 GB": after_version(b"\xff" * 64),
    "a packet of nothing": after_version(b"\x00" * 64),
    "garbage": after_version(bytes(range(256)) * 64),
    "a disconnect": after_version(
        b"\x00\x00\x00\x1c\x0a\x01\x00\x00\x00\x02\x00\x00\x00\x05hello\x00\x00\x00\x00"
        + b"\x00" * 10
    ),
}


@pytest.mark.parametrize("name", BAD_SERVERS)
def test_a_bad_server_ends_one_node(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, name: str
) -> None:
    with listening(BAD_SERVERS[name]) as port:
        text = f"Host bad\n  HostName 127.0.0.1\n  Port {port}\n"
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        ssh_task.set_info("engines", 1)
        ssh_task.set_info("connect_timeout", 8)
        found = outcomes(ssh_task, "bad,node[1-4]")
    assert found["bad"].reason == "unreachable"
    assert all(found[f"node{n}"].ok for n in range(1, 5))
    assert len({outcome.engine for outcome in found.values()}) == 1


def random_server() -> Callable[[socket.socket], object]:
    """Send a version and then anything, or anything at once: something else to each connection."""
    seeds = itertools.count()

    def serve(connection: socket.socket) -> None:
        chance = random.Random(next(seeds))
        if chance.random() < 0.8:
            connection.sendall(b"SSH-2.0-" + chance.randbytes(8).hex().encode() + b"\r\n")
        for _ in range(chance.randrange(1, 6)):
            body = chance.randbytes(chance.randrange(300))
            if chance.random() < 0.7:
                # With the size of a packet and of its padding (RFC 4253, 6), and the number of a message.
                body = bytes((4, chance.choice((20, 20, 21, 30, 31, chance.randrange(256))))) + body
                body = len(body).to_bytes(4, "big") + body
            connection.sendall(body)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    return serve


def test_random_bytes_end_their_node(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    """Each connection that ends before the key exchange is made again: some dozens of them in all."""
    with listening(random_server()) as port:
        text = f"Host bad*\n  HostName 127.0.0.1\n  Port {port}\n"
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        ssh_task.set_info("engines", 1)
        ssh_task.set_info("connect_timeout", 8)
        found = outcomes(ssh_task, "bad[1-16],node[1-4]")
    assert {found[f"bad{n}"].reason for n in range(1, 17)} == {"unreachable"}
    assert all(found[f"node{n}"].ok for n in range(1, 5))
    assert len({outcome.engine for outcome in found.values()}) == 1


# -- commands there ----------------------------------------------------------------------------------


def sleepers(seconds: int) -> list[int]:
    """Return the processes that sleep that long; the nodes are this machine."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or []) == ["sleep", str(seconds)]:
            found.append(process.pid)
    return found


@pytest.mark.parametrize("how", ["timeout", "abort"])
@pytest.mark.parametrize(
    "command", ["sleep {}", "sleep {} & wait", "trap '' TERM; sleep {}; sleep {}"]
)
def test_a_command_ends_there_with_its_client(ssh_task: Task, how: str, command: str) -> None:
    """ssh(1) leaves it running. A signal request is refused by sshd for root (session.c)."""
    seconds = 100_000 + os.getpid() % 100_000
    command = command.replace("{}", str(seconds))
    if how == "timeout":
        worker = ssh_task.run(command, nodes="node[1-3]", timeout=4)
        assert {outcome.reason for outcome in worker.outcomes()} == {"timeout"}
    else:

        class Aborting(EventHandler):
            def ev_timer(self, timer: Any) -> None:
                worker.abort()

        worker = ssh_task.shell(command, nodes="node[1-3]")
        ssh_task.timer(4, handler=Aborting())
        ssh_task.resume()
        assert {outcome.reason for outcome in worker.outcomes()} == {"cancelled"}
    assert eventually(lambda: not sleepers(seconds)), sleepers(seconds)


def test_a_timeout_of_one_command_hits_no_other(ssh_task: Task) -> None:
    worker = ssh_task.shell("sleep 6; echo whole", nodes="node1")
    other = ssh_task.shell("sleep 60", nodes="node1", timeout=2)
    ssh_task.resume()
    assert (worker.node_buffer("node1"), worker.node_retcode("node1")) == (b"whole", 0)
    assert [outcome.reason for outcome in other.outcomes()] == ["timeout"]
