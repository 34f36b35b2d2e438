"""Places in the lines of a relay copy: the order of nodes, and the new sources when one leaves. Pure.

`mpshell.coordinator.relayline` distinguishes the faults that make a node leave its place. No node ever
fetches from one that fetches from it, directly or indirectly, and none from one that has ended.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mpshell.coordinator import relaywire
from mpshell.coordinator.relaynode import (
    BAD,
    DONE,
    FETCHING,
    HEAD,
    IDLE,
    STOPPED,
    Effect,
    Pull,
    Receiver,
    StopSending,
    Take,
)

#: The number of nodes to which the head sends at once, besides the first ones of its lines.
DIRECT = 4

#: A node is slow with less than this part of the rate that another one has.
SLOW_PART = 4

#: The first of a line is moved, once, if it still needs more than these seconds: only a move shows whether
#: its own link or that of the head is slow.
LONG, LOOK = 20.0, 2.0

#: The number of nodes that are kept as sources while others wait to begin.
KEPT = 32

#: The most lines to which the head sends, and the fewest nodes of one.
MOST_LINES, SHORTEST = 8, 32


class RelayPlaces:
    """Lines of nodes. A line begins with one that fetches from the head or from a node that has the file."""

    def __init__(self, nodes: Sequence[Receiver], size: int, effects: list[Effect]) -> None:
        self._nodes = nodes
        self._size = size
        self._effects = effects
        self._lines: list[list[int]] = []
        #: The nodes that fetch from each node; the last entry is for the head.
        self._fetchers: list[set[int]] = [set() for _ in range(len(nodes) + 1)]
        #: The number of lines to which the head sends.
        self._wanted = 1
        self._has_tried_another = False
        #: The highest rate at which the head was seen to send, in bytes per second.
        self._best = 0.0

    # -- queries ---------------------------------------------------------------------------------

    def in_order(self) -> list[int]:
        """Return the nodes that fetch, line by line from the first on, and those that trail."""
        placed = [rank for line in self._lines for rank in line]
        return placed + [n.rank for n in self._nodes if n.line is None and n.is_live]

    def followers(self, node: Receiver) -> list[Receiver]:
        """Return the nodes that fetch from a node."""
        return [self._nodes[rank] for rank in sorted(self._fetchers[node.rank])]

    def has_follower(self, node: Receiver) -> bool:
        """Return whether a node of a line waits for this one."""
        return any(self._nodes[rank].line is not None for rank in self._fetchers[node.rank])

    def sends(self) -> int:
        """Return to how many nodes the head sends."""
        return len(self._fetchers[HEAD])

    def spare(self, most: int) -> list[int]:
        """Return nodes that have the file and send to no node, except those that are kept as sources."""
        if most <= 0:
            return []
        idle = [
            node.rank
            for node in self._nodes
            if node.state is DONE and not node.is_struck and not self._fetchers[node.rank]
        ]
        return idle[KEPT:][:most]

    # -- moves -----------------------------------------------------------------------------------

    def place(self, node: Receiver, now: float) -> None:
        """Give a node without a place the best available source, or let it wait for one."""
        source = self._choose(node)
        if source is None:
            node.handle(STOPPED)
            return
        if not node.slow:
            self._enter(node, source)
        self._order(node, source, now)

    def place_waiting(self, now: float) -> None:
        """Place the nodes that wait for a source."""
        for node in self._nodes:
            if node.state is IDLE and node.again_at is None and not self._is_linked(node):
                self.place(node, now)

    def settle(self, node: Receiver, preferred: int | None, now: float) -> None:
        """Let a node fetch from a source, or else from that one's source, or from any other."""
        source = self._heir(node, preferred)
        if source is None or (node.line is None and source == HEAD):
            source = self._choose(node)
        if node.state is BAD:
            node.restarts += 1
        if source is None:
            self.unlink(node)
            node.handle(STOPPED)
            return
        if node.line is None and not node.slow:
            self._enter(node, source)
        elif node.line is not None:
            self._cut_line(node, source)
        self._order(node, source, now)

    def move(self, node: Receiver, now: float) -> None:
        """Move a node from its place to the end of its line, or to another source."""
        line, source = node.line, node.source
        self.leave(node, now)
        if not (line and self._swap(node, line, source, now)):
            self.place(node, now)

    def trail(self, node: Receiver, now: float) -> None:
        """Let a node fetch from the end of its line, where no node fetches from it."""
        line = node.line
        self.leave(node, now)
        last = line[-1] if line else None
        if last is not None and self._usable(node, last):
            self._order(node, last, now)
        else:
            self.place(node, now)

    def leave(self, node: Receiver, now: float) -> None:
        """Remove a node from its place: its followers get its source."""
        followers = self.followers(node)
        line, place = node.line, node.line.index(node.rank) if node.line else 0
        self.unlink(node)
        for follower in followers:
            if line is not None and follower.line is line and line.index(follower.rank) == place:
                self.settle(follower, node.source, now)
            else:
                # The node trails, or began another line here.
                self.settle(follower, None if follower.line is None else node.source, now)

    def unlink(self, node: Receiver) -> None:
        """Remove a node from its line and its source."""
        if node.line is not None:
            node.line.remove(node.rank)
            if not node.line:
                self._lines = [line for line in self._lines if line]
            node.line = None
        if node.source is not None and self._is_linked(node):
            self._fetchers[node.source].discard(node.rank)
            if node.source == HEAD:
                self._effects.append(StopSending(node.rank))

    # -- sources ---------------------------------------------------------------------------------

    def _is_linked(self, node: Receiver) -> bool:
        return node.source is not None and node.rank in self._fetchers[node.source]

    def _usable(self, node: Receiver, source: int) -> bool:
        """Return whether a node may fetch from a source."""
        if source == HEAD:
            return True
        other = self._nodes[source]
        if source == node.rank or other.is_struck or source in node.avoided:
            return False
        if other.state is DONE:
            return True
        return other.line is not None and not self._descends(other, node)

    def _descends(self, node: Receiver, other: Receiver) -> bool:
        """Return whether the bytes that a node fetches come from another one."""
        while node is not other:
            if node.state is DONE or not self._is_linked(node):
                return False
            if node.source is None or node.source == HEAD:
                return False
            node = self._nodes[node.source]
        return True

    def _heir(self, node: Receiver, source: int | None) -> int | None:
        """Return a source, or the one that replaces it: the one from which it fetched."""
        for _ in self._nodes:
            if source is None or self._usable(node, source):
                return source
            source = self._nodes[source].source
        return None

    def _choose(self, node: Receiver) -> int | None:
        """Return the best source for a node: an idle one that has the file, or the end of a line."""
        idle = self.idle(node)
        if idle is not None:
            return idle
        for line in sorted(self._lines, key=len):
            last = self._nodes[line[-1]]
            if self._usable(node, last.rank) and not self.has_follower(last):
                return last.rank
        # A line without nodes, or only with nodes from which this one cannot fetch.
        if self.sends() < self._wanted:
            return HEAD
        busy = [n.rank for n in self._nodes if n.state is DONE and self._usable(node, n.rank)]
        if busy:
            return min(busy, key=lambda rank: len(self._fetchers[rank]))
        for line in self._lines:
            for rank in reversed(line):
                if self._usable(node, rank):
                    return rank
        return HEAD if self.sends() < self._wanted + DIRECT else None

    def idle(self, node: Receiver) -> int | None:
        """Return a node that has the file, and from which no node fetches."""
        for other in self._nodes:
            if (
                other.state is DONE
                and not self._fetchers[other.rank]
                and self._usable(node, other.rank)
            ):
                return other.rank
        return None

    # -- lines -----------------------------------------------------------------------------------

    def _enter(self, node: Receiver, source: int) -> None:
        """Put a node at the end of the line of its source, or into a new one."""
        line = None if source == HEAD else self._nodes[source].line
        if line is not None and line[-1] == source:
            line.append(node.rank)
            node.line = line
        else:
            node.line = [node.rank]
            self._lines.append(node.line)

    def _cut_line(self, node: Receiver, source: int) -> None:
        """Make a node and those after it a line of their own, if its source is not the one before it."""
        line = node.line or []
        place = line.index(node.rank)
        if place and line[place - 1] != source:
            rest = line[place:]
            del line[place:]
            self._lines.append(rest)
            for rank in rest:
                self._nodes[rank].line = rest

    def _order(self, node: Receiver, source: int, now: float) -> None:
        if node.source is not None and self._is_linked(node):
            self._fetchers[node.source].discard(node.rank)
            if node.source == HEAD:
                self._effects.append(StopSending(node.rank))
        self._fetchers[source].add(node.rank)
        node.begin(source, now)
        if source == HEAD:
            self._effects.append(Take(node.rank, node.seq))
            return
        other = self._nodes[source]
        node.generation = other.restarts
        kind = relaywire.DONE if other.state is DONE else relaywire.PART
        self._effects.append(Pull(node.rank, node.seq, source, kind, other.port))

    def _swap(self, node: Receiver, line: list[int], source: int | None, now: float) -> bool:
        """If a node cannot fetch from the last of its line, put it before that one, once."""
        last = self._nodes[line[-1]]
        above = last.source
        if last.rank != source or last.state is not FETCHING or above is None:
            return False
        if (
            node.rank in last.avoided
            or node.slow
            or node.repairs > 1
            or not self._usable(node, above)
        ):
            return False
        line.insert(-1, node.rank)
        node.line = line
        self._order(node, above, now)
        self._order(last, node.rank, now)
        return True

    def look(self, now: float) -> None:
        """Check whether the first of a line is slow, and whether more lines are faster."""
        for line in list(self._lines):
            first = self._nodes[line[0]]
            rate = first.rate(now) if first.source == HEAD and first.state is FETCHING else None
            if not rate:
                self._split(line, None, now)
                continue
            # Several lines share the rate of the head.
            rate *= self.sends()
            seconds = (self._size - first.offset) / rate
            self._best = max(self._best, rate)
            if len(line) > 1 and rate * SLOW_PART < self._best and not first.slow:
                first.slow = True
                self.trail(first, now)
            elif len(line) > 1 and seconds > LONG and not self._has_tried_another:
                self._has_tried_another = True
                self.move(first, now)
            else:
                self._split(line, seconds, now)

    def _split(self, line: list[int], seconds: float | None, now: float) -> None:
        """Send to the middle of the nodes at the end of a line that have no data yet, if they would wait long.

        Idle nodes that have the file can send at no cost. The head needs `seconds` to send to a line:
        k lines with n nodes in all take k * seconds + n / k * lag.
        """
        waiting = next(
            (n for n, rank in enumerate(reversed(line)) if self._nodes[rank].offset), len(line)
        )
        middle = self._nodes[line[-waiting // 2]]
        if waiting < 2 * SHORTEST or middle.state is not FETCHING:
            return
        source = self.idle(middle)
        if source is None and seconds:
            reached = len(line) - waiting
            lag = (now - self._nodes[line[0]].ordered_at) / max(1, reached)
            wanted = min(MOST_LINES, int(math.sqrt(waiting * lag / seconds)))
            self._wanted = max(self._wanted, wanted)
            source = HEAD if self.sends() < self._wanted else None
        if source is not None:
            self._cut_line(middle, source)
            self._order(middle, source, now)
