"""The life of an engine in its own process, as a pure state machine.

    IDLE ── SUBMIT ──► RUNNING ── END_RUN ──► ENDING ── RUN_ENDED ──► IDLE
      └──── LEAVE ───► LEAVING ◄── LEAVE ── (each of the others)

`TABLE` has all transitions; any other raises. The state decides whether the engine notices a changed
program at once, whether it starts clients, and whether the end of the last client is the end of the run.
"""

from __future__ import annotations

from mpshell.errors import InvalidTransition
from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

IDLE: Final = "IDLE"  # nothing was submitted since the last run was over
RUNNING: Final = "RUNNING"  # a run has submitted clients
ENDING: Final = "ENDING"  # the run submits no more; it is over with the last client
LEAVING: Final = "LEAVING"  # all that runs is killed, nothing is started or reported any more
STATES: Final = (IDLE, RUNNING, ENDING, LEAVING)

SUBMIT: Final = "SUBMIT"
END_RUN: Final = "END_RUN"
RUN_ENDED: Final = "RUN_ENDED"
LEAVE: Final = "LEAVE"
EVENTS: Final = (SUBMIT, END_RUN, RUN_ENDED, LEAVE)

TABLE: Final[dict[str, dict[str, str]]] = {
    IDLE: {SUBMIT: RUNNING, END_RUN: ENDING, LEAVE: LEAVING},
    RUNNING: {SUBMIT: RUNNING, END_RUN: ENDING, LEAVE: LEAVING},
    ENDING: {SUBMIT: ENDING, END_RUN: ENDING, RUN_ENDED: IDLE, LEAVE: LEAVING},
    # The rest of a frame that came with the end of the program makes no difference any more.
    LEAVING: {SUBMIT: LEAVING, END_RUN: LEAVING, LEAVE: LEAVING},
}


class Life:
    """The state of one engine."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: str = IDLE

    def handle(self, event: str) -> bool:
        """Take one event; return whether the state is another now. InvalidTransition for one that cannot be."""
        before = self.state
        after = TABLE[before].get(event)
        if after is None:
            raise InvalidTransition(f"{event} of an engine that is {before}")
        self.state = after
        return after is not before
