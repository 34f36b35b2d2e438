"""The clients that wait for a slot, in the order in which they will start. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mpshell.runtime.lean import NamedTuple, Protocol

#: Slots of an engine in a slot pool without a limit.
UNLIMITED = 1 << 30


class Slice(NamedTuple):
    """Clients `first` up to, not including, `stop` of a job."""

    job_id: int
    first: int
    stop: int


#: Returns whether an engine can run the clients of a job.
CanRun = Callable[[int, int], bool]

#: Returns the first of some clients, at most so many, that are for one engine, and its id; None for any engine.
Divide = Callable[[Slice, int], tuple[Slice, int | None]]


class WorkQueue(Protocol):
    """The clients of a slot pool that wait for a slot, and the choice of those that get one next."""

    #: The most clients for other engines that an engine passes over.
    look_ahead: int

    @property
    def chooses(self) -> bool:
        """Whether some clients are for certain engines only."""

    def choose_by(self, can_run: CanRun | None, divide: Divide | None) -> None:
        """Hand out clients from now on as these decide."""

    def __len__(self) -> int:
        """Return how many clients wait."""

    def add(self, work: Slice, front: bool) -> None:
        """Queue clients; those that come back from a lost engine go to the front."""

    def release(self, job_id: int, stop: int) -> None:
        """Release the clients of a job before an index, if they wait for that."""

    def drop(self, job_id: int | None) -> list[Slice]:
        """Remove a job's clients (all: None) and return them."""

    def waits_for(self, engine_id: int) -> bool:
        """Return whether there are waiting clients that this engine can run."""

    def take(self, engine_id: int, count: int) -> list[Slice]:
        """Remove and return `count` clients for an engine, or fewer if there are no more for it."""


class InOrder:
    """The queue that hands out clients in the order of their arrival, to any engine that can run them.

    `can_run` is called with an engine and a job; without it any engine can run any. With `divide` some clients
    are for one engine: another one passes over at most `look_ahead` of them.
    """

    def __init__(self, can_run: CanRun | None = None, divide: Divide | None = None) -> None:
        self._slices: deque[Slice] = deque()
        self._clients = 0
        self.look_ahead = UNLIMITED
        self.choose_by(can_run, divide)

    def choose_by(self, can_run: CanRun | None, divide: Divide | None) -> None:
        """Hand out clients from now on as these decide."""
        self._can_run = can_run
        self._divide = divide
        self.chooses = can_run is not None or divide is not None

    def __len__(self) -> int:
        return self._clients

    def add(self, work: Slice, front: bool) -> None:
        """Queue clients; those that come back from a lost engine go to the front."""
        (self._slices.appendleft if front else self._slices.append)(work)
        self._clients += work.stop - work.first

    def release(self, job_id: int, stop: int) -> None:
        """Do nothing: clients wait only for a slot."""

    def drop(self, job_id: int | None) -> list[Slice]:
        """Remove a job's clients (all: None) and return them."""
        dropped = [work for work in self._slices if job_id in (None, work.job_id)]
        self._slices = deque(work for work in self._slices if job_id not in (None, work.job_id))
        self._clients -= sum(work.stop - work.first for work in dropped)
        return dropped

    def waits_for(self, engine_id: int) -> bool:
        """Return whether there are waiting clients that this engine can run."""
        if not self.chooses:
            return self._clients > 0
        ahead = self.look_ahead
        for work in self._slices:
            if not self._is_for(engine_id, work):
                continue
            first = work.first
            while first < work.stop:
                rest = work if first == work.first else Slice(work.job_id, first, work.stop)
                part, its = self._part(rest, ahead)
                if its is None or its == engine_id:
                    return True
                ahead -= part.stop - part.first
                first = part.stop
                if ahead <= 0:
                    return False
        return False

    def _is_for(self, engine_id: int, work: Slice) -> bool:
        return self._can_run is None or self._can_run(engine_id, work.job_id)

    def _part(self, work: Slice, most: int) -> tuple[Slice, int | None]:
        """Return the first of some clients that are for one engine, and its id; None for any engine."""
        if self._divide is None:
            return work, None
        part, its = self._divide(work, most)
        return part, its if its is not None and self._is_for(its, part) else None

    def take(self, engine_id: int, count: int) -> list[Slice]:
        """Remove and return the next `count` clients that this engine can run."""
        if not self.chooses:
            return self._take_first(count)
        taken = []
        passed: list[Slice] = []
        ahead = self.look_ahead
        while count > 0 and ahead > 0 and self._slices:
            work = self._slices.popleft()
            if not self._is_for(engine_id, work):
                passed.append(work)
                continue
            part, its = self._part(work, max(count, ahead))
            mine = its is None or its == engine_id
            stop = min(part.stop, part.first + (count if mine else ahead))
            if stop < work.stop:
                self._slices.appendleft(Slice(work.job_id, stop, work.stop))
            part = Slice(part.job_id, part.first, stop)
            if mine:
                taken.append(part)
                count -= stop - part.first
                self._clients -= stop - part.first
            else:
                ahead -= stop - part.first
                _append(passed, part)
        self._slices.extendleft(reversed(passed))
        return taken

    def _take_first(self, count: int) -> list[Slice]:
        """Remove and return the next `count` clients, for any engine."""
        taken: list[Slice] = []
        while count > 0 and self._slices:
            work = self._slices.popleft()
            stop = min(work.stop, work.first + count)
            if stop < work.stop:
                self._slices.appendleft(Slice(work.job_id, stop, work.stop))
                work = Slice(work.job_id, work.first, stop)
            taken.append(work)
            count -= stop - work.first
            self._clients -= stop - work.first
        return taken


def _append(slices: list[Slice], work: Slice) -> None:
    """Append clients to a list, merged with the slice right before them."""
    if slices and slices[-1].job_id == work.job_id and slices[-1].stop == work.first:
        work = slices.pop()._replace(stop=work.stop)
    slices.append(work)


class InWaves(InOrder):
    """The queue that holds clients back until their wave is released, and then hands them out in order."""

    def __init__(self, can_run: CanRun | None = None, divide: Divide | None = None) -> None:
        super().__init__(can_run, divide)
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
        """Remove a job's clients (all: None) and return them."""
        dropped = super().drop(job_id)
        dropped += [work for work in self._withheld if job_id in (None, work.job_id)]
        self._withheld = [work for work in self._withheld if job_id not in (None, work.job_id)]
        return dropped
