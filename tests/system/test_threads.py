"""Tasks in threads: ownership, waiting, suspending, and calls from other threads."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell import ExecWorker, Task, task_cleanup, task_self, task_wait
from tests.support import eventually
from tests.system.recorder import Marks, Recorder, alive, folded, read_pids, until

InThread = Callable[..., threading.Thread]


def test_each_thread_has_its_own_task(solo_task: Task, in_thread: InThread) -> None:
    found: list[Any] = []

    def look() -> None:
        own = task_self()
        found.append((own is task_self(), own is not solo_task))
        found.append(own.thread is threading.current_thread())
        own.abort(kill=True)

    in_thread(look).join(30)
    assert found == [(True, True), True]
    assert task_self() is solo_task and solo_task.thread is threading.current_thread()


def test_the_task_of_a_given_thread_is_one_object(solo_task: Task, thread_task: Task) -> None:
    own = task_self()
    assert Task(thread=threading.current_thread()) is own
    assert Task(thread=thread_task.thread) is thread_task


def test_the_task_of_a_thread_id(thread_task: Task) -> None:
    assert Task(thread_id=thread_task.thread.ident) is thread_task
    assert Task(thread_id=threading.get_ident()) is task_self()


def test_an_unknown_thread_id_is_a_clear_error(solo_task: Task) -> None:
    for unknown in (1, -1):
        with pytest.raises((ValueError, LookupError), match=str(unknown)):
            Task(thread_id=unknown)


def test_a_thread_task_runs_in_the_background(thread_task: Task, tmp_path: Path) -> None:
    go = tmp_path / "go"
    worker = thread_task.shell(f"while [ ! -e {go} ]; do sleep 0.05; done; echo testing", key=1)
    thread_task.resume()
    assert eventually(lambda: bool(thread_task.running()), 10)
    go.touch()
    thread_task.join()
    assert worker.read() == b"testing" == thread_task.key_buffer(1)
    assert worker.retcode() == 0 and thread_task.max_retcode() == 0


def test_run_on_a_thread_task_returns_before_the_command_ends(
    thread_task: Task, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    worker = thread_task.run(f"while [ ! -e {go} ]; do sleep 0.05; done; echo x", timeout=30)
    go.touch()
    thread_task.join()
    assert worker.read() == b"x"


def test_a_thread_task_can_be_run_again_and_again(thread_task: Task) -> None:
    for i in range(5):
        thread_task.shell(f"echo round {i}", key=i)
        thread_task.resume()
        thread_task.join()
        assert thread_task.key_buffer(i) == b"round %d" % i
        assert folded(thread_task.iter_buffers()) == {b"round %d" % i: [str(i)]}


def test_streams_of_a_thread_task_read_from_outside(thread_task: Task) -> None:
    for separate, out, err in ((True, b"", b"raboof"), (False, b"raboof", b"")):
        thread_task.set_default("stderr", separate)
        thread_task.shell("echo foobar", key="OUT")
        thread_task.shell("echo raboof 1>&2", key="ERR")
        thread_task.resume()
        thread_task.join()
        assert thread_task.key_buffer("OUT") == b"foobar" and thread_task.key_error("OUT") == b""
        assert thread_task.key_buffer("ERR") == out and thread_task.key_error("ERR") == err


def test_join_of_a_task_that_was_never_started_returns(thread_task: Task) -> None:
    thread_task.join()
    thread_task.shell("sleep 60")
    thread_task.join()
    task_self().join()


def test_task_wait_waits_for_all_other_tasks() -> None:
    tasks = [Task() for _ in range(4)]
    workers = [task.shell(f"sleep 0.{i}; echo {i}") for i, task in enumerate(tasks)]
    for task in tasks:
        task.resume()
    task_wait()
    assert [worker.read() for worker in workers] == [b"0", b"1", b"2", b"3"]
    Task.wait(threading.current_thread())
    task_cleanup()
    assert eventually(lambda: not any(task.thread.is_alive() for task in tasks), 20)


def test_task_wait_ignores_tasks_that_were_not_started() -> None:
    tasks = [Task() for _ in range(3)]
    for task in tasks:
        task.shell("sleep 60")
    task_wait()
    task_cleanup()
    assert eventually(lambda: not any(task.thread.is_alive() for task in tasks), 20)


def test_task_cleanup_ends_running_tasks_quietly(
    capsys: pytest.CaptureFixture[str], pid_file: Path
) -> None:
    tasks = [Task() for _ in range(4)]
    for task in tasks[1:]:
        task.shell(f"echo $$ >> {pid_file}; sleep 60; :")
        task.resume()
    assert eventually(lambda: len(read_pids(pid_file)) == 3, 20)
    task_cleanup()
    assert eventually(lambda: not any(task.thread.is_alive() for task in tasks), 20)
    assert eventually(lambda: not any(alive(pid) for pid in read_pids(pid_file)), 20)
    assert not any(task.running() for task in tasks)
    assert "Traceback" not in capsys.readouterr().err


def test_ten_tasks_in_ten_threads_at_once(in_thread: InThread) -> None:
    results: dict[int, Any] = {}

    def work(i: int) -> None:
        task = task_self()
        task.set_info("engines", 1 + i % 3)
        seen = Recorder()
        worker = ExecWorker(f"t{i}n[1-20]", seen, command=f"echo {i}; exit {i}")
        task.schedule(worker)
        task.resume()
        results[i] = (
            folded(worker.iter_buffers())[b"%d" % i] == sorted(worker.nodes),
            {rc for _, rc in worker.iter_node_retcodes()},
            seen.threads == {threading.get_ident()},
            seen.closes(),
        )
        task.abort(kill=True)

    threads = [in_thread(work, i) for i in range(10)]
    for thread in threads:
        thread.join(60)
    assert results == {i: (True, {i}, True, [False]) for i in range(10)}


def test_suspend_and_resume(thread_task: Task, tmp_path: Path) -> None:
    seen = Recorder()
    command = f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo x; touch {tmp_path}/done"
    worker = thread_task.shell(command, handler=seen)
    thread_task.resume()
    assert eventually(lambda: seen.count("pickup") == 1, 20)
    assert thread_task.suspend() is True
    (tmp_path / "go").touch()
    assert eventually(lambda: (tmp_path / "done").exists(), 20)
    assert seen.names() == ["start", "pickup"]
    assert thread_task.running()
    thread_task.resume()
    thread_task.join()
    assert worker.read() == b"x" and seen.names()[-2:] == ["hup", "close"]


def test_a_run_suspended_in_its_own_handler_goes_on_when_another_thread_resumes_it(
    solo_task: Task, in_thread: InThread
) -> None:
    held: list[bool] = []
    begun = threading.Event()

    class Holding(Recorder):
        def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
            begun.set()
            held.append(solo_task.suspend())
            super().ev_read(worker, node, sname, msg)

    def resume() -> None:
        begun.wait(60)
        # As soon as it is held.
        assert solo_task.suspend() is True and held == []
        solo_task.resume()

    seen = Holding()
    worker = solo_task.shell("echo x", handler=seen)
    other = in_thread(resume)
    solo_task.resume()
    other.join(60)
    assert held == [True] and worker.read() == b"x" and seen.closes() == [False]


def test_suspended_by_four_threads_at_once_it_is_resumed_once(
    thread_task: Task, in_thread: InThread
) -> None:
    for _ in range(30):
        begun = threading.Event()
        held: list[bool] = []
        seen = Recorder(read=lambda *args: begun.set())  # noqa: B023
        thread_task.shell("echo x; sleep 0.05", handler=seen)
        thread_task.resume()
        assert begun.wait(30)
        others = [in_thread(lambda: held.append(thread_task.suspend())) for _ in range(4)]  # noqa: B023
        for other in others:
            other.join(60)
        thread_task.resume()
        assert eventually(lambda: not thread_task.running(), 30), held


def test_suspend_of_a_task_that_does_not_run_is_false(thread_task: Task) -> None:
    thread_task.shell("true")
    thread_task.resume()
    thread_task.join()
    assert thread_task.suspend() is False
    thread_task.shell("echo again", key="k")
    thread_task.resume()
    thread_task.join()
    assert thread_task.key_buffer("k") == b"again"


def test_task_wait_waits_for_a_suspended_task(
    thread_task: Task, in_thread: InThread, tmp_path: Path
) -> None:
    seen, waited = Recorder(), threading.Event()
    thread_task.shell(f"{until(tmp_path / 'go')}; touch {tmp_path}/done", handler=seen)
    thread_task.resume()
    assert eventually(lambda: seen.count("pickup") == 1, 20)
    assert thread_task.suspend()
    (tmp_path / "go").touch()
    assert eventually((tmp_path / "done").exists, 20)

    def wait() -> None:
        task_wait()
        waited.set()

    in_thread(wait)
    assert not waited.wait(0.6)
    thread_task.resume()
    assert waited.wait(20) and seen.closes() == [False]


def test_abort_from_another_thread_ends_the_run(thread_task: Task, pid_file: Path) -> None:
    seen = Recorder()
    thread_task.shell(f"echo $$ >> {pid_file}; sleep 60; :", handler=seen)
    thread_task.resume()
    assert eventually(lambda: len(read_pids(pid_file)) == 1, 20)
    thread_task.abort()
    assert eventually(lambda: not thread_task.running(), 20)
    [pid] = read_pids(pid_file)
    assert eventually(lambda: not alive(pid), 20)
    assert not seen.of("hup")


def test_abort_of_the_main_task_from_another_thread(
    task: Task, in_thread: InThread, pid_file: Path
) -> None:
    def abort() -> None:
        if eventually(lambda: len(read_pids(pid_file)) == 3, 20):
            task.abort()

    task.schedule(ExecWorker("n[1-3]", None, command=f"echo $$ >> {pid_file}; sleep 60; :"))
    in_thread(abort)
    task.resume()
    assert eventually(lambda: not any(alive(pid) for pid in read_pids(pid_file)), 20)
    assert task.run("echo x").read() == b"x"


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_abort_ends_the_thread_of_a_thread_task(
    thread_task: Task, kill: bool, started: bool
) -> None:
    thread = thread_task.thread
    thread_task.shell("sleep 60")
    if started:
        thread_task.resume()
    thread_task.abort(kill)
    thread.join(20)
    assert not thread.is_alive() and not thread_task.running()


def test_work_given_by_another_thread_starts_at_once(task: Task, in_thread: InThread) -> None:
    given: list[Any] = []

    def give() -> None:
        eventually(lambda: bool(task.running()), 20)
        worker = ExecWorker("m[1-3]", seen, command="echo given")
        task.schedule(worker)
        given.append((worker, task.shell("echo local", key="local", handler=seen)))

    def both_closed(*args: Any) -> None:
        if seen.count("close") == 2:
            keep.invalidate()

    seen = Recorder(close=both_closed)
    keep = task.timer(60, Recorder())
    in_thread(give)
    task.resume()
    [(distant, local)] = given
    assert distant.node_buffer("m3") == b"given" and task.key_buffer("local") == b"local"
    assert seen.threads == {threading.get_ident()} and local.retcode() == 0


def test_work_given_to_a_stopped_task_waits_for_its_run(
    solo_task: Task, in_thread: InThread
) -> None:
    in_thread(lambda: solo_task.shell("echo x", key="k")).join(30)
    in_thread(lambda: solo_task.set_info("user_key", 5)).join(30)
    solo_task.resume()
    assert solo_task.key_buffer("k") == b"x" and solo_task.info("user_key") == 5


def test_a_timer_set_by_another_thread_fires(solo_task: Task, in_thread: InThread) -> None:
    seen = Recorder()
    keep = solo_task.timer(60, Recorder())
    stop = Recorder(timer=lambda timer: keep.invalidate())

    def give() -> None:
        eventually(lambda: bool(solo_task.running()), 20)
        solo_task.timer(0.1, seen)
        solo_task.timer(0.3, stop)

    in_thread(give)
    solo_task.resume()
    assert seen.count("timer") == 1 and seen.threads == {threading.get_ident()}


def test_fanout_set_by_another_thread_counts(
    task: Task, in_thread: InThread, marks: Marks, tmp_path: Path
) -> None:
    go = tmp_path / "go"

    def shrink() -> None:
        eventually(lambda: bool(marks.begun()), 20)
        task.set_info("fanout", 1)
        go.touch()

    task.set_info("fanout", 4)
    in_thread(shrink)
    worker = ExecWorker("n[1-10]", None, command=marks.command(f"{until(go)}; sleep 0.1"))
    task.schedule(worker)
    task.resume()
    assert task.info("fanout") == 1 and len(list(worker.iter_node_retcodes())) == 10
    assert marks.entries()[-4:] == [f"{sign}{name}" for name in marks.begun()[-2:] for sign in "+-"]


def test_defaults_set_by_another_thread_hold_at_once(solo_task: Task, in_thread: InThread) -> None:
    in_thread(lambda: solo_task.set_default("stderr", True)).join(30)
    assert solo_task.default("stderr") is True


class OopsError(Exception):
    pass


def test_an_exception_in_a_thread_task_goes_to_its_hook_and_ends_it(
    thread_task: Task, pid_file: Path
) -> None:
    caught: list[Any] = []

    def fail(*args: Any) -> None:
        raise OopsError("from a handler")

    thread_task.excepthook = lambda kind, value, tb: caught.append((kind, str(value)))
    assert callable(thread_task.excepthook)
    thread_task.shell(f"echo $$ >> {pid_file}; sleep 60; :")
    thread_task.shell("sleep 0.3; echo x", key="x", handler=Recorder(read=fail))
    thread = thread_task.thread
    thread_task.resume()
    thread_task.join()
    thread.join(20)
    assert caught == [(OopsError, "from a handler")] and not thread.is_alive()
    assert not thread_task.running()
    assert thread_task.key_buffer("x") == b"x"
    assert eventually(lambda: not any(alive(pid) for pid in read_pids(pid_file)), 20)


def test_the_default_hook_prints_the_traceback(
    thread_task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: Any) -> None:
        raise OopsError("you should see this")

    thread_task.shell("echo x", key=1, handler=Recorder(read=fail))
    thread = thread_task.thread
    thread_task.resume()
    thread.join(20)
    assert "OopsError: you should see this" in capsys.readouterr().err


def test_a_run_in_a_thread_beside_a_running_event_loop(in_thread: InThread) -> None:
    def work() -> tuple[Any, int]:
        task = task_self()
        worker = ExecWorker("n[1-10]", None, command="sleep 1; echo x")
        task.schedule(worker)
        task.resume()
        found = worker.node_buffer("n10"), len(list(worker.iter_node_retcodes()))
        task.abort(kill=True)
        return found

    async def main() -> tuple[Any, int]:
        ticks = 0
        job = asyncio.get_running_loop().run_in_executor(None, work)
        while not job.done():
            ticks += 1
            await asyncio.sleep(0.01)
        return await job, ticks

    found, ticks = asyncio.run(main())
    assert found == (b"x", 10) and ticks > 3


def test_a_call_while_a_run_begins_is_not_put_off(
    thread_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["mpshell.task.runs"]
    worker = thread_task.shell("sleep 60")
    pool = module.engine_pool

    def with_an_abort_from_elsewhere(launcher: object) -> object:
        other = threading.Thread(target=worker.abort)
        other.start()
        other.join()
        return pool(launcher)

    monkeypatch.setattr(module, "engine_pool", with_an_abort_from_elsewhere)
    thread_task.resume()
    thread_task.join()
    assert worker.retcode() is None
