"""A network that is simulated: nodes with links of some speed that receive, pass on and fail."""

from __future__ import annotations

import functools
import heapq
import itertools
from collections import Counter
from collections.abc import Callable

from mpshell.coordinator.relayline import RelayLine
from mpshell.coordinator.relaynode import (
    HEAD,
    OVER,
    Effect,
    GiveUp,
    Pull,
    Send,
    StopSending,
    Take,
)

MB = 1_000_000


class SimNode:
    """A node: its part, its link, and its source."""

    def __init__(self, rank: int, bandwidth: float) -> None:
        self.rank = rank
        self.bandwidth = bandwidth  # bytes a second, each way
        self.offset = 0.0
        self.good = True  # whether the bytes so far are the right ones
        self.alive = True
        self.cut = False  # whether its link takes and gives nothing
        self.liar = False  # whether it alters what it passes on
        self.fails_at: float | None = None  # bytes for which its disk has room
        self.arrived = False
        self.seq = 0
        self.source: int | None = None
        self.flows_from = 0.0  # when its login is over
        self.slow_login = 0.0  # seconds that its logins take longer than those of others
        self.reported = 0.0
        self.reads_old = False  # it has open the part of a node that has begun again


class SimNet:
    """Plays one relay copy to its end."""

    STEP = 0.05

    def __init__(
        self, nodes: int, size: int, bandwidth: float = 2.5 * MB, *, login: float = 0.2, lag: float = 0.05,
        control_lost: float = 6.5,
    ) -> None:  # fmt: skip
        self.size, self.bandwidth, self.login, self.lag = size, bandwidth, login, lag
        #: Seconds after which the control connection of a node that is cut off ends.
        self.control_lost = control_lost
        self.line = RelayLine(
            [f"n{rank}" for rank in range(nodes)], size, "use --relay=sshd, or copy without --relay"
        )
        self.nodes = [SimNode(rank, bandwidth) for rank in range(nodes)]
        self.now = 0.0
        self.head_sent = 0.0
        #: Pairs that cannot reach each other: (the node that fetches, its source).
        self.unreachable: set[tuple[int, int]] = set()
        self.refused = ""
        self.sends: dict[int, tuple[int, float]] = {}
        self.ended: dict[int, float] = {}
        self.orders: list[Effect] = []
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._count = itertools.count()

    # -- events ------------------------------------------------------------------------------------

    def at(self, when: float, call: Callable[[], object]) -> None:
        heapq.heappush(self._due, (when, next(self._count), call))

    def start(self, delays: list[float] | None = None) -> None:
        for rank in range(len(self.nodes)):
            delay = 0.01 * rank if delays is None else delays[rank]
            self.at(delay, functools.partial(self._ready, rank))

    def _ready(self, rank: int) -> None:
        if self.nodes[rank].alive:
            self.do(self.line.ready(rank, None, self.now))

    def kill(self, rank: int) -> None:
        """The processes of a node are killed: its connections end."""
        node = self.nodes[rank]
        if node.alive and not node.arrived:
            node.alive = False
            self.ended[rank] = self.now
            self.do(self.line.end(rank, "lost", self.now))
            for other in self._fetching_from(rank):
                self._need(other, "cut", "connection closed")

    def cut_link(self, rank: int) -> None:
        """The link carries nothing any more; the others notice after a while."""
        node = self.nodes[rank]
        if not node.arrived:
            node.cut = True
            self.at(self.now + self.control_lost, lambda: self._lost_contact(rank))

    def _lost_contact(self, rank: int) -> None:
        self.nodes[rank].alive = False
        self.ended.setdefault(rank, self.now)
        self.do(self.line.end(rank, "lost", self.now))
        for other in self._fetching_from(rank):
            self._need(other, "cut", "timeout, server not responding")

    def _fetching_from(self, rank: int) -> list[SimNode]:
        return [node for node in self.nodes if node.source == rank and node.alive]

    def _need(self, node: SimNode, kind: str, text: str) -> None:
        seq, node.source = node.seq, None
        if node.alive and not node.arrived:
            offset = int(node.offset)
            answer = self.line.need(node.rank, seq, offset, kind, text, self.now)
            self.do(answer)

    # -- orders of the line ------------------------------------------------------------------------

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            self.orders.append(effect)
            self._obey(effect)

    def _obey(self, effect: Effect) -> None:
        node = self.nodes[effect.rank]
        if isinstance(effect, Pull):
            assert self.line.nodes[effect.source].state is not OVER, (
                "no order to fetch from a dead node"
            )
            self.check_tree(effect.rank)
            node.seq, node.source, node.reads_old = effect.seq, None, False
            self.at(self.now + self.login + node.slow_login, lambda: self._pull(node, effect))
        elif isinstance(effect, Take):
            node.seq, node.source, node.reads_old = effect.seq, None, False
            self.at(self.now + 0.02, lambda: self._take(node, effect.seq))
        elif isinstance(effect, Send):
            self.sends[effect.rank] = effect.seq, self.now + self.login
        elif isinstance(effect, StopSending):
            self.sends.pop(effect.rank, None)
        elif isinstance(effect, GiveUp):
            self.sends.pop(effect.rank, None)
            node.alive, node.source = False, None
            self.ended[effect.rank] = self.now

    def check_tree(self, rank: int) -> None:
        """No node fetches from one that fetches from it."""
        seen = {rank}
        node = self.line.nodes[rank]
        while node.source is not None and node.source != HEAD:
            if not node.is_live:
                return
            assert node.source not in seen, f"a circle: {seen}"
            seen.add(node.source)
            node = self.line.nodes[node.source]

    def _take(self, node: SimNode, seq: int) -> None:
        if node.alive and node.seq == seq and not node.cut:
            self.do(self.line.take(node.rank, seq, int(node.offset)))

    def _pull(self, node: SimNode, order: Pull) -> None:
        if not node.alive or node.seq != order.seq or node.cut:
            return
        source = self.nodes[order.source]
        if self.refused or (node.rank, order.source) in self.unreachable:
            self._need(node, "login", self.refused or "No route to host")
        elif source.cut:
            self.at(self.now + 10, lambda: self._timed_out(node, order.seq))
        elif not source.alive and not source.arrived:
            self._need(node, "login", "Connection refused")
        elif order.kind == "part" and source.arrived:
            self._need(node, "gone", "no such file")
        else:
            node.source = order.source

    def _timed_out(self, node: SimNode, seq: int) -> None:
        if node.alive and node.seq == seq and node.source is None:
            self._need(node, "login", "Connection timed out")

    # -- the flow of bytes -------------------------------------------------------------------------

    def run(self, limit: float = 600.0) -> float:
        """Play it until all is over, and return the seconds that it took."""
        next_tick = 0.0
        while any(node.alive and not node.arrived for node in self.nodes):
            assert self.now < limit, self.describe()
            while self._due and self._due[0][0] <= self.now:
                heapq.heappop(self._due)[2]()
            self._flow()
            if self.now >= next_tick:
                next_tick = self.now + 0.5
                self.do(self.line.tick(self.now))
            self.now += self.STEP
        assert self.line.is_over
        return self.now

    def describe(self) -> str:
        left = [n for n in self.line.nodes if n.is_live]
        return f"{len(left)} left: " + ", ".join(
            f"{n.name} {n.state} {n.offset} from {n.source}" for n in left[:8]
        )

    def _flow(self) -> None:
        fed = [r for r, (seq, begin) in self.sends.items()
               if begin <= self.now and self.nodes[r].seq == seq and not self.nodes[r].cut]  # fmt: skip
        for rank in fed:
            node = self.nodes[rank]
            sent = self._grow(node, self.size, min(self.bandwidth / len(fed), node.bandwidth), True)
            self.head_sent += sent
        fetching = [node for node in self.nodes if node.source is not None and node.alive]
        shares = Counter(node.source for node in fetching)
        for node in fetching:
            if node.source is None or not node.alive or node.arrived or node.cut:
                continue
            source = self.nodes[node.source]
            if source.cut:
                continue
            rate = min(source.bandwidth / shares[source.rank], node.bandwidth)
            # The latest bytes at the source are still on their way here.
            there = self.size if source.arrived else source.offset - self.lag * self.bandwidth
            if node.reads_old:
                there = self.size
            self._grow(node, there, rate, not (node.reads_old or source.liar) and source.good)

    def _grow(self, node: SimNode, there: float, rate: float, good: bool) -> float:
        more = max(0.0, min(rate * self.STEP, there - node.offset, self.size - node.offset))
        if node.fails_at is not None and node.offset + more > node.fails_at:
            node.alive = False
            self.ended[node.rank] = self.now
            self.do(self.line.end(node.rank, "no space left", self.now))
            return 0.0
        node.offset += more
        node.good = node.good and (good or not more)
        if node.offset >= self.size:
            self._whole(node)
        elif self.now - node.reported >= 1.0 and more:
            node.reported = self.now
            self.do(self.line.at(node.rank, int(node.offset), self.now))
        return more

    def _whole(self, node: SimNode) -> None:
        node.source = None
        self.sends.pop(node.rank, None)
        if node.good:
            node.arrived = True
            self.ended[node.rank] = self.now
            self.do(self.line.done(node.rank, self.now))
        else:
            node.offset, node.good = 0.0, True
            for other in self._fetching_from(node.rank):
                other.reads_old = True
            self.do(self.line.bad(node.rank, node.seq, self.now))
