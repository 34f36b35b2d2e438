"""A run's own rules: holds, errors, calls of the user's code; timers, ports and streams, on a test's clock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mpshell.coordinator.interrupt import Interrupts
from mpshell.coordinator.job import Job
from mpshell.coordinator.results import WorkerResults
from mpshell.coordinator.run import Run
from mpshell.coordinator.streams import StreamReader, Streams, StreamWriter
from mpshell.errors import EngineIllegalOperationError, EngineTimeoutException
from mpshell.task.ports import EnginePort
from mpshell.task.timers import EngineTimer
from mpshell.wire import messages as m
from tests.engine.conftest import job as spec
from tests.fakes import FakeLoop, Stuck
from tests.unit.scene import RecordedEvents, Scene, events_of


class Oops(Exception):
    """Raised by a handler."""


class Stage:
    """A run of its own, without jobs."""

    def __init__(self) -> None:
        self.jobs_wait = False
        self.interrupts = Interrupts()
        self.loop = FakeLoop()
        self.run = Run(self.loop, self.interrupts, lambda: self.jobs_wait)
        self.seen: list[Any] = []

    def record(self, *event: Any) -> None:
        self.seen.append((round(self.loop.now, 3), *event))

    def fail(self, *event: Any) -> None:
        self.record(*event)
        raise Oops(*event)

    def go(self) -> None:
        """Run as a coordinator does."""
        while self.run.held:
            self.loop.run_forever()
        if self.run.error is not None:
            raise self.run.error


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.run.close()


def test_a_noted_error_is_raised_when_its_turn_is_over(stage: Stage) -> None:
    """The other reports of the turn are handled first, without events."""
    stage.run.hold()
    stage.loop.call_soon(stage.run.call, stage.fail, "first")
    stage.loop.call_soon(stage.run.tell, stage.record, "event")
    stage.loop.call_soon(stage.run.call, stage.record, "no event")
    stage.loop.call_soon(stage.run.call, stage.fail, "second")
    with pytest.raises(Oops, match="first"):
        stage.go()
    assert [event for _, event in stage.seen] == ["first", "no event", "second"]
    assert stage.run.stopping


def test_at_the_end_an_error_does_not_get_in_the_way_of_the_loop(stage: Stage) -> None:
    stage.run.begin_to_end()
    stage.run.call(stage.fail, "late")
    stage.loop.call_soon(lambda: None)
    stage.loop.run_once()
    assert isinstance(stage.run.error, Oops)


def test_a_run_goes_on_as_long_as_it_is_held(stage: Stage) -> None:
    for _ in range(3):
        stage.run.hold()
        stage.loop.call_later(7, stage.run.unhold)
    stage.go()
    assert not stage.run.held
    stage.run.hold()
    with pytest.raises(Stuck):
        stage.go()


@pytest.mark.parametrize(
    ("first", "second", "which"),
    [
        (Oops(), KeyboardInterrupt(), KeyboardInterrupt),
        (KeyboardInterrupt(), Oops(), KeyboardInterrupt),
        (KeyboardInterrupt(), SystemExit(), SystemExit),
        (SystemExit(), KeyboardInterrupt(), SystemExit),
        (Oops(), ValueError(), Oops),
    ],
)
def test_an_exit_goes_before_ctrl_c_and_that_before_other_errors(
    first: BaseException, second: BaseException, which: type[BaseException], stage: Stage
) -> None:
    def on_signal(number: int, frame: object) -> None:
        raise second

    stage.interrupts._handlers[10] = on_signal
    stage.interrupts.pending[10] = None
    stage.run.note(first)
    assert stage.run.interrupted()
    assert type(stage.run.error) is which


def test_an_event_is_dropped_for_a_signal_that_ends_the_run(stage: Stage) -> None:
    def on_signal(number: int, frame: object) -> None:
        stage.fail("signal")

    stage.interrupts._handlers[10] = on_signal
    stage.interrupts.pending[10] = None
    stage.run.tell(stage.record, "event")
    assert [event for _, event in stage.seen] == ["signal"]


def test_signals_are_put_off_while_something_is_half_done(stage: Stage) -> None:
    stage.interrupts.open = True
    stage.interrupts._handlers[10] = lambda number, frame: stage.record("signal")
    with stage.run.shielded():
        stage.interrupts._on_signal(10, None)
        stage.record("done")
    assert [event for _, event in stage.seen] == ["done", "signal"]


# -- timers ----------------------------------------------------------------------------------------


def timer_of(
    stage: Stage, fire: float, interval: float = -1, autoclose: bool = False
) -> EngineTimer:
    handler = type("Handler", (), {"ev_timer": lambda self, timer: stage.record("timer")})()
    timer = EngineTimer(fire, interval, autoclose, handler, clock=stage.loop.time)
    timer.bind(lambda call, *args: call(*args))
    timer.enter(stage.run)
    return timer


def test_a_timer_fires_once_and_holds_the_run_until_then(stage: Stage) -> None:
    timer = timer_of(stage, 2.5)
    stage.go()
    assert stage.seen == [(1002.5, "timer")]
    assert not timer.is_valid() and not stage.run.held


def test_an_interval_counts_from_due_date_to_due_date(stage: Stage) -> None:
    timer = timer_of(stage, 1, 10)
    stage.loop.call_at(1011.5, lambda: setattr(stage.loop, "now", 1034.0))  # a slow handler
    stage.loop.call_at(1055, timer.invalidate)
    stage.go()
    assert [when for when, _ in stage.seen] == [1001, 1011, 1034, 1041, 1051]


def test_a_timer_waits_for_the_first_start_of_the_work_beside_it(stage: Stage) -> None:
    timer_of(stage, 1)
    stage.jobs_wait = True

    def start() -> None:
        stage.jobs_wait = False
        stage.record("start")
        stage.run.end_wait_for_start()

    stage.loop.call_at(1004, start)
    stage.go()
    assert stage.seen == [(1004, "start"), (1004, "timer")]


def test_an_autoclose_timer_does_not_hold_the_run(stage: Stage) -> None:
    timer_of(stage, 1, autoclose=True)
    timer_of(stage, 3, autoclose=True)
    timer_of(stage, 2)
    stage.go()
    assert stage.seen == [(1001, "timer"), (1002, "timer")]


def test_a_timer_that_is_due_with_an_error_does_not_fire(stage: Stage) -> None:
    stage.loop.call_at(1001, stage.run.call, stage.fail, "first")
    timer_of(stage, 1)
    with pytest.raises(Oops):
        stage.go()
    assert stage.seen == [(1001, "first")]


# -- ports -----------------------------------------------------------------------------------------


def port_of(stage: Stage, act: Callable[..., object], autoclose: bool = False) -> EnginePort:
    handler = type("Handler", (), {"ev_msg": lambda self, port, message: act(message)})()
    port = EnginePort(handler, autoclose, 10, threading.current_thread())
    port.enter(stage.run)
    return port


def test_messages_are_delivered_in_their_order_until_the_port_is_closed(stage: Stage) -> None:
    port = port_of(stage, stage.record)
    for message in "abc":
        assert port.msg_send(message)
    stage.loop.call_at(1005, port.close)
    stage.go()
    assert [event for _, event in stage.seen] == ["a", "b", "c"]
    assert not port.msg_send("d") and not stage.run.held


def test_an_error_leaves_the_other_messages_for_the_next_run(stage: Stage) -> None:
    port = port_of(stage, stage.fail)
    port.msg_send("a")
    port.msg_send("b")
    with pytest.raises(Oops):
        stage.go()
    port.leave()
    other = Stage()
    port.eh = type("Handler", (), {"ev_msg": lambda self, port, message: other.record(message)})()
    port.enter(other.run)
    other.loop.call_at(1005, port.close)
    other.go()
    other.run.close()
    assert ([e for _, e in stage.seen], [e for _, e in other.seen]) == (["a"], ["b"])


# -- streams ---------------------------------------------------------------------------------------


def serve(
    scene: Scene, readers: list[StreamReader], writers: list[StreamWriter], **changes: Any
) -> Job:
    changes.setdefault("report_written", True)
    job = Job(spec(None, **changes), [""], ["key"], RecordedEvents(), WorkerResults())
    job.snames = tuple(reader.sname for reader in readers)
    scene.coordinator.serve(job, Streams(readers, writers))
    return job


def test_a_stream_ends_at_its_end_of_file_with_its_last_line(pipe: tuple[int, int]) -> None:
    scene = Scene()
    reading, writing = pipe
    os.write(writing, b"one\ntwo\nand a piece")
    job = serve(scene, [StreamReader("stdout", reading, True, False)], [])
    scene.when(lambda: True, lambda: os.close(writing))
    scene.run()
    recorded = events_of(job)
    assert [event[2] for event in recorded.events if event[0] == "line"] == [
        b"one",
        b"two",
        b"and a piece",
    ]
    assert recorded.events[-2:] == [("end", "key", None, False), ("close", False)]
    assert job.results.text_of("key", "stdout") == b"one\ntwo\nand a piece"
    assert not job.results.outcomes and not job.results.codes


@pytest.mark.parametrize("how", ["its own timeout", "the run's timeout", "cancel"])
def test_a_stream_that_goes_on_is_ended(how: str, pipe: tuple[int, int]) -> None:
    scene = Scene()
    reading, writing = pipe
    os.write(writing, b"a piece")
    timeout = 3.0 if how == "its own timeout" else None
    job = serve(scene, [StreamReader("stdout", reading, True, False)], [], timeout=timeout)
    if how == "cancel":
        scene.loop.call_later(3, lambda: scene.coordinator.cancel(job))
    if how == "the run's timeout":
        with pytest.raises(EngineTimeoutException):
            scene.run(timeout=3)
    else:
        scene.run()
    recorded = events_of(job)
    timed_out = how != "cancel"
    assert recorded.events[-1] == ("close", timed_out)
    assert recorded.of("end") == ["key"]
    assert list(job.results.timeouts) == (["key"] if timed_out else [])
    # The unfinished last line is an event unless the stream was aborted.
    assert len(recorded.of("line")) == int(timed_out)
    assert scene.loop.now == pytest.approx(1003)


def test_written_data_is_reported_and_the_stream_ends_when_all_is(
    pipe: tuple[int, int],
) -> None:
    scene = Scene()
    reading, writing = pipe
    streams = [StreamWriter("stdin", writing, True, True)]
    job = serve(scene, [], streams)
    streams[0].write(b"x" * 100)
    streams[0].write(None)
    scene.run()
    assert os.read(reading, 1000) == b"x" * 100 and os.read(reading, 1) == b""
    assert [event for event in events_of(job).events if event[0] == "written"] == [
        ("written", "stdin", 100)
    ]
    assert events_of(job).events[-1] == ("close", False)


def test_a_fork_of_a_handler_leaves_the_run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    with pytest.raises(EngineIllegalOperationError, match="not in a fork"):
        stage.run.call(lambda: None)


def test_streams_and_commands_end_together() -> None:
    scene = Scene()
    reading, writing = os.pipe()
    stream = serve(scene, [StreamReader("stdout", reading, True, True)], [])
    job = scene.job(5)
    scene.after(5, lambda: os.close(writing))
    scene.run()
    scene.check(job)
    assert events_of(stream).events[-1] == ("close", False)
    assert {outcome.reason for outcome in job.results.outcomes.values()} == {m.EXITED}
