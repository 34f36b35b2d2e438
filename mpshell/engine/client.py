"""The life of one command on one node, as a pure state machine: events in, effects out, no I/O.

The engine feeds it events (a spawn, an end of file, an exit, a deadline, a cancel) and carries out
the effects that it names. `TABLE` has all transitions; any other raises.

There is one rule besides the table: a DRAINING client without an open stream, or whose outcome was reported
already, is FINISHED at once.
"""

from __future__ import annotations

from mpshell.errors import InvalidTransition
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.wire.messages import CANCELLED, EXITED, SIGNALED, SPAWN_FAILED, TIMED_OUT

if TYPE_CHECKING:
    from typing import Final

#: The status of a client whose connection has failed: ssh(1)'s own.
NO_STATUS: Final = 255

PENDING: Final = "PENDING"
RUNNING: Final = "RUNNING"
STOPPING: Final = "STOPPING"
KILLING: Final = "KILLING"
DRAINING: Final = "DRAINING"
FINISHED: Final = "FINISHED"
STATES: Final = (PENDING, RUNNING, STOPPING, KILLING, DRAINING, FINISHED)

SPAWNED: Final = "SPAWNED"
SPAWN_FAILURE: Final = "SPAWN_FAILED"
EOF: Final = "EOF"
EXIT: Final = "EXITED"
TIMEOUT: Final = "TIMEOUT"
GRACE_OVER: Final = "GRACE_OVER"
DRAIN_OVER: Final = "DRAIN_OVER"
CANCEL: Final = "CANCEL"
EVENTS: Final = (SPAWNED, SPAWN_FAILURE, EOF, EXIT, TIMEOUT, GRACE_OVER, DRAIN_OVER, CANCEL)

TABLE: Final[dict[str, dict[str, str]]] = {
    PENDING: {SPAWNED: RUNNING, SPAWN_FAILURE: FINISHED, CANCEL: FINISHED},
    RUNNING: {EOF: RUNNING, EXIT: DRAINING, TIMEOUT: STOPPING, CANCEL: STOPPING},
    STOPPING: {EOF: STOPPING, EXIT: DRAINING, GRACE_OVER: KILLING, CANCEL: KILLING},
    KILLING: {EOF: KILLING, EXIT: DRAINING, GRACE_OVER: FINISHED, CANCEL: KILLING},
    DRAINING: {EOF: DRAINING, DRAIN_OVER: FINISHED, CANCEL: FINISHED},
    FINISHED: {CANCEL: FINISHED},
}

# Effects, for the engine to carry out in this order.
ARM_TIMEOUT: Final = "ARM_TIMEOUT"  # the client runs: its timeout begins
REPORT: Final = "REPORT"  # report the outcome, once
TERMINATE: Final = "TERMINATE"  # SIGTERM to the group, and arm the grace
KILL: Final = "KILL"  # SIGKILL to the group, and arm the last grace
ARM_DRAIN: Final = "ARM_DRAIN"  # exited, streams are open: wait for silence
RELEASE: Final = "RELEASE"  # close all that is open and free the slot

_EFFECTS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    (PENDING, RUNNING): (ARM_TIMEOUT,),
    (PENDING, FINISHED): (REPORT, RELEASE),
    (RUNNING, STOPPING): (REPORT, TERMINATE),
    (STOPPING, KILLING): (KILL,),
    (RUNNING, DRAINING): (ARM_DRAIN,),
    (RUNNING, FINISHED): (REPORT, RELEASE),
    (STOPPING, FINISHED): (RELEASE,),
    (KILLING, FINISHED): (RELEASE,),
    (DRAINING, FINISHED): (REPORT, RELEASE),
}


class Client:
    """State and outcome of one command on one node."""

    __slots__ = ("cancel_reason", "history", "reason", "reported", "state", "status", "streams")

    def __init__(self) -> None:
        self.state: str = PENDING
        #: The events so far, for an error's text.
        self.history: list[str] = []
        #: Reading streams that are open.
        self.streams = 0
        #: Why it ended (`mpshell.wire.messages`), once this is reported or it is finished.
        self.reason = EXITED
        #: Exit status or signal number; -1 when there is none.
        self.status = -1
        self.reported = False
        self.cancel_reason = CANCELLED

    def handle(self, event: str) -> tuple[str, ...]:
        """Take one event and return the effects; InvalidTransition for one that cannot be."""
        before = self.state
        self.history.append(event)
        after = TABLE[before].get(event)
        if after is None:
            raise InvalidTransition(f"{event} in state {before}, after {self.history}")
        if event is EOF:
            self.streams -= 1
        if after is DRAINING and (self.streams <= 0 or self.reported):
            after = FINISHED
        if after is before:
            return ()
        self.state = after
        if not self.reported:
            self._decide(before, after, event)
        return _EFFECTS[before, after]

    def exited(self, status: int, signaled: bool) -> tuple[str, ...]:
        """Take EXITED with its exit status or signal number."""
        if not self.reported:
            self.status = status
            self.reason = SIGNALED if signaled else EXITED
        return self.handle(EXIT)

    def failed(self, reason: int) -> tuple[str, ...]:
        """Take EXITED of a client whose connection has failed, with the reason for that."""
        if not self.reported:
            self.status = NO_STATUS
            self.reason = reason
        return self.handle(EXIT)

    def cancel(self, reason: int) -> tuple[str, ...]:
        """Take CANCEL, for CANCELLED or TIMED_OUT (a run's time, not the client's own)."""
        self.cancel_reason = reason
        return self.handle(CANCEL)

    def _decide(self, before: str, after: str, event: str) -> None:
        """Set the reason if the exit did not, and note that it is reported."""
        if after is STOPPING:
            self.reason = TIMED_OUT if event is TIMEOUT else self.cancel_reason
        elif before is PENDING and after is FINISHED:
            self.reason = SPAWN_FAILED if event is SPAWN_FAILURE else CANCELLED
        self.reported = after in (STOPPING, FINISHED)
