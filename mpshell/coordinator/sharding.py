"""Who gets which clients, and how many at once: slots and slices of one fanout over engines. Pure.

A `SlotPool` is one fanout: the task's, or a worker's own. Its slots over all engines never add up to
more than the fanout, so that a fanout of 1 is strictly serial. Slices are handed out in the order of
the nodes as slots free up, and a little ahead of need; never a fixed share.

The coordinator passes events to a slot pool (work came, clients finished, an engine holds fewer slots)
and asks it for a `plan`. No I/O, no clock.
"""

import heapq
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

#: Slots of an engine in a slot pool without limit.
UNLIMITED = 1 << 30


class Slice(NamedTuple):
    """Clients `first` up to, not including, `stop` of a job."""

    job_id: int
    first: int
    stop: int


class WorkQueue(Protocol):
    """The clients of a slot pool that wait for a slot, and the choice of those that get one next."""

    def __len__(self) -> int:
        """Return how many clients wait."""

    def add(self, work: Slice, front: bool) -> None:
        """Queue clients; in front those that come back from a lost engine."""

    def release(self, job_id: int, stop: int) -> None:
        """Let the clients of a job before an index be taken, where they wait for that."""

    def drop(self, job_id: int | None) -> list[Slice]:
        """Take a job's clients (all: None) out, and return them."""

    def waits_for(self, engine_id: int) -> bool:
        """Return whether clients wait that this engine can run."""

    def take(self, engine_id: int, count: int) -> list[Slice]:
        """Take out and return `count` clients for an engine, or fewer if no more are for it."""


class InOrder:
    """The queue that hands out clients in the order in which they came, to any engine that can run them.

    `can_run` is asked for an engine and a job; without it any engine can run any.
    """

    def __init__(self, can_run: Callable[[int, int], bool] | None = None) -> None:
        self._slices: deque[Slice] = deque()
        self._clients = 0
        self._can_run = can_run

    def __len__(self) -> int:
        return self._clients

    def add(self, work: Slice, front: bool) -> None:
        """Queue clients; in front those that come back from a lost engine."""
        (self._slices.appendleft if front else self._slices.append)(work)
        self._clients += work.stop - work.first

    def release(self, job_id: int, stop: int) -> None:
        """Do nothing: nothing waits but for a slot."""

    def drop(self, job_id: int | None) -> list[Slice]:
        """Take a job's clients (all: None) out, and return them."""
        dropped = [work for work in self._slices if job_id in (None, work.job_id)]
        self._slices = deque(work for work in self._slices if job_id not in (None, work.job_id))
        self._clients -= sum(work.stop - work.first for work in dropped)
        return dropped

    def waits_for(self, engine_id: int) -> bool:
        """Return whether clients wait that this engine can run."""
        return any(self._is_for(engine_id, work) for work in self._slices)

    def _is_for(self, engine_id: int, work: Slice) -> bool:
        return self._can_run is None or self._can_run(engine_id, work.job_id)

    def take(self, engine_id: int, count: int) -> list[Slice]:
        """Take out and return the next `count` clients that this engine can run."""
        taken = []
        passed: list[Slice] = []
        while count > 0 and self._slices:
            work = self._slices.popleft()
            if not self._is_for(engine_id, work):
                passed.append(work)
                continue
            stop = min(work.stop, work.first + count)
            if stop < work.stop:
                self._slices.appendleft(work._replace(first=stop))
            taken.append(work._replace(stop=stop))
            count -= stop - work.first
            self._clients -= stop - work.first
        self._slices.extendleft(reversed(passed))
        return taken


class InWaves(InOrder):
    """The queue that holds clients back until their wave is released, and then hands them out in order."""

    def __init__(self, can_run: Callable[[int, int], bool] | None = None) -> None:
        super().__init__(can_run)
        self._withheld: list[Slice] = []

    def add(self, work: Slice, front: bool) -> None:
        """Hold clients back; those that come back were released before."""
        if front:
            super().add(work, front)
        else:
            self._withheld.append(work)

    def release(self, job_id: int, stop: int) -> None:
        """Queue the clients of a job that are before an index."""
        withheld, self._withheld = self._withheld, []
        for work in withheld:
            cut = min(stop, work.stop) if work.job_id == job_id else work.first
            if cut > work.first:
                super().add(work._replace(stop=cut), front=False)
                work = work._replace(first=cut)
            if work.first < work.stop:
                self._withheld.append(work)

    def drop(self, job_id: int | None) -> list[Slice]:
        """Take a job's clients (all: None) out, and return them."""
        dropped = super().drop(job_id)
        dropped += [work for work in self._withheld if job_id in (None, work.job_id)]
        self._withheld = [work for work in self._withheld if job_id not in (None, work.job_id)]
        return dropped


class Share:
    """One engine's part in a slot pool."""

    __slots__ = ("assigned", "bound", "frozen", "lowering", "slots")

    def __init__(self) -> None:
        #: Slots it was last told.
        self.slots = 0
        #: Clients that it may be running at most: more than `slots` while it gives some up.
        self.bound = 0
        self.lowering = False
        #: It is handed out nothing any more, and its slots stay its own.
        self.frozen = False
        #: Clients handed out to it and not finished.
        self.assigned = 0


class SlotPool:
    """The slots of one fanout (None: no limit), and the clients that wait for them.

    The bounds of all shares never add up to more than the fanout: slots that one engine is to have are taken
    from another first, and given when that holds them no more (`held`).
    """

    def __init__(self, number: int, fanout: int | None, queue: WorkQueue | None = None) -> None:
        self.number = number
        self.fanout = fanout
        self.shares: dict[int, Share] = {}
        self._queue: WorkQueue = InOrder() if queue is None else queue
        #: Clients that wait for a moment, a heap of (moment, clients).
        self._delayed: list[tuple[float, Slice]] = []

    @property
    def queued(self) -> int:
        """Clients that wait for a slot."""
        return len(self._queue)

    def at_once(self, clients: int) -> int:
        """Return how many of so many clients may run at once."""
        return clients if self.fanout is None else min(self.fanout, clients)

    # -- events --

    def add_work(self, work: Slice) -> None:
        """Queue clients behind the others."""
        if work.stop > work.first:
            self._queue.add(work, front=False)

    def add_again(self, work: Slice, due: float | None = None) -> None:
        """Queue clients that come back, in front: now, or once `release` is called with `due` or later."""
        if due is not None:
            heapq.heappush(self._delayed, (due, work))
        elif work.stop > work.first:
            self._queue.add(work, front=True)

    def release(self, now: float) -> None:
        """Queue the clients that have waited for a moment up to `now`."""
        while self._delayed and self._delayed[0][0] <= now:
            self.add_again(heapq.heappop(self._delayed)[1])

    def release_wave(self, job_id: int, stop: int) -> None:
        """Let the clients of a job before an index start."""
        self._queue.release(job_id, stop)

    def next_due(self) -> float | None:
        """Return the next moment that clients wait for, if there is one."""
        return self._delayed[0][0] if self._delayed else None

    def drop_work(self, job_id: int | None = None) -> list[Slice]:
        """Take a job's clients (all: None) that no engine has, and return them."""
        dropped = self._queue.drop(job_id)
        dropped += [work for _, work in self._delayed if job_id in (None, work.job_id)]
        self._delayed = [item for item in self._delayed if job_id not in (None, item[1].job_id)]
        heapq.heapify(self._delayed)
        return dropped

    def add_engine(self, engine_id: int) -> None:
        self.shares[engine_id] = Share()

    def remove_engine(self, engine_id: int) -> None:
        """Its slots are free again: it is gone, and so are its clients."""
        self.shares.pop(engine_id, None)

    def freeze(self, engine_id: int) -> None:
        """It hears nothing any more: its clients may run on, in the slots that it has, until it is removed."""
        share = self.shares.get(engine_id)
        if share is not None:
            share.frozen = True

    def finished(self, engine_id: int, count: int = 1) -> None:
        """Clients of an engine have ended."""
        share = self.shares.get(engine_id)
        if share is not None:
            share.assigned -= count

    def held(self, engine_id: int, slots: int) -> None:
        """An engine runs no more than `slots` now."""
        share = self.shares.get(engine_id)
        if share is not None:
            share.lowering = False
            share.bound = max(slots, share.slots)

    # -- instructions --

    def plan(
        self, budget: int | None = None, *, ahead: bool = True
    ) -> tuple[dict[int, int], list[tuple[int, Slice]]]:
        """Return new numbers of slots by engine, and slices to hand out; they count as done.

        With a `budget` of clients that may start now no more than that is handed out. Then, and where `ahead`
        is False, nothing is handed out ahead of need: each client that is handed out starts at once.
        """
        return self._plan_slots(), self._deal(budget, 2 if ahead and budget is None else 1)

    def _plan_slots(self) -> dict[int, int]:
        if not self.shares:
            return {}
        if self.fanout is None:
            changed = {eid: UNLIMITED for eid, s in self._movable() if s.slots != UNLIMITED}
            for eid in changed:
                self.shares[eid].slots = self.shares[eid].bound = UNLIMITED
            return changed
        changed = {}
        for engine_id, slots in self._lower().items():
            share = self.shares[engine_id]
            share.slots = slots
            share.lowering = True
            changed[engine_id] = slots
        for engine_id, slots in self._raise().items():
            share = self.shares[engine_id]
            share.slots = share.bound = slots
            changed[engine_id] = slots
        return changed

    def _fair(self) -> dict[int, int]:
        """Return an even split of the fanout without the slots that frozen engines hold."""
        live = [eid for eid, share in self.shares.items() if not share.frozen]
        held = sum(share.bound for share in self.shares.values() if share.frozen)
        fair: dict[int, int] = {}
        if self.queued:
            # An engine that no client waits for needs no more than it has; its part is for the others.
            even = max(0, (self.fanout or 0) - held) // max(1, len(live))
            for eid in [eid for eid in live if not self._queue.waits_for(eid)]:
                fair[eid] = min(even, self.shares[eid].assigned)
                held += fair[eid]
                live.remove(eid)
        each, more = divmod(max(0, (self.fanout or 0) - held), max(1, len(live)))
        return fair | {eid: each + (rank < more) for rank, eid in enumerate(live)}

    def _lower(self) -> dict[int, int]:
        """Return the engines that have to give up slots, and how many they keep."""
        fair = self._fair()
        total = sum(share.slots for share in self.shares.values())
        if total > (self.fanout or 0):
            return {e: fair[e] for e, s in self._movable() if s.slots > fair[e]}
        if self._has_work:
            # Work for all: level out the slots that an earlier end of work has moved.
            if any(self.shares[eid].slots < slots for eid, slots in fair.items()):
                return {e: fair[e] for e, s in self._movable() if s.slots > fair[e]}
            return {}
        # The end of work: slots go from where they are idle to where clients wait for one.
        waiting = sum(max(0, s.assigned - s.slots) for s in self.shares.values())
        waiting -= (self.fanout or 0) - sum(share.bound for share in self.shares.values())
        lowered = {}
        for engine_id, share in self._movable():
            idle = min(waiting, share.slots - share.assigned)
            if idle > 0:
                lowered[engine_id] = share.slots - idle
                waiting -= idle
        return lowered

    @property
    def _room(self) -> int:
        """How many more clients may be handed out, to all engines together."""
        if self.fanout is None:
            return UNLIMITED
        return max(0, 2 * self.fanout - sum(share.assigned for share in self.shares.values()))

    @property
    def _has_work(self) -> bool:
        """Whether clients wait that may be handed out: else slots go where those are that have been."""
        return self.queued > 0 and self._room > 0

    def _movable(self) -> list[tuple[int, Share]]:
        return [
            (eid, share)
            for eid, share in self.shares.items()
            if not (share.lowering or share.frozen)
        ]

    def _raise(self) -> dict[int, int]:
        """Return the engines that get slots which nobody holds, and how many they have then."""
        spare = (self.fanout or 0) - sum(share.bound for share in self.shares.values())
        raised: dict[int, int] = {}
        fair = self._fair()
        for engine_id, share in self._movable():
            # While there is work for all an even split; then only where clients wait.
            wanted = fair[engine_id] if self._has_work else share.assigned
            more = min(spare, wanted - share.slots)
            if more > 0:
                raised[engine_id] = share.slots + more
                spare -= more
        return raised

    def _deal(self, budget: int | None, rounds: int) -> list[tuple[int, Slice]]:
        """Hand out clients for the free slots, then in a second round as many again ahead of need.

        Never more than twice the fanout, over all engines, also while slots move from one that has clients for
        them to another: a client that is handed out may have run once this process has been killed.
        """
        dealt: list[tuple[int, Slice]] = []
        # First clients for the free slots, then as many again, to be there when a slot becomes free: the end of
        # a client and the start of the next one are then a matter of the engine alone, without a trip to here.
        for ahead in range(1, rounds + 1):
            available = self.queued if budget is None else min(self.queued, budget)
            available = min(available, self._room)
            needs = {}
            for engine_id, share in self.shares.items():
                if share.frozen:
                    continue
                need = min(share.slots * ahead - share.assigned, available)
                # Ahead of need not one by one, but half a round at a time: a frame for many clients.
                if need > 0 and (ahead == 1 or need * 2 >= min(share.slots, self.queued)):
                    needs[engine_id] = need
            total = sum(needs.values())
            left = available
            for engine_id, need in needs.items():
                part = need if available >= total else -(-need * available // total)
                taken = self._take(engine_id, min(part, left))
                # A queue that chooses may have less for this engine: the others get it.
                left -= sum(work.stop - work.first for _, work in taken)
                dealt += taken
        return dealt

    def _take(self, engine_id: int, count: int) -> list[tuple[int, Slice]]:
        taken = self._queue.take(engine_id, count)
        self.shares[engine_id].assigned += sum(work.stop - work.first for work in taken)
        return [(engine_id, work) for work in taken]
