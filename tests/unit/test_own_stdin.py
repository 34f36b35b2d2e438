"""Stdin for single clients: it reaches the engine that has the client, in each fate of either."""

from __future__ import annotations

import pytest

from mpshell.coordinator.clientinput import ClientInputs
from mpshell.coordinator.job import Job
from mpshell.coordinator.retry import RetryPolicy
from mpshell.wire import messages as m
from tests.unit.scene import Scene, of_reason


def job_of(scene: Scene, nodes: int) -> tuple[Job, ClientInputs]:
    job = scene.job(nodes, stdin=True, stdin_each=True)
    job.inputs = ClientInputs()
    job.repeats = False
    return job, job.inputs


def received(scene: Scene, job: Job, index: int) -> list[list[bytes | None]]:
    """Return the input that each engine holds for a client; None is its end."""
    client = m.client_id(job.id, index)
    found = [engine.own_stdin.get(client) for engine in scene.launcher.engines]
    return [some for some in found if some is not None]


@pytest.mark.parametrize("engines", [1, 3])
def test_each_client_gets_its_own(engines: int) -> None:
    scene = Scene(fanout=4, engines=engines)
    job, inputs = job_of(scene, 12)
    for index in range(12):
        inputs.write(index, b"%d" % index)
    inputs.close(3)
    scene.coordinator.feed(job)
    scene.run()
    scene.check(job)
    for index in range(12):
        assert received(scene, job, index) == [[b"%d" % index, *[None] * (index == 3)]]
    assert not inputs.unsent


def test_a_write_to_a_client_that_runs_goes_to_its_engine_alone() -> None:
    scene = Scene(fanout=4, engines=2)
    job, inputs = job_of(scene, 4)

    def write() -> None:
        inputs.write(1, b"a")
        inputs.write(1, b"b")
        inputs.close(1)
        inputs.write(1, b"after the end")
        scene.coordinator.feed(job)

    scene.when(lambda: len(scene.launcher.ledger) == 4, write)
    scene.run()
    assert received(scene, job, 1) == [[b"ab", None]]


def test_a_client_that_has_not_run_reads_all_of_it_elsewhere() -> None:
    scene = Scene(fanout=2, engines=1)
    job, inputs = job_of(scene, 8)
    for index in range(8):
        inputs.write(index, b"x")
    scene.when(lambda: len(scene.launcher.ledger) == 2, lambda: scene.engine().die())
    scene.run()
    outcomes = scene.check(job)
    assert of_reason(outcomes, m.LOST) == ["n0", "n1"]
    for index in range(2, 8):
        assert received(scene, job, index)[-1] == [b"x"]


def test_input_for_a_lost_client_is_dropped() -> None:
    scene = Scene(fanout=2, engines=1)
    job, inputs = job_of(scene, 4)

    def late() -> None:
        inputs.write(0, b"late")
        inputs.close(0)
        scene.coordinator.feed(job)

    scene.when(lambda: len(scene.launcher.ledger) == 2, lambda: scene.engine().die())
    scene.after(2, late)
    scene.run()
    assert of_reason(scene.check(job), m.LOST) == ["n0", "n1"]
    assert received(scene, job, 0) == [] and not inputs.unsent


def test_no_client_with_a_stdin_of_its_own_is_run_again() -> None:
    scene = Scene(fanout=2, engines=1, retry=RetryPolicy(3, frozenset(("lost", "exit"))))
    job, _ = job_of(scene, 4)
    scene.when(lambda: len(scene.launcher.ledger) == 2, lambda: scene.engine().die())
    scene.run()
    assert of_reason(scene.check(job), m.LOST) == ["n0", "n1"]


def test_an_engine_that_is_behind_gets_no_more_and_all_of_it_later() -> None:
    scene = Scene(fanout=2, engines=1)
    job, inputs = job_of(scene, 2)
    flood = bytes(1 << 18) * 6

    def write() -> None:
        scene.engine().pending = 1 << 20
        inputs.write(0, flood)
        inputs.write(1, b"small")
        scene.coordinator.feed(job)

    def catch_up() -> None:
        engine = scene.engine()
        assert received(scene, job, 0) == []
        engine.pending = 0
        assert engine.on_flushed is not None
        engine.on_flushed(engine)

    scene.when(lambda: len(scene.launcher.ledger) == 2, write)
    scene.when(lambda: bool(inputs.unsent), catch_up)
    scene.run()
    (parts,) = received(scene, job, 0)
    assert b"".join(part for part in parts if part is not None) == flood
    assert received(scene, job, 1) == [[b"small"]]
