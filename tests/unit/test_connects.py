"""The parts of the engines in how many connections a run makes at once: they add up to its limit."""

from __future__ import annotations

import pytest

from mpshell.coordinator.connects import Connects
from mpshell.coordinator.engine import ADMIT, EngineState
from mpshell.wire.messages import ConnectLimits
from tests.fakes import FakeLauncher


def engines(number: int, library: str = "asyncssh") -> list[EngineState]:
    launcher = FakeLauncher()
    found = [EngineState(launcher.start(library)) for _ in range(number)]
    for engine in found:
        engine.handle(ADMIT)
    return found


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8])
def test_the_parts_add_up_to_the_limit(number: int) -> None:
    connects = Connects(8, 4.0)
    hosts, others = engines(number), engines(2, "")
    connects.share([*others, *hosts])
    limits = [engine.outbox[-1] for engine in hosts]
    assert all(isinstance(limit, ConnectLimits) for limit in limits)
    parts = [limit for limit in limits if isinstance(limit, ConnectLimits)]
    assert sum(part.most for part in parts) == 8
    assert sum(part.rate or 0 for part in parts) == pytest.approx(4.0)
    assert not any(engine.outbox for engine in others)


def test_no_more_engines_than_connections() -> None:
    connects = Connects(3)
    assert connects.most_engines(8) == 8
    connects.ssh_library = "asyncssh"
    assert connects.most_engines(8) == 3


def test_engines_without_the_library_are_not_able() -> None:
    connects = Connects(8)
    every = [*engines(2), *engines(3, "")]
    assert connects.able(every) == 3
    connects.ssh_library = "asyncssh"
    assert connects.able(every) == 2
