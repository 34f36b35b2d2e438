"""The life of an engine in the coordinator's process, as a pure state machine: events in, effects out.

Two descriptors are watched: the *channel*, over which the engine sends messages, and the *sentinel*, whose end
proves that no process of the engine runs any more. They end in either order, and an engine is gone when both
have ended. A link (`mpshell.launch.local`) feeds in events and carries out the effects. `TABLE` has all
transitions; any other raises.
"""

from __future__ import annotations

from mpshell.errors import InvalidTransition
from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

STARTING: Final = "STARTING"  # it has been requested
READY: Final = "READY"  # it has sent its first message
DEAD: Final = "DEAD"  # its fork server has reported its end, and cleans up after it
SILENT: Final = "SILENT"  # its channel is at its end; some of its processes may still run
ORPHANED: Final = (
    "ORPHANED"  # its fork server has ended: it is ending too, but no process can confirm that
)
DRAINING: Final = "DRAINING"  # none of its processes runs; its last messages have not been read yet
GONE: Final = "GONE"
CLOSED: Final = "CLOSED"  # given up here: if it lives, it ends because of that
STATES: Final = (STARTING, READY, DEAD, SILENT, ORPHANED, DRAINING, GONE, CLOSED)

#: The states in which the channel is watched, and the sentinel.
SPEAKING: Final = frozenset((STARTING, READY, DEAD, ORPHANED, DRAINING))
GUARDED: Final = frozenset((STARTING, READY, DEAD, SILENT))

FIRST_MESSAGE: Final = "FIRST_MESSAGE"
CHANNEL_END: Final = "CHANNEL_END"
GARBAGE: Final = "GARBAGE"  # the rest of the channel cannot be read any more
DEATH: Final = "DEATH"  # the fork server has reported how the engine ended
NOTHING_LEFT: Final = "NOTHING_LEFT"  # the sentinel is at its end
FENCE: Final = "FENCE"  # it must not go on
GIVEN_UP: Final = "GIVEN_UP"  # no measure could end it: it hangs in the kernel, and counts as gone
CLOSE: Final = "CLOSE"
EVENTS: Final = (
    FIRST_MESSAGE, CHANNEL_END, GARBAGE, DEATH, NOTHING_LEFT, FENCE, GIVEN_UP, CLOSE,
)  # fmt: skip

TABLE: Final[dict[str, dict[str, str]]] = {
    STARTING: {
        FIRST_MESSAGE: READY, CHANNEL_END: SILENT, GARBAGE: SILENT, DEATH: DEAD, NOTHING_LEFT: ORPHANED,
        FENCE: STARTING, GIVEN_UP: DRAINING, CLOSE: CLOSED,
    },
    READY: {
        CHANNEL_END: SILENT, GARBAGE: SILENT, DEATH: DEAD, NOTHING_LEFT: ORPHANED,
        FENCE: READY, GIVEN_UP: DRAINING, CLOSE: CLOSED,
    },
    DEAD: {
        FIRST_MESSAGE: DEAD, CHANNEL_END: SILENT, GARBAGE: SILENT, DEATH: DEAD, NOTHING_LEFT: DRAINING,
        FENCE: DEAD, GIVEN_UP: DRAINING, CLOSE: CLOSED,
    },
    SILENT: {DEATH: SILENT, NOTHING_LEFT: GONE, FENCE: SILENT, GIVEN_UP: GONE, CLOSE: CLOSED},
    ORPHANED: {
        FIRST_MESSAGE: ORPHANED, CHANNEL_END: GONE, GARBAGE: GONE,
        FENCE: ORPHANED, GIVEN_UP: DRAINING, CLOSE: CLOSED,
    },
    DRAINING: {
        FIRST_MESSAGE: DRAINING, CHANNEL_END: GONE, GARBAGE: GONE,
        FENCE: DRAINING, GIVEN_UP: DRAINING, CLOSE: CLOSED,
    },
    GONE: {FENCE: GONE, CLOSE: GONE},
    CLOSED: {FENCE: CLOSED, CLOSE: CLOSED},
}  # fmt: skip

# Effects, to be carried out in this order.
KILL: Final = "KILL"  # tell its fork server to kill it
WAKE: Final = "WAKE"  # continue it if it was stopped: it notices its end by itself
INSIST: Final = "INSIST"  # harder measures follow if it is not gone after a while
UNWATCH_CHANNEL: Final = "UNWATCH_CHANNEL"
UNWATCH_SENTINEL: Final = "UNWATCH_SENTINEL"
LOOK: Final = "LOOK"  # read once: without a first message by now it never started anything
DRAIN: Final = "DRAIN"  # read everything that has arrived, and treat the channel as ended
REPORT_SILENT: Final = "REPORT_SILENT"
RELEASE: Final = "RELEASE"  # close the descriptors of this side
REPORT_GONE: Final = "REPORT_GONE"

_FENCED: Final = {STARTING: (KILL, INSIST), READY: (KILL, INSIST), DEAD: (KILL, INSIST),
                  SILENT: (KILL, INSIST), DRAINING: (KILL, INSIST), ORPHANED: (KILL, WAKE, INSIST),
                  GONE: (), CLOSED: ()}  # fmt: skip


class Lifecycle:
    """State of one engine."""

    __slots__ = ("certain", "history", "state")

    def __init__(self) -> None:
        self.state: str = STARTING
        #: Whether everything that it has sent is finally read: then a client that it did not announce has not
        #: run.
        self.certain = True
        #: The events so far, for an error's text.
        self.history: list[str] = []

    def handle(self, event: str) -> tuple[str, ...]:
        """Take one event and return the effects; InvalidTransition for one that the table does not have."""
        before = self.state
        after = TABLE[before].get(event)
        if after is None:
            raise InvalidTransition(f"{event} in state {before}, after {self.history}")
        self.state = after
        if before is not after:
            self.history.append(event)
        if event is GARBAGE:
            self.certain = False
        return _effects(before, event, after)


def _effects(before: str, event: str, after: str) -> tuple[str, ...]:
    effects: tuple[str, ...] = ()
    if event in (FENCE, GARBAGE):
        effects = _FENCED[before]
    if event is CLOSE and after is CLOSED and before is not CLOSED:
        return (WAKE, RELEASE) if before in (READY, ORPHANED) else (RELEASE,)
    if before in SPEAKING and after not in SPEAKING:
        effects += (UNWATCH_CHANNEL,)
    if before in GUARDED and after not in GUARDED:
        effects += (UNWATCH_SENTINEL,)
    if after is ORPHANED and before is not ORPHANED:
        effects += (INSIST, LOOK) if before is STARTING else (INSIST,)
    if after is DRAINING and before is not DRAINING:
        effects += (DRAIN,)
    if after is SILENT and before is not SILENT:
        effects += (REPORT_SILENT,)
    if after is GONE and before is not GONE:
        effects += (RELEASE, REPORT_GONE)
    return effects
