"""The states of an engine: the table walked from end to end, and the engine's behaviour in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from mpshell.engine import life as e
from mpshell.engine.core import Engine
from mpshell.engine.program import Program
from mpshell.runtime.loop import EventLoop
from mpshell.wire import messages as m
from mpshell.wire.channel import Channel, channel_pair
from mpshell.wire.codec import decode, encode
from tests.engine.conftest import job
from tests.unit.tables import Walk
from tests.unit.test_clients import FakeFamily

WAYS = {e.IDLE: [], e.RUNNING: [e.SUBMIT], e.ENDING: [e.END_RUN], e.LEAVING: [e.LEAVE]}
#: Row by row, for: submit, the end of a run, its last client, leave.
EXPECTED = {
    e.IDLE: (e.RUNNING, e.ENDING, None, e.LEAVING),
    e.RUNNING: (e.RUNNING, e.ENDING, None, e.LEAVING),
    e.ENDING: (e.ENDING, e.ENDING, e.IDLE, e.LEAVING),
    e.LEAVING: (e.LEAVING, e.LEAVING, None, e.LEAVING),
}


WALK = Walk(e, e.Life, WAYS, EXPECTED, "{event} of an engine that is {state}")


@pytest.mark.parametrize(("state", "event"), WALK.pairs())
def test_every_pair_is_as_in_the_table(state: str, event: str) -> None:
    WALK.check(state, event)


class Changed:
    """A program that has changed since the engine began to serve it."""

    watched = disguised = False

    def unchanged(self) -> bool:
        return False


class Bench:
    """An engine in this process that has no slots, and so starts nothing."""

    def __init__(self, program: Program | None = None) -> None:
        self.loop = EventLoop()
        self.near, far = channel_pair()
        self._far = Channel(far)
        self.engine = Engine(self._far, self.loop, program)
        # An engine that leaves kills its children: in this process they are those of other tests.
        self.engine.clients.family = FakeFamily()

    def send(self, *commands: m.Message) -> list[m.Message]:
        """Send a frame; return the messages that the engine sends in its turn."""
        self.near.send(encode(list(commands)))
        for _ in range(5):
            # None of these turns waits: the frame has arrived, and something is due.
            self.loop.call_soon(list)
            self.loop.run_once()
        return [message for frame in self.near.receive() for message in decode(frame)]

    def close(self) -> None:
        self.engine.leave()
        self.near.close()
        self._far.close()
        self.loop.close()


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    made: list[Bench] = []
    yield made
    for bench in made:
        bench.close()


WORK = m.Submit(1, job("true"), 0, ["n1"])


def test_a_run_without_clients_is_over_at_once_and_one_with_clients_after_the_last(
    benches: list[Bench],
) -> None:
    benches.append(bench := Bench())
    assert bench.send(m.EndRun()) == [m.RunEnded()]
    assert bench.send(WORK, m.EndRun(), m.Ping()) == [m.Pong()]
    [finished, ended] = bench.send(m.Withdraw(1))
    assert isinstance(finished, m.Finished) and ended == m.RunEnded()


def test_an_engine_that_leaves_does_not_report_the_end_of_its_run(benches: list[Bench]) -> None:
    benches.append(bench := Bench())
    assert bench.send(WORK, m.EndRun(), m.Ping()) == [m.Pong()]
    bench.engine.leave()
    assert bench.send(m.Withdraw(1)) == []


def test_an_engine_that_leaves_reports_what_has_ended(benches: list[Bench]) -> None:
    """Also if the report waits for more: its clients would be lost, or run again."""
    benches.append(bench := Bench())
    bench.engine.clients.bundle_reports(60.0)
    assert bench.send(WORK) == []
    bench.near.send(encode([m.Withdraw(1)]))
    bench.loop.run_once()
    assert bench.near.receive() == []
    bench.engine.leave()
    [[finished]] = [decode(frame) for frame in bench.near.receive()]
    assert isinstance(finished, m.Finished)


@pytest.mark.parametrize("before", [(), (m.EndRun(),)])
def test_a_program_that_has_changed_is_noticed_before_the_first_command_of_a_run(
    benches: list[Bench], before: tuple[m.Message, ...]
) -> None:
    """Also when the end of a run that was none comes first."""
    benches.append(bench := Bench(cast(Program, Changed())))
    assert bench.send(*before, WORK, m.SetSlots(0, 1), m.Ping()) == []


def test_one_that_changes_in_a_run_is_not_looked_at_before_its_end(benches: list[Bench]) -> None:
    program = Changed()
    vars(program)["unchanged"] = lambda: True
    benches.append(bench := Bench(cast(Program, program)))
    assert bench.send(WORK, m.Ping()) == [m.Pong()]
    del vars(program)["unchanged"]
    assert bench.send(m.Write(1, b"x"), m.Ping()) == [m.Pong()]
    bench.send(m.Withdraw(1), m.EndRun())
    assert bench.send(WORK, m.Ping()) == []
