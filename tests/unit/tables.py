"""Walks of state tables: every pair of state and event, against a table that the test writes down itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from mpshell.errors import InvalidTransition

#: The event is possible, and leaves the state as it is.
STAY = "stay"


class Walk(NamedTuple):
    """A machine with `state` and `handle(event)`, and its expected table.

    `expected` has a row for each state, a cell for each event, in the order of `module.EVENTS`: the state
    after it, STAY, or None for a pair that is not allowed.
    """

    module: ModuleType
    make: Callable[[], Any]
    #: Events that lead into each state.
    ways: Mapping[str, Sequence[str]]
    expected: Mapping[str, Sequence[str | None]]
    #: How the error begins about a pair that cannot be, with marks for event and state.
    refusal: str = ""

    def pairs(self) -> list[tuple[str, str]]:
        return list(itertools.product(self.module.STATES, self.module.EVENTS))

    def brought_to(self, state: str) -> Any:
        machine = self.make()
        for event in self.ways[state]:
            machine.handle(event)
        assert machine.state == state
        return machine

    def check(self, state: str, event: str) -> Any:
        """Check one pair; return the machine after it."""
        machine = self.brought_to(state)
        expected = self.expected[state][self.module.EVENTS.index(event)]
        if expected is None:
            refusal = self.refusal.format(event=event, state=state)
            with pytest.raises(InvalidTransition, match=refusal) as raised:
                machine.handle(event)
            # A machine with a history shows it.
            assert all(name in str(raised.value) for name in getattr(machine, "history", ()))
            assert machine.state == state
        else:
            answer = machine.handle(event)
            assert machine.state == (state if expected == STAY else expected)
            if isinstance(answer, bool):
                assert answer is (machine.state != state)
        return machine
