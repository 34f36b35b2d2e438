"""The connections that stay: the table walked from end to end, and a pool on a clock of the test's.

Limits are those of docs/transports.md. Which connections are not used again follows from RFC 4254: a command
whose end the server has not reported may run on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpshell.connect import pool as p
from mpshell.connect.login import Login
from mpshell.runtime.loop import EventLoop
from tests.unit.tables import STAY, Walk
from tests.unit.test_loop import Clock


class Connection:
    """A login that is open, as far as a pool sees it."""

    def __init__(self) -> None:
        self.closed = 0
        self.good = True
        self.on_lost: Callable[[], object] | None = None

    def close(self) -> None:
        self.closed += 1


def new() -> p.PooledConnection:
    return p.PooledConnection("k", cast(Login, Connection()), 60.0)


WAYS = {
    p.LENT: [],
    p.ENDED: [p.END],
    p.SPOILED: [p.SIGNAL],
    p.IDLE: [p.END, p.RETURN],
    p.CLOSED: [p.RETURN],
}
#: Row by row, for: lend, signal, end, return, lose, remove.
EXPECTED = {
    p.LENT: (STAY, p.SPOILED, p.ENDED, p.CLOSED, p.CLOSED, p.SPOILED),
    p.ENDED: (STAY, p.SPOILED, STAY, p.IDLE, p.CLOSED, p.SPOILED),
    p.SPOILED: (STAY, STAY, STAY, p.CLOSED, p.CLOSED, STAY),
    p.IDLE: (p.LENT, STAY, STAY, STAY, p.CLOSED, p.CLOSED),
    p.CLOSED: (STAY, STAY, STAY, STAY, STAY, STAY),
}
WALK = Walk(p, new, WAYS, EXPECTED)


@pytest.mark.parametrize(("state", "event"), WALK.pairs())
def test_every_pair_is_as_in_the_table(state: str, event: str) -> None:
    WALK.check(state, event)


class Engine:
    """A pool, and the commands that run over its connections."""

    def __init__(self, most: int = 1000) -> None:
        self.clock = Clock()
        self.loop = EventLoop(self.clock)
        self.pool = p.ConnectionPool(self.loop, lambda connections: min(connections, most))

    def connect(self, key: Hashable = "k", seconds: float = 60.0) -> p.PooledConnection:
        return self.pool.add(key, cast(Login, Connection()), seconds)

    def lend(self, key: Hashable = "k", seconds: float = 60.0) -> p.PooledConnection | None:
        return self.pool.lend(key, seconds, lambda login: cast(Connection, login).good)

    def end(self, pooled: p.PooledConnection) -> None:
        for event in (p.END, p.RETURN):
            self.pool.handle(pooled, event)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.turn()

    def turn(self) -> None:
        for _ in range(2):
            self.loop.run_once(poll_only=True)


def closed(pooled: p.PooledConnection) -> int:
    return cast(Connection, pooled.login).closed


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    made.loop.close()


def test_a_connection_serves_one_command_after_the_other(engine: Engine) -> None:
    first = engine.connect()
    assert engine.lend() is None, "a command runs over it"
    engine.end(first)
    assert engine.pool.has("k") and len(engine.pool) == 1
    assert engine.lend("another") is None
    assert engine.lend() is first
    assert engine.lend() is None and not engine.pool.has("k")
    engine.turn()
    assert not closed(first)


@pytest.mark.parametrize(
    "events",
    [
        [p.RETURN],
        [p.SIGNAL, p.RETURN],
        [p.SIGNAL, p.END, p.RETURN],
        [p.END, p.SIGNAL, p.RETURN],
        [p.REMOVE, p.END, p.RETURN],
    ],
    ids="-".join,
)
def test_one_whose_command_has_not_ended_by_itself_is_closed(
    engine: Engine, events: list[str]
) -> None:
    pooled = engine.connect()
    for event in events:
        assert not closed(pooled)
        engine.pool.handle(pooled, event)
    engine.turn()
    assert closed(pooled) == 1 and not len(engine.pool)
    assert engine.lend() is None


def test_its_time_runs_anew_after_each_command(engine: Engine) -> None:
    pooled = engine.connect(seconds=10)
    engine.pass_time(100)
    engine.end(pooled)
    engine.pass_time(9)
    assert engine.lend(seconds=20) is pooled
    engine.pass_time(100)
    engine.end(pooled)
    engine.pass_time(19)
    assert not closed(pooled)
    engine.pass_time(2)
    assert closed(pooled) == 1 and engine.lend() is None


def test_one_that_the_server_closes_is_gone(engine: Engine) -> None:
    pooled = engine.connect()
    engine.end(pooled)
    lost = cast(Connection, pooled.login).on_lost
    assert lost is not None
    lost()
    engine.turn()
    assert closed(pooled) == 1 and engine.lend() is None
    engine.pass_time(1000)
    assert closed(pooled) == 1, "its time is no more"


def test_those_that_do_not_serve_any_more_are_closed(engine: Engine) -> None:
    old, older = engine.connect(), engine.connect()
    for pooled in (older, old):
        engine.end(pooled)
    cast(Connection, old.login).good = False
    assert engine.lend() is older
    engine.turn()
    assert (closed(old), closed(older)) == (1, 0)


def test_without_room_the_one_used_longest_ago_goes() -> None:
    engine = Engine(most=3)
    pooled = [engine.connect(key) for key in range(4)]
    for each in pooled[:3]:
        engine.end(each)
    assert engine.lend(0) is pooled[0]
    engine.end(pooled[0])
    engine.end(pooled[3])
    engine.turn()
    assert [closed(each) for each in pooled] == [0, 1, 0, 0]
    assert engine.pool.make_room()
    engine.turn()
    assert [closed(each) for each in pooled] == [0, 1, 1, 0]
    engine.loop.close()


def test_at_its_end_it_closes_all(engine: Engine) -> None:
    pooled = [engine.connect(key) for key in "aab"]
    for each in pooled:
        engine.end(each)
    engine.pool.close()
    engine.turn()
    assert [closed(each) for each in pooled] == [1, 1, 1] and not len(engine.pool)
    assert not engine.pool.make_room()


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.sampled_from(["lend", "add", "time", "room", *p.EVENTS[1:]]),
            st.integers(0, 5),
        ),
        max_size=60,
    ),
    most=st.integers(0, 3),
)
def test_no_connection_is_lent_twice_left_open_or_closed_twice(
    steps: list[tuple[str, str, int]], most: int
) -> None:
    engine = Engine(most)
    all_of_them: list[p.PooledConnection] = []
    lent: list[p.PooledConnection] = []
    for key, what, at in steps:
        if what == "add":
            lent.append(engine.connect(key))
            all_of_them.append(lent[-1])
        elif what == "lend":
            if (found := engine.lend(key)) is not None:
                assert found not in lent and found.key == key and not closed(found)
                lent.append(found)
        elif what == "time":
            engine.pass_time(at * 20)
        elif what == "room":
            engine.pool.make_room()
        elif lent:
            pooled = lent[at % len(lent)]
            engine.pool.handle(pooled, what)
            if what in (p.RETURN, p.LOSE):
                lent.remove(pooled)
        assert len(engine.pool) <= most
    for pooled in lent:
        engine.pool.handle(pooled, p.RETURN)
    engine.pool.close()
    engine.turn()
    assert all(closed(pooled) == 1 for pooled in all_of_them)
    engine.loop.close()
