"""The heartbeat: which engines of a run are given up, and when, on a clock of the test's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast
from unittest import mock

import pytest

import mpshell
from mpshell.coordinator.engine import ClientEvents
from mpshell.coordinator.engines import EngineSet
from mpshell.coordinator.interrupt import Interrupts
from mpshell.coordinator.job import Job, Listener
from mpshell.coordinator.results import WorkerResults
from mpshell.coordinator.run import Run as CoordinatorRun
from mpshell.launch.pool import EnginePool
from mpshell.runtime.loop import EventLoop
from mpshell.wire import messages as m
from mpshell.wire.codec import encode
from tests.engine.conftest import job as spec
from tests.unit.test_handle import Peer
from tests.unit.test_loop import Clock

#: Seconds that an engine has for its first message.
START = 10.0


class Engine(Peer):
    """The far end of an engine, and the pool from which a run leases it."""

    def lease(self, library: str, rank: object) -> object:
        self.handle.detach()
        return self.handle

    def discard(self, handle: object) -> None:
        self.handle.close()

    give_back = discard

    def _fence(self) -> None:
        # Only asked for: once it is gone the run would lease the next one.
        self.fenced += 1

    def send(self, *events: m.Message) -> None:
        frame = encode(list(events))
        self.far.send(len(frame).to_bytes(4, "big") + frame)


class Run:
    """A run of one engine that has one client to hand out."""

    def __init__(self, heartbeat: float | None) -> None:
        self.clock = Clock()
        self.loop = EventLoop(self.clock)
        self.engine = Engine()
        run = CoordinatorRun(self.loop, Interrupts())
        run.hold()
        self.set = EngineSet(
            run,
            cast(EnginePool, self.engine),
            lambda clients: 1,
            m.Configure(b"/", None, {}),
            cast(ClientEvents, mock.Mock()),
            heartbeat,
        )
        self.set.add_slot_pool(0, 1)
        work = Job(spec("true"), ["n1"], ["n1"], cast(Listener, None), WorkerResults())
        work.id = 1
        self.set.submit(work)
        self.turn()

    def turn(self) -> None:
        for _ in range(4):
            self.loop.run_once(poll_only=True)

    def silent_for(
        self, seconds: float, step: float, meanwhile: Callable[[], object] | None = None
    ) -> float:
        """Let time pass; return after how much of it the engine was given up, or all."""
        began = self.clock.now
        while not self.engine.fenced and self.clock.now < began + seconds:
            self.clock.now += step
            if meanwhile is not None:
                meanwhile()
            self.turn()
        return self.clock.now - began

    def close(self) -> None:
        self.set.release()
        self.loop.close()
        self.engine.close()


@pytest.fixture
def make() -> Iterator[Callable[[float | None], Run]]:
    """Give a function that begins a run; all of them are closed after the test."""
    runs: list[Run] = []

    def begin(heartbeat: float | None) -> Run:
        runs.append(Run(heartbeat))
        return runs[-1]

    yield begin
    for run in runs:
        run.close()


@pytest.mark.parametrize("heartbeat", [0.1, 1.5, 8.0, 60.0])
def test_a_silent_engine_is_given_up_after_the_heartbeat(
    heartbeat: float, make: Callable[[float | None], Run]
) -> None:
    run = make(heartbeat)
    run.engine.send(m.Ready(1, 2, mpshell.__version__))
    run.turn()
    after = run.silent_for(4 * heartbeat, heartbeat / 100)
    assert run.engine.fenced == 1
    # A beat later at most, which is a quarter of it.
    assert heartbeat <= after <= 1.5 * heartbeat
    assert run.engine.handle.detail == f"no sign of life for {heartbeat:g} s"


@pytest.mark.parametrize("heartbeat", [0.1, 8.0, 60.0])
def test_an_engine_has_time_for_its_first_word(
    heartbeat: float, make: Callable[[float | None], Run]
) -> None:
    """It may have to wait for a fork server that is still starting."""
    run = make(heartbeat)
    bound = max(START, heartbeat)
    after = run.silent_for(4 * bound, heartbeat / 100)
    assert run.engine.fenced == 1
    assert bound <= after <= 1.5 * bound


def test_an_engine_that_answers_is_never_given_up(make: Callable[[float | None], Run]) -> None:
    run = make(8.0)
    run.engine.send(m.Ready(1, 2, mpshell.__version__))
    assert run.silent_for(1000, 0.5, lambda: run.engine.send(m.Pong())) == 1000
    assert run.engine.fenced == 0


@pytest.mark.parametrize("ready", [True, False])
def test_without_a_heartbeat_no_engine_is_given_up(
    ready: bool, make: Callable[[float | None], Run]
) -> None:
    """Nor is it asked for a sign of life."""
    run = make(None)
    if ready:
        run.engine.send(m.Ready(1, 2, mpshell.__version__))
    run.turn()
    seen = len(run.engine.far.recv(1 << 20))
    assert seen
    assert run.silent_for(100_000, 50) == 100_000
    assert run.engine.fenced == 0
    run.engine.far.setblocking(False)
    with pytest.raises(BlockingIOError):
        run.engine.far.recv(1 << 20)
