"""One receiving node of a relay copy, for the line, and the effects that the line requests. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from mpshell.runtime.states import Stated

#: The source of a node to which the head sends; the others are ranks.
HEAD: Final = -1

# The states and events of a node in a relay copy. An event that a state does not name does not change it.
NEW: Final = "NEW"  # it has not answered yet
IDLE: Final = "IDLE"  # it can receive, and has no source
FETCHING: Final = "FETCHING"  # it gets the rest of the file from its source
BAD: Final = "BAD"  # all bytes arrived, and the checksum differs: its source is checked first
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
    # A pull that has stalled may still finish.
    IDLE: {ORDER: FETCHING, DIFFERS: BAD, ARRIVED: DONE, END: OVER},
    FETCHING: {ORDER: FETCHING, STOPPED: IDLE, DIFFERS: BAD, ARRIVED: DONE, END: OVER},
    BAD: {ORDER: FETCHING, END: OVER},
    DONE: {},
    OVER: {},
}

#: The least and the most seconds over which a rate is measured.
_LEAST, _MOST = 1.0, 3.0


class Pull(NamedTuple):
    """Order `rank` to fetch the rest from a node: from its part or its target (`kind`)."""

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
    """End the head's send to a node, if there is one."""

    rank: int


class GiveUp(NamedTuple):
    """Order a node to end and clean up; `Receiver.reason` has the reason."""

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
        #: The line in which it has a place, so that others may fetch from it. None for one that trails.
        self.line: list[int] | None = None
        #: The number of its bytes, now and when it got its source.
        self.offset = self.base = 0
        #: When it was ordered to fetch, and when the last bytes arrived.
        self.ordered_at = self.moved_at = 0.0
        self.samples: deque[tuple[float, int]] = deque()
        #: The number of orders to fetch from another source because of the node itself, and of all orders.
        self.repairs = 0
        #: Whether the same source was tried twice already, and when to do that.
        self.tried = False
        self.again_at: float | None = None
        #: Sources from which it could not fetch, including the head, and the reasons.
        self.avoided: set[int] = set()
        self.failures: dict[int, str] = {}
        self.head_failures = 0
        #: Nodes that could not fetch from it: after two of them it is not used as a source any more.
        self.accusers: set[int] = set()
        self.slow = False
        #: How often its checksum differed, and how often it has begun again at byte 0.
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
        """Whether it must not be used as a source any more."""
        return len(self.accusers) > 1

    @property
    def is_waiting(self) -> bool:
        """Whether no byte has arrived since the last order."""
        return self.moved_at == self.ordered_at

    def move_to(self, offset: int, now: float) -> bool:
        """Note the number of its bytes; return whether it has more than before."""
        more = offset > self.offset
        self.offset = offset
        if more:
            self.moved_at = now
        self.samples.append((now, offset))
        while len(self.samples) > 2 and self.samples[1][0] <= now - _MOST:
            self.samples.popleft()
        return more

    def begin(self, source: int, now: float) -> None:
        """Note an order to fetch from a source."""
        if source != self.source:
            self.tried = False
        self.seq += 1
        self.source, self.base, self.again_at = source, self.offset, None
        self.ordered_at = self.moved_at = now
        self.samples.clear()
        self.handle(ORDER)

    def rate(self, now: float) -> float | None:
        """Return its rate in the last seconds, in bytes per second; None if it is too early to know."""
        if not self.samples:
            return None
        first, before = self.samples[0]
        last = self.samples[-1][0]
        # The rate of a silent node falls.
        end = last if self.state is DONE or now - last < 1.5 else now
        if end - first < _LEAST:
            return None
        return max(0.0, (self.offset - before) / (end - first))
