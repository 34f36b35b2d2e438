"""Starting no more: `withdraw`, the outcomes of nodes never started, and a limit of starts a second."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from mpshell import ExecWorker, Task, TaskError
from tests.support import eventually
from tests.system.recorder import Marks, Recorder, until


def outcomes(worker: ExecWorker) -> dict[str, tuple[str, bool]]:
    """Return for each node the reason and whether it was started."""
    return {o.node: (o.reason, o.started_at is not None) for o in worker.outcomes()}


def test_withdraw_lets_running_commands_end_and_starts_no_more(
    task: Task, marks: Marks, tmp_path: Path
) -> None:
    task.set_info("fanout", 4)
    go = tmp_path / "go"

    def withdraw(worker: Any, node: str, rc: int) -> None:
        worker.withdraw()
        # In the next turn: the message to the engines has left by then.
        task.timer(0, Recorder(timer=lambda timer: go.touch()))

    handler = Recorder(hup=withdraw)
    # The first ends when four have begun, the others when the engines have their order to start no more.
    four = f"[ $(grep -c '^+' {marks.path}) -ge 4 ]"
    four = f"i=0; until {four} || [ $i -ge 400 ]; do sleep 0.05; i=$((i+1)); done"
    command = marks.command(f"{four}; [ %n -eq 0 ] || {{ {until(go)}; }}")
    worker = ExecWorker("n[1-50]", handler=handler, command=command)
    task.schedule(worker)
    task.resume()
    ran = set(marks.begun())
    assert 4 <= len(ran) <= 8
    assert len(marks.begun()) * 2 == len(marks.entries()), "what has begun has ended by itself"
    seen = outcomes(worker)
    assert len(seen) == 50
    assert {node for node, end in seen.items() if end == ("exit", True)} == ran
    assert {node for node, end in seen.items() if end == ("cancelled", False)} == {
        f"n{i}" for i in range(1, 51)
    } - ran
    assert set(handler.nodes("hup")) == set(handler.nodes("pickup")) == ran
    assert handler.closes() == [False]


def test_withdraw_from_another_thread(thread_task: Task, marks: Marks, tmp_path: Path) -> None:
    thread_task.set_info("fanout", 2)
    go = tmp_path / "go"
    worker = ExecWorker("n[1-30]", command=marks.command(until(go)))
    thread_task.schedule(worker)
    thread_task.resume()
    assert eventually(marks.begun, 20)
    worker.withdraw()
    worker.withdraw()
    # It fires in a turn after the one that sends the order to the engines.
    thread_task.timer(0, Recorder(timer=lambda timer: go.touch()))
    thread_task.join()
    assert len(marks.begun()) <= 4
    assert len(outcomes(worker)) == 30


def test_withdraw_before_the_run_and_after_it(solo_task: Task) -> None:
    handler = Recorder()
    dropped = ExecWorker("n[1-3]", handler=handler, command="echo no")
    solo_task.schedule(dropped)
    dropped.withdraw()
    unbound = ExecWorker("n1", handler=handler, command="echo no")
    unbound.withdraw()
    solo_task.schedule(unbound)
    done = ExecWorker("n[1-3]", command="echo yes")
    solo_task.schedule(done)
    solo_task.resume()
    done.withdraw()
    assert handler.events == []
    assert set(outcomes(done).values()) == {("exit", True)}


def test_every_node_of_an_aborted_worker_has_an_outcome(task: Task) -> None:
    task.set_info("fanout", 3)
    handler = Recorder(pickup=lambda worker, node: worker.abort())
    worker = ExecWorker("n[1-40]", handler=handler, command="sleep 60")
    task.schedule(worker)
    task.resume()
    seen = outcomes(worker)
    assert sorted(seen) == sorted(f"n{i}" for i in range(1, 41))
    assert {reason for reason, _ in seen.values()} == {"cancelled"}
    assert sum(started for _, started in seen.values()) <= 3


def test_every_node_has_an_outcome_after_a_run_timeout(task: Task) -> None:
    task.set_info("fanout", 3)
    worker = ExecWorker("n[1-10]", command="sleep 60")
    task.schedule(worker)
    with pytest.raises(TaskError):
        task.resume(4)
    seen = outcomes(worker)
    assert len(seen) == 10
    assert {reason for reason, started in seen.values() if started} == {"timeout"}
    assert {reason for reason, started in seen.values() if not started} == {"cancelled"}


def test_a_rate_holds_over_all_engines(task: Task) -> None:
    task.set_info("rate", 20)
    began = time.monotonic()
    worker = ExecWorker("n[1-12]", command="true")
    task.schedule(worker)
    task.resume()
    # Two at once at the beginning, then one in 50 ms.
    assert time.monotonic() - began >= 0.5
    starts = sorted(o.started_at for o in worker.outcomes() if o.started_at is not None)
    assert len(starts) == 12


def test_a_rate_can_be_lifted_while_it_holds(task: Task) -> None:
    task.set_info("rate", 0.01)
    task.timer(0.1, Recorder(timer=lambda timer: task.set_info("rate", None)))
    worker = ExecWorker("n[1-30]", command="echo %h")
    task.schedule(worker)
    task.resume()
    assert len(outcomes(worker)) == 30


@pytest.mark.parametrize("rate", [0, -1, "fast", True, float("nan"), float("inf")])
def test_a_rate_that_is_none(solo_task: Task, rate: Any) -> None:
    with pytest.raises(ValueError, match="rate"):
        solo_task.set_info("rate", rate)
