"""The client's state machine: its table walked from end to end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpshell.engine import client as c
from mpshell.errors import InvalidTransition
from mpshell.wire.messages import CANCELLED, EXITED, SIGNALED, SPAWN_FAILED, TIMED_OUT
from tests.unit.tables import STAY, Walk

#: A way into each state, of a client with two streams.
WAYS = {
    c.PENDING: [],
    c.RUNNING: [c.SPAWNED],
    c.STOPPING: [c.SPAWNED, c.TIMEOUT],
    c.KILLING: [c.SPAWNED, c.CANCEL, c.CANCEL],
    c.DRAINING: [c.SPAWNED, c.EXIT],
    c.FINISHED: [c.CANCEL],
}
#: The table of the design, row by row; a client that cannot be killed is abandoned in the end.
EXPECTED = {
    c.PENDING: (c.RUNNING, c.FINISHED, None, None, None, None, None, c.FINISHED),
    c.RUNNING: (None, None, STAY, c.DRAINING, c.STOPPING, None, None, c.STOPPING),
    c.STOPPING: (None, None, STAY, c.FINISHED, None, c.KILLING, None, c.KILLING),
    c.KILLING: (None, None, STAY, c.FINISHED, None, c.FINISHED, None, STAY),
    c.DRAINING: (None, None, STAY, None, None, None, c.FINISHED, c.FINISHED),
    c.FINISHED: (None, None, None, None, None, None, None, STAY),
}


def a_client() -> c.Client:
    client = c.Client()
    client.streams = 2
    return client


WALK = Walk(c, a_client, WAYS, EXPECTED, "{event} in state {state}")


@pytest.mark.parametrize(("state", "event"), WALK.pairs())
def test_every_pair_is_as_in_the_table(state: str, event: str) -> None:
    WALK.check(state, event)


@pytest.mark.parametrize(
    ("events", "reason", "effects"),
    [
        ([c.SPAWN_FAILURE], SPAWN_FAILED, [c.REPORT, c.RELEASE]),
        ([c.CANCEL], CANCELLED, [c.REPORT, c.RELEASE]),
        ([c.SPAWNED, c.EOF, c.EXIT], EXITED, [c.ARM_TIMEOUT, c.REPORT, c.RELEASE]),
        (
            [c.SPAWNED, c.EXIT, c.EOF],
            EXITED,
            [c.ARM_TIMEOUT, c.ARM_DRAIN, c.REPORT, c.RELEASE],
        ),
        (
            [c.SPAWNED, c.TIMEOUT, c.GRACE_OVER, c.EXIT],
            TIMED_OUT,
            [c.ARM_TIMEOUT, c.REPORT, c.TERMINATE, c.KILL, c.RELEASE],
        ),
        (
            [c.SPAWNED, c.CANCEL, c.CANCEL, c.CANCEL, c.EOF, c.EXIT],
            CANCELLED,
            [c.ARM_TIMEOUT, c.REPORT, c.TERMINATE, c.KILL, c.RELEASE],
        ),
        (
            [c.SPAWNED, c.TIMEOUT, c.GRACE_OVER, c.GRACE_OVER],
            TIMED_OUT,
            [c.ARM_TIMEOUT, c.REPORT, c.TERMINATE, c.KILL, c.RELEASE],
        ),
        (
            [c.SPAWNED, c.EXIT, c.DRAIN_OVER],
            EXITED,
            [c.ARM_TIMEOUT, c.ARM_DRAIN, c.REPORT, c.RELEASE],
        ),
    ],
)
def test_lives_and_their_effects(events: list[str], reason: int, effects: list[str]) -> None:
    client = c.Client()
    client.streams = 1
    done = [effect for event in events for effect in client.handle(event)]
    assert done == effects
    assert client.reason == reason
    assert client.state == c.FINISHED


def test_the_exit_is_reported_unless_an_earlier_end_was() -> None:
    exited, killed, late = c.Client(), c.Client(), c.Client()
    for client in (exited, killed, late):
        client.handle(c.SPAWNED)
    exited.exited(3, False)
    killed.exited(9, True)
    late.handle(c.TIMEOUT)
    late.exited(15, True)
    assert (exited.reason, exited.status) == (EXITED, 3)
    assert (killed.reason, killed.status) == (SIGNALED, 9)
    assert (late.reason, late.status) == (TIMED_OUT, -1)


def test_a_cancel_may_be_for_the_time_of_the_run() -> None:
    client = c.Client()
    client.handle(c.SPAWNED)
    client.cancel(TIMED_OUT)
    assert client.reason == TIMED_OUT


@given(st.lists(st.sampled_from(c.EVENTS), max_size=12), st.integers(1, 2))
def test_the_end_is_reported_once_and_the_release_is_last(events: list[str], streams: int) -> None:
    client = c.Client()
    client.streams = streams
    effects: list[str] = []
    exited = False
    for event in events:
        if event == c.EOF and client.streams == 0:
            continue
        try:
            done = client.handle(event)
        except InvalidTransition:
            continue
        exited = exited or event == c.EXIT
        assert not (exited and {c.TERMINATE, c.KILL} & set(done)), "a signal after the reap"
        effects += done
    assert effects.count(c.REPORT) <= 1
    assert effects.count(c.RELEASE) <= 1
    if client.state == c.FINISHED:
        assert effects.count(c.REPORT) == 1
        assert effects[-1] == c.RELEASE
