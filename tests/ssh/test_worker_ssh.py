"""WorkerSsh against a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mpshell import (
    EventHandler,
    MsgTreeElem,
    NodeOutcome,
    NodeSet,
    RetryPolicy,
    Task,
    Worker,
    WorkerSsh,
)
from tests.ssh.conftest import SshServer


def folded(items: Iterable[tuple[MsgTreeElem, NodeSet]]) -> dict[bytes, str]:
    return {bytes(text): str(nodes) for text, nodes in items}


def relay(server: socket.socket, address: tuple[str, int]) -> None:
    """Pass one connection on to a server."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    near, _ = server.accept()
    with near, socket.create_connection(address) as far:
        back = threading.Thread(target=pump, args=(far, near))
        back.start()
        pump(near, far)
        back.join()


def test_a_sweep_gathers_output_and_codes(ssh_task: Task) -> None:
    worker = ssh_task.run("echo hello; echo oops >&2; exit 3", nodes="node[1-20]", stderr=True)
    assert folded(worker.iter_buffers()) == {b"hello": "node[1-20]"}
    assert folded(worker.iter_errors()) == {b"oops": "node[1-20]"}
    assert [(code, str(nodes)) for code, nodes in worker.iter_retcodes()] == [(3, "node[1-20]")]


def test_nodes_are_distinct_machines(ssh_task: Task) -> None:
    worker = ssh_task.run("echo $SSH_CONNECTION | cut -d' ' -f3", nodes="node[1-5]")
    assert len({bytes(text) for text, _ in worker.iter_buffers()}) == 5


def test_the_command_is_passed_on_as_it_is(ssh_task: Task) -> None:
    worker = ssh_task.run("echo '%h 100%' \"$((1+1))\" | tr 1 x; date +%%", nodes="node1")
    assert worker.read("node1") == b"%h x00% 2\n%"


def test_a_worker_made_by_hand(ssh_task: Task) -> None:
    worker = WorkerSsh("node3", command="/bin/echo alright")
    ssh_task.schedule(worker)
    ssh_task.resume()
    assert worker.node_buffer("node3") == b"alright"
    assert worker.node_retcode("node3") == 0


def test_stdin_goes_through(ssh_task: Task) -> None:
    worker = ssh_task.shell("cat; echo end", nodes="node[1-4]")
    worker.write(b"a\nb\n")
    worker.set_write_eof()
    ssh_task.resume()
    assert folded(worker.iter_buffers()) == {b"a\nb\nend": "node[1-4]"}


def test_a_refused_connection_is_255_and_the_others_go_on(
    ssh_task: Task, ssh_server: SshServer
) -> None:
    ssh_task.set_info("ssh_options", f"-F {ssh_server.config}")
    worker = ssh_task.run("echo ok", nodes="node[1-3],127.0.0.1")
    assert worker.node_retcode("127.0.0.1") == 255
    assert [worker.node_buffer(f"node{i}") for i in (1, 2, 3)] == [b"ok"] * 3


def test_a_node_that_can_be_reached_later_is_tried_again(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """Nothing listens on its port at first; a node where the command fails with 255 is not tried again."""

    class Repair(EventHandler):
        def ev_retry(self, worker: Worker, outcome: NodeOutcome, delay: float) -> None:
            retried.append((outcome.node, outcome.reason))
            server.listen()
            threads.append(
                threading.Thread(target=relay, args=(server, ssh_server.address("node1")))
            )
            threads[-1].start()

    retried: list[tuple[str, str]] = []
    threads: list[threading.Thread] = []
    config = tmp_path / "config"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        place = f"  HostName 127.0.0.1\n  Port {server.getsockname()[1]}\n"
        config.write_text(f"Host node1\n{place}Match all\n  Include {ssh_server.config}\n")
        ssh_task.set_info("ssh_options", f"-F {config}")
        ssh_task.set_info("retry", RetryPolicy(2, delay=0.1))
        worker = ssh_task.shell("cat; exit 255", nodes="node[1-2]", handler=Repair())
        worker.write(b"all of it")
        worker.set_write_eof()
        ssh_task.resume()
        for thread in threads:
            thread.join()
    found = {o.node: (o.reason, o.returncode, o.attempt) for o in worker.outcomes()}
    assert retried == [("node1", "unreachable")]
    # The server reports that the command has ended, with a status of its own.
    assert found == {"node1": ("exit", 255, 2), "node2": ("exit", 255, 1)}
    assert folded(worker.iter_buffers()) == {b"all of it": "node[1-2]"}


def test_a_wrong_ssh_path_is_255_for_each_node(ssh_task: Task) -> None:
    ssh_task.set_info("ssh_path", "/no/such/ssh -v")
    worker = ssh_task.run("echo ok", nodes="node[1-3]")
    assert [code for _, code in worker.iter_node_retcodes()] == [255] * 3


def test_the_remote_end_of_a_signal(ssh_task: Task, transport: str) -> None:
    """ssh(1) makes a 255 of it (ssh(1), EXIT STATUS); the other transport reports the signal."""
    code = {"ssh": 255, "asyncssh": 137}[transport]
    assert ssh_task.run("kill -9 $$", nodes="node1").node_retcode("node1") == code


def test_a_timeout_ends_ssh_and_keeps_the_output(ssh_task: Task) -> None:
    worker = ssh_task.run("echo begun; sleep 60", nodes="node[1-3]", timeout=10)
    assert sorted(worker.iter_keys_timeout()) == ["node1", "node2", "node3"]
    assert worker.node_buffer("node2") == b"begun"


def test_events_come_for_each_node(ssh_task: Task) -> None:
    class Seen(EventHandler):
        def __init__(self) -> None:
            self.events: list[tuple[object, ...]] = []

        def ev_read(self, worker: object, node: str, sname: str, msg: bytes) -> None:
            self.events.append((node, sname, msg))

        def ev_hup(self, worker: Any, node: str, rc: int | None) -> None:
            self.events.append((node, rc))

        def ev_close(self, worker: object, timedout: bool) -> None:
            self.events.append(("close", timedout))

    seen = Seen()
    ssh_task.run("echo x", nodes="node[1-10]", handler=seen)
    for n in range(1, 11):
        mine = [event for event in seen.events if event[0] == f"node{n}"]
        assert mine == [(f"node{n}", "stdout", b"x"), (f"node{n}", 0)]
    assert seen.events[-1] == ("close", False)
