"""Decides from which source each node fetches in a relay copy: a pure machine, without a clock and I/O.

    ready, at, need, take, bad, done, end, tick(now) ──► RelayLine ──► orders to nodes, sends of the head

A *line* is a chain of nodes: the head sends to the first, and each other one fetches from the one before it
while that still receives (`mpshell.coordinator.relaywire` has the orders). Nodes join in the order in which
they can receive, so a dead one delays no other. All parts are files: a slow or dead node does not affect the
one before it, and the one after it continues from its own offset with another source.

There is one repair for all faults: **a node leaves its place, its follower gets its source, and it goes to
the end.** A slow node trails there: no node fetches from it. A node whose checksum differs waits until its
source has been checked: if the source has the right checksum, the node itself has altered bytes, and is not
used as a source any more; if the source was wrong too, both begin again in their places.
"""

from __future__ import annotations

from collections.abc import Sequence

from mpshell.coordinator.relaynode import (
    ARRIVED,
    BAD,
    DIFFERS,
    DONE,
    END,
    FETCHING,
    HEAD,
    IDLE,
    OVER,
    READY,
    STOPPED,
    Effect,
    GiveUp,
    Receiver,
    Send,
    StopSending,
)
from mpshell.coordinator.relayplaces import SLOW_PART, RelayPlaces
from mpshell.coordinator.relaywire import CUT, GONE, LOGIN

#: Seconds without a byte after which a node has stalled, and bytes that its source must be ahead: all nodes
#: after a stalled one get nothing either, and only the first of them must be moved.
STALL, AHEAD = 4.0, 3_000_000

#: The least number of seconds that a slow node is behind its source.
SLOW_BEHIND = 2.0

#: The number of repairs of a node before the head sends to it directly, and how often that may fail.
MOST_REPAIRS, HEAD_FAILURES = 6, 2

#: The number of wrong checksums that a node may have.
MOST_BAD = 6

#: Seconds before the same source is tried again; by then its own end may be known.
PAUSE = 0.5

#: The number of first pulls of which more than half must be accepted.
FIRST_PULLS = 20

_REFUSALS = ("denied", "Host key verification failed", "Too many authentication failures")


class RelayLine:
    """The nodes of one relay copy of `size` bytes. Each method returns the effects to carry out, in order."""

    def __init__(self, names: Sequence[str], size: int, instead: str = "") -> None:
        self.size = size
        #: What there is to do where nodes cannot log in to each other.
        self._instead = instead
        self.nodes = [Receiver(rank, name) for rank, name in enumerate(names)]
        #: The reason why all were given up.
        self.stopped = ""
        self._effects: list[Effect] = []
        self._places = RelayPlaces(self.nodes, size, self._effects)
        #: How many first pulls of nodes were accepted, and refused.
        self._let_in = self._refused = 0
        #: The longest time from an order to the first byte.
        self._slowest_start = 0.0

    # -- answers of nodes ------------------------------------------------------------------------

    def ready(self, rank: int, port: int | None, now: float) -> list[Effect]:
        """A node can receive."""
        node = self.nodes[rank]
        if node.handle(READY):
            node.port = port
            self._places.place(node, now)
        return self._taken()

    def at(self, rank: int, offset: int, now: float) -> list[Effect]:
        """A node has `offset` bytes."""
        node = self.nodes[rank]
        if node.state in (FETCHING, IDLE):
            self._move_to(node, offset, now, has_login=True)
        return self._taken()

    def need(
        self, rank: int, seq: int, offset: int, kind: str, text: str, now: float
    ) -> list[Effect]:
        """A pull, or a send of the head, has ended too early."""
        node = self.nodes[rank]
        if node.state is FETCHING and seq == node.seq:
            # Without a login these bytes came from an earlier order.
            self._move_to(node, offset, now, has_login=kind != LOGIN)
            node.handle(STOPPED)
            self._failed(node, kind, text, now)
        return self._taken()

    def feed_failed(self, rank: int, seq: int, text: str, now: float) -> list[Effect]:
        """A send of the head to a node has failed."""
        node = self.nodes[rank]
        if node.state is FETCHING and seq == node.seq and node.source == HEAD:
            node.handle(STOPPED)
            self._failed(node, CUT, text, now)
        return self._taken()

    def take(self, rank: int, seq: int, offset: int) -> list[Effect]:
        """A node is ready for the head to send."""
        node = self.nodes[rank]
        if node.state is FETCHING and seq == node.seq and node.source == HEAD:
            node.offset = node.base = min(offset, self.size)
            self._effects.append(Send(rank, seq, node.offset))
        return self._taken()

    def bad(self, rank: int, seq: int, now: float) -> list[Effect]:
        """All bytes have arrived, and the checksum differs."""
        node = self.nodes[rank]
        if seq == node.seq and node.handle(DIFFERS):
            node.offset = 0
            node.bads += 1
            node.failures[HEAD if node.source is None else node.source] = "checksum differs"
            if node.bads >= MOST_BAD or (node.source == HEAD and node.bads > 1):
                self._give_up(node, "checksum differs", now)
            else:
                self._judge_source(node, now)
        return self._taken()

    def done(self, rank: int, now: float) -> list[Effect]:
        """The file is in its place."""
        node = self.nodes[rank]
        if node.handle(ARRIVED):
            if node.is_waiting:
                self._began(node, now)
            node.offset = self.size
            self._places.unlink(node)
            for follower in self._places.followers(node):
                if follower.state is BAD:
                    self._judge_source(follower, now)
            self._places.place_waiting(now)
        return self._taken()

    def end(self, rank: int, reason: str, now: float) -> list[Effect]:
        """A node is lost, or has failed by itself; the reason is that of its verdict, "" for none."""
        node = self.nodes[rank]
        node.reason = node.reason or reason
        if node.is_live:
            self._take_out(node, now)
        return self._taken()

    def shared(self, rank: int, other: int) -> list[Effect]:
        """Two nodes have found that their targets are the same file."""
        names = " and ".join(
            self.nodes[r].name for r in sorted({rank, other}) if r < len(self.nodes)
        )
        return self.stop(
            f"the target is on a file system that the nodes share ({names}): copy to one of them"
        )

    def retire(self, most: int) -> list[int]:
        """Return up to `count` nodes that have the file, and stop using them as sources."""
        retired = self._places.spare(most)
        for rank in retired:
            self.nodes[rank].accusers.update((rank, HEAD))
        return retired

    def stop(self, reason: str) -> list[Effect]:
        """Give up all nodes that do not have the file."""
        self._give_up_all(reason)
        return self._taken()

    def tick(self, now: float) -> list[Effect]:
        """Check for nodes that have stalled, are slow, or wait. Call it some times a second."""
        for node in self.nodes:
            if node.state is IDLE and node.again_at is not None and node.again_at <= now:
                self._places.settle(node, node.source, now)
        self._places.place_waiting(now)
        # From the first of each line to the last: nodes after a moved one get another source.
        for rank in self._places.in_order():
            node = self.nodes[rank]
            if node.state is BAD:
                self._judge_source(node, now)
            elif node.state is FETCHING:
                self._look_at(node, now)
        self._places.look(now)
        return self._taken()

    def _taken(self) -> list[Effect]:
        effects = list(self._effects)
        self._effects.clear()
        return effects

    # -- queries ---------------------------------------------------------------------------------

    def name_of(self, source: int | None) -> str:
        """Return the name of a source for messages; "" for none."""
        return "" if source is None else "head" if source == HEAD else self.nodes[source].name

    @property
    def is_over(self) -> bool:
        return not any(node.is_live for node in self.nodes)

    # -- faults ----------------------------------------------------------------------------------

    def _move_to(self, node: Receiver, offset: int, now: float, has_login: bool) -> None:
        """A node has `offset` bytes."""
        waited = node.is_waiting
        if node.move_to(min(offset, self.size), now) and waited and has_login:
            self._began(node, now)

    def _began(self, node: Receiver, now: float) -> None:
        """The first bytes for an order have arrived: later ones do not show how long a start takes."""
        source = node.source
        if source is None:
            return
        if source == HEAD or self.nodes[source].offset > node.base:
            self._slowest_start = max(self._slowest_start, now - node.ordered_at)
        if source != HEAD and not node.failures:
            node.failures[source] = ""
            self._let_in += 1

    def _failed(self, node: Receiver, kind: str, text: str, now: float) -> None:
        source = node.source
        if source is None:
            return
        # Its source may have changed since it was ready: the source of a refused node goes to the next in line.
        first = source != HEAD and not node.failures
        node.failures[source] = text or "the connection was cut"
        self._refused += first and kind == LOGIN
        if first and kind == LOGIN and self._refuses(text):
            self._give_up_all(
                f"nodes cannot log in to each other ({node.name} -> {self.name_of(source)}: {text}): "
                f"{self._instead}"
            )
        elif source == HEAD:
            self._head_failed(node, now)
        elif kind == GONE and self.nodes[source].state is DONE and not node.tried:
            # It was renamed in the meantime.
            node.tried = True
            self._places.settle(node, source, now)
        elif kind != LOGIN and not node.tried:
            node.tried = True
            node.again_at = now + PAUSE
        else:
            self._blame(node, source, now)

    def _refuses(self, text: str) -> bool:
        """Return whether too many of the first pulls were refused."""
        others = sum(node.state is not OVER for node in self.nodes) - 1
        if self._let_in + self._refused > FIRST_PULLS:
            return False
        first = min(FIRST_PULLS, others)
        if any(word in text for word in _REFUSALS):
            return self._refused * 2 > first
        # A source that cannot be reached may have died, or its link may be down. Such a pull fails before a
        # login can succeed, so the first failures prove nothing: all of the first pulls must have failed.
        return self._refused >= max(2, first)

    def _head_failed(self, node: Receiver, now: float) -> None:
        node.head_failures += 1
        if node.head_failures > HEAD_FAILURES:
            self._give_up(node, self._no_source(node), now)
        elif node.line is not None and len(node.line) > 1:
            self._repair(node, now)
        else:
            node.again_at = now + PAUSE

    def _no_source(self, node: Receiver) -> str:
        found = [f"{self.name_of(s)}: {why}" for s, why in node.failures.items() if why]
        return f"no source reachable: {'; '.join(found)}"

    def _blame(self, node: Receiver, source: int, now: float) -> None:
        """A node could not fetch from a source: move it, or, if it is the second one, the source."""
        node.avoided.add(source)
        self._accuse(node, source, now)
        if node.source == source:
            self._repair(node, now)

    def _accuse(self, node: Receiver, source: int, now: float) -> None:
        accused = self.nodes[source]
        accused.accusers.add(node.rank)
        if accused.is_struck and accused.state is FETCHING and accused.line is not None:
            self._places.trail(accused, now)

    def _repair(self, node: Receiver, now: float) -> None:
        """Move a node to the end; after too many moves only the head sends to it."""
        node.repairs += 1
        if node.repairs > MOST_REPAIRS:
            node.avoided.update(range(len(self.nodes)))
        self._places.move(node, now)

    def _look_at(self, node: Receiver, now: float) -> None:
        """Move a node of a line that has stalled, or is so slow that others wait for it."""
        if self._has_stalled(node, now):
            self._stalled(node, now)
        elif self._is_slow(node, now):
            node.slow = True
            source = node.source
            self._places.trail(node, now)
            if source is not None and source != HEAD:
                self._accuse(node, source, now)

    def _has_stalled(self, node: Receiver, now: float) -> bool:
        if now - node.moved_at <= max(STALL, 2 * self._slowest_start) or node.offset >= self.size:
            return False
        if node.source is None or node.source == HEAD:
            return True
        source = self.nodes[node.source]
        return source.offset >= self.size or source.offset - node.offset > AHEAD

    def _stalled(self, node: Receiver, now: float) -> None:
        source = node.source
        if source is None:
            return
        node.failures[source] = "no byte has arrived"
        node.handle(STOPPED)
        if source == HEAD:
            self._effects.append(StopSending(node.rank))
            self._head_failed(node, now)
        else:
            self._blame(node, source, now)

    def _is_slow(self, node: Receiver, now: float) -> bool:
        source = node.source
        if source is None or source == HEAD or node.slow or not self._places.has_follower(node):
            return False
        rate, full = node.rate(now), self.nodes[source].rate(now)
        if rate is None or full is None or self.nodes[source].is_struck:
            return False
        behind = self.nodes[source].offset - node.offset
        return rate * SLOW_PART < full and behind > SLOW_BEHIND * full

    def _judge_source(self, node: Receiver, now: float) -> None:
        """A node's checksum differs: it begins again once the checksum of its source is known."""
        source = node.source
        if source is not None and source != HEAD:
            judged = self.nodes[source]
            if judged.state is DONE:
                if node.base == 0:
                    # All of it came from this source, which has the right checksum.
                    judged.accusers.update((node.rank, HEAD))
                    node.avoided.add(source)
                self._begin_again(node, source, now)
                return
            waits = judged.state is BAD or judged.restarts == node.generation
            if judged.state is not OVER and waits:
                return
            if node.bads > 1 and (right := self._places.idle(node)) is not None:
                # Do not begin again for each relay before it that alters bytes.
                source = right
        self._begin_again(node, source, now)

    def _begin_again(self, node: Receiver, source: int | None, now: float) -> None:
        self._places.settle(node, source, now)
        for follower in self._places.followers(node):
            if follower.state is BAD:
                self._judge_source(follower, now)

    # -- ends ------------------------------------------------------------------------------------

    def _take_out(self, node: Receiver, now: float) -> None:
        """A node has ended: its followers get its source."""
        node.handle(END)
        self._places.leave(node, now)
        self._places.place_waiting(now)

    def _give_up(self, node: Receiver, reason: str, now: float) -> None:
        node.reason = reason
        self._take_out(node, now)
        self._effects.append(GiveUp(node.rank))

    def _give_up_all(self, reason: str) -> None:
        self.stopped = self.stopped or reason
        for node in self.nodes:
            if node.is_live:
                node.handle(END)
                node.reason = node.reason or reason
                self._places.unlink(node)
                self._effects.append(GiveUp(node.rank))
