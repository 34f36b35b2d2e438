"""The fault table: a signal handler of the program's raises, and errors that come from anywhere."""

from __future__ import annotations

import collections
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpshell import ExecWorker, Task, messages
from tests.faults.conftest import Observer, Sweep


class OopsError(Exception):
    """What a handler of the program's raises."""


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
    for n in range(60):
        observer = Observer()
        sweep = Sweep(task, ledger.with_suffix(f".{n}"), 20, observer, "sleep 0.01; echo out")
        before = len(alarm)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001 + moments.random() * 0.1)
            sweep.run()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except OopsError:
            ended += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert len(alarm) <= before + 1
        outcomes = collections.Counter(outcome.node for outcome in sweep.worker.outcomes())
        # Before the run has begun, nothing has.
        if outcomes or sweep.ran():
            assert outcomes == dict.fromkeys(sweep.nodes, 1)
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

    def encode(said: list[messages.Message]) -> bytes:
        if any(isinstance(message, messages.Submit) for message in said) and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGUSR1)
        return plain(said)

    sent: list[int] = []
    plain = messages.encode
    monkeypatch.setattr(messages, "encode", encode)
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


def test_what_an_error_from_nowhere_has_torn_off_is_lost(
    task: Task, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory, say: what was in hand then may have run."""

    def encode(said: list[messages.Message]) -> bytes:
        if any(isinstance(message, messages.Submit) for message in said) and not failed:
            failed.append(1)
            raise MemoryError
        return plain(said)

    failed: list[int] = []
    plain = messages.encode
    monkeypatch.setattr(messages, "encode", encode)
    sweep = Sweep(task, ledger, 40, Observer())
    with pytest.raises(MemoryError):
        sweep.run()
    reasons = collections.Counter(outcome.reason for outcome in sweep.worker.outcomes())
    assert sum(reasons.values()) == 40 and reasons["lost"] > 0
    assert reasons.keys() <= {"lost", "cancelled"} and not sweep.ran()
    next_job_is_an_ordinary_one(task)
