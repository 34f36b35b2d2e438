"""Relay copies among nodes of a real sshd, over both transports; nothing is left of interrupted ones."""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpshell import Task
from tests.relays import kill_node
from tests.ssh.relayhomes import NODES, Homes, Sources
from tests.support import eventually, paths_below
from tests.trees import contents


@pytest.mark.parametrize("way", ["ssh", "sshd"])
def test_each_node_passes_it_on(way: str, relay_task: Task, homes: Homes, large: Path) -> None:
    handler = Sources()
    worker = relay_task.copy(large, "~/target", NODES, handler=handler, relay=way, preserve=True)
    relay_task.resume()
    assert [outcome for outcome in worker.outcomes() if not outcome.ok] == []
    for home in homes.of.values():
        found = (home / "target").stat()
        assert (home / "target").read_bytes() == large.read_bytes()
        assert (found.st_mtime, found.st_mode & 0o777) == (1_100_000_000, 0o640)
    assert {node for node, _ in handler.seen} == set(homes.of)
    assert [node for node, source in handler.seen if source is None] == [handler.seen[0][0]]
    homes.check_clean()


class EndOfTheFirst(Sources):
    """The end of the node that the head sends to, when it has some of the file."""

    def __init__(self, homes: Homes) -> None:
        super().__init__()
        self._homes = homes
        self.ended: str | None = None

    def ev_timer(self, timer: Any) -> None:
        first = next((node for node, source in self.seen if source is None), None)
        if first is None:
            return
        home = self._homes.of[first]
        if any(path.stat().st_size > 1_000_000 for path in home.glob(".mpshell-*/part")):
            timer.invalidate()
            self.ended = first
            kill_node(home)


@pytest.mark.parametrize("transport", ["asyncssh"], indirect=True)
def test_the_head_sends_over_connections_of_its_engines_too(
    relay_task: Task, homes: Homes, tmp_path: Path
) -> None:
    """No ssh(1) runs here; and a node gets the rest of the file alone when another one was killed."""
    source = tmp_path / "larger"
    source.write_bytes(os.urandom(1 << 20) * 60)
    relay_task.set_info("ssh_path", "false")
    handler = EndOfTheFirst(homes)
    worker = relay_task.copy(source, "~/target", "node[1-3]", handler=handler, relay=True)
    relay_task.timer(0.02, handler, interval=0.02, autoclose=True)
    relay_task.resume()
    found = {outcome.node: outcome.ok for outcome in worker.outcomes()}
    assert handler.ended is not None and found.pop(handler.ended) is False
    assert found and all(found.values())
    for node in found:
        assert (homes.of[node] / "target").read_bytes() == source.read_bytes()
    # Once more from the head, and never from the begin: a sum that differs would have it sent again.
    assert [source for _, source in handler.seen].count(None) == 2
    # Nobody was left to clear away there.
    shutil.rmtree(homes.of[handler.ended])
    homes.check_clean()


@pytest.mark.parametrize("grace", [1.0, 0.01])
def test_an_abort_leaves_nothing(grace: float, relay_task: Task, homes: Homes, large: Path) -> None:
    """A node that is being cleared is not killed after the grace of commands."""
    relay_task.set_info("grace", grace)
    worker = relay_task.copy(
        large, "~/target", NODES, handler=Sources(lambda worker: worker.abort()), relay=True
    )
    relay_task.resume()
    assert {outcome.node for outcome in worker.outcomes()} == set(homes.of)
    homes.check_clean()


PROGRAM = """
import json, sys
from mpshell import EventHandler, task_self

class PrintNodes(EventHandler):
    def ev_relay(self, worker, node, source, offset):
        print(node, flush=True)

info, transport, source, nodes, way = json.loads(sys.argv[1])
task = task_self()
task.set_default("distant_workername", transport)
for key, value in info.items():
    task.set_info(key, value)
task.copy(source, "~/target", nodes, handler=PrintNodes(), relay=way)
task.resume()
"""


@pytest.mark.parametrize("way", ["ssh", "sshd"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_program_leaves_nothing(
    number: int, way: str, relay_task: Task, transport: str, homes: Homes, tmp_path: Path
) -> None:
    source = tmp_path / "large"
    with source.open("wb") as file:
        file.truncate(400_000_000)
    with started(relay_task, transport, source, way) as program:
        assert program.stdout is not None
        for _ in range(6):
            assert program.stdout.readline()
        assert eventually(lambda: paths_below(homes.directory, ".mpshell-*/part"))
        assert homes.left()
        program.send_signal(number)
        program.wait(30)
    homes.check_clean()


def started(task: Task, transport: str, source: Path, way: str = "ssh") -> subprocess.Popen[bytes]:
    """Start a program that copies with the settings of a task, and tells the nodes that are to fetch."""
    keys = ("ssh_options", "ssh_path", "relay_options", "relay_least", "connect_timeout")
    info = {key: task.info(key) for key in keys}
    given = json.dumps([info, transport, str(source), NODES, way])
    words = [sys.executable, "-c", PROGRAM, given]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("way", ["ssh", "sshd"])
def test_a_tree_gets_to_each_node(way: str, relay_task: Task, homes: Homes, tree: Path) -> None:
    """To a new name, into a directory, into a tree of that name; one has a file in the way, one a link."""
    (homes.of["node2"] / "target").mkdir()
    (homes.of["node3"] / "target" / "tree" / "own").mkdir(parents=True)
    (homes.of["node4"] / "target").write_text("in the way")
    (homes.of["node5"] / "target").mkdir()
    (homes.of["node5"] / "target" / "tree").symlink_to(homes.directory)
    handler = Sources()
    worker = relay_task.copy(tree, "~/target", NODES, handler=handler, relay=way, preserve=True)
    relay_task.resume()
    found = {outcome.node: outcome for outcome in worker.outcomes()}
    expected = contents(tree)
    for node in ("node1", "node6"):
        assert found[node].ok, found[node]
        assert contents(homes.of[node] / "target") == expected
    assert found["node2"].ok and contents(homes.of["node2"] / "target" / "tree") == expected
    assert found["node3"].ok
    merged = contents(homes.of["node3"] / "target" / "tree", modes=False)
    assert merged == {**contents(tree, modes=False), "own": ("directory",)}
    for node, reason in (("node4", "is there and no directory"), ("node5", "is a symbolic link")):
        assert (found[node].returncode, found[node].reason) == (1, "exit")
        detail = str(found[node].detail)
        assert detail.startswith("relay: ") and reason in detail
    assert (homes.of["node4"] / "target").read_text() == "in the way"
    # It is sent once, and kept for others by those that have unpacked it.
    assert [where for _, where in handler.seen].count(None) == 1
    homes.check_clean()


@pytest.mark.parametrize("links", [False, True])
def test_a_small_tree_goes_flat_unless_its_links_would_be_followed(
    links: bool, relay_task: Task, homes: Homes, tmp_path: Path
) -> None:
    relay_task.set_info("relay_least", 4_000_000)
    source = tmp_path / "tree"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "file").write_text("file")
    if links:
        (source / "link").symlink_to("deep")
    handler = Sources()
    worker = relay_task.copy(source, "~/target", NODES, handler=handler, relay=True)
    relay_task.resume()
    assert [outcome for outcome in worker.outcomes() if not outcome.ok] == []
    assert bool(handler.seen) == links
    for home in homes.of.values():
        assert contents(home / "target") == contents(source)
    homes.check_clean()


def test_a_node_of_a_tree_is_killed(relay_task: Task, homes: Homes, tree: Path) -> None:
    """Its shell is, while it receives or unpacks: it has nothing or all, the others have all."""

    def kill(worker: Any) -> None:
        found = {}
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).parent == homes.of["node2"]:
                    found[process.pid] = process.ppid()
            except (psutil.Error, OSError):
                continue
        for pid, parent in found.items():
            if parent not in found:
                os.kill(pid, signal.SIGKILL)

    (tree / "more").write_bytes(os.urandom(20_000_000))
    worker = relay_task.copy(tree, "~/target", NODES, handler=Sources(kill), relay=True)
    relay_task.resume()
    expected = contents(tree, modes=False)
    for outcome in worker.outcomes():
        target = homes.of[outcome.node] / "target"
        assert outcome.ok or outcome.node == "node2"
        if outcome.ok or target.exists():
            assert contents(target, modes=False) == expected
    homes.check_clean()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_program_leaves_no_half_of_a_tree(
    number: int, relay_task: Task, transport: str, homes: Homes, tmp_path: Path
) -> None:
    source = tmp_path / "tree"
    for folder in range(40):
        (source / str(folder)).mkdir(parents=True)
        for name in range(100):
            (source / str(folder) / str(name)).touch()
    with started(relay_task, transport, source) as program:
        # A look at all files takes longer than the tree takes to get to its place.
        assert eventually(lambda: glob.glob(f"{homes.directory}/*/.mpshell-*/tree/*"))
        program.send_signal(number)
        program.wait(30)
    homes.check_clean()
    for home in homes.of.values():
        if (home / "target").exists():
            assert len(contents(home / "target")) == 1 + 40 * 101
