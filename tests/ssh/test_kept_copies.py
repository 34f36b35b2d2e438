"""Copies over connections that stay (`ssh_keep`): they use them, leave them, and lose nothing with them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mpshell import Task, task_cleanup
from tests.copies import has_no_leftovers
from tests.ssh.conftest import SshServer
from tests.ssh.keeping import alive, connections, servers, sockets
from tests.ssh.test_asyncssh_copies import outcome_of
from tests.ssh.test_asyncssh_cuts import proxy
from tests.ssh.test_copies import BOTH, codes
from tests.ssh.test_kept_faults import Trap
from tests.ssh.test_ssh_faults import write_config
from tests.ssh.test_ssh_verdicts import another_sshd
from tests.support import eventually

pytestmark = [
    pytest.mark.needs("ssh", "sshd"),
    pytest.mark.parametrize("transport", ["asyncssh"], indirect=True),
]

EACH_WAY = pytest.mark.parametrize("reverse", [False, True], ids=["to", "from"])


@pytest.fixture
def task(ssh_task: Task) -> Task:
    ssh_task.set_info("ssh_keep", 600)
    return ssh_task


def copied(
    task: Task, source: Path, nodes: str, reverse: bool, atomic: bool, **more: Any
) -> tuple[Any, list[Path]]:
    """Copy a file to nodes, which share it, or from each; return the worker and the files that it makes."""
    place = source.parent / "place"
    place.mkdir(exist_ok=True)
    call = task.rcopy if reverse else task.copy
    worker = call(source, place, nodes, atomic=atomic, **more)
    task.resume()
    names = [f"{source.name}.{node}" for node in worker.nodes] if reverse else [source.name]
    return worker, [place / name for name in names]


@BOTH
@EACH_WAY
def test_copies_and_commands_go_over_the_same_connections(
    task: Task, source: Path, reverse: bool, atomic: bool
) -> None:
    """Whichever is the first; no other connection is made, since it would stay too."""
    first: dict[str, str] = {}
    for _ in range(3):
        worker, files = copied(task, source, "node[1-6]", reverse, atomic)
        assert set(codes(worker).values()) == {0}
        assert [file.read_bytes() == source.read_bytes() for file in files] == [True] * len(files)
        assert sockets() == 6
        found = connections(task, "node[1-6]")
        assert sockets() == 6
        first = first or found
        assert found == first
        assert has_no_leftovers(source.parent / "place")


@BOTH
@EACH_WAY
def test_one_that_its_server_has_closed_is_replaced(
    task: Task, source: Path, reverse: bool, atomic: bool
) -> None:
    """At any moment before the copy: noticed by the engine or not."""
    for _ in range(4):
        for server in servers(connections(task, "node[1-3]")):
            os.kill(server, signal.SIGKILL)
        worker, files = copied(task, source, "node[1-3]", reverse, atomic)
        assert [(o.reason, o.returncode, o.attempt) for o in worker.outcomes()] == [
            ("exit", 0, 1)
        ] * 3
        assert [file.read_bytes() == source.read_bytes() for file in files] == [True] * len(files)


@BOTH
@EACH_WAY
@pytest.mark.parametrize("pieces", [0, 1, 2, 4, 8])
def test_a_cut_in_its_middle_is_no_success(
    task: Task, ssh_server: SshServer, tmp_path: Path, reverse: bool, atomic: bool, pieces: int
) -> None:
    """Before its channel is open it goes over another connection; what has begun is not begun again."""
    (tmp_path / "file").write_bytes(os.urandom(3_000_000))
    trap = Trap()
    with proxy(ssh_server, [trap]) as text:
        task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        # What is connected anew is cut too, as long as the trap is set.
        task.set_info("connect_timeout", 2)
        connections(task, "bad1")
        trap.left = pieces
        worker, [file] = copied(task, tmp_path / "file", "bad1", reverse, atomic, timeout=60)
        found = outcome_of(worker, "bad1")
        assert found.attempt == 1
        assert found.reason in ("lost", "unreachable", "exit")
        whole = file.exists() and file.read_bytes() == (tmp_path / "file").read_bytes()
        assert whole or not found.ok
        if atomic:
            assert whole or not file.exists()
        trap.left = None
        assert eventually(lambda: has_no_leftovers(tmp_path / "place"))
        worker, [file] = copied(task, tmp_path / "file", "bad1", reverse, atomic)
        assert outcome_of(worker, "bad1").ok
        assert file.read_bytes() == (tmp_path / "file").read_bytes()
        task_cleanup()


@EACH_WAY
def test_one_whose_copy_has_failed_or_was_ended_is_closed(
    task: Task, tmp_path: Path, reverse: bool
) -> None:
    first = connections(task, "node[1-2]")
    worker, _ = copied(task, tmp_path / "missing", "node1", reverse, atomic=False)
    assert not outcome_of(worker).ok
    (tmp_path / "endless").write_bytes(b"")
    os.truncate(tmp_path / "endless", 1 << 40)
    call = task.rcopy if reverse else task.copy
    target = tmp_path if reverse else "/dev/null"
    worker = call(tmp_path / "endless", target, "node2", timeout=0.5)
    task.resume()
    assert outcome_of(worker, "node2").reason == "timeout"
    assert eventually(lambda: not alive(servers(first)[1:]))
    second = connections(task, "node[1-2]")
    assert second["node2"] != first["node2"]


@BOTH
def test_with_one_session_a_connection(
    task: Task, ssh_server: SshServer, source: Path, atomic: bool
) -> None:
    """The session of a copy has not always ended when the next one is asked for: then it has one of its own."""
    tmp_path = source.parent
    with another_sshd(
        ssh_server, tmp_path, "MaxSessions 1\nSubsystem sftp internal-sftp\n"
    ) as port:
        text = f"Host other*\n  HostName 127.0.0.1\n  Port {port}\n"
        task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        for _ in range(5):
            worker, [file] = copied(task, source, "other1", False, atomic)
            assert outcome_of(worker, "other1").ok
            assert file.read_bytes() == source.read_bytes()
            connections(task, "other1")
        task_cleanup()
