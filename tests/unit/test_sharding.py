"""Slots and slices: the fanout is never exceeded, every client is handed out once, none starves."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mpshell.coordinator.queues import UNLIMITED, InOrder, Slice
from mpshell.coordinator.sharding import SlotPool, SlotPools


class Engine:
    """An engine as a pool sees it: obeys its slots, and reports when it holds fewer."""

    def __init__(self) -> None:
        self.slots = 0
        self.unanswered = False
        self.waiting: list[int] = []
        self.running: list[int] = []

    def set_slots(self, slots: int) -> None:
        self.unanswered = self.unanswered or slots < self.slots
        self.slots = slots

    def start(self) -> None:
        while self.waiting and len(self.running) < self.slots:
            self.running.append(self.waiting.pop(0))


class World:
    """A pool with engines, and every client's number of handings-out."""

    make_pool: type[SlotPool] = SlotPool
    pool: SlotPool

    def __init__(
        self, fanout: int | None, engines: int, sizes: list[int], seed: int,
        queue: InOrder | None = None,
    ) -> None:  # fmt: skip
        self.random = random.Random(seed)
        self.pool = self.make_pool(0, fanout, queue)
        self.largest = fanout
        self.engines: dict[int, Engine] = {}
        self.next_engine = 0
        self.total = sum(sizes)
        self.finished: list[int] = []
        self.started: list[int] = []
        for _ in range(engines):
            self.add_engine()
        first = 0
        for size in sizes:
            self.pool.add_work(Slice(1, first, first + size))
            first += size

    def add_engine(self) -> None:
        self.next_engine += 1
        self.engines[self.next_engine] = Engine()
        self.pool.add_engine(self.next_engine)

    def lose(self) -> None:
        engine_id = self.random.choice(list(self.engines))
        engine = self.engines.pop(engine_id)
        self.forget(engine_id)
        self.pool.remove_engine(engine_id)
        self.finished += engine.running
        for client in reversed(engine.waiting):
            self.pool.add_again(Slice(1, client, client + 1))
        self.add_engine()

    def forget(self, engine_id: int) -> None:
        """An engine is gone."""

    def turn(self) -> None:
        slots, dealt = self.pool.plan()
        if dealt and self.pool.fanout is not None:
            handed_out = sum(share.assigned for share in self.pool.shares.values())
            assert handed_out <= 2 * self.pool.fanout, "no more may run than twice the fanout"
        for engine_id, number in slots.items():
            self.engines[engine_id].set_slots(number)
        for engine_id, work in dealt:
            self.engines[engine_id].waiting += range(work.first, work.stop)
        for engine_id, engine in self.engines.items():
            before = len(engine.running)
            engine.start()
            self.started += engine.running[before:]
            if (
                engine.unanswered
                and len(engine.running) <= engine.slots
                and self.random.random() < 0.7
            ):
                engine.unanswered = False
                self.pool.held(engine_id, engine.slots)
        if self.largest is not None:
            assert sum(len(engine.running) for engine in self.engines.values()) <= self.largest
        self.end_some()

    def end_some(self) -> None:
        for engine_id, engine in self.engines.items():
            for client in list(engine.running):
                if self.random.random() < 0.5:
                    engine.running.remove(client)
                    self.finished.append(client)
                    self.pool.finished(engine_id)

    def run(self, losses: int = 0, changes: tuple[int, ...] = ()) -> None:
        for turn in range(40 * self.total + 400):
            if len(self.finished) == self.total:
                break
            if losses and turn % 3 == 2:
                losses -= 1
                self.lose()
            if changes and turn % 4 == 3:
                fanout, *rest = changes
                changes = tuple(rest)
                self.pool.fanout = fanout
                self.largest = max(self.largest or 0, fanout)
            self.turn()
        assert sorted(self.finished) == list(range(self.total)), "each client ends, once"


SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=5)

#: Fanout, engines, sizes of jobs, a seed, lost engines and changes of the fanout.
HISTORIES = given(
    st.integers(1, 20),
    st.integers(1, 5),
    SIZES,
    st.integers(0, 1000),
    st.integers(0, 4),
    st.lists(st.integers(1, 20), max_size=4),
)


@settings(max_examples=200)
@given(st.integers(1, 20), st.integers(1, 5), SIZES, st.integers(0, 1000))
def test_the_fanout_holds_and_all_are_run(
    fanout: int, engines: int, sizes: list[int], seed: int
) -> None:
    World(fanout, engines, sizes, seed).run()


@settings(max_examples=200)
@HISTORIES
def test_with_losses_and_changes_too(
    fanout: int, engines: int, sizes: list[int], seed: int, losses: int, changes: list[int]
) -> None:
    World(fanout, engines, sizes, seed).run(losses, tuple(changes))


class RecordedPool(SlotPool):
    """A pool that keeps its plans."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.plans: list[object] = []

    def plan(
        self, budget: int | None = None, *, ahead: bool = True
    ) -> tuple[dict[int, int], list[tuple[int, Slice]]]:
        self.plans.append(made := super().plan(budget, ahead=ahead))
        return made


class Recorded(World):
    """A world that keeps the plans of its pool."""

    make_pool = RecordedPool
    pool: RecordedPool


@settings(max_examples=200)
@HISTORIES
def test_a_queue_without_a_choice_is_handed_out_as_one_in_which_all_can_run_all(
    fanout: int, engines: int, sizes: list[int], seed: int, losses: int, changes: list[int]
) -> None:
    # Most turns of the first take a shorter way.
    worlds = [
        Recorded(fanout, engines, sizes, seed, queue)
        for queue in (InOrder(), InOrder(lambda engine_id, job_id: True))
    ]
    for world in worlds:
        world.run(losses, tuple(changes))
    assert worlds[0].pool.plans == worlds[1].pool.plans


@given(st.integers(1, 5), SIZES, st.integers(0, 1000))
def test_without_limit(engines: int, sizes: list[int], seed: int) -> None:
    world = World(None, engines, sizes, seed)
    world.run()
    if world.total:
        assert all(engine.slots == UNLIMITED for engine in world.engines.values())


def test_one_slot_is_one_engine_and_node_order() -> None:
    world = World(1, 1, [30], 0)
    world.run()
    assert world.started == list(range(30))


def test_a_small_job_is_spread_over_the_engines() -> None:
    pool = SlotPool(0, 64)
    for engine_id in (1, 2, 3):
        pool.add_engine(engine_id)
    pool.add_work(Slice(7, 0, 10))
    slots, dealt = pool.plan()
    assert slots == {1: 22, 2: 21, 3: 21}
    assert [(eid, work.stop - work.first) for eid, work in dealt] == [(1, 4), (2, 4), (3, 2)]
    assert [work.first for _, work in dealt] == [0, 4, 8]


def test_idle_slots_go_to_where_clients_wait() -> None:
    pool = SlotPool(0, 4)
    pool.add_engine(1)
    pool.add_engine(2)
    pool.add_work(Slice(1, 0, 8))
    assert pool.plan()[0] == {1: 2, 2: 2}
    pool.finished(2, 4)
    assert pool.plan()[0] == {2: 0}
    pool.held(2, 0)
    assert pool.plan()[0] == {1: 4}


def test_dropped_work_is_reported() -> None:
    pool = SlotPool(0, 1)
    pool.add_work(Slice(1, 0, 5))
    pool.add_work(Slice(2, 0, 3))
    assert pool.drop_work(1) == [Slice(1, 0, 5)]
    assert pool.queued == 3
    assert pool.drop_work() == [Slice(2, 0, 3)]
    assert pool.queued == 0


class Kept(InOrder):
    """Hands a client only to the engine that its index names, as one that holds a connection to its node."""

    def take(self, engine_id: int, count: int) -> list[Slice]:
        mine: list[Slice] = []
        others: list[Slice] = []
        for work in self.drop(None):
            for index in range(work.first, work.stop):
                one = work._replace(first=index, stop=index + 1)
                theirs = index % 2 != engine_id % 2 or len(mine) == count
                (others if theirs else mine).append(one)
        for work in others:
            self.add(work, False)
        return mine


def test_a_queue_may_choose_the_next_client_when_a_slot_becomes_free() -> None:
    pool = SlotPool(0, 4, Kept())
    pool.add_engine(1)
    pool.add_engine(2)
    pool.add_work(Slice(1, 0, 20))
    running: dict[int, list[int]] = {1: [], 2: []}
    ended: dict[int, list[int]] = {1: [], 2: []}
    for _ in range(100):
        for engine_id, work in pool.plan()[1]:
            running[engine_id] += range(work.first, work.stop)
        assert sum(share.slots for share in pool.shares.values()) <= 4
        for engine_id, clients in running.items():
            if clients:
                ended[engine_id].append(clients.pop(0))
                pool.finished(engine_id)
    assert ended == {1: list(range(1, 20, 2)), 2: list(range(0, 20, 2))}
    assert pool.queued == 0 and all(share.assigned == 0 for share in pool.shares.values())


def test_less_than_an_engine_could_take_is_no_promise() -> None:
    """The clients of an engine that has gone wait until the queue has others for them."""
    pool = SlotPool(0, 4, Kept())
    pool.add_engine(1)
    pool.add_work(Slice(1, 0, 2))
    assert pool.plan()[1] == [(1, Slice(1, 1, 2))]
    assert pool.plan()[1] == [] and pool.queued == 1
    pool.finished(1)
    pool.add_engine(2)
    assert pool.plan()[0] == {1: 2}
    pool.held(1, 2)
    assert pool.plan()[1] == [(2, Slice(1, 0, 1))]


def test_clients_wait_for_their_moment_and_then_come_first() -> None:
    pool = SlotPool(0, 2)
    pool.add_engine(1)
    pool.add_work(Slice(1, 0, 2))
    pool.add_again(Slice(2, 5, 6), due=30.0)
    pool.add_again(Slice(2, 4, 5), due=20.0)
    assert (pool.queued, pool.next_due()) == (2, 20.0)
    pool.release(19.9)
    assert pool.queued == 2
    pool.release(20.0)
    assert (pool.queued, pool.next_due()) == (3, 30.0)
    assert [work for _, work in pool.plan()[1]] == [Slice(2, 4, 5), Slice(1, 0, 1), Slice(1, 1, 2)]
    pool.release(31)
    assert pool.next_due() is None and pool.drop_work() == [Slice(2, 5, 6)]


def test_clients_that_wait_for_a_moment_are_taken_back_with_their_job() -> None:
    pool = SlotPool(0, 2)
    for job_id in (1, 2):
        pool.add_again(Slice(job_id, 0, 1), due=10.0 * job_id)
    assert pool.drop_work(1) == [Slice(1, 0, 1)]
    assert (pool.queued, pool.next_due()) == (0, 20.0)


def test_a_frozen_engine_gets_nothing_and_keeps_its_slots() -> None:
    pool = SlotPool(0, 8)
    for engine_id in (1, 2):
        pool.add_engine(engine_id)
    pool.add_work(Slice(1, 0, 100))
    pool.plan()
    pool.freeze(1)
    pool.finished(1, 4)
    pool.finished(2, 8)
    pool.add_engine(3)
    slots, dealt = pool.plan()
    assert 1 not in slots and {engine_id for engine_id, _ in dealt} == {2}
    pool.held(2, 2)
    assert pool.plan()[0] == {3: 2}
    pool.remove_engine(1)
    assert pool.plan()[0] == {2: 4, 3: 4}


def test_a_choice_is_for_the_pools_that_are_there_and_those_to_come() -> None:
    pools = SlotPools(InOrder)
    pools.set_fanout(0, 4, [1, 2])
    pools.choose_by(lambda engine_id, job_id: engine_id == job_id, lambda work, most: (work, None))
    pools.set_fanout(1, 4, [1, 2])
    for number in (0, 1):
        pools[number].add_work(Slice(2, 0, 3))
        assert {engine_id for engine_id, _ in pools[number].plan()[1]} == {2}


def test_a_release_reports_whether_others_wait_for_their_time() -> None:
    pools = SlotPools(InOrder)
    for number, due in enumerate((20.0, 30.0)):
        pools.set_fanout(number, 4, [])
        pools[number].add_again(Slice(1, number, number + 1), due)
    for now, waits in ((19.0, True), (20.0, True), (30.0, False)):
        assert pools.release(iter([now, now]).__next__) is waits
    assert [pool.queued for pool in pools] == [1, 1]
