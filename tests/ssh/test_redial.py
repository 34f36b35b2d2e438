"""Servers that drop connections before the login: connected to again, over both transports, as one attempt.

sshd drops some while too many are not logged in (sshd_config(5), MaxStartups). Nothing has run then.
"""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpshell import EventHandler, NodeOutcome, Task
from tests.ssh.conftest import SshServer
from tests.ssh.servers import another_sshd
from tests.ssh.test_ssh_faults import full_sshd, write_config

#: The defaults are 10:30:100: three are reached sooner.
MAX_STARTUPS = "MaxStartups 3:30:10\n"


def outcomes(task: Task, nodes: str, command: str = "true", **more: Any) -> dict[str, NodeOutcome]:
    worker = task.run(command, nodes=nodes, **more)
    return {outcome.node: outcome for outcome in worker.outcomes()}


def point_at(task: Task, server: SshServer, path: Path, port: int, more: str = "") -> None:
    """Have all nodes that begin with "many" be that server."""
    text = f"Host many*\n  HostName 127.0.0.1\n  Port {port}\n{more}"
    task.set_info("ssh_options", write_config(path, server, text))
    task.set_info("fanout", 64)


@pytest.fixture
def dropping(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> Iterator[Task]:
    """Give a Task; all of its nodes are one server that drops connections."""
    text = f"{MAX_STARTUPS}Subsystem sftp internal-sftp\n"
    with another_sshd(ssh_server, tmp_path, text) as port:
        point_at(ssh_task, ssh_server, tmp_path, port)
        yield ssh_task


@pytest.mark.timeout(600)
def test_five_hundred_nodes_that_are_one_server(dropping: Task) -> None:
    found = outcomes(dropping, "many[1-500]", "exit 3")
    reasons = Counter((each.reason, each.returncode, each.attempt) for each in found.values())
    assert reasons == {("exit", 3, 1): 500}


def test_input_gets_there_whole_and_is_reported_once(dropping: Task) -> None:
    """Input that a dropped program had taken is given to the next one."""

    class Counting(EventHandler):
        written: Counter[str] = Counter()

        def ev_written(self, worker: Any, node: str, sname: str, size: int) -> None:
            self.written[node] += size

    counting = Counting()
    data = os.urandom(150_000)
    worker = dropping.shell("sha256sum", nodes="many[1-50]", handler=counting)
    worker.write(data)
    worker.set_write_eof()
    dropping.resume()
    digest = hashlib.sha256(data).hexdigest().encode()
    assert {(worker.node_buffer(f"many{n}") or b"").split()[0] for n in range(1, 51)} == {digest}
    assert dict(counting.written) == {f"many{n}": len(data) for n in range(1, 51)}


def test_dropped_connections_leave_no_messages(dropping: Task) -> None:
    worker = dropping.run("echo out; echo err >&2", nodes="many[1-50]", stderr=True)
    texts = {(worker.node_buffer(node), worker.node_error(node)) for node in worker.nodes}
    assert texts == {(b"out", b"err")}


@pytest.mark.parametrize("atomic", [False, True])
def test_copies(dropping: Task, tmp_path: Path, atomic: bool) -> None:
    (tmp_path / "source").write_bytes(os.urandom(10_000))
    worker = dropping.copy(
        tmp_path / "source", tmp_path / "dest", nodes="many[1-40]", atomic=atomic
    )
    dropping.resume()
    assert all(outcome.ok for outcome in worker.outcomes())
    assert (tmp_path / "dest").read_bytes() == (tmp_path / "source").read_bytes()


@pytest.mark.parametrize("how", ["timeout", "abort"])
def test_an_end_while_it_is_tried_again(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, how: str
) -> None:
    """The command's time goes on; an abort leaves no program behind."""
    with full_sshd(ssh_server, tmp_path) as port:
        point_at(ssh_task, ssh_server, tmp_path, port)
        begun = time.monotonic()
        if how == "timeout":
            found = outcomes(ssh_task, "many[1-9]", timeout=4)
        else:

            class Aborting(EventHandler):
                def ev_timer(self, timer: Any) -> None:
                    worker.abort()

            worker = ssh_task.shell("true", nodes="many[1-9]")
            ssh_task.timer(4, handler=Aborting())
            ssh_task.resume()
            found = {outcome.node: outcome for outcome in worker.outcomes()}
    expected = "timeout" if how == "timeout" else "cancelled"
    assert Counter(outcome.reason for outcome in found.values()) == {expected: 9}
    # The connect timeout of the fixture is 60 s.
    assert time.monotonic() - begun < 30


def test_when_the_time_is_over_one_warning_has_the_nodes(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    with (
        full_sshd(ssh_server, tmp_path) as port,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        point_at(ssh_task, ssh_server, tmp_path, port)
        ssh_task.set_info("connect_timeout", 5)
        found = outcomes(ssh_task, "many[1-9]", stderr=True)
    assert Counter(outcome.reason for outcome in found.values()) == {"unreachable": 9}
    [line] = [str(warning.message) for warning in caught]
    assert line.startswith("9 nodes not reached: ") and "MaxStartups" in line
    # One try's messages, not those of all.
    texts = {
        (ssh_task.node_error(node) or b"").count(b"kex_exchange_identification") for node in found
    }
    assert texts == {1} and all(outcome.detail for outcome in found.values())
