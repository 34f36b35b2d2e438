"""How a command on one node ended, with a reason: a failed command is not an unreachable node."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from mpshell.errors import WorkerError
from mpshell.runtime.lean import TYPE_CHECKING, NamedTuple
from mpshell.wire.messages import (
    AUTH,
    CANCELLED,
    CUT,
    EXITED,
    HOSTKEY,
    LOG_END,
    LOST,
    SIGNALED,
    SPAWN_FAILED,
    TIMED_OUT,
    TRANSPORT,
    UNREACHABLE,
)

if TYPE_CHECKING:
    from typing import Any

#: The reasons: how the command ended; for a transport's own failure, why.
REASONS = (
    "exit",  # it has ended, with `returncode`
    "signal",  # it was ended by `signal`
    "timeout",  # its time, or that of the run, was over
    "cancelled",  # it was aborted
    "not started",  # the local command could not be started; `detail` has the reason
    "lost",  # its engine has ended, or its connection was cut in the middle
    "unreachable",  # no connection to the node
    "auth",  # the node refused the login
    "hostkey",  # the node's key is not the one known
    "transport",  # the program that connects failed by itself, e.g. because of a wrong option
)

_NAMES = {
    EXITED: "exit",
    SIGNALED: "signal",
    TIMED_OUT: "timeout",
    CANCELLED: "cancelled",
    SPAWN_FAILED: "not started",
    LOST: "lost",
    CUT: "lost",
    UNREACHABLE: "unreachable",
    AUTH: "auth",
    HOSTKEY: "hostkey",
    TRANSPORT: "transport",
}

#: Beginning of the detail of an outcome of a relay copy: the command itself has reported why it failed.
RELAY_DETAIL = "relay: "

#: A change of the difference of the two clocks by this many seconds means that one was set, or that the machine
#: was suspended. Smaller ones come from the time between two readings.
_STEP = 0.5


class Outcome(NamedTuple):
    """How a key has ended, as the coordinator records it."""

    reason: int  # of `mpshell.wire.messages`
    status: int  # exit status or signal
    started: float  # on the monotonic clock; 0 where it is not known
    duration: float  # seconds
    detail: str | None
    engine: int  # the engine's id; 0 for none
    attempt: int = 1  # the number of this attempt; 0 if there was none
    host: str = ""  # of its engine; "" for this one


class NodeOutcome(NamedTuple):
    """One outcome; `started_at` in seconds since the epoch, `duration` in seconds.

    None and 0 if no command was started; for a lost node, the times of the announcement of its start.
    """

    node: Any
    reason: str
    returncode: int | None
    signal: int | None
    started_at: float | None
    duration: float
    timed_out: bool
    detail: str | None
    engine: int
    #: The host whose engine ran it; "" for this one.
    host: str = ""
    #: The number of the attempt with this outcome, from 1; 0 if there was none.
    attempt: int = 1

    @property
    def ok(self) -> bool:
        """Whether the command has run and returned 0."""
        return self.reason == "exit" and self.returncode == 0


class _TimeOfDay:
    """The time of day of moments on the monotonic clock, which is one for all processes of the machine.

    So durations hold whatever happens to the time of day. Each run begins with a look whether that was set, or
    the machine suspended. The moments before keep their times.
    """

    def __init__(self) -> None:
        #: From when on which difference of the two clocks holds.
        self._differences = [(-math.inf, _difference())]

    def look(self) -> None:
        """Take note of a time of day that was set."""
        now = _difference()
        if abs(now - self._differences[-1][1]) > _STEP:
            self._differences.append((time.monotonic(), now))

    def of(self, moment: float) -> float:
        """Return the seconds since the epoch at a moment."""
        held = (difference for since, difference in reversed(self._differences) if moment >= since)
        return moment + next(held)


def _difference() -> float:
    return time.time() - time.monotonic()


_TIME_OF_DAY = _TimeOfDay()

#: To be called at the begin of a run.
look_at_the_clock = _TIME_OF_DAY.look


def time_of_day() -> float:
    """Return the time in seconds since the epoch, on the clock of `started_at`."""
    return _TIME_OF_DAY.of(time.monotonic())


def _readable(detail: str, *, failed: bool) -> str | None:
    """Return the last line of a program's stderr; if it failed without any, the last line of its log."""
    notes, _, words = detail.rpartition(LOG_END)
    if not words.strip() and failed:
        return notes.strip().rpartition("\n")[2].rpartition("debug1: ")[2] or None
    return words.strip() or None


def reason_of(recorded: Outcome, diagnose: Callable[[str], str | None] | None) -> str:
    """Return the name of an outcome's reason; `diagnose` recognises a transport's own failure by its text."""
    name = _NAMES[recorded.reason]
    if recorded.reason == EXITED and recorded.detail is not None and diagnose is not None:
        name = diagnose(recorded.detail) or name
        if name not in REASONS:
            raise WorkerError(f"a transport's diagnose says {name!r}: one of {REASONS} is expected")
    return name


def node_outcome(
    key: Any,
    recorded: Outcome,
    code: int | None,
    diagnose: Callable[[str], str | None] | None,
) -> NodeOutcome:
    """Make an outcome of a record; `diagnose` is for `reason_of`."""
    reason, status, started, duration, detail, engine, attempt, host = recorded
    name = reason_of(recorded, diagnose)
    if reason == EXITED and detail is not None and diagnose is not None:
        detail = _readable(detail, failed=name != "exit")
    began = _TIME_OF_DAY.of(started) if started else None
    number = status if reason == SIGNALED else None
    return NodeOutcome(
        key, name, code, number, began, duration, reason == TIMED_OUT, detail, engine, host, attempt
    )
