"""Calls of other threads at the edges of a run: while it begins, while it ends. None is lost or late."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell import Task, task_self, task_wait
from mpshell.coordinator.coordinator import Coordinator
from tests.support import eventually
from tests.system.recorder import Recorder, until, within

At = Callable[[str, Callable[[], object]], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    """Give a function that has another thread call something, once, when a run has come to a place."""

    def arrange(place: str, call: Callable[[], object]) -> None:
        original = getattr(Coordinator, place)
        left = [call]

        def there(self: Coordinator, *args: Any, **kwargs: Any) -> Any:
            if left:
                thread = threading.Thread(target=left.pop())
                thread.start()
                thread.join(20)
                assert not thread.is_alive()
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Coordinator, place, there)

    return arrange


def test_an_abort_while_a_run_begins_ends_it(solo_task: Task, at: At) -> None:
    at("__init__", solo_task.abort)
    solo_task.shell("sleep 60")
    with within(20):
        solo_task.resume()
    assert solo_task.run("echo x").read() == b"x"


def test_a_timer_set_while_a_run_begins_takes_part(solo_task: Task, at: At) -> None:
    seen = Recorder()
    at("__init__", lambda: solo_task.timer(0.01, seen))
    solo_task.run("sleep 0.5", key="k")
    assert seen.count("timer") == 1 and solo_task.key_retcode("k") == 0


@pytest.mark.parametrize("kill", [False, True])
def test_an_abort_after_the_end_of_a_run_is_not_for_the_next(
    solo_task: Task, at: At, kill: bool
) -> None:
    at("close", lambda: solo_task.abort(kill))
    solo_task.run("true")
    assert (task_self() is solo_task) is not kill
    assert task_self().run("echo x").read() == b"x"


def test_work_given_after_the_end_of_a_run_is_run_when_asked_for(thread_task: Task, at: At) -> None:
    def give() -> None:
        thread_task.shell("echo late", key="late")
        thread_task.resume()

    at("close", give)
    thread_task.shell("echo early", key="early")
    thread_task.resume()
    thread_task.join()
    assert thread_task.key_buffer("late") == b"late"


def test_a_timer_set_after_the_end_of_a_run_is_for_the_next(solo_task: Task, at: At) -> None:
    seen = Recorder()
    at("close", lambda: solo_task.timer(0.01, seen))
    solo_task.run("true")
    solo_task.resume()
    assert seen.count("timer") == 1


def test_messages_while_the_loop_is_closed_wait_for_the_next_run(solo_task: Task, at: At) -> None:
    seen = Recorder()
    port = solo_task.port(seen, autoclose=True)
    at("close", lambda: port.msg_send("late"))
    solo_task.run("true")
    solo_task.run("sleep 0.2")
    assert seen.of("msg") == [("msg", "late")]


def test_two_aborts_at_once_leave_nothing_behind(solo_task: Task) -> None:
    def abort_twice(*args: Any) -> None:
        threads = [threading.Thread(target=solo_task.abort) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    seen = Recorder()
    timer = solo_task.timer(60, Recorder())
    port = solo_task.port(seen, autoclose=True)
    solo_task.shell("sleep 60", handler=Recorder(pickup=abort_twice))
    solo_task.resume()
    assert not timer.is_valid()
    port.msg_send("x")
    solo_task.run("sleep 0.2")
    assert seen.of("msg") == [("msg", "x")]


def test_suspended_twice_is_resumed_once(thread_task: Task, tmp_path: Path) -> None:
    seen = Recorder()
    thread_task.shell(until(tmp_path / "go"), handler=seen)
    thread_task.resume()
    assert eventually(lambda: seen.count("pickup") == 1, 20)
    assert thread_task.suspend() and thread_task.suspend()
    (tmp_path / "go").touch()
    thread_task.resume()
    thread_task.join()
    assert seen.closes() == [False] and thread_task.suspend() is False


def test_the_hook_of_the_task_of_a_thread_that_is_not_its_own_is_pythons(
    solo_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    caught: list[Any] = []

    def hook(*args: Any) -> None:
        caught.append(args)

    solo_task.excepthook = hook
    assert sys.excepthook is hook is solo_task.excepthook
    untyped: Any = solo_task
    with pytest.raises(TypeError, match="'nonsense'"):
        untyped.excepthook = "nonsense"


@pytest.mark.parametrize("kill", [False, True])
def test_a_run_that_is_aborted_before_it_has_begun_is_not_waited_for(
    thread_task: Task, kill: bool
) -> None:
    thread_task.shell("sleep 60")
    with thread_task._runs.task_thread.condition:  # its thread cannot take up the run meanwhile
        thread_task.resume()
        thread_task.abort(kill)
    for wait in (thread_task.join, task_wait):
        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        waiting.join(10)
        assert not waiting.is_alive()
    thread_task.thread.join(20)
    assert not thread_task.thread.is_alive() and thread_task.running() is None
