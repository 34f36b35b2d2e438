"""The states of an engine in a run: the table walked from end to end, and the run's use of them."""

from __future__ import annotations

import pytest

from mpshell.coordinator import engine as e
from tests.fakes import FakeEngine, FakeLauncher
from tests.unit.tables import STAY, Walk

WAYS = {
    e.LEASED: [],
    e.SERVING: [e.ADMIT],
    e.RETIRED: [e.ADMIT, e.RETIRE],
    e.SILENT: [e.ADMIT, e.FALL_SILENT],
    e.FREE: [e.ADMIT, e.END_RUN, e.RUN_ENDED],
    e.UNUSED: [e.END_RUN],
}
#: Row by row, for: admit, retire, fall silent, the end of a run, the answer to that.
EXPECTED = {
    e.LEASED: (e.SERVING, e.UNUSED, STAY, e.UNUSED, STAY),
    e.SERVING: (STAY, e.RETIRED, e.SILENT, STAY, e.FREE),
    e.RETIRED: (STAY, STAY, STAY, STAY, e.FREE),
    e.SILENT: (STAY, e.RETIRED, STAY, STAY, e.FREE),
    e.FREE: (STAY, STAY, STAY, STAY, STAY),
    e.UNUSED: (STAY, STAY, STAY, STAY, STAY),
}
WALK = Walk(e, lambda: e.EngineState(FakeEngine(1, FakeLauncher())), WAYS, EXPECTED)


@pytest.mark.parametrize(("state", "event"), WALK.pairs())
def test_every_pair_is_as_in_the_table(state: str, event: str) -> None:
    engine = WALK.check(state, event)
    assert engine.is_admitted is (engine.state not in (e.LEASED, e.UNUSED))
    assert engine.is_over is (engine.state in (e.FREE, e.UNUSED))
    assert engine.is_counted is (engine.state not in (e.RETIRED, e.UNUSED))
