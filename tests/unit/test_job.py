"""A job's states: the table walked from end to end."""

from __future__ import annotations

from typing import cast

import pytest

from mpshell.coordinator import job as j
from mpshell.coordinator.results import WorkerResults
from mpshell.wire import messages as m
from tests.engine.conftest import job as spec
from tests.unit.tables import STAY, Walk

WAYS = {j.OPEN: [], j.WITHDRAWN: [j.WITHDRAW], j.ABORTED: [j.ABORT], j.CLOSED: [j.CLOSE]}
#: Row by row, for: withdraw, abort, close.
EXPECTED = {
    j.OPEN: (j.WITHDRAWN, j.ABORTED, j.CLOSED),
    j.WITHDRAWN: (STAY, j.ABORTED, j.CLOSED),
    j.ABORTED: (STAY, STAY, j.CLOSED),
    j.CLOSED: (STAY, STAY, STAY),
}


def a_job(nodes: int = 3, keys: int = 3) -> j.Job:
    names = [f"n{number}" for number in range(keys)]
    return j.Job(spec("true"), names[:nodes], list(names), cast(j.Listener, None), WorkerResults())


WALK = Walk(j, a_job, WAYS, EXPECTED)


@pytest.mark.parametrize(("state", "event"), WALK.pairs())
def test_every_pair_is_as_in_the_table(state: str, event: str) -> None:
    job = WALK.check(state, event)
    assert job.starts_clients is (job.state == j.OPEN)
    assert job.is_aborted is (job.state == j.ABORTED)
    assert job.is_told is (job.state != j.ABORTED)
    assert job.is_closed is (job.state == j.CLOSED)


def test_weight_unfinished_and_attempts_are_derived() -> None:
    job = a_job(nodes=2, keys=5)
    assert (job.weight, job.unfinished, job.timed_out, job.attempt_of(1)) == (3, 2, False, 1)
    job.attempts[1] = 4
    job.results.timeouts["n0"] = None
    assert (job.attempt_of(0), job.attempt_of(1), job.timed_out) == (1, 4, True)


def test_only_a_stream_that_is_passed_on_is_reported_line_by_line() -> None:
    job = a_job()
    job.spec = job.spec._replace(stdout_mode=m.STREAM, stderr_mode=m.GATHER)
    assert [job.streams_lines(stream) for stream in (m.STDOUT, m.STDERR)] == [True, False]
