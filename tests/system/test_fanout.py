"""Fanout: how many commands run at once over all engines, and in which order they start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell import FANOUT_DEFAULT, FANOUT_UNLIMITED, ExecWorker, NodeSet, Task
from tests.system.recorder import Marks, Recorder, meeting

Sweep = Callable[..., ExecWorker]


def test_fanout_one_is_strictly_serial_and_in_node_order(
    task: Task, sweep: Sweep, marks: Marks
) -> None:
    task.set_info("fanout", 1)
    seen = Recorder()
    nodes = NodeSet("n[1-12]")
    sweep(nodes, marks.command("sleep 0.02"), handler=seen)
    assert marks.entries() == [f"{sign}{node}" for node in nodes for sign in "+-"]
    assert seen.nodes("pickup") == list(nodes) == seen.nodes("hup")


@pytest.mark.parametrize("fanout", [2, 5])
def test_no_more_than_fanout_run_at_once(
    task: Task, sweep: Sweep, marks: Marks, fanout: int
) -> None:
    task.set_info("fanout", fanout)
    worker = sweep("n[1-24]", marks.command("sleep 0.04"))
    assert len(marks.begun()) == 24 and len(list(worker.iter_node_retcodes())) == 24
    assert marks.peak() <= fanout


@pytest.mark.parametrize("fanout", [2, 5, 9])
def test_fanout_is_used_to_the_full(task: Task, sweep: Sweep, tmp_path: Path, fanout: int) -> None:
    task.set_info("fanout", fanout)
    sweep(f"n[1-{fanout}]", meeting(tmp_path, fanout), timeout=30)
    assert task.max_retcode() == 0


@pytest.mark.parametrize("count", [5, 6, 12])
def test_slow_nodes_hold_back_nobody(task: Task, sweep: Sweep, tmp_path: Path, count: int) -> None:
    task.set_info("fanout", 4)
    last = tmp_path / f"n{count}"
    wait = f"i=0; while [ ! -e {last} ] && [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done"
    command = f"case %h in n[123]) {wait}; [ -e {last} ];; *) touch {tmp_path}/%h;; esac"
    worker = sweep(f"n[1-{count}]", command, timeout=25)
    assert dict(worker.iter_node_retcodes()) == {f"n{i}": 0 for i in range(1, count + 1)}


def test_the_first_to_start_are_the_first_nodes(task: Task, sweep: Sweep, marks: Marks) -> None:
    task.set_info("fanout", 4)
    nodes = NodeSet("n[1-12]")
    # No node ends before all of its wave have begun; which one is the first depends on the machine.
    all_there = f"[ $(grep -c '^+' {marks.path}) -ge $(((%n / 4 + 1) * 4)) ]"
    wait = f"i=0; until {all_there} || [ $i -ge 400 ]; do sleep 0.05; i=$((i+1)); done"
    sweep(nodes, marks.command(wait))
    begun = marks.begun()
    for wave in range(3):
        assert sorted(begun[wave * 4 : wave * 4 + 4]) == sorted(nodes[wave * 4 : wave * 4 + 4])


def test_several_workers_share_the_fanout(task: Task, marks: Marks) -> None:
    task.set_info("fanout", 3)
    for group in "abcd":
        task.schedule(ExecWorker(f"{group}[1-4]", None, command=marks.command("sleep 0.04")))
    for i in range(6):
        task.shell(marks.command("sleep 0.04", name=f"local{i}"))
    task.resume()
    assert len(marks.begun()) == 22 and marks.peak() <= 3


def test_workers_start_in_the_order_of_their_scheduling(task: Task, marks: Marks) -> None:
    task.set_info("fanout", 1)
    for i in range(5):
        task.shell(marks.command("true", name=f"local{i}"))
        task.schedule(ExecWorker(f"n[{i}0-{i}1]", None, command=marks.command("true")))
    task.resume()
    expected = [name for i in range(5) for name in (f"local{i}", f"n{i}0", f"n{i}1")]
    assert marks.begun() == expected


def test_a_worker_may_have_a_smaller_fanout_of_its_own(
    task: Task, sweep: Sweep, marks: Marks
) -> None:
    sweep("n[1-6]", marks.command("sleep 0.03"), own_fanout=1)
    assert marks.peak() == 1 and marks.begun() == [f"n{i}" for i in range(1, 7)]


def test_a_worker_may_have_a_larger_fanout_of_its_own(
    task: Task, sweep: Sweep, tmp_path: Path
) -> None:
    task.set_info("fanout", 1)
    sweep("n[1-5]", meeting(tmp_path, 5), own_fanout=5, timeout=30)
    assert task.max_retcode() == 0


def test_a_larger_fanout_of_its_own_is_a_limit_too(task: Task, sweep: Sweep, marks: Marks) -> None:
    task.set_info("fanout", 1)
    sweep("n[1-16]", marks.command("sleep 0.05"), own_fanout=4)
    assert len(marks.begun()) == 16 and marks.peak() <= 4


def test_a_worker_may_have_no_limit(task: Task, sweep: Sweep, tmp_path: Path) -> None:
    task.set_info("fanout", 2)
    sweep("n[1-12]", meeting(tmp_path, 12), own_fanout=FANOUT_UNLIMITED, timeout=30)
    assert task.max_retcode() == 0


def test_local_commands_may_have_fanouts_of_their_own(task: Task, tmp_path: Path) -> None:
    task.set_info("fanout", 1)
    workers = [task.shell(meeting(tmp_path, 8, str(i)), timeout=30) for i in range(8)]
    for i, worker in enumerate(workers):
        worker._fanout = 1 if i % 2 else FANOUT_UNLIMITED
    task.resume()
    assert [worker.retcode() for worker in workers] == [0] * 8


def test_own_fanouts_and_that_of_the_task_do_not_count_in_each_other(
    task: Task, tmp_path: Path
) -> None:
    task.set_info("fanout", 2)
    shared = ExecWorker("a[1-2]", None, command=meeting(tmp_path, 5), timeout=30)
    own = ExecWorker("b[1-3]", None, command=meeting(tmp_path, 5), timeout=30)
    own._fanout = 3
    task.schedule(shared)
    task.schedule(own)
    task.resume()
    assert task.max_retcode() == 0 and task.num_timeout() == 0


def test_own_fanouts_hold_beside_that_of_the_task(task: Task, tmp_path: Path) -> None:
    task.set_info("fanout", 2)
    shared, own = Marks(tmp_path / "shared"), Marks(tmp_path / "own")
    task.schedule(ExecWorker("a[1-8]", None, command=shared.command("sleep 0.05")))
    worker = ExecWorker("b[1-12]", None, command=own.command("sleep 0.05"))
    worker._fanout = 3
    task.schedule(worker)
    task.resume()
    assert shared.peak() <= 2 and own.peak() <= 3
    assert len(shared.begun()) == 8 and len(own.begun()) == 12


def test_default_fanout_of_a_worker_is_that_of_the_task(
    task: Task, sweep: Sweep, marks: Marks
) -> None:
    assert FANOUT_DEFAULT is None and FANOUT_UNLIMITED == -1
    task.set_info("fanout", 2)
    sweep("n[1-8]", marks.command("sleep 0.03"), own_fanout=FANOUT_DEFAULT)
    assert marks.peak() <= 2


def test_a_smaller_fanout_set_by_a_handler_counts_from_then_on(task: Task, tmp_path: Path) -> None:
    before, after = Marks(tmp_path / "before"), Marks(tmp_path / "after")
    task.set_info("fanout", 6)

    def shrink(worker: Any, *rest: Any) -> None:
        task.set_info("fanout", 1)
        task.schedule(ExecWorker("m[1-6]", None, command=after.command("sleep 0.03")))

    task.schedule(ExecWorker("n1", Recorder(hup=shrink), command=before.command("sleep 0.03")))
    task.resume()
    assert after.peak() == 1 and after.begun() == [f"m{i}" for i in range(1, 7)]


def test_a_smaller_fanout_kills_nothing(task: Task, sweep: Sweep) -> None:
    task.set_info("fanout", 6)
    seen = Recorder(pickup=lambda *args: task.set_info("fanout", 1))
    worker = sweep("n[1-9]", "sleep 0.05; echo %h", handler=seen)
    assert dict(worker.iter_node_retcodes()) == {f"n{i}": 0 for i in range(1, 10)}
    assert seen.count("pickup") == 9 == seen.count("hup")


def test_a_larger_fanout_set_by_a_handler_counts_from_the_next_end_on(
    task: Task, tmp_path: Path
) -> None:
    task.set_info("fanout", 1)
    seen = Recorder(hup=lambda worker, node, rc: task.set_info("fanout", 4))
    task.schedule(ExecWorker("n[1-3]", seen, command="sleep 0.1"))
    task.schedule(ExecWorker("m[1-4]", None, command=meeting(tmp_path, 4), timeout=30))
    task.resume()
    assert task.max_retcode() == 0 and task.num_timeout() == 0


def test_ports_and_timers_do_not_count(task: Task, sweep: Sweep, tmp_path: Path) -> None:
    task.set_info("fanout", 2)
    seen = Recorder()
    for _ in range(3):
        task.port(handler=seen, autoclose=True)
        task.timer(30, seen, autoclose=True)
    sweep("n[1-2]", meeting(tmp_path, 2), timeout=30)
    assert task.max_retcode() == 0


def test_ends_of_every_kind_make_room(task: Task, marks: Marks) -> None:
    task.set_info("fanout", 1)
    aborter = Recorder(read=lambda worker, *rest: worker.abort())
    task.schedule(ExecWorker("a1", None, command="sleep 60", timeout=0.2))
    task.schedule(ExecWorker("b1", aborter, command="echo x; sleep 60"))
    task.schedule(ExecWorker("c1", None, command="kill -9 $$"))
    task.schedule(ExecWorker("d[1-2]", None, command=marks.command("true")))
    task.resume()
    assert marks.begun() == ["d1", "d2"]
    assert task.node_retcode("c1") == 137 and list(task.iter_keys_timeout()) == ["a1"]


def test_ranks_are_those_of_the_whole_node_set(task: Task, sweep: Sweep) -> None:
    nodes = NodeSet("n[1-150]")
    task.set_info("fanout", 16)
    worker = sweep(nodes, "echo %n %{rank} %rank")
    assert {node: bytes(elem) for node, elem in worker.iter_node_buffers()} == {
        node: b"%d %d %d" % (rank, rank, rank) for rank, node in enumerate(nodes)
    }


def test_each_node_runs_once(task: Task, sweep: Sweep, marks: Marks) -> None:
    task.set_info("fanout", 32)
    sweep("n[1-200]", marks.command("true"))
    assert sorted(marks.begun()) == sorted(NodeSet("n[1-200]"))
