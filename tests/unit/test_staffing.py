"""When the engines of a run are compared with its work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from mpshell.coordinator.staffing import Staffing


@dataclass
class FakeConnects:
    """Every engine can run every command."""

    def able(self, engines: Any) -> int:
        return len(engines)

    def most_engines(self, wanted: int) -> int:
        return wanted


@dataclass
class FakeRun:
    """A run with one job, and the comparisons made for it."""

    unfinished: int = 100
    weight: int = 1
    engines: int = 0
    asked: list[int] = field(default_factory=list)

    def at_once(self, clients: int) -> int:
        return clients

    def wanted(self, commands: int) -> int:
        self.asked.append(commands)
        return -(-commands // 8)


def staffing_of(run: FakeRun) -> Staffing:
    fake = cast(Any, run)
    return Staffing({1: fake}, fake, fake, cast(Any, FakeConnects()), run.wanted)


def test_one_comparison_serves_until_something_changes() -> None:
    run = FakeRun(unfinished=16)
    staffing = staffing_of(run)
    engines: Any = []
    while staffing.lacks(engines):
        engines.append(object())
    assert len(engines) == 2 and len(run.asked) == 3
    run.unfinished = 9
    assert not staffing.lacks(engines) and len(run.asked) == 3
    # More work, as with another job.
    run.unfinished = 24
    staffing.changed()
    assert staffing.lacks(engines)


def test_an_engine_less_is_replaced() -> None:
    run = FakeRun(unfinished=16)
    staffing = staffing_of(run)
    assert not staffing.lacks(cast(Any, [1, 2]))
    staffing.changed()
    assert staffing.lacks(cast(Any, [1]))


def test_a_number_of_processors_that_varies_is_compared_each_time() -> None:
    run = FakeRun(unfinished=16)
    staffing = staffing_of(run)
    staffing.steady = False
    for number in range(1, 4):
        assert not staffing.lacks(cast(Any, [1, 2])) and len(run.asked) == number
