"""Canary, batches and the limit of failures, in runs without processes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpshell.coordinator.job import Job
from mpshell.coordinator.retry import RETRY_LOST, RetryPolicy
from mpshell.coordinator.rollout import RolloutPlan
from mpshell.outcome import Outcome
from mpshell.wire import messages as m
from tests.unit.scene import Scene, events_of, of_reason


def fail_some(scene: Scene, bad: Callable[[int], bool]) -> None:
    """Have the engines end clients in turn, those that are chosen by their index with 1."""

    def act() -> None:
        for engine in scene.launcher.living():
            for client in [c for some in engine.running.values() for c in some]:
                engine.finish(client, status=int(bad(m.job_and_index(client)[1])))
            engine.flush()
        plan()

    def plan() -> None:
        scene.when(lambda: any(any(e.running.values()) for e in scene.launcher.living()), act)

    plan()


def never_run(job: Job) -> list[str]:
    return [str(k) for k in job.keys if job.results.outcomes[k].attempt == 0]


def order_of(scene: Scene, job: Job) -> list[int]:
    pairs = map(m.job_and_index, scene.launcher.ledger)
    return [index for job_id, index in pairs if job_id == job.id]


class Waves:
    """Which clients have started and which have not ended, at each start."""

    def __init__(self, scene: Scene, job: Job) -> None:
        self.overlaps: list[tuple[int, list[int]]] = []
        self._open: list[int] = []
        events_of(job).act = self._record

    def _record(self, event: tuple[object, ...]) -> None:
        index = int(str(event[1])[1:]) if event[0] in ("start", "end") else -1
        if event[0] == "start":
            self.overlaps.append((index, list(self._open)))
            self._open.append(index)
        elif event[0] == "end":
            self._open.remove(index)


@pytest.mark.parametrize("engines", [1, 3])
def test_no_batch_overlaps_the_one_before(engines: int) -> None:
    scene = Scene(fanout=4, engines=engines, plan=RolloutPlan(batch=10))
    job = scene.job(35)
    waves = Waves(scene, job)
    scene.run()
    outcomes = scene.check(job)
    assert len(of_reason(outcomes, m.EXITED)) == 35 and scene.most == 4
    for index, running in waves.overlaps:
        assert all(other // 10 == index // 10 for other in running)
    assert [index // 10 for index in order_of(scene, job)] == sorted(
        index // 10 for index in range(35)
    )


def test_a_canary_that_is_ok_is_followed_by_the_others() -> None:
    scene = Scene(fanout=8, engines=2, plan=RolloutPlan(canary=2))
    job = scene.job(20)
    waves = Waves(scene, job)
    scene.run()
    assert len(of_reason(scene.check(job), m.EXITED)) == 20 and scene.most == 8
    for index, running in waves.overlaps:
        assert index < 2 or not {0, 1} & set(running)


@pytest.mark.parametrize("bad", [0, 1])
def test_a_canary_that_fails_is_all_that_runs(bad: int) -> None:
    scene = Scene(fanout=8, engines=2, plan=RolloutPlan(canary=2, batch=5))
    job = scene.job(20)
    fail_some(scene, lambda index: index == bad)
    scene.run()
    outcomes = scene.check(job)
    assert sorted(order_of(scene, job)) == [0, 1]
    assert never_run(job) == [f"n{index}" for index in range(2, 20)]
    assert outcomes["n9"].detail == "1 of 2 nodes of the canary failed"
    assert sorted(events_of(job).of("end")) == ["n0", "n1"]


def test_a_batch_of_which_none_is_ok_is_the_last() -> None:
    scene = Scene(fanout=8, engines=2, plan=RolloutPlan(canary=1, batch=4))
    job = scene.job(20)
    fail_some(scene, lambda index: index in (2, 5, 6, 7, 8))
    scene.run()
    outcomes = scene.check(job)
    assert sorted(order_of(scene, job)) == list(range(9))
    assert outcomes["n9"].detail == "no node of the batch before was ok"


def test_with_a_limit_of_failures_that_alone_decides() -> None:
    scene = Scene(fanout=1, engines=2, plan=RolloutPlan(batch=2, max_fail=4))
    job = scene.job(20)
    fail_some(scene, lambda index: index in (2, 3, 5, 9))
    scene.run()
    outcomes = scene.check(job)
    assert order_of(scene, job) == list(range(10)), "at once, and not at the end of a batch"
    assert outcomes["n10"].detail is None and never_run(job) == [f"n{i}" for i in range(10, 20)]


def test_without_waves_a_limit_of_failures_holds_too() -> None:
    scene = Scene(fanout=1, engines=2, plan=RolloutPlan(max_fail=2))
    first, second = scene.job(6), scene.job(6)
    fail_some(scene, lambda index: index == 4)
    scene.run()
    scene.check(first)
    # The same node of two jobs is one node.
    assert len(never_run(first)) + len(never_run(second)) == 0
    scene = Scene(fanout=1, engines=2, plan=RolloutPlan(max_fail=2))
    job = scene.job(9)
    fail_some(scene, lambda index: index in (3, 4, 5))
    scene.run()
    scene.check(job)
    assert order_of(scene, job) == [0, 1, 2, 3, 4]


def test_last_verdicts_alone_are_judged() -> None:
    policy = RetryPolicy(1, frozenset(("exit",)), delay=30, jitter=False)
    scene = Scene(
        fanout=8, engines=1, plan=RolloutPlan(canary=1, batch=3, max_fail=1), retry=policy
    )
    job = scene.job(7)
    tried: set[int] = set()

    def first_time(index: int) -> bool:
        again = index in tried
        tried.add(index)
        return not again

    waves = Waves(scene, job)
    fail_some(scene, first_time)
    began = scene.loop.now
    scene.run()
    outcomes = scene.check(job, once=False)
    assert {(o.status, o.attempt) for o in outcomes.values()} == {(0, 2)}
    # A wave waits for the nodes that wait for another attempt: three waves, 30 seconds each.
    assert scene.loop.now - began == pytest.approx(90)
    assert waves.overlaps


def test_lost_nodes_of_a_canary_are_failures() -> None:
    scene = Scene(fanout=2, engines=1, plan=RolloutPlan(canary=2))
    job = scene.job(9)
    scene.when(lambda: len(scene.launcher.ledger) == 2, lambda: scene.engine().die())
    scene.run()
    outcomes = scene.check(job)
    assert of_reason(outcomes, m.LOST) == ["n0", "n1"] and len(never_run(job)) == 7


def test_with_retries_the_lost_ones_of_a_canary_are_not() -> None:
    scene = Scene(fanout=2, engines=1, plan=RolloutPlan(canary=2), retry=RETRY_LOST)
    job = scene.job(9)
    scene.when(lambda: len(scene.launcher.ledger) == 2, lambda: scene.engine().die())
    scene.run()
    assert len(of_reason(scene.check(job, once=False), m.EXITED)) == 9


def test_clients_that_an_engine_had_not_announced_are_of_the_same_wave() -> None:
    scene = Scene(fanout=2, engines=1, plan=RolloutPlan(batch=6))
    job = scene.job(12)
    waves = Waves(scene, job)
    scene.after(2, lambda: scene.engine().die())
    scene.run()
    assert set(scene.check(job)) == set(job.keys)
    for index, running in waves.overlaps:
        lost = set(map(int, (str(k)[1:] for k in of_reason(job.results.outcomes, m.LOST))))
        assert all(other // 6 == index // 6 for other in set(running) - lost)


def test_jobs_of_one_turn_are_in_the_same_waves() -> None:
    scene = Scene(fanout=None, engines=1, plan=RolloutPlan(canary=1, batch=2))
    jobs = [scene.job(5), scene.job(5)]
    scene.run()
    for job in jobs:
        assert len(of_reason(scene.check(job), m.EXITED)) == 5
    pairs = [m.job_and_index(client) for client in scene.launcher.ledger]
    assert [sorted(index for _, index in pairs[at : at + 4]) for at in (2, 6)] == [
        [1, 1, 2, 2],
        [3, 3, 4, 4],
    ]
    assert sorted(pairs[:2]) == [(jobs[0].id, 0), (jobs[1].id, 0)]


def test_a_job_that_comes_later_begins_with_its_own_canary() -> None:
    scene = Scene(fanout=None, engines=1, plan=RolloutPlan(canary=1))
    first = scene.job(4)
    late: list[Job] = []
    scene.after(1, lambda: late.append(scene.job(4)))
    fail_some(scene, lambda index: False)
    scene.run()
    assert len(of_reason(scene.check(late[0]), m.EXITED)) == 4
    assert len(of_reason(scene.check(first), m.EXITED)) == 4


def test_a_job_that_comes_after_the_stop_is_not_run() -> None:
    scene = Scene(fanout=2, engines=1, plan=RolloutPlan(canary=1))
    job = scene.job(4)
    late: list[Job] = []

    def act(event: tuple[object, ...]) -> None:
        if event[0] == "close":
            late.append(scene.job(3))

    events_of(job).act = act
    fail_some(scene, lambda index: True)
    scene.run()
    assert never_run(late[0]) == ["n0", "n1", "n2"]


def test_a_job_of_no_node_is_in_no_wave() -> None:
    scene = Scene(fanout=2, engines=1, plan=RolloutPlan(canary=1))
    job, local = scene.job(3), scene.job(1, in_waves=False)
    fail_some(scene, lambda index: False)
    scene.run()
    assert len(of_reason(scene.check(local), m.EXITED)) == 1
    assert len(of_reason(scene.check(job), m.EXITED)) == 3
    assert sorted(m.job_and_index(c)[0] for c in scene.launcher.ledger[:2]) == [job.id, local.id]


@pytest.mark.parametrize("how", ["cancel", "withdraw"])
def test_a_job_that_is_called_off_does_not_hold_the_others(how: str) -> None:
    scene = Scene(fanout=4, engines=1, plan=RolloutPlan(batch=2))
    job, other = scene.job(10), scene.job(10)
    scene.after(3, lambda: getattr(scene.coordinator, how)(job))
    scene.run()
    scene.check(job)
    assert len(of_reason(scene.check(other), m.EXITED)) == 10
    assert never_run(job)


@settings(max_examples=60, deadline=None)
@given(
    nodes=st.integers(1, 30),
    canary=st.none() | st.integers(1, 5),
    batch=st.none() | st.integers(1, 7),
    max_fail=st.none() | st.integers(1, 6),
    fanout=st.integers(1, 9),
    bad=st.sets(st.integers(0, 29)),
    engines=st.integers(1, 3),
)
def test_any_plan(
    nodes: int,
    canary: int | None,
    batch: int | None,
    max_fail: int | None,
    fanout: int,
    bad: set[int],
    engines: int,
) -> None:
    scene = Scene(fanout=fanout, engines=engines, plan=RolloutPlan(canary, batch, max_fail))
    job = scene.job(nodes)
    waves = Waves(scene, job)
    fail_some(scene, bad.__contains__)
    scene.run()
    outcomes = scene.check(job)
    assert scene.most <= fanout
    started = set(order_of(scene, job))
    missing = set(range(max(started) + 1)) - started
    # Some of the clients handed to several engines are withdrawn when a limit is reached elsewhere.
    assert not missing or (max_fail is not None and len(missing) < fanout), (
        "in the order of the nodes"
    )

    def wave_of(index: int) -> int:
        first = canary or 0
        if index < first:
            return -1
        return (index - first) // batch if batch else 0

    assert all(wave_of(a) == wave_of(b) for a, running in waves.overlaps for b in running)
    assert failures_allow(outcomes, bad, started, wave_of, RolloutPlan(canary, batch, max_fail))


def failures_allow(
    outcomes: dict[object, Outcome],
    bad: set[int],
    started: set[int],
    wave_of: Callable[[int], int],
    plan: RolloutPlan,
) -> bool:
    """Return whether the starts follow the plan: waves in order, each judged before the next."""
    nodes = len(outcomes)
    failed = 0
    for wave in sorted({wave_of(index) for index in range(nodes)}):
        members = [index for index in range(nodes) if wave_of(index) == wave]
        if plan.max_fail is not None and failed >= plan.max_fail:
            return not started & set(members)
        enough = plan.max_fail is not None and failed + len(bad & set(members)) >= plan.max_fail
        if not (enough or set(members) <= started):
            return False
        failed += len(bad & set(members) & started)
        judged = plan.has_waves and not (plan.max_fail is not None and failed >= plan.max_fail)
        stops = (wave == -1 and bad & set(members)) or (
            plan.max_fail is None and plan.batch and set(members) <= bad
        )
        if judged and stops:
            return not any(index in started for index in range(nodes) if wave_of(index) > wave)
    return True
