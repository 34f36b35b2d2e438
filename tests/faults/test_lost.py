"""The fault table: after the loss of an engine come another engine and, on request, another try."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell import EventHandler, ExecWorker, Task
from tests.faults.conftest import engines, hurt, later
from tests.support import commands, eventually
from tests.system.recorder import alive, read_pids, until


@pytest.mark.parametrize("engines", [2, 4], indirect=True)
def test_a_new_engine_takes_the_place_of_a_lost_one(task: Task, tmp_path: Path) -> None:
    """Also while others are left, which could do its work too."""
    count = int(task.info("engines"))
    go = tmp_path / "go"
    replaced: list[bool] = []

    def holders() -> set[int]:
        """Return the living engines that run a command now."""
        texts = [path.read_text() for path in tmp_path.glob("n*")]
        return {int(pid) for pid in texts if pid and alive(int(pid))}

    def replace() -> None:
        try:
            if eventually(lambda: len(holders()) == count):
                victim = min(holders())
                os.kill(victim, signal.SIGKILL)
                died = eventually(lambda: not alive(victim))
                replaced.append(died and eventually(lambda: len(holders()) == count))
        finally:
            go.touch()

    task.set_info("fanout", count)
    command = f"echo $PPID > {tmp_path}/%h; {until(go)}"
    worker = ExecWorker(f"n[1-{2 * count}]", command=command)
    task.schedule(worker)
    thread = later(replace)
    task.resume()
    thread.join()
    assert replaced == [True]
    outcomes = list(worker.outcomes())
    assert sorted(outcome.reason for outcome in outcomes) == ["exit"] * (2 * count - 1) + ["lost"]
    assert len({outcome.engine for outcome in outcomes}) == count + 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_node_is_told_when_its_processes_are_gone(
    number: int, task: Task, tmp_path: Path
) -> None:
    """A look at known ones, at once; `test_processes.py` looks for unknown ones too, which takes a while."""
    reported: dict[str, list[int]] = {}

    class Handler(EventHandler):
        begun = 0

        def ev_read(self, *args: object) -> None:
            self.begun += 1
            if self.begun == 6:
                hurt(engines(), number)

        def ev_hup(self, worker: Any, node: str, rc: int | None) -> None:
            reported[node] = [pid for pid in read_pids(tmp_path / node) if alive(pid)]

    task.set_info("fanout", 6)
    task.set_info("heartbeat", 1.5)
    some = f"for i in 1 2 3 4; do setsid sleep 77 & echo $! >> {tmp_path}/%h; done"
    command = f"echo $$ >> {tmp_path}/%h; {some}; echo begun; sleep 78; exit 1"
    worker = ExecWorker("n[1-6]", handler=Handler(), command=command)
    task.schedule(worker)
    task.resume()
    assert [outcome.reason for outcome in worker.outcomes()] == ["lost"] * 6
    assert {len(read_pids(tmp_path / f"n{i}")) for i in range(1, 7)} == {5}
    assert reported == {f"n{i}": [] for i in range(1, 7)}


# -- retry_lost --------------------------------------------------------------------------------------


class Blow(EventHandler):
    """Kills the engines when all nodes have begun, and acts then, and when all have begun once more."""

    def __init__(
        self,
        nodes: int,
        first: Callable[[ExecWorker], object],
        second: Callable[[ExecWorker], object],
    ) -> None:
        self.begun = 0
        self.hups: list[int | None] = []
        self.closes: list[bool] = []
        self._actions = {nodes: first, 2 * nodes: second}

    def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
        self.begun += msg == b"begun"
        action = self._actions.pop(self.begun, None)
        if action is not None:
            if self._actions:
                hurt(engines())
            action(worker)

    def ev_hup(self, worker: Any, node: str, rc: int | None) -> None:
        self.hups.append(rc)

    def ev_close(self, worker: Any, timedout: bool) -> None:
        self.closes.append(timedout)


def nothing(worker: ExecWorker) -> None:
    """Let it go on."""


NODES = 6


def run_twice(
    task: Task,
    folder: Path,
    second: str,
    handler: Blow,
    first: str = "echo begun",
    before: bytes = b"",
    nodes: int = NODES,
    **options: Any,
) -> ExecWorker:
    """Run a command; its first try reports that it has begun, and waits to be killed."""
    task.set_info("retry_lost", True)
    task.set_info("fanout", NODES)
    command = f"mkdir {folder}/%h 2>&- && {{ {first}; exec sleep 77; }}; {second}"
    worker = ExecWorker(f"n[1-{nodes}]", handler=handler, command=command, **options)
    worker.write(before)
    task.schedule(worker)
    task.resume()
    assert commands() == []
    return worker


def test_the_second_try_gets_all_of_the_stdin(task: Task, tmp_path: Path) -> None:
    """Written before the engine died, before its death was noticed, and after that."""

    def end(worker: ExecWorker) -> None:
        worker.write(b"after\n")
        worker.set_write_eof()

    handler = Blow(NODES, lambda worker: worker.write(b"meanwhile\n"), end)
    worker = run_twice(task, tmp_path, "echo begun; cat", handler, before=b"before\n")
    assert handler.begun == 2 * NODES
    assert [(bytes(text), len(nodes)) for text, nodes in worker.iter_buffers()] == [
        (b"begun\nbefore\nmeanwhile\nafter", NODES)
    ]
    assert (handler.hups, handler.closes) == ([0] * NODES, [False])


@pytest.mark.parametrize("stream", [1, 2])
def test_the_beginning_of_a_long_line_is_dropped(stream: int, task: Task, tmp_path: Path) -> None:
    """Pieces of it that came from the dead attempt do not begin the first line of the second."""
    begun = f"echo begun >&{3 - stream}"
    # By the time that it has written the last of this most of it has come here.
    first = f"head -c 3000000 /dev/zero | tr '\\0' x >&{stream}; {begun}"
    handler = Blow(NODES, nothing, nothing)
    second = f"{begun}; echo end >&{stream}"
    worker = run_twice(task, tmp_path, second, handler, first, stderr=True)
    assert handler.begun == 2 * NODES
    texts = worker.iter_buffers() if stream == 1 else worker.iter_errors()
    assert [(bytes(text)[-9:], len(nodes)) for text, nodes in texts] == [(b"end", NODES)]
    assert (handler.hups, handler.closes) == ([0] * NODES, [False])


@pytest.mark.parametrize("engines", [2], indirect=True)
def test_the_second_try_has_a_timeout_too(task: Task, tmp_path: Path) -> None:
    handler = Blow(NODES, nothing, nothing)
    worker = run_twice(task, tmp_path, "echo begun; exec sleep 78", handler, timeout=5)
    assert handler.begun == 2 * NODES
    assert {outcome.reason for outcome in worker.outcomes()} == {"timeout"}
    assert worker.num_timeout() == NODES
    assert [(bytes(text), len(nodes)) for text, nodes in worker.iter_buffers()] == [
        (b"begun", NODES)
    ]
    assert (handler.hups, handler.closes) == ([], [True])


@pytest.mark.parametrize("tries", [1, 2])
def test_an_abort_ends_the_tries(tries: int, task: Task, tmp_path: Path) -> None:
    """Before it is noticed that the engines are dead, or in the second try."""
    actions: list[Callable[[ExecWorker], object]] = [nothing, nothing]
    actions[tries - 1] = ExecWorker.abort
    handler = Blow(NODES, *actions)
    # More of them than run at once: some are handed out ahead, and have not started.
    nodes = 3 * NODES
    worker = run_twice(task, tmp_path, "echo begun; exec sleep 78", handler, nodes=nodes)
    assert handler.begun == tries * NODES
    # Of one that waits for its second try that is the verdict, and no event.
    reasons = [outcome.reason for outcome in worker.outcomes()]
    assert len(reasons) == nodes and set(reasons) <= {"cancelled", "lost"}
    assert reasons.count("lost") <= NODES
    assert (handler.hups, handler.closes) == ([], [False])
    assert task.run("echo again").read() == b"again"
