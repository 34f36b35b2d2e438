"""The states of a port: the table walked from end to end."""

from __future__ import annotations

import threading

import pytest

from mpshell.task import ports as p
from tests.unit.tables import STAY, Walk

WAYS = {p.NEW: [], p.RUNNING: [p.ENTER], p.WAITING: [p.ENTER, p.LEAVE], p.CLOSED: [p.CLOSE]}
#: Row by row, for: enter, leave, close.
EXPECTED = {
    p.NEW: (p.RUNNING, STAY, p.CLOSED),
    p.RUNNING: (STAY, p.WAITING, p.CLOSED),
    p.WAITING: (p.RUNNING, STAY, p.CLOSED),
    p.CLOSED: (STAY, STAY, STAY),
}
WALK = Walk(p, lambda: p.EnginePort(None, False, 10, threading.current_thread()), WAYS, EXPECTED)


@pytest.mark.parametrize(("state", "event"), WALK.pairs())
def test_every_pair_is_as_in_the_table(state: str, event: str) -> None:
    port = WALK.check(state, event)
    assert port.msg_send("text") is (port.state != p.CLOSED)
