"""The states of a circuit: the table walked from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from mpshell.hosts import circuit as c
from mpshell.runtime.loop import EventLoop
from mpshell.wire.channel import Channel
from tests.unit.tables import STAY, Walk

WAYS = {c.OPEN: [], c.ENDED: [c.END], c.REPORTED: [c.END, c.REPORT], c.CLOSED: [c.CLOSE]}
#: Row by row, for: end, report, close.
EXPECTED = {
    c.OPEN: (c.ENDED, STAY, c.CLOSED),
    c.ENDED: (STAY, c.REPORTED, c.CLOSED),
    c.REPORTED: (STAY, STAY, c.CLOSED),
    c.CLOSED: (STAY, STAY, STAY),
}


class FakeChannel:
    """Counts how often it is closed; nothing of it is read or written here."""

    pending = closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = EventLoop()
    yield made
    made.close()


@pytest.mark.parametrize("state", c.STATES)
@pytest.mark.parametrize("event", c.EVENTS)
def test_every_pair_is_as_in_the_table(state: str, event: str, loop: EventLoop) -> None:
    channel = FakeChannel()

    def make() -> c.Circuit:
        return c.Circuit(1, cast(Channel, channel), loop, lambda *_: None, lambda _: None, 100)

    circuit = Walk(c, make, WAYS, EXPECTED).check(state, event)
    # In whatever state, a close is one, and those who wait for the end are called once.
    called: list[str] = []
    is_over = circuit.state in (c.REPORTED, c.CLOSED)
    if is_over:
        circuit.when_ended(lambda: called.append("end"), drained=False)
        assert called == ["end"]
    circuit.close()
    circuit.close()
    assert channel.closed == (state != c.CLOSED and event != c.CLOSE)
