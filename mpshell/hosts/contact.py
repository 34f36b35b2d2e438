"""The state of one host in the switchboard, as a pure state machine.

    IDLE ── OPEN ──► CALLING ── GREET ──► UP ── CUT ──► CUT_OFF ── OVER ──► IDLE
                        └─ CUT ─► IDLE

A host that is cut off may still run its commands, until its lease is over.
"""

from typing import Final

from mpshell.errors import InvalidTransition

IDLE: Final = "IDLE"  # there is no line to it
CALLING: Final = (
    "CALLING"  # its program has been started and has not greeted: nothing was sent to it
)
UP: Final = "UP"  # engines can be started there
CUT_OFF: Final = (
    "CUT_OFF"  # the line has ended: engines there count as running until their lease is over
)
STATES: Final = (IDLE, CALLING, UP, CUT_OFF)

OPEN: Final = "OPEN"
GREET: Final = "GREET"
CUT: Final = "CUT"
OVER: Final = "OVER"
EVENTS: Final = (OPEN, GREET, CUT, OVER)

TABLE: Final[dict[str, dict[str, str]]] = {
    IDLE: {OPEN: CALLING},
    CALLING: {GREET: UP, CUT: IDLE},
    UP: {CUT: CUT_OFF},
    CUT_OFF: {CUT: CUT_OFF, OVER: IDLE},
}

# Effects, to be carried out in this order.
CALL: Final = "CALL"  # start its program
START_ALL: Final = "START_ALL"  # start the engines that wait for it
HANG_UP: Final = "HANG_UP"  # close the line, and end its program
REFUSE: Final = "REFUSE"  # the engines that wait have not been started: nothing of them runs
FREEZE: Final = "FREEZE"  # close the channels of engines: nothing more will be received from them
AWAIT_LEASE: Final = "AWAIT_LEASE"  # OVER comes when nothing runs there any more
GIVE_UP: Final = "GIVE_UP"  # report their ends, which are uncertain

_EFFECTS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    (IDLE, OPEN): (CALL,),
    (CALLING, GREET): (START_ALL,),
    (CALLING, CUT): (HANG_UP, REFUSE),
    (UP, CUT): (HANG_UP, FREEZE, AWAIT_LEASE),
    (CUT_OFF, OVER): (GIVE_UP,),
}


class Contact:
    """State of one host."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: str = IDLE

    def handle(self, event: str) -> tuple[str, ...]:
        """Take one event and return the effects; InvalidTransition for one that cannot be."""
        before = self.state
        after = TABLE[before].get(event)
        if after is None:
            raise InvalidTransition(f"{event} of a host that is {before}")
        self.state = after
        return _EFFECTS.get((before, event), ())
