"""Clients go to the engine that has a connection to their node; nothing waits for one that is not there."""

from __future__ import annotations

from collections.abc import Hashable
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpshell.coordinator.affinity import MOST, Affinity
from mpshell.coordinator.job import Job, Listener
from mpshell.coordinator.queues import InOrder, InWaves, Slice
from mpshell.coordinator.results import WorkerResults
from mpshell.wire import messages as m
from mpshell.wire.connect import Connect
from tests.engine.conftest import job as spec
from tests.unit.test_loop import Clock
from tests.unit.test_sharding import World

KEEP = 60.0


def make_job(number: int, nodes: list[str], keep: float = KEEP) -> Job:
    connect = Connect("asyncssh", "true", "", 10, (), "prefer", (), keep=keep)
    made = Job(
        spec("true")._replace(connect=connect), nodes, list(nodes), cast(Listener, None), WorkerResults()
    )  # fmt: skip
    made.id = number
    return made


class Link:
    """An engine, as far as its connections go."""

    def __init__(self, engine_id: int) -> None:
        self.engine_id = engine_id
        self.connected: dict[Hashable, float] = {}


class Scene:
    """A run of one job over some engines."""

    def __init__(self, nodes: int = 20, engines: int = 2, keep: float = KEEP) -> None:
        self.clock = Clock()
        self.job = make_job(1, [f"n{number}" for number in range(nodes)], keep)
        self.jobs = {1: self.job}
        self.links = [Link(number) for number in range(1, engines + 1)]
        self.affinity = self.begin()

    def begin(self) -> Affinity:
        """Begin another run with the same engines."""
        self.affinity = Affinity(self.jobs, lambda: self.clock.now)
        for link in self.links:
            self.affinity.add_engine(link)
        return self.affinity

    def end(self, engine_id: int, *indexes: int, reason: int = m.EXITED) -> None:
        results: list[m.Result] = [
            (m.client_id(1, index), reason, 0, -1, -1, 0.0, 0.0, None) for index in indexes
        ]
        self.affinity.ended(self.links[engine_id - 1], results)

    def queue(self, look_ahead: int = 1000) -> InOrder:
        queue = InOrder(None, self.affinity.part)
        queue.look_ahead = look_ahead
        queue.add(Slice(1, 0, len(self.job.nodes)), front=False)
        return queue


def indexes(taken: list[Slice]) -> list[int]:
    return [index for work in taken for index in range(work.first, work.stop)]


def test_without_connections_all_is_as_ever() -> None:
    queue = Scene().queue()
    assert queue.take(1, 5) == [Slice(1, 0, 5)]
    assert queue.take(2, 100) == [Slice(1, 5, 20)]


def test_each_engine_gets_its_own_nodes_and_those_of_nobody() -> None:
    scene = Scene(10)
    scene.end(1, 0, 1, 2, 6)
    scene.end(2, 3, 4)
    queue = scene.queue()
    assert indexes(queue.take(2, 3)) == [3, 4, 5]
    assert indexes(queue.take(1, 4)) == [0, 1, 2, 6]
    assert indexes(queue.take(2, 9)) == [7, 8, 9] and not len(queue)


def test_they_hold_in_the_next_run_of_the_same_engines() -> None:
    scene = Scene(4)
    scene.end(1, 0, 1)
    scene.end(2, 2, 3)
    scene.begin()
    queue = scene.queue()
    assert indexes(queue.take(2, 9)) == [2, 3]
    assert not queue.waits_for(2) and queue.waits_for(1)
    assert indexes(queue.take(1, 9)) == [0, 1]


@pytest.mark.parametrize("how", ["time", "engine", "leaves", "keep"])
def test_an_engine_that_is_gone_holds_no_work_up(how: str) -> None:
    scene = Scene(4, keep=0.0 if how == "keep" else KEEP)
    scene.end(1, 0, 1, 2, 3)
    if how == "time":
        scene.clock.now += KEEP + 1
        scene.begin()
    elif how == "engine":
        scene.links[0] = Link(3)
        scene.begin()
    elif how == "leaves":
        scene.affinity.remove_engine(scene.links[0])
        # Ends that it still reports draw no more work to it.
        scene.end(1, 0, 1)
    queue = scene.queue()
    assert queue.waits_for(2)
    assert indexes(queue.take(2, 9)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "reason", [m.TIMED_OUT, m.CANCELLED, m.CUT, m.UNREACHABLE, m.AUTH, m.TRANSPORT]
)
def test_a_client_that_has_not_ended_by_itself_leaves_no_connection(reason: int) -> None:
    scene = Scene(2)
    scene.end(1, 0, 1)
    scene.end(1, 0, reason=reason)
    assert indexes(scene.queue().take(2, 9)) == [0]


def test_a_signal_is_an_end_too() -> None:
    scene = Scene(1)
    scene.end(1, 0, reason=m.SIGNALED)
    assert not scene.queue().take(2, 9)


def test_no_more_than_the_look_ahead_is_passed_over() -> None:
    """Nodes start in their order, but for a fanout."""
    scene = Scene(10)
    scene.end(1, *range(6))
    queue = scene.queue(look_ahead=4)
    assert not queue.take(2, 9) and not queue.waits_for(2)
    assert indexes(queue.take(1, 3)) == [0, 1, 2]
    assert queue.waits_for(2)
    assert indexes(queue.take(2, 2)) == [6, 7]
    assert indexes(queue.take(1, 99)) == [3, 4, 5, 8, 9]


def test_a_fanout_of_one_keeps_the_order_of_nodes() -> None:
    scene = Scene(30, engines=3)
    for number in (1, 2, 3):
        scene.end(number, *range(number - 1, 30, 3))
    world = World(1, 3, [30], 0, InOrder(None, scene.affinity.part))
    world.run()
    assert world.started == list(range(30))


def test_waves_keep_to_it_too() -> None:
    scene = Scene(6)
    scene.end(1, 0, 2, 4)
    scene.end(2, 1, 3, 5)
    queue = InWaves(None, scene.affinity.part)
    queue.add(Slice(1, 0, 6), front=False)
    queue.release(1, 3)
    assert indexes(queue.take(2, 9)) == [1]
    assert indexes(queue.take(1, 9)) == [0, 2]


def test_passed_clients_stay_one_slice() -> None:
    scene = Scene(1000)
    scene.end(1, *range(999))
    queue = scene.queue()
    for _ in range(50):
        assert indexes(queue.take(2, 1)) in ([999], [])
    assert queue.take(1, 1000) == [Slice(1, 0, 999)]


def test_no_more_nodes_are_kept_in_mind_than_an_engine_keeps_connections() -> None:
    scene = Scene(MOST + 10)
    scene.end(1, *range(MOST + 10))
    assert len(scene.links[0].connected) == MOST
    assert indexes(scene.queue().take(2, 99)) == list(range(10))


def test_engines_with_connections_are_worth_a_lease() -> None:
    scene = Scene(4, engines=3)
    scene.end(1, 0, 1)
    scene.end(2, 2)
    affinity = Affinity(scene.jobs, lambda: scene.clock.now)
    assert [affinity.connections(link) for link in scene.links] == [2, 1, 0]
    affinity.begin(scene.job, scene.links)
    assert affinity.engines == 2
    only = make_job(2, ["n2"])
    scene.jobs.clear()
    scene.jobs[2] = only
    affinity = Affinity(scene.jobs, lambda: scene.clock.now)
    affinity.begin(only, scene.links)
    assert affinity.engines == 1
    assert [affinity.connections(link) for link in scene.links] == [0, 1, 0]


class Connected(World):
    """A world in which engines have connections."""

    def __init__(
        self, fanout: int | None, engines: int, size: int, seed: int, owners: list[int]
    ) -> None:
        self.scene = Scene(size, engines)
        for index in range(size):
            if owner := owners[index % len(owners)] % (engines + 1):
                self.scene.end(owner, index)
        super().__init__(fanout, engines, [size], seed, InOrder(None, self.scene.affinity.part))

    def forget(self, engine_id: int) -> None:
        if engine_id <= len(self.scene.links):
            self.scene.affinity.remove_engine(self.scene.links[engine_id - 1])


@settings(max_examples=200)
@given(
    st.integers(1, 20) | st.none(),
    st.integers(1, 5),
    st.integers(0, 80),
    st.integers(0, 1000),
    st.lists(st.integers(0, 100), min_size=1, max_size=30),
    st.integers(0, 4),
)
def test_all_are_run_once_wherever_their_connections_are(
    fanout: int | None, engines: int, size: int, seed: int, owners: list[int], losses: int
) -> None:
    Connected(fanout, engines, size, seed, owners).run(losses)
