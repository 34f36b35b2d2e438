"""One receiving node of a relay copy as the line sees it, and what the line has the head do. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from mpshell.runtime.states import Stated

#: The source of a node that the head sends to; the others are ranks.
HEAD: Final = -1

# The states of a node in a relay copy, and what happens to it. What a state does not name leaves it as it is.
NEW: Final = "NEW"  # it has not answered yet
IDLE: Final = "IDLE"  # it can receive, and nobody sends to it
FETCHING: Final = "FETCHING"  # it gets the rest of the file from its source
BAD: Final = "BAD"  # all came, and the checksum differs: its source is judged first
DONE: Final = "DONE"  # the file is in its place
OVER: Final = "OVER"  # dead, failed or given up
STATES: Final = (NEW, IDLE, FETCHING, BAD, DONE, OVER)

READY: Final = "READY"
ORDER: Final = "ORDER"
STOPPED: Final = "STOPPED"
DIFFERS: Final = "DIFFERS"
ARRIVED: Final = "ARRIVED"
END: Final = "END"
EVENTS: Final = (READY, ORDER, STOPPED, DIFFERS, ARRIVED, END)

TABLE: Final[dict[str, dict[str, str]]] = {
    NEW: {READY: IDLE, END: OVER},
    # A pull that has stalled may still come to its end.
    IDLE: {ORDER: FETCHING, DIFFERS: BAD, ARRIVED: DONE, END: OVER},
    FETCHING: {ORDER: FETCHING, STOPPED: IDLE, DIFFERS: BAD, ARRIVED: DONE, END: OVER},
    BAD: {ORDER: FETCHING, END: OVER},
    DONE: {},
    OVER: {},
}

#: Seconds over which a rate is measured, at least and at most.
_LEAST, _MOST = 1.0, 3.0


class Pull(NamedTuple):
    """Order `rank` to fetch the rest from a node, of which it is the part or the target (`kind`)."""

    rank: int
    seq: int
    source: int
    kind: str
    port: int | None


class Take(NamedTuple):
    """Order a node to be ready for the head to send."""

    rank: int
    seq: int


class Send(NamedTuple):
    """Begin to send to a node from the head."""

    rank: int
    seq: int
    offset: int


class StopSending(NamedTuple):
    """End what sends to a node from the head, if anything does."""

    rank: int


class GiveUp(NamedTuple):
    """Have a node end and clear up: `Receiver.reason` says why."""

    rank: int


Effect = Pull | Take | Send | StopSending | GiveUp


class Receiver(Stated):
    """A node, its source, and how fast it gets the file."""

    table = TABLE
    __slots__ = (
        "accusers", "again_at", "avoided", "bads", "base", "failures", "generation", "head_failures",
        "line", "moved_at", "name", "offset", "ordered_at", "port", "rank", "reason", "repairs", "restarts",
        "samples", "seq", "slow", "source", "tried",
    )  # fmt: skip

    def __init__(self, rank: int, name: str) -> None:
        self.rank, self.name = rank, name
        self.state: str = NEW
        self.port: int | None = None
        #: The number of the last order.
        self.seq = 0
        #: Its rank, or HEAD; None before the first order.
        self.source: int | None = None
        #: The line that it has a place in: others may fetch from it. None for one that trails behind.
        self.line: list[int] | None = None
        #: Bytes that are there, and that were when it got its source.
        self.offset = self.base = 0
        #: When it was ordered to fetch, and when bytes came last.
        self.ordered_at = self.moved_at = 0.0
        self.samples: deque[tuple[float, int]] = deque()
        #: Orders so far to fetch from elsewhere that were for its own sake, and all of them.
        self.repairs = 0
        #: Whether the same source was tried twice already, and when that is to be done.
        self.tried = False
        self.again_at: float | None = None
        #: Sources that it could not fetch from, and the reasons; the head among these.
        self.avoided: set[int] = set()
        self.failures: dict[int, str] = {}
        self.head_failures = 0
        #: Those that could not fetch from it: two of them, and it is no source any more.
        self.accusers: set[int] = set()
        self.slow = False
        #: How often its checksum was another one, and how often it has begun again at byte 0.
        self.bads = self.restarts = 0
        #: How often its source had begun again when it was ordered to fetch from it.
        self.generation = 0
        #: Why it was given up.
        self.reason = ""

    @property
    def is_live(self) -> bool:
        return self.state not in (DONE, OVER)

    @property
    def is_struck(self) -> bool:
        """Whether it is no source any more."""
        return len(self.accusers) > 1

    @property
    def is_waiting(self) -> bool:
        """Whether no byte has arrived since the last order."""
        return self.moved_at == self.ordered_at

    def move_to(self, offset: int, now: float) -> bool:
        """Take note of the bytes that are there; return whether it has more than before."""
        more = offset > self.offset
        self.offset = offset
        if more:
            self.moved_at = now
        self.samples.append((now, offset))
        while len(self.samples) > 2 and self.samples[1][0] <= now - _MOST:
            self.samples.popleft()
        return more

    def begin(self, source: int, now: float) -> None:
        """Take note of an order to fetch from a source."""
        if source != self.source:
            self.tried = False
        self.seq += 1
        self.source, self.base, self.again_at = source, self.offset, None
        self.ordered_at = self.moved_at = now
        self.samples.clear()
        self.handle(ORDER)

    def rate(self, now: float) -> float | None:
        """Return the bytes a second of the last seconds; None where it is too early to tell."""
        if not self.samples:
            return None
        first, before = self.samples[0]
        last = self.samples[-1][0]
        # One that is not heard of any more gets slower.
        end = last if self.state is DONE or now - last < 1.5 else now
        if end - first < _LEAST:
            return None
        return max(0.0, (self.offset - before) / (end - first))
