"""Which engine gets which clients, and how many at once: slots and slices of one fanout. Pure.

A `SlotPool` is one fanout: the task's, or a worker's own. Its slots over all engines never add up to
more than the fanout, so that a fanout of 1 is strictly serial. Slices are handed out in the order of
the nodes as slots become free, and a little ahead of need; never a fixed share.

The coordinator passes events to a slot pool (new work, finished clients, an engine with fewer slots)
and calls its `plan`. No I/O, no clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

from mpshell.coordinator.queues import UNLIMITED, CanRun, Divide, InOrder, Slice, WorkQueue


class Share:
    """One engine's part in a slot pool."""

    __slots__ = ("assigned", "bound", "frozen", "lowering", "slots")

    def __init__(self) -> None:
        #: The number of slots that was last sent to it.
        self.slots = 0
        #: The most clients that it may be running: more than `slots` while it gives some up.
        self.bound = 0
        self.lowering = False
        #: Whether it gets no more clients, and keeps its slots.
        self.frozen = False
        #: The number of clients that were handed out to it and have not finished.
        self.assigned = 0


class SlotPool:
    """The slots of one fanout (None: no limit), and the clients that wait for them.

    The bounds of all shares never add up to more than the fanout: slots for one engine are first taken
    from another one, and given when that one does not hold them any more (`held`).
    """

    def __init__(self, number: int, fanout: int | None, queue: WorkQueue | None = None) -> None:
        self.number = number
        self.fanout = fanout
        self.shares: dict[int, Share] = {}
        self._queue: WorkQueue = InOrder() if queue is None else queue
        #: Clients that wait for a time, a heap of (time, clients).
        self._delayed: list[tuple[float, Slice]] = []

    @property
    def queued(self) -> int:
        """Clients that wait for a slot."""
        return len(self._queue)

    def at_once(self, clients: int) -> int:
        """Return how many of `count` clients may run at once."""
        return clients if self.fanout is None else min(self.fanout, clients)

    # -- events --

    def add_work(self, work: Slice) -> None:
        """Queue clients after the others."""
        if work.stop > work.first:
            self._queue.add(work, front=False)

    def add_again(self, work: Slice, due: float | None = None) -> None:
        """Queue clients that come back, in front: now, or when `release` is called with `due` or later."""
        if due is not None:
            heapq.heappush(self._delayed, (due, work))
        elif work.stop > work.first:
            self._queue.add(work, front=True)

    def release(self, now: float) -> None:
        """Queue the clients whose time has come at `now`."""
        while self._delayed and self._delayed[0][0] <= now:
            self.add_again(heapq.heappop(self._delayed)[1])

    def release_wave(self, job_id: int, stop: int) -> None:
        """Let the clients of a job before an index start."""
        self._queue.release(job_id, stop)

    def choose_by(self, can_run: CanRun | None, divide: Divide | None) -> None:
        """Hand out clients from now on as these decide (`queues.InOrder`)."""
        self._queue.choose_by(can_run, divide)

    def next_due(self) -> float | None:
        """Return the next time for which clients wait, if there is one."""
        return self._delayed[0][0] if self._delayed else None

    def drop_work(self, job_id: int | None = None) -> list[Slice]:
        """Remove a job's clients (all: None) that no engine has, and return them."""
        dropped = self._queue.drop(job_id)
        dropped += [work for _, work in self._delayed if job_id in (None, work.job_id)]
        self._delayed = [item for item in self._delayed if job_id not in (None, item[1].job_id)]
        heapq.heapify(self._delayed)
        return dropped

    def add_engine(self, engine_id: int) -> None:
        self.shares[engine_id] = Share()

    def remove_engine(self, engine_id: int) -> None:
        """An engine and its clients are gone: its slots are free again."""
        self.shares.pop(engine_id, None)

    def freeze(self, engine_id: int) -> None:
        """An engine receives nothing more: its clients may run on, in its slots, until it is removed."""
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

        With a `budget` at most that many clients, which may start now, are handed out. Then, and if `ahead`
        is False, none is handed out ahead of need: each client that is handed out starts at once.
        """
        self._queue.look_ahead = self.fanout or UNLIMITED
        return self._plan_slots(), self._deal(budget, 2 if ahead and budget is None else 1)

    def _plan_slots(self) -> dict[int, int]:
        if not self.shares:
            return {}
        if self.fanout is None:
            changed = {eid: UNLIMITED for eid, s in self._movable() if s.slots != UNLIMITED}
            for eid in changed:
                self.shares[eid].slots = self.shares[eid].bound = UNLIMITED
            return changed
        if self._is_level() or self._is_settled():
            return {}
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

    def _is_level(self) -> bool:
        """Whether no slot can move: there is work for all engines, and each has an even part of the slots."""
        # True in most turns of a run, which then compute no more.
        each, more = divmod(self.fanout or 0, len(self.shares))
        room = 2 * (self.fanout or 0)
        for rank, share in enumerate(self.shares.values()):
            if share.slots != each + (rank < more) or share.frozen:
                return False
            room -= share.assigned
        return room > 0 and self.queued > 0 and not self._queue.chooses

    def _is_settled(self) -> bool:
        """Whether no slot can move: no client waits, here or in an engine, and no engine has to give any up."""
        shares = self.shares.values()
        if self.queued or any(share.assigned > share.slots for share in shares):
            return False
        return sum(share.slots for share in shares) <= (self.fanout or 0)

    def _fair(self) -> dict[int, int]:
        """Return an even split of the fanout without the slots that frozen engines hold."""
        live = [eid for eid, share in self.shares.items() if not share.frozen]
        held = sum(share.bound for share in self.shares.values() if share.frozen)
        fair: dict[int, int] = {}
        if self.queued:
            # An engine without waiting clients needs no more slots than it has; its part is for the others.
            even = max(0, (self.fanout or 0) - held) // max(1, len(live))
            for eid in [eid for eid in live if not self._queue.waits_for(eid)]:
                fair[eid] = min(even, self.shares[eid].assigned)
                held += fair[eid]
                live.remove(eid)
        each, more = divmod(max(0, (self.fanout or 0) - held), max(1, len(live)))
        return fair | {eid: each + (rank < more) for rank, eid in enumerate(live)}

    def _lower(self) -> dict[int, int]:
        """Return the engines that must give up slots, and how many they keep."""
        total = sum(share.slots for share in self.shares.values())
        if total > (self.fanout or 0):
            fair = self._fair()
            return {e: fair[e] for e, s in self._movable() if s.slots > fair[e]}
        if len(self.shares) == 1:
            return {}  # Nobody else can use its slots.
        if self._has_work:
            # There is work for all: level out the slots that were moved when there was less.
            fair = self._fair()
            if any(self.shares[eid].slots < slots for eid, slots in fair.items()):
                return {e: fair[e] for e, s in self._movable() if s.slots > fair[e]}
            return {}
        # The work ends: move idle slots to engines whose clients wait for one.
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
        """The number of clients that may still be handed out, to all engines together."""
        if self.fanout is None:
            return UNLIMITED
        room = 2 * self.fanout
        for share in self.shares.values():
            room -= share.assigned
        return max(0, room)

    @property
    def _has_work(self) -> bool:
        """Whether there are clients to hand out: if not, slots follow the clients that were handed out."""
        return self.queued > 0 and self._room > 0

    def _movable(self) -> list[tuple[int, Share]]:
        return [
            (eid, share)
            for eid, share in self.shares.items()
            if not (share.lowering or share.frozen)
        ]

    def _raise(self) -> dict[int, int]:
        """Return the engines that get free slots, and how many they have then."""
        spare = (self.fanout or 0) - sum(share.bound for share in self.shares.values())
        raised: dict[int, int] = {}
        if spare <= 0:
            return raised
        # While there is work for all an even split; then only where clients wait.
        fair = self._fair() if self._has_work else None
        for engine_id, share in self._movable():
            wanted = share.assigned if fair is None else fair[engine_id]
            more = min(spare, wanted - share.slots)
            if more > 0:
                raised[engine_id] = share.slots + more
                spare -= more
        return raised

    def _deal(self, budget: int | None, rounds: int) -> list[tuple[int, Slice]]:
        """Hand out clients for the free slots, then in a second round as many again ahead of need.

        Never more than twice the fanout, over all engines, also while slots move from an engine that has
        clients for them to another: if this process is killed, a client that was handed out may have run.
        """
        dealt: list[tuple[int, Slice]] = []
        if not self.queued:
            return dealt
        # First clients for the free slots, then as many again that are ready when a slot becomes free: then the
        # engine can start the next client after an end by itself, without a round trip to the coordinator.
        for ahead in range(1, rounds + 1):
            available = self.queued if budget is None else min(self.queued, budget)
            available = min(available, self._room)
            needs = {}
            for engine_id, share in self.shares.items():
                if share.frozen:
                    continue
                need = min(share.slots * ahead - share.assigned, available)
                # Ahead of need hand out not one by one, but half a round at a time: one frame for many clients.
                if need > 0 and (ahead == 1 or need * 2 >= min(share.slots, self.queued)):
                    needs[engine_id] = need
            total = sum(needs.values())
            left = available
            for engine_id, need in needs.items():
                part = need if available >= total else -(-need * available // total)
                # A queue with a choice may have fewer clients for this engine: the others get them.
                for work in self._queue.take(engine_id, min(part, left)):
                    self.shares[engine_id].assigned += work.stop - work.first
                    left -= work.stop - work.first
                    dealt.append((engine_id, work))
        return dealt


class SlotPools:
    """The slot pools of a run by number, each with a queue of its own."""

    def __init__(self, make_queue: Callable[[CanRun | None, Divide | None], WorkQueue]) -> None:
        self._make_queue = make_queue
        self._choice: tuple[CanRun | None, Divide | None] = None, None
        self._pools: dict[int, SlotPool] = {}

    def __iter__(self) -> Iterator[SlotPool]:
        return iter(self._pools.values())

    def __getitem__(self, number: int) -> SlotPool:
        return self._pools[number]

    def get(self, number: int) -> SlotPool | None:
        """Return a slot pool, None if there is none of that number."""
        return self._pools.get(number)

    def set_fanout(self, number: int, fanout: int | None, engines: Iterable[int]) -> None:
        """Change the fanout of a slot pool, or make it; `engines` are those that serve the run."""
        if number not in self._pools:
            made = self._pools[number] = SlotPool(number, fanout, self._make_queue(*self._choice))
            for engine_id in engines:
                made.add_engine(engine_id)
        self._pools[number].fanout = fanout

    def choose_by(self, can_run: CanRun, divide: Divide) -> None:
        """Hand out clients from now on as these decide (`queues.InOrder`)."""
        self._choice = can_run, divide
        for slot_pool in self:
            slot_pool.choose_by(can_run, divide)

    def forget(self, number: int) -> None:
        """Drop a slot pool after the end of its last client."""
        self._pools.pop(number, None)

    def add_engine(self, engine_id: int) -> None:
        """Let an engine run clients of all slot pools."""
        for slot_pool in self:
            slot_pool.add_engine(engine_id)

    def remove_engine(self, engine_id: int) -> None:
        """An engine is gone: its slots are free again, in all slot pools."""
        for slot_pool in self:
            slot_pool.remove_engine(engine_id)

    def freeze(self, engine_id: int) -> None:
        """An engine receives nothing more (`SlotPool.freeze`)."""
        for slot_pool in self:
            slot_pool.freeze(engine_id)

    def release(self, clock: Callable[[], float]) -> bool:
        """Queue the clients whose time has come; return whether others wait for theirs."""
        waits = False
        for slot_pool in self._pools.values():
            if slot_pool.next_due() is not None:
                slot_pool.release(clock())
                waits = waits or slot_pool.next_due() is not None
        return waits

    @property
    def has_queue(self) -> bool:
        """Whether clients wait for a slot."""
        return any(slot_pool.queued for slot_pool in self)

    def at_once(self, clients: int) -> int:
        """Return how many of `count` clients may run at once, in all slot pools."""
        return sum(slot_pool.at_once(clients) for slot_pool in self)

    def moments(self) -> list[float]:
        """Return the next times for which clients of the slot pools wait."""
        return [due for slot_pool in self if (due := slot_pool.next_due()) is not None]
