"""Abort of workers and of tasks, and errors that end a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mpshell import (
    ExecWorker,
    Task,
    TaskException,
    WorkerException,
    WorkerPopen,
    WorkerSsh,
    task_self,
    task_terminate,
)
from tests.support import commands, eventually
from tests.system.recorder import Marks, Recorder, alive, folded, read_pids

Sweep = Callable[..., ExecWorker]
EVENTS = ["start", "pickup", "read", "hup", "close"]


def test_abort_of_a_worker_before_the_run_drops_it_without_any_event(
    task: Task, marks: Marks
) -> None:
    seen = Recorder()
    worker = ExecWorker("n[1-3]", seen, command=marks.command())
    task.schedule(worker)
    worker.abort()
    worker.abort()
    task.run("true")
    assert seen.events == [] and marks.entries() == []


def test_abort_of_an_unscheduled_or_finished_worker_is_harmless(solo_task: Task) -> None:
    for stray in (
        WorkerPopen("sleep 1"),
        ExecWorker("n1", None, command="sleep 1"),
        WorkerSsh("n1", None, None, command="sleep 1"),
    ):
        stray.abort()
    seen = Recorder()
    worker = solo_task.run("echo x; exit 3", handler=seen)
    before = list(seen.events)
    worker.abort()
    assert seen.events == before and worker.retcode() == 3 and worker.read() == b"x"


def test_abort_of_a_worker_from_a_timer(solo_task: Task) -> None:
    seen = Recorder()
    worker = solo_task.shell("sleep 60", handler=seen)

    def twice(timer: Any) -> None:
        worker.abort()
        worker.abort()

    solo_task.timer(0.3, Recorder(timer=twice))
    solo_task.resume()
    assert seen.names() == ["start", "pickup", "close"] and seen.closes() == [False]
    assert worker.retcode() is None and solo_task.max_retcode() is None


@pytest.mark.parametrize("event", EVENTS)
def test_abort_of_a_worker_from_each_of_its_handlers(task: Task, event: str) -> None:
    def abort(worker: Any, *rest: Any) -> None:
        worker.abort()
        worker.abort()

    seen, other = Recorder(**{event: abort}), Recorder()
    command = "echo %h; true" if event in ("hup", "close") else "echo %h; sleep 60"
    worker = ExecWorker("n[1-2]", seen, command=command)
    task.schedule(worker)
    task.schedule(ExecWorker("m[1-3]", other, command="sleep 0.15; echo x"))
    task.resume()
    assert seen.count("start") == 1 and seen.closes() == [False]
    assert seen.names()[-1] == "close"
    assert other.rcs() == {"m1": 0, "m2": 0, "m3": 0} and other.closes() == [False]
    if event == "read":
        assert seen.count("hup") == 0 and worker.node_buffer(seen.nodes("read")[0])


def test_abort_in_ev_close_keeps_the_results(solo_task: Task, solo_sweep: Sweep) -> None:
    seen = Recorder(close=lambda worker, timedout: worker.abort())
    worker = solo_sweep("n1", "echo ok; sleep 0.1", handler=seen)
    assert worker.node_buffer("n1") == b"ok" and solo_task.max_retcode() == 0


def test_abort_of_a_worker_whose_nodes_wait_starts_no_more_and_closes_once(
    task: Task, marks: Marks
) -> None:
    task.set_info("fanout", 2)
    seen = Recorder(read=lambda worker, *rest: worker.abort())
    command = marks.command("echo x; sleep 60")
    task.schedule(ExecWorker("n[1-20]", seen, command=command))
    task.resume()
    assert seen.closes() == [False] and seen.names()[-1] == "close" and not seen.of("hup")
    begun = marks.begun()
    assert set(begun) <= {"n1", "n2"} and begun
    task.run("sleep 0.2")
    assert marks.begun() == begun


def test_no_event_comes_after_ev_close(task: Task, sweep: Sweep) -> None:
    seen = Recorder(read=lambda worker, *rest: worker.abort())
    sweep("n[1-3]", "for i in 1 2 3 4 5 6 7 8; do echo $i; done; sleep 60", handler=seen)
    assert seen.names()[-1] == "close" and seen.closes() == [False]


def test_aborted_nodes_have_no_retcode(task: Task, sweep: Sweep) -> None:
    seen = Recorder(read=lambda worker, *rest: worker.abort())
    worker = sweep("n[1-2]", "echo ok; sleep 60", handler=seen)
    assert task.max_retcode() is None and task.num_timeout() == 0
    assert list(worker.iter_node_retcodes()) == [] and seen.rcs() == {}


def test_abort_on_read_one_after_the_other(solo_task: Task) -> None:
    solo_task.set_info("fanout", 1)
    seen = Recorder(read=lambda worker, *rest: worker.abort())
    for _ in range(10):
        solo_task.shell("echo ok; sleep 60", handler=seen).write(b"OK\n")
    solo_task.resume()
    assert seen.lines() == [b"ok"] * 10 and seen.closes() == [False] * 10


def test_abort_ends_the_whole_process_group(solo_sweep: Sweep, pid_file: Path) -> None:
    seen = Recorder(read=lambda worker, *rest: worker.abort())
    nested = f"sh -c 'echo $$ >> {pid_file}; echo x; sleep 60; :'"
    solo_sweep("n1", f"sleep 60 & echo $! >> {pid_file}; {nested}; :", handler=seen)
    pids = read_pids(pid_file)
    assert len(pids) == 2 and seen.closes() == [False]
    assert eventually(lambda: not any(alive(pid) for pid in pids), 20)


@pytest.mark.parametrize("event", [*EVENTS, "timer"])
def test_abort_of_the_task_from_each_handler(solo_task: Task, event: str) -> None:
    reached: list[str] = []

    def abort(*args: Any) -> None:
        reached.append("before")
        solo_task.abort()
        reached.append("after")

    seen = Recorder(**{event: abort})
    if event == "timer":
        solo_task.timer(0.3, seen)
    tail = "true" if event in ("hup", "close") else "sleep 60"
    solo_task.schedule(ExecWorker("n1", seen, command=f"echo x; {tail}"))
    solo_task.resume()
    assert reached == ["before"]
    assert task_self() is solo_task and not solo_task.running()
    assert list(solo_task.iter_buffers()) == [] and solo_task.max_retcode() is None
    solo_task.run("echo again", key="k")
    assert solo_task.key_buffer("k") == b"again"


def test_abort_of_the_task_kills_running_commands_and_starts_no_more(
    task: Task, marks: Marks, pid_file: Path
) -> None:
    task.set_info("fanout", 3)
    seen = Recorder()
    command = f"sleep 60 & echo $$ $! >> {pid_file}; {marks.command('sleep 60')}"
    task.schedule(ExecWorker("n[1-9]", seen, command=command))

    def look(timer: Any) -> None:
        if len(read_pids(pid_file)) >= 6:
            timer.invalidate()
            task.abort()

    task.timer(0.1, Recorder(timer=look), interval=0.05)
    task.resume()
    pids = read_pids(pid_file)
    assert len(pids) == 6
    assert eventually(lambda: not any(alive(pid) for pid in pids), 20)
    assert len(marks.begun()) <= 3
    task.run("true")
    assert task.max_retcode() == 0 and len(read_pids(pid_file)) == 6


def test_abort_outside_a_run_drops_scheduled_workers_and_may_be_repeated(
    solo_task: Task, marks: Marks
) -> None:
    solo_task.shell(marks.command(name="x"))
    solo_task.abort()
    solo_task.abort()
    assert task_self() is solo_task
    solo_task.resume()
    assert marks.entries() == []


def test_abort_with_kill_unbinds_the_task_of_the_thread(solo_task: Task) -> None:
    solo_task.shell("echo never")
    solo_task.abort(True)
    fresh = task_self()
    assert fresh is not solo_task
    solo_task.abort(kill=True)
    assert task_self() is fresh
    task_terminate()
    assert task_self() is not fresh


def test_a_killed_task_takes_no_more_work(solo_task: Task) -> None:
    solo_task.abort(kill=True)
    assert not solo_task.running()
    with pytest.raises((AssertionError, TaskException, WorkerException, RuntimeError)):
        solo_task.schedule(WorkerPopen("true"))


def test_a_killed_task_is_not_resumed(thread_task: Task) -> None:
    own = task_self()
    for killed in (own, thread_task):
        killed.abort(kill=True)
        for call in (killed.resume, killed.run):
            with pytest.raises(TaskException, match="killed"):
                call()


class OopsError(Exception):
    pass


@pytest.mark.parametrize(
    ("event", "error"),
    [(event, OopsError) for event in (*EVENTS, "timer")]
    + [(event, KeyboardInterrupt) for event in ("pickup", "hup", "timer")],
)
def test_an_exception_in_a_handler_ends_the_run_and_propagates(
    solo_task: Task, event: str, error: type[BaseException], pid_file: Path
) -> None:
    def fail(*args: Any) -> None:
        raise error("in handler")

    seen, other = Recorder(**{event: fail}), Recorder()
    command = f"echo $$ >> {pid_file}; echo got; sleep 60; :"
    bystander = ExecWorker("m1", other, command=command)
    solo_task.schedule(bystander)
    tail = "true" if event in ("hup", "close") else "sleep 60"
    offender = ExecWorker("n1", seen, command=f"echo x; {tail}")

    def go_on(*args: Any) -> None:
        solo_task.schedule(offender)
        if event == "timer":
            solo_task.timer(0.1, seen)

    other._actions["read"] = go_on
    with pytest.raises(error, match="in handler"):
        solo_task.resume()
    assert other.closes() == [False] and not other.of("hup")
    assert bystander.node_buffer("m1") == b"got"
    [pid] = read_pids(pid_file)
    assert eventually(lambda: not alive(pid), 20)
    assert not solo_task.running()
    solo_task.run("echo newrun", key="k")
    assert folded(solo_task.iter_buffers()) == {b"newrun": ["k"]}
    assert [(rc, keys) for rc, keys in solo_task.iter_retcodes()] == [(0, ["k"])]


def test_an_exception_leaves_the_results_so_far(task: Task, sweep: Sweep) -> None:
    def fail(worker: Any, node: str, rc: int) -> None:
        if node == "n3":
            raise OopsError(node)

    task.set_info("fanout", 1)
    with pytest.raises(OopsError, match="n3"):
        sweep("n[1-9]", "echo %h; exit 2", handler=Recorder(hup=fail))
    assert task.node_buffer("n1") == b"n1" and task.node_retcode("n2") == 2
    assert task.node_buffer("n5") == b""


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have Python's own SIGINT handler: a suite that is run in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_during_a_run_is_a_keyboard_interrupt(solo_task: Task, pid_file: Path) -> None:
    seen = Recorder()
    command = f"echo $$ >> {pid_file}; echo up; kill -INT {os.getpid()}; sleep 60; :"
    solo_task.shell(command, handler=seen)
    with pytest.raises(KeyboardInterrupt):
        solo_task.resume()
    # The signal may be faster than the news that the command has started.
    assert seen.closes() == [False] * len(seen.of("start"))
    [pid] = read_pids(pid_file)
    assert eventually(lambda: not alive(pid), 20)
    assert solo_task.run("echo x").read() == b"x"


def test_another_signal_does_not_disturb_the_run(solo_task: Task) -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))
    try:
        worker = solo_task.shell(f"kill -USR1 {os.getpid()}; sleep 0.3; echo x", timeout=30)
        solo_task.resume()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert got == [signal.SIGUSR1] and worker.read() == b"x" and worker.retcode() == 0


def test_a_node_without_a_reported_start_has_no_reported_end(
    solo_task: Task, tmp_path: Path
) -> None:
    """A report on its way from the engines at the abort has no event at all, or those of its start too."""

    class Aborts(Recorder):
        def ev_pickup(self, worker: Any, node: str) -> None:
            super().ev_pickup(worker, node)
            if node == "n1":
                assert eventually(lambda: len(ran.read_text()) == 40 and not commands())
                worker.abort()

    solo_task.set_info("fanout", 64)
    ran = tmp_path / "ran"
    for _ in range(3):
        ran.write_text("")
        seen = Aborts()
        worker = ExecWorker("n[1-40]", seen, command=f"printf x >> {ran}")
        solo_task.schedule(worker)
        solo_task.resume()
        picked = {event[1] for event in seen.events if event[0] == "pickup"}
        assert {event[1] for event in seen.events if event[0] == "hup"} <= picked
        assert seen.events[0] == ("start",) and seen.events[-1][0] == "close"
        assert len(list(worker.outcomes())) == 40
