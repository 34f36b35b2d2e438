"""Other attempts, in runs without processes: when they are made, and how they are called off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpshell.coordinator.retry import DEFAULT_REASONS, POSSIBLE_REASONS, RETRY_LOST, RetryPolicy
from mpshell.errors import EngineTimeoutException, TaskSettingError
from mpshell.outcome import REASONS
from mpshell.wire import messages as m
from tests.unit.scene import Scene, events_of, of_reason

#: Two more attempts for a command that has ended with a failure of its own, after 10 and 20 seconds.
LATER = RetryPolicy(2, frozenset(("exit",)), delay=10.0, jitter=False)


def failing(scene: Scene, times: list[float], **end: Any) -> None:
    """Let each client that runs fail, one after the other, and note when."""
    end = {"status": 1, "body": b"x", **end}

    def fail() -> None:
        engine = next(e for e in scene.launcher.living() if any(e.running.values()))
        times.append(scene.loop.now)
        engine.finish(next(c for some in engine.running.values() for c in some), **end)
        engine.flush()
        plan()

    def plan() -> None:
        scene.when(lambda: any(any(e.running.values()) for e in scene.launcher.living()), fail)

    plan()


# -- the policy ------------------------------------------------------------------------------------


def test_the_default_reasons_prove_that_nothing_has_run() -> None:
    policy = RetryPolicy()
    assert policy.on == DEFAULT_REASONS == {"unreachable", "not started"}
    for reason in REASONS:
        assert (policy.wait(reason, 1) is not None) == (reason in DEFAULT_REASONS)
    assert set(POSSIBLE_REASONS) == set(REASONS) - {"cancelled"}


@given(st.integers(1, 400), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_wait_is_a_random_part_of_a_bounded_back_off(
    attempt: int, delay: float, most: float
) -> None:
    policy = RetryPolicy(400, frozenset(("lost",)), delay=delay, most=most)
    whole = RetryPolicy(400, frozenset(("lost",)), delay=delay, most=most, jitter=False)
    longest = whole.wait("lost", attempt)
    assert longest is not None and 0 <= longest <= most
    assert longest == pytest.approx(min(most, delay * 2.0 ** min(attempt - 1, 60)))
    waits = [policy.wait("lost", attempt) for _ in range(20)]
    assert all(wait is not None and 0 <= wait <= longest for wait in waits)
    if longest > 1e-3:
        assert len(set(waits)) > 1, "nodes that failed together must not come back together"


def test_a_policy_is_a_value() -> None:
    policy = RetryPolicy(2, frozenset(("lost",)))
    assert policy == RetryPolicy(2, frozenset(("lost",))) and len({policy, RetryPolicy(2)}) == 2
    field = "retries"
    with pytest.raises(AttributeError):
        setattr(policy, field, 3)
    assert policy.also_on("timeout").on == {"lost", "timeout"} and policy.on == {"lost"}
    assert [policy.wait("lost", attempt) is None for attempt in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"retries": 0}, TaskSettingError, "0"),
        ({"retries": True}, TaskSettingError, "True"),
        ({"retries": 1.5}, TaskSettingError, "1.5"),
        ({"on": "lost"}, TypeError, "'lost'"),
        ({"on": ["lost", "gone"]}, TaskSettingError, "'gone'"),
        ({"on": ["cancelled"]}, TaskSettingError, "'cancelled'"),
        ({"on": []}, TaskSettingError, "no reason"),
        ({"delay": -1}, TaskSettingError, "-1"),
        ({"delay": float("nan")}, TaskSettingError, "nan"),
        ({"most": float("inf")}, TaskSettingError, "inf"),
        ({"most": "9"}, TypeError, "'9'"),
    ],
)
def test_a_bad_policy_is_an_error_with_the_value(
    fields: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        RetryPolicy(**fields)


# -- in a run --------------------------------------------------------------------------------------


def test_another_attempt_is_made_when_it_is_due() -> None:
    times: list[float] = []
    scene = Scene(engines=1, retry=LATER)
    job = scene.job(1)
    failing(scene, times)
    scene.run()
    outcomes = scene.check(job, once=False)
    assert [times[1] - times[0], times[2] - times[1]] == pytest.approx([10, 20])
    assert (outcomes["n0"].status, outcomes["n0"].attempt) == (1, 3)
    # The output of the last attempt is kept, and one end is reported.
    assert job.results.text_of("n0", "stdout") == b"x"
    recorded = events_of(job)
    assert recorded.of("end") == ["n0"] and len(recorded.of("start")) == 3
    assert [event for event in recorded.events if event[0] == "retry"] == [
        ("retry", "n0", 1, 10.0),
        ("retry", "n0", 2, 20.0),
    ]
    assert [(o.attempt, o.returncode) for o in job.results.attempts_of("n0")] == [
        (1, 1),
        (2, 1),
        (3, 1),
    ]


def test_a_waiting_client_holds_no_slot_and_starts_before_new_ones() -> None:
    scene = Scene(engines=1, fanout=1, retry=LATER)
    job = scene.job(30)
    order: list[int] = []

    def fail_the_first() -> None:
        client = next(c for some in scene.engine().running.values() for c in some)
        scene.engine().finish(client, status=1)
        scene.engine().flush()

    def pass_time() -> None:
        order.append(len(scene.launcher.ledger))
        scene.loop.now += 4.0
        if len(scene.launcher.ledger) < 25:
            scene.when(lambda: len(scene.launcher.ledger) > order[-1], pass_time)

    scene.when(lambda: len(scene.launcher.ledger) == 1, fail_the_first)
    scene.when(lambda: len(scene.launcher.ledger) == 2, pass_time)
    scene.run()
    outcomes = scene.check(job, once=False)
    assert scene.most == 1
    first = [
        at for at, client in enumerate(scene.launcher.ledger) if m.job_and_index(client)[1] == 0
    ]
    # Others ran in its slot for the ten seconds, and then it went before the ones that wait.
    assert len(first) == 2 and 1 < first[1] < 25
    assert outcomes["n0"].attempt == 2 and outcomes["n0"].status == 0


def test_a_client_that_waits_gets_a_new_engine_when_all_are_gone() -> None:
    scene = Scene(engines=1, retry=LATER)
    job = scene.job(1)
    ends: list[float] = []

    def fail_and_die() -> None:
        client = next(c for some in scene.engine().running.values() for c in some)
        scene.engine().finish(client, status=1)
        scene.engine().flush()
        scene.loop.call_later(5, scene.engine().die)
        ends.append(scene.loop.now)

    scene.when(lambda: len(scene.launcher.ledger) == 1, fail_and_die)
    scene.run()
    outcomes = scene.check(job, once=False)
    assert (outcomes["n0"].status, outcomes["n0"].attempt) == (0, 2)
    assert len(scene.launcher.engines) == 2


@pytest.mark.parametrize("end", ["cancel", "withdraw", "stop", "out of time"])
def test_what_waits_for_another_attempt_can_be_called_off(end: str) -> None:
    scene = Scene(engines=1, retry=LATER)
    job = scene.job(1)
    failing(scene, [])
    calls: dict[str, Callable[[], object]] = {
        "cancel": lambda: scene.coordinator.cancel(job),
        "withdraw": lambda: scene.coordinator.withdraw(job),
        "stop": lambda: scene.coordinator.run.note(KeyboardInterrupt()),
    }
    if end in calls:
        scene.loop.call_later(5, calls[end])
    if end == "stop":
        with pytest.raises(KeyboardInterrupt):
            scene.run()
    elif end == "out of time":
        with pytest.raises(EngineTimeoutException):
            scene.run(timeout=5)
    else:
        scene.run()
    outcomes = scene.check(job, once=False)
    # It has ended so; nothing of it runs, and nothing is to come.
    assert (outcomes["n0"].reason, outcomes["n0"].status, outcomes["n0"].attempt) == (
        m.EXITED,
        1,
        1,
    )
    assert events_of(job).of("end") == (["n0"] if end == "withdraw" else [])
    assert [o.attempt for o in job.results.attempts_of("n0")] == [1]
    assert len(scene.launcher.ledger) == 1


def test_an_abort_within_the_event_of_a_retry_is_the_end() -> None:
    scene = Scene(engines=1, retry=LATER)
    job = scene.job(1)
    failing(scene, [])
    recorded = events_of(job)

    def act(event: tuple[object, ...]) -> None:
        if event[0] == "retry":
            scene.coordinator.withdraw(job)

    recorded.act = act
    scene.run()
    outcomes = scene.check(job, once=False)
    assert outcomes["n0"].attempt == 1
    assert [event[0] for event in recorded.events] == ["start", "retry", "end", "close"]


def test_an_attempt_that_an_engine_has_not_started_is_called_off_too() -> None:
    scene = Scene(engines=1, fanout=1, retry=RetryPolicy(1, frozenset(("exit",)), delay=0))
    job = scene.job(2)
    seen: list[int] = []

    def fail() -> None:
        engine = scene.engine()
        engine.finish(next(c for some in engine.running.values() for c in some), status=1)
        # The other one begins, and the second attempt of the first is handed out behind it.
        engine.start()
        engine.flush()

    def withdraw() -> None:
        seen.extend(c for some in scene.engine().waiting.values() for c in some)
        scene.coordinator.withdraw(job)

    scene.when(lambda: len(scene.launcher.ledger) == 1, fail)
    scene.when(
        lambda: len(scene.launcher.ledger) == 2 and any(scene.engine().waiting.values()), withdraw
    )
    scene.run()
    outcomes = scene.check(job, once=False)
    assert seen == [m.client_id(job.id, 0)]
    assert (outcomes["n0"].reason, outcomes["n0"].attempt) == (m.EXITED, 1)
    assert sorted(events_of(job).of("end")) == ["n0", "n1"]


def test_a_rate_holds_for_other_attempts_too() -> None:
    scene = Scene(fanout=None, engines=2, retry=RETRY_LOST, rate=2.0)
    job = scene.job(6)
    began = scene.loop.now

    def kill_all() -> None:
        for engine in scene.launcher.living():
            engine.die()

    scene.when(lambda: len(scene.launcher.ledger) == 1, kill_all)
    scene.run()
    outcomes = scene.check(job, once=False)
    assert len(of_reason(outcomes, m.EXITED)) == 6
    assert len(scene.launcher.ledger) == 7
    assert scene.loop.now - began >= (7 - 1) / 2.0 - 0.01


def test_after_a_timeout_the_killed_command_is_gone_first() -> None:
    """Its outcome comes when its time is over; it is gone in its grace and four seconds."""
    times: list[float] = []
    policy = RetryPolicy(1, frozenset(("timeout",)), delay=0)
    scene = Scene(engines=1, retry=policy)
    job = scene.job(1, grace=3.0)
    failing(scene, times, reason=m.TIMED_OUT, status=0, body=None)
    scene.run()
    outcomes = scene.check(job, once=False)
    assert (outcomes["n0"].reason, outcomes["n0"].attempt) == (m.TIMED_OUT, 2)
    assert times[1] - times[0] >= 3.0 + 4.0
    assert list(job.results.timeouts) == ["n0"]


def test_a_command_that_is_ok_is_never_run_again() -> None:
    scene = Scene(engines=1, retry=RetryPolicy(5, frozenset(("exit", "lost", "timeout"))))
    job = scene.job(10)
    scene.run()
    outcomes = scene.check(job)
    assert {outcome.attempt for outcome in outcomes.values()} == {1}


def test_the_transport_s_diagnosis_is_the_reason() -> None:
    scene = Scene(engines=1, retry=RetryPolicy(1, frozenset(("unreachable",)), delay=0))
    job = scene.job(2)
    job.results.diagnose = {"down": "unreachable", "wrong key": "auth"}.get
    details: Iterator[str] = iter(["down", "wrong key", "down"])

    def fail() -> None:
        engine = scene.engine()
        client = next(c for some in engine.running.values() for c in some)
        for some in engine.running.values():
            some[:] = [c for c in some if c != client]
        engine.emit(m.Finished([(client, m.EXITED, 255, -1, -1, 1.0, 0.5, next(details))]))
        plan()

    def plan() -> None:
        scene.when(lambda: any(any(e.running.values()) for e in scene.launcher.living()), fail)

    plan()
    scene.run()
    scene.check(job, once=False)
    found = {
        outcome.node: (outcome.reason, outcome.attempt) for outcome in job.results.iter_outcomes()
    }
    assert found == {"n0": ("unreachable", 2), "n1": ("auth", 1)}
