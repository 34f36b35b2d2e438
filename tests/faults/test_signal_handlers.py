"""The fault table: a signal handler of the program's raises, and errors that come from anywhere."""

from __future__ import annotations

import collections
import os
import random
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpshell import (
    EngineAbortException,
    EngineIllegalOperationError,
    ExecWorker,
    Task,
)
from mpshell.wire import codec, messages
from tests.faults.conftest import Observer, Sweep, later


class OopsError(Exception):
    """Raised by a handler of the program's."""


@pytest.fixture
def alarm() -> Iterator[list[int]]:
    """Have SIGALRM raise, and give the signals that came."""
    got: list[int] = []

    def oops(number: int, frame: Any) -> None:
        got.append(number)
        raise OopsError

    before = signal.signal(signal.SIGALRM, oops)
    yield got
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def raised_in_ev_start_or_ev_close(error: OopsError | None) -> bool:
    """Return whether the signal came while one of these was delivered, which it may interrupt."""
    frames = [] if error is None else traceback.extract_tb(error.__traceback__)
    return any("start" in frame.name or "close" in frame.name for frame in frames)


def next_job_is_an_ordinary_one(task: Task) -> None:
    after = Observer()
    worker = ExecWorker("m[1-6]", handler=after, command="echo %h")
    task.schedule(worker)
    task.resume()
    assert dict(worker.iter_node_retcodes()) == {f"m{i}": 0 for i in range(1, 7)}
    assert after.closes == [False]


def test_a_signal_handler_that_raises_at_any_moment(
    task: Task, ledger: Path, alarm: list[int]
) -> None:
    """A time limit of the program's own: the run ends with that error, and every node has a verdict."""
    moments = random.Random(7)
    task.set_info("grace", 0.3)
    ended = 0
    for n in range(50):
        observer = Observer()
        sweep = Sweep(task, ledger.with_suffix(f".{n}"), 20, observer)
        task.schedule(sweep.worker)
        before = len(alarm)
        raised: OopsError | None = None
        try:
            # Most come within the 0.05 s that the commands take, or before them.
            after = moments.random() * moments.choice([0.02, 0.05, 0.2])
            signal.setitimer(signal.ITIMER_REAL, 0.001 + after)
            task.resume()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except OopsError as error:
            raised = error
            ended += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert len(alarm) <= before + 1
        outcomes = collections.Counter(outcome.node for outcome in sweep.worker.outcomes())
        # Before the run has begun, nothing has.
        if outcomes or sweep.ran():
            assert outcomes == dict.fromkeys(sweep.nodes, 1)
        if not raised_in_ev_start_or_ev_close(raised):
            assert observer.closes == [False] * observer.starts
        reasons = {outcome.reason for outcome in sweep.worker.outcomes()}
        assert reasons <= {"exit", "signal", "cancelled"}, "none was in hand"
        next_job_is_an_ordinary_one(task)
    assert ended > 10


@pytest.mark.parametrize("raises", [OopsError, SystemExit, KeyboardInterrupt])
def test_a_signal_in_the_middle_of_a_message_waits_for_its_end(
    raises: type[BaseException], task: Task, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def oops(number: int, frame: Any) -> None:
        raise raises

    def encode(batch: list[messages.Message]) -> bytes:
        if any(isinstance(message, messages.Submit) for message in batch) and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGUSR1)
        return plain(batch)

    sent: list[int] = []
    plain = codec.encode
    monkeypatch.setattr(codec, "encode", encode)
    before = signal.signal(signal.SIGUSR1, oops)
    try:
        sweep = Sweep(task, ledger, 40, Observer(), "sleep 30")
        with pytest.raises(raises):
            sweep.run()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert {o.node: o.reason for o in sweep.worker.outcomes()} == dict.fromkeys(
        sweep.nodes, "cancelled"
    )
    next_job_is_an_ordinary_one(task)


STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.05; done"


class Kicks(Observer):
    """Sends a signal when the first line has come."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("first", "second", "comes_out"),
    [
        (OopsError, SystemExit, SystemExit),
        (KeyboardInterrupt, SystemExit, SystemExit),
        (SystemExit, KeyboardInterrupt, SystemExit),
        (SystemExit, EngineAbortException, SystemExit),
        (KeyboardInterrupt, OopsError, KeyboardInterrupt),
        (OopsError, KeyboardInterrupt, KeyboardInterrupt),
    ],
)
def test_who_is_told_to_exit_while_a_failed_run_is_wound_up_does(
    first: type[BaseException],
    second: type[BaseException],
    comes_out: type[BaseException],
    task: Task,
) -> None:
    def fail(number: int, frame: Any) -> None:
        # Comes when the run is wound up: the commands have as much grace as it takes.
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        raise first

    def leave(number: int, frame: Any) -> None:
        if second is EngineAbortException:
            task.abort()
        raise second

    task.set_info("grace", 60)
    before = [signal.signal(signal.SIGUSR1, fail), signal.signal(signal.SIGALRM, leave)]
    try:
        worker = ExecWorker("n[1-4]", handler=Kicks(signal.SIGUSR1), command=STUBBORN)
        task.schedule(worker)
        with pytest.raises(comes_out) as error:
            task.resume()
    finally:
        signal.signal(signal.SIGUSR1, before[0])
        signal.signal(signal.SIGALRM, before[1])
    assert comes_out is first or isinstance(error.value.__context__, first)
    assert {outcome.reason for outcome in worker.outcomes()} == {"cancelled"}
    next_job_is_an_ordinary_one(task)


def test_what_a_signal_handler_asks_for_is_done_at_once(task: Task) -> None:
    """Nothing else wakes the run: no heartbeat, no output."""

    def abort(number: int, frame: Any) -> None:
        worker.abort()

    task.set_info("heartbeat", None)
    before = signal.signal(signal.SIGALRM, abort)
    try:
        worker = ExecWorker("n[1-4]", command="sleep 300")
        task.schedule(worker)
        signal.setitimer(signal.ITIMER_REAL, 1)
        task.resume(200)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert {outcome.reason for outcome in worker.outcomes()} == {"cancelled"}


def test_an_error_at_the_end_goes_before_what_another_thread_still_says(task: Task) -> None:
    """Of a worker that ends with nothing left to run: the run ends with the error, after any posted call."""

    class Ends(Observer):
        def ev_close(self, worker: Any, timedout: bool) -> None:
            super().ev_close(worker, timedout)
            later(lambda: task.set_info("fanout", 5)).join()
            raise OopsError

        def ev_timer(self, timer: Any) -> None:
            worker.withdraw()

    task.set_info("rate", 0.2)
    ends = Ends()
    worker = ExecWorker("n[1-3]", handler=ends, command="true")
    task.schedule(worker)
    task.timer(0.5, ends)
    with pytest.raises(OopsError):
        task.resume()
    task.set_info("rate", None)
    assert ends.closes == [False]
    next_job_is_an_ordinary_one(task)


class Begins(Observer):
    """Has SIGALRM come a moment after the first line, and raises where that is to be at the run's end."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.fails = fails
        self.begun = False

    def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
        if not self.begun:
            self.begun = True
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            if self.fails:
                raise OopsError


@pytest.mark.parametrize("when", ["in the run", "at its end"])
@pytest.mark.parametrize("leaves", ["by return", "by exit"])
def test_a_fork_in_a_signal_handler_is_let_out(when: str, leaves: str, task: Task) -> None:
    parent, children = os.getpid(), []
    at_the_end = when == "at its end"

    def fork(number: int, frame: Any) -> None:
        pid = os.fork()
        if pid:
            children.append(pid)
            # No more grace, or an end to commands that would run for ever.
            raise KeyboardInterrupt
        if leaves == "by exit":
            sys.exit(3)

    task.set_info("grace", 60 if at_the_end else 0.2)
    before = signal.signal(signal.SIGALRM, fork)
    worker = ExecWorker("n[1-4]", handler=Begins(at_the_end), command=STUBBORN)
    task.schedule(worker)
    try:
        task.resume()
    except BaseException as error:
        if os.getpid() != parent:
            # The exception that ends the run comes out of it in the child too.
            returned = OopsError if at_the_end else EngineIllegalOperationError
            os._exit(5 if type(error) is (SystemExit if leaves == "by exit" else returned) else 6)
        if not isinstance(error, KeyboardInterrupt):
            raise
    finally:
        if os.getpid() != parent:
            os._exit(7)
        signal.signal(signal.SIGALRM, before)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert codes == [5]
    assert len(list(worker.outcomes())) == 4
    next_job_is_an_ordinary_one(task)


def test_what_an_error_from_nowhere_has_torn_off_is_lost(
    task: Task, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory, for example: clients in hand at that moment may have run."""

    def encode(batch: list[messages.Message]) -> bytes:
        if any(isinstance(message, messages.Submit) for message in batch) and not failed:
            failed.append(1)
            raise MemoryError
        return plain(batch)

    failed: list[int] = []
    plain = codec.encode
    monkeypatch.setattr(codec, "encode", encode)
    sweep = Sweep(task, ledger, 40, Observer())
    with pytest.raises(MemoryError):
        sweep.run()
    reasons = collections.Counter(outcome.reason for outcome in sweep.worker.outcomes())
    assert sum(reasons.values()) == 40 and reasons["lost"] > 0
    assert reasons.keys() <= {"lost", "cancelled"} and not sweep.ran()
    next_job_is_an_ordinary_one(task)
