"""Timers: when they fire, how often, and which of them keep a Task running."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from mpshell import EngineIllegalOperationError, EngineTimer, ExecWorker, Task
from tests.support import eventually
from tests.system.recorder import Recorder


def fires(task: Task, fire: float, times: int, **options: Any) -> Recorder:
    """Set a timer that invalidates itself when it has fired that often."""

    def stop(timer: EngineTimer) -> None:
        if seen.count("timer") == times:
            timer.invalidate()

    seen = Recorder(timer=stop)
    task.timer(fire, seen, **options)
    return seen


def test_a_timer_fires_once(solo_task: Task) -> None:
    seen = Recorder()
    began = time.monotonic()
    timer = solo_task.timer(0.2, seen)
    assert isinstance(timer, EngineTimer) and timer.is_valid() and timer.eh is seen
    solo_task.resume()
    assert seen.events == [("timer",)]
    assert 0.19 < time.monotonic() - began < 10


def test_timers_due_at_the_same_time_all_fire(solo_task: Task) -> None:
    seen = Recorder()
    for _ in range(2):
        solo_task.timer(0.1, seen)
    for _ in range(10):
        solo_task.timer(0.0, seen)
    solo_task.resume()
    assert seen.count("timer") == 12


def test_timers_fire_in_the_order_of_their_dates(solo_task: Task) -> None:
    order: list[int] = []

    def note(i: int) -> Callable[[Any], None]:
        return lambda timer: order.append(i)

    for i in (3, 1, 29, 7, 0, 15):
        solo_task.timer(0.02 * i, Recorder(timer=note(i)))
    solo_task.resume()
    assert order == [0, 1, 3, 7, 15, 29]


def test_thirty_timers(solo_task: Task) -> None:
    seen = Recorder()
    for i in range(30):
        solo_task.timer(0.01 * i, seen)
    solo_task.resume()
    assert seen.count("timer") == 30


def test_a_timer_with_an_interval_repeats_until_invalidated(solo_task: Task) -> None:
    seen = fires(solo_task, 0.05, 5, interval=0.02)
    solo_task.resume()
    assert seen.count("timer") == 5


def test_interval_zero_is_no_repeat(solo_task: Task) -> None:
    seen = Recorder()
    solo_task.timer(0.05, seen, interval=0)
    solo_task.resume()
    assert seen.count("timer") == 1


def test_invalidate_may_be_repeated(solo_task: Task) -> None:
    seen = Recorder()
    timer = solo_task.timer(0.1, seen)
    timer.invalidate()
    timer.invalidate()
    assert not timer.is_valid()
    solo_task.resume()
    assert seen.events == []


def test_an_invalid_timer_cannot_be_set_again(solo_task: Task) -> None:
    timers: list[EngineTimer] = []

    def end(timer: EngineTimer) -> None:
        timers.append(timer)
        timer.invalidate()

    seen = Recorder(timer=end)
    solo_task.timer(0.05, seen, interval=0.05)
    solo_task.resume()
    with pytest.raises(EngineIllegalOperationError):
        timers[0].set_nextfire(1)
    timers[0].invalidate()
    assert not timers[0].is_valid()


def test_a_timer_that_has_fired_for_the_last_time_is_not_valid(solo_task: Task) -> None:
    timer = solo_task.timer(0.02, Recorder())
    solo_task.resume()
    assert not timer.is_valid()


def test_set_nextfire_drops_the_interval_unless_given_again(solo_task: Task) -> None:
    def once(timer: EngineTimer) -> None:
        if dropped.count("timer") == 1:
            timer.set_nextfire(0.02)

    def again(timer: EngineTimer) -> None:
        if kept.count("timer") == 1:
            timer.set_nextfire(0.02, interval=0.02)
        elif kept.count("timer") == 6:
            timer.invalidate()

    dropped, kept = Recorder(timer=once), Recorder(timer=again)
    solo_task.timer(0.05, dropped, interval=0.02)
    solo_task.timer(0.05, kept)
    solo_task.resume()
    assert dropped.count("timer") == 2 and kept.count("timer") == 6


def test_a_one_shot_can_be_set_again_and_again_by_its_handler(solo_task: Task) -> None:
    def next_one(timer: EngineTimer) -> None:
        if seen.count("timer") < 5:
            timer.set_nextfire(0.02)

    seen = Recorder(timer=next_one)
    solo_task.shell("sleep 0.5", handler=Recorder())
    solo_task.timer(0.05, seen, interval=0.02)
    solo_task.resume()
    assert seen.count("timer") == 5


def test_set_nextfire_from_a_handler_of_a_worker(solo_task: Task) -> None:
    seen = Recorder()
    timer = solo_task.timer(60, seen, interval=0.05)
    solo_task.shell("true", handler=Recorder(close=lambda *args: timer.set_nextfire(0.05)))
    solo_task.resume()
    assert seen.count("timer") == 1


def test_invalidate_from_a_handler_of_a_worker(solo_task: Task) -> None:
    seen = Recorder()
    timer = solo_task.timer(60, seen, interval=0.5)
    reader = Recorder(read=lambda *args: timer.invalidate())
    solo_task.shell("echo x", handler=reader)
    solo_task.shell("sleep 0.3", handler=reader)
    solo_task.resume()
    assert seen.events == [] and reader.count("read") == 1


def test_a_timer_invalidated_by_another_of_the_same_turn_does_not_fire(solo_task: Task) -> None:
    timers: list[EngineTimer] = []

    def end_all(timer: EngineTimer) -> None:
        for one in timers:
            one.invalidate()

    seen = Recorder(timer=end_all)
    timers += [solo_task.timer(0.1, seen, interval=0.1) for _ in range(2)]
    solo_task.resume()
    assert seen.count("timer") == 1


def test_a_late_repeater_does_not_catch_up_in_a_burst(solo_task: Task) -> None:
    """The handler misses ten dates; each later firing has a date of its own, and none comes before it."""
    moments: list[float] = []

    def late(timer: EngineTimer) -> None:
        moments.append(time.monotonic())
        if len(moments) == 1:
            subprocess.run(["sleep", "0.5"], check=True)
        elif len(moments) == 8:
            timer.invalidate()

    solo_task.timer(0.1, Recorder(timer=late), interval=0.05)
    solo_task.resume()
    assert len(moments) == 8
    # From the second firing to the eighth there are at least four whole intervals.
    assert moments[7] - moments[1] > 0.19


def test_a_late_repeater_fires_once_a_turn(solo_task: Task) -> None:
    seen: list[str] = []

    def late(timer: EngineTimer) -> None:
        seen.append("timer")
        if len(seen) == 1:
            subprocess.run(["sleep", "0.4"], check=True)
            solo_task.timer(0, Recorder(timer=lambda timer: seen.append("other")))
        elif len(seen) > 3:
            timer.invalidate()

    solo_task.timer(0.05, Recorder(timer=late), interval=0.01)
    solo_task.resume()
    assert seen.index("other") <= 2


def test_a_timer_may_be_set_and_called_off_by_another_thread(
    solo_task: Task, in_thread: Callable[..., threading.Thread]
) -> None:
    soon, never = Recorder(), Recorder()
    first = solo_task.timer(60, soon)
    second = solo_task.timer(60, never)

    def change() -> None:
        eventually(solo_task.running)
        first.set_nextfire(0.05)
        second.invalidate()

    in_thread(change)
    solo_task.resume()
    assert soon.names() == ["timer"] and never.events == [] and not second.is_valid()


@pytest.mark.parametrize("seconds", [30 * 86400, float("inf")])
def test_times_may_be_far_off(solo_task: Task, seconds: float) -> None:
    solo_task.timer(seconds, Recorder(), autoclose=True)
    solo_task.set_info("drain", seconds)
    solo_task.shell("echo x", key="k", timeout=seconds)
    solo_task.resume(seconds)
    assert solo_task.key_buffer("k") == b"x"


def test_timers_and_workers_together(solo_task: Task) -> None:
    seen = fires(solo_task, 0.05, 4, interval=0.05)
    worker = ExecWorker("n[1-4]", seen, command="sleep 1; echo x")
    solo_task.schedule(worker)
    solo_task.resume()
    assert seen.count("timer") == 4 and seen.count("hup") == 4
    assert seen.names().index("timer") < seen.names().index("hup")


def test_a_timer_does_not_wait_for_work_that_never_starts(solo_task: Task) -> None:
    seen = Recorder()
    solo_task.schedule(ExecWorker("", command="echo nobody"))
    solo_task.timer(0, seen)
    solo_task.resume()
    assert seen.events == [("timer",)]


def test_ev_start_comes_before_a_timer_of_zero_seconds(solo_task: Task) -> None:
    seen = Recorder()
    solo_task.timer(0, seen)
    solo_task.shell("sleep 1", handler=seen)
    solo_task.resume()
    assert seen.names() == ["start", "pickup", "timer", "hup", "close"]


@pytest.mark.parametrize("end", ["empty", "aborted"])
def test_a_timer_waits_for_no_start_that_never_comes(solo_task: Task, end: str) -> None:
    seen = Recorder()
    solo_task.timer(0, seen)
    worker = solo_task.shell("true", nodes="n1" if end == "aborted" else [], remote=False)
    if end == "aborted":
        solo_task.timer(0, Recorder(timer=lambda timer: worker.abort()))
    solo_task.resume()
    assert seen.names() == ["timer"]


def test_a_timer_keeps_the_task_running_unless_autoclose(solo_task: Task) -> None:
    seen = Recorder()
    solo_task.timer(60, seen, autoclose=True)
    solo_task.timer(60, seen, interval=1, autoclose=True)
    solo_task.resume()
    assert seen.events == []
    solo_task.timer(60, seen, autoclose=True)
    solo_task.timer(0.1, seen)
    solo_task.resume()
    assert seen.count("timer") == 1


def test_an_autoclose_repeater_fires_as_long_as_something_else_runs(solo_task: Task) -> None:
    seen = Recorder()
    worker = solo_task.shell("sleep 1; echo x")
    solo_task.timer(0.02, seen, interval=0.02, autoclose=True)
    solo_task.resume()
    assert seen.count("timer") >= 2 and worker.read() == b"x"


def test_an_autoclose_repeater_does_not_fire_after_the_end_of_the_last_other(
    solo_task: Task,
) -> None:
    def late(timer: EngineTimer) -> None:
        # While it runs the command ends, and the next date of both passes.
        subprocess.run(["sleep", "2"], check=True)

    seen = Recorder(timer=late)
    solo_task.shell("sleep 1.5")
    solo_task.timer(0.2, seen, interval=0.2, autoclose=True)
    solo_task.timer(0.2, seen, interval=0.2, autoclose=True)
    solo_task.resume()
    assert seen.count("timer") in (1, 2)


def test_timers_can_be_set_by_handlers(solo_task: Task) -> None:
    later = Recorder()
    first = Recorder(timer=lambda timer: solo_task.timer(0.02, later))
    worker = Recorder(hup=lambda *args: solo_task.timer(0, first))
    solo_task.shell("true", handler=worker)
    solo_task.resume()
    assert first.count("timer") == 1 and later.count("timer") == 1


def test_timers_do_not_outlive_an_abort(solo_task: Task) -> None:
    seen = Recorder(timer=lambda timer: solo_task.abort())
    solo_task.timer(0.05, seen, interval=0.05)
    solo_task.timer(60, seen)
    solo_task.resume()
    solo_task.resume()
    assert seen.count("timer") == 1
