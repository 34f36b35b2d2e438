"""Relay copies as a Task makes them: the real scripts, with nodes that are directories of this machine."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpshell import EventHandler, RetryPolicy, Task
from mpshell.errors import WorkerError
from tests.faults.conftest import engines
from tests.relaynodes import Nodes
from tests.support import eventually
from tests.trees import check_all_or_nothing, make_tree

SIZE = 6_000_000


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    for process in made.processes():
        process.kill()


@pytest.fixture
def relaying(nodes: Nodes, solo_task: Task) -> Task:
    solo_task.set_info("ssh_path", str(nodes.program))
    solo_task.set_info("relay_least", 0)
    # The scripts of nodes are processes of the engines here: on a busy machine they get the time to clear up.
    solo_task.set_info("grace", 30)
    return solo_task


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(os.urandom(1 << 16) * (SIZE >> 16))
    path.chmod(0o640)
    os.utime(path, (1_000_000_000, 1_100_000_000))
    return path


class Sources(EventHandler):
    def __init__(self) -> None:
        self.sources: list[tuple[Any, ...]] = []
        self.ended: dict[str, Any] = {}

    def ev_relay(self, worker: Any, node: str, source: str | None, offset: int) -> None:
        self.sources.append((node, source, offset))

    def ev_hup(self, worker: Any, node: str, rc: int | None) -> None:
        assert node not in self.ended
        self.ended[node] = rc


def outcomes(worker: Any) -> dict[str, Any]:
    return {outcome.node: outcome for outcome in worker.outcomes()}


def test_each_node_passes_the_file_on(relaying: Task, nodes: Nodes, source: Path) -> None:
    names = nodes.make(6)
    handler = Sources()
    worker = relaying.copy(source, "~/image", names, handler=handler, relay=True, preserve=True)
    relaying.resume()
    assert handler.ended == dict.fromkeys(names, 0)
    for name in names:
        copied = nodes.homes / name / "image"
        assert copied.read_bytes() == source.read_bytes()
        assert (
            stat.S_IMODE(copied.stat().st_mode) == 0o640 and copied.stat().st_mtime == 1_100_000_000
        )
    from_head = [node for node, where, offset in handler.sources if where is None]
    assert len(from_head) == 1 and {node for node, _, _ in handler.sources} == set(names)
    assert all(outcome.ok for outcome in worker.outcomes())
    assert worker.relay_source(from_head[0]) is None
    nodes.check_clean()


def test_the_login_of_nodes_that_is_refused_is_named_once(
    relaying: Task, nodes: Nodes, source: Path
) -> None:
    names = nodes.make(5)
    nodes.refused.mkdir()
    for name in names:
        (nodes.refused / name).touch()
    nodes.begin_together()
    worker = relaying.copy(source, "~/image", names, relay=True)
    relaying.resume()
    failed = [outcome for outcome in worker.outcomes() if not outcome.ok]
    # All but the first, to which the head sends; here that may have come to its end, with one after it.
    assert len(failed) >= 3
    for outcome in failed:
        assert (outcome.reason, outcome.returncode) == ("exit", 1)
        assert outcome.detail is not None and "use --relay=sshd" in outcome.detail
        assert "Permission denied" in outcome.detail
    nodes.check_clean()


def test_one_node_that_lets_no_other_in_is_no_source(
    relaying: Task, nodes: Nodes, source: Path
) -> None:
    names = nodes.make(5)
    nodes.refused.mkdir()
    (nodes.refused / "n2").touch()
    handler = Sources()
    worker = relaying.copy(source, "~/image", names, handler=handler, relay=True)
    relaying.resume()
    assert [outcome.node for outcome in worker.outcomes() if not outcome.ok] == []
    assert all(worker.relay_source(name) != "n2" for name in names)
    nodes.check_clean()


def test_a_file_system_that_nodes_share_is_named(
    relaying: Task, nodes: Nodes, source: Path
) -> None:
    names = nodes.make(3)
    for name in names[1:]:
        (nodes.homes / name).rmdir()
        (nodes.homes / name).symlink_to(nodes.homes / "n1")
    worker = relaying.copy(source, "~/image", names, relay=True)
    relaying.resume()
    details = {outcome.detail for outcome in worker.outcomes() if not outcome.ok}
    assert len(details) == 1, details
    assert "the target is on a file system that the nodes share" in str(details)
    nodes.check_clean()


def test_a_node_that_cannot_be_reached_keeps_its_own_verdict(
    relaying: Task, nodes: Nodes, source: Path
) -> None:
    names = nodes.make(4)
    (nodes.homes / "n2").rmdir()
    worker = relaying.copy(source, "~/image", names, relay=True)
    relaying.resume()
    found = outcomes(worker)
    assert [name for name in names if not found[name].ok] == ["n2"]
    assert found["n2"].returncode == 255
    nodes.check_clean()


def test_a_fault_of_the_node_itself_is_its_reason(
    relaying: Task, nodes: Nodes, source: Path
) -> None:
    names = nodes.make(4)
    (nodes.homes / "n3" / "image").mkdir()
    (nodes.homes / "n3" / "image" / "image").mkdir()
    worker = relaying.copy(source, "~/image", names, relay=True)
    relaying.resume()
    found = outcomes(worker)
    assert [name for name in names if not found[name].ok] == ["n3"]
    assert found["n3"].returncode == 1 and found["n3"].detail.startswith("relay: ")
    nodes.check_clean()


def test_too_little_space_is_reported_before_a_byte_is_sent(
    relaying: Task, nodes: Nodes, source: Path, small_disk: Path
) -> None:
    names = nodes.make(1)
    handler = Sources()
    worker = relaying.copy(source, small_disk / "image", names, handler=handler, relay=True)
    relaying.resume()
    size = source.stat().st_size
    assert outcomes(worker)["n1"].detail == f"relay: no space left for {size} bytes"
    assert not handler.sources
    nodes.check_clean()


def test_no_relayed_copy_is_tried_again(relaying: Task, nodes: Nodes, source: Path) -> None:
    names = nodes.make(3)
    (nodes.homes / "n2" / "image" / "image").mkdir(parents=True)
    relaying.set_info("retry", RetryPolicy(3, frozenset(("exit", "lost"))))
    relaying.set_info("retry_lost", True)
    worker = relaying.copy(source, "~/image", names, relay=True)
    relaying.resume()
    assert outcomes(worker)["n2"].attempt == 1 and not outcomes(worker)["n2"].ok
    nodes.check_clean()


def test_a_source_that_changes_meanwhile_reaches_no_node(
    relaying: Task, nodes: Nodes, source: Path
) -> None:
    names = nodes.make(3)

    class Change(Sources):
        def ev_relay(self, worker: Any, node: str, where: str | None, offset: int) -> None:
            if not self.sources:
                with source.open("r+b") as file:
                    file.write(b"another begin")
            super().ev_relay(worker, node, where, offset)

    worker = relaying.copy(source, "~/image", names, handler=Change(), relay=True)
    relaying.resume()
    for outcome in worker.outcomes():
        assert outcome.detail == f"relay: {str(source)!r} was changed while it was copied"
    assert not [name for name in names if (nodes.homes / name / "image").exists()]
    nodes.check_clean()


def test_an_abort_leaves_nothing(relaying: Task, nodes: Nodes, source: Path) -> None:
    names = nodes.make(4)

    class Abort(Sources):
        def ev_relay(self, worker: Any, node: str, where: str | None, offset: int) -> None:
            super().ev_relay(worker, node, where, offset)
            if len(self.sources) == 3:
                worker.abort()

    worker = relaying.copy(source, "~/image", names, handler=Abort(), relay=True)
    relaying.resume()
    assert set(outcomes(worker)) == set(names)
    # All of it has been signalled at once, the clock that clears away after a killed script too.
    nodes.check_clean(killed=True)


def test_nodes_that_have_begun_go_on_after_a_withdrawal(
    relaying: Task, nodes: Nodes, source: Path
) -> None:
    names = nodes.make(4)

    class Withdraw(Sources):
        def ev_relay(self, worker: Any, node: str, where: str | None, offset: int) -> None:
            super().ev_relay(worker, node, where, offset)
            if {node for node, _, _ in self.sources} == set(names):
                worker.withdraw()

    worker = relaying.copy(source, "~/image", names, handler=Withdraw(), relay=True)
    relaying.resume()
    assert [outcome.node for outcome in worker.outcomes() if not outcome.ok] == []
    nodes.check_clean()


def test_a_node_that_does_not_end_when_it_is_given_up(
    relaying: Task, nodes: Nodes, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpshell.coordinator.relay._PATIENCE", 0.5)
    monkeypatch.setattr("mpshell.worker.relay.CLEARING", 0.2)
    relaying.set_info("grace", 0.2)
    names = nodes.make(2)
    reach = nodes.program.read_text()
    stuck = 'case $host in n2) trap "" TERM; echo "mpshell fail of no use"; while :; do sleep 1; done ;; esac\n'
    nodes.program.write_text(reach.replace("host=$1; shift\n", f"host=$1; shift\n{stuck}"))
    worker = relaying.copy(source, "~/image", names, relay=True)
    relaying.resume()
    found = outcomes(worker)
    assert found["n1"].ok
    assert (found["n2"].reason, found["n2"].detail) == ("exit", "relay: of no use")
    nodes.check_clean(killed=True)


def test_a_timeout_is_each_node_s_own(relaying: Task, nodes: Nodes, tmp_path: Path) -> None:
    names = nodes.make(3)
    source = tmp_path / "pipe-slow"
    source.write_bytes(bytes(SIZE))
    # A head that never has its sum: its checksum program hangs.
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sha256sum").write_text(
        '#!/bin/sh\n[ -n "$ON_NODE" ] && exec /usr/bin/sha256sum; exec sleep 600\n'
    )
    (slow / "sha256sum").chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{slow}:{before}"
    try:
        worker = relaying.copy(source, "~/image", names, relay=True, timeout=2)
        relaying.resume()
    finally:
        os.environ["PATH"] = before
    assert worker.did_timeout()
    assert {outcome.reason for outcome in worker.outcomes()} == {"timeout"}
    nodes.check_clean(killed=True)


@pytest.mark.parametrize("kind", ["file", "tree"])
def test_a_killed_engine_loses_nodes_and_leaves_nothing(
    kind: str, relaying: Task, nodes: Nodes, source: Path, tmp_path: Path
) -> None:
    if kind == "tree":
        tree = make_tree(tmp_path / "tree")
        source = source.rename(tree / "image").parent
    names = nodes.make(4)
    nodes.begin_together()
    relaying.set_info("engines", 2)

    class Kill(Sources):
        def ev_relay(self, worker: Any, node: str, where: str | None, offset: int) -> None:
            super().ev_relay(worker, node, where, offset)
            if len(self.sources) == 4:
                os.kill(engines()[0].pid, signal.SIGKILL)

    worker = relaying.copy(source, "~/image", names, handler=Kill(), relay=True)
    relaying.resume()
    found = outcomes(worker)
    assert set(found) == set(names)
    assert "lost" in {outcome.reason for outcome in found.values()}
    for name in names:
        check_all_or_nothing(nodes.homes / name / "image", source, arrived=found[name].ok)
    nodes.check_clean(killed=True)


PROGRAM = """
import sys
from mpshell import EventHandler, task_self

class PrintNodes(EventHandler):
    def ev_relay(self, worker, node, source, offset):
        print(node, flush=True)

task = task_self()
task.set_info("ssh_path", sys.argv[1])
task.set_info("relay_least", 0)
task.copy(sys.argv[2], "~/image", sys.argv[3], handler=PrintNodes(), relay=True)
task.resume()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_end_of_the_program_leaves_nothing(number: int, nodes: Nodes, tmp_path: Path) -> None:
    source = tmp_path / "large"
    with source.open("wb") as file:
        file.truncate(300_000_000)
    nodes.make(4)
    words = [sys.executable, "-c", PROGRAM, str(nodes.program), str(source), "n[1-4]"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        assert program.stdout is not None
        for _ in range(4):
            assert program.stdout.readline()
        assert eventually(lambda: any(path.name == "part" for path in nodes.left()))
        program.send_signal(number)
        program.wait(30)
    nodes.check_clean(killed=True)


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("relay", ["rsync", 1, "SSH", b"ssh"])
def test_a_way_that_is_none(relay: Any, relaying: Task, nodes: Nodes, source: Path) -> None:
    with pytest.raises(ValueError, match="relay is True, 'ssh' or 'sshd', not"):
        relaying.copy(source, "~/image", nodes.make(1), relay=relay)


@pytest.mark.parametrize("transport", ["exec", "rsh", "pdsh"])
def test_transports_without_ssh(transport: str, relaying: Task, source: Path) -> None:
    relaying.set_default("distant_workername", transport)
    with pytest.raises(ValueError, match="relay=True needs nodes with ssh"):
        relaying.copy(source, "~/image", "n1", relay=True)


def test_sources_that_cannot_be_relayed(relaying: Task, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, text in (
        ("fifo", "not a regular file"),
        (".", "'fifo' is a named pipe"),
        ("none", "No such file"),
    ):
        with pytest.raises(ValueError, match=text):
            relaying.copy(tmp_path / name, "/tmp/x", "n1", relay=True)
    with pytest.raises(ValueError, match="relay is for copies to nodes"):
        relaying.copy("x", tmp_path, "n1", relay=True, reverse=True)


@pytest.mark.parametrize("key", ["canary", "batch", "max_fail"])
def test_waves_do_not_go_with_a_relay(key: str, relaying: Task, nodes: Nodes, source: Path) -> None:
    relaying.set_info(key, 1)
    relaying.copy(source, "~/image", nodes.make(2), relay=True)
    with pytest.raises(WorkerError, match=f"{key} does not go with a relay copy"):
        relaying.resume()


def test_a_small_file_is_sent_to_each_node(relaying: Task, nodes: Nodes, source: Path) -> None:
    relaying.set_info("relay_least", SIZE + 1_000_000)
    handler = Sources()
    worker = relaying.copy(source, "~/image", nodes.make(2), handler=handler, relay=True)
    relaying.resume()
    assert not handler.sources and all(outcome.ok for outcome in worker.outcomes())
