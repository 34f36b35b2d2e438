"""Objects with a table of states, in which an event that a state does not name changes nothing."""

from __future__ import annotations

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import ClassVar


class Stated:
    """Base of an object whose `state` changes by `table`: for each state, the states after each event."""

    __slots__ = ("state",)

    table: ClassVar[Mapping[str, Mapping[str, str]]]
    state: str

    def handle(self, event: str) -> bool:
        """Take an event of the table; return whether it changes anything."""
        after = self.table[self.state].get(event)
        if after is None:
            return False
        self.state = after
        return True
