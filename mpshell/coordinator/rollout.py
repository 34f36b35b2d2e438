"""Which clients of a run may start, depending on earlier outcomes: a canary, batches, a limit of failures.

    Verdicts ── judge, look ──► Rollout ── release ──► the queue of a slot pool (`InWaves`)
                                   └────── stop ─────► the clients that have not started are withdrawn

The first wave is the canary, the next ones are batches, in the order of the nodes; a wave is released when
every client of the previous one has its last verdict. All workers over nodes take part together. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from mpshell.runtime.lean import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mpshell.coordinator.job import Job
    from mpshell.coordinator.results import Key


class RolloutPlan(NamedTuple):
    """The limits of a rollout, each None if it is not set."""

    #: Clients of each worker that run first; the others run only if all of these are ok.
    canary: int | None = None
    #: Clients of each worker in one wave.
    batch: int | None = None
    #: The number of failed keys after which nothing more is started. Without it a batch without ok nodes ends
    #: the run.
    max_fail: int | None = None

    @property
    def has_waves(self) -> bool:
        return self.canary is not None or self.batch is not None


class _Part:
    """A job's part in the waves."""

    __slots__ = ("job", "released")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.released = 0

    @property
    def runs(self) -> bool:
        """Whether any released clients have no last verdict yet."""
        job = self.job
        return job.unfinished > (job.size - self.released if job.starts_clients else 0)

    @property
    def waits(self) -> bool:
        """Whether any of its clients wait for their wave."""
        return self.job.starts_clients and self.released < self.job.size


class Rollout:
    """The waves of one run.

    `release(job, stop)` lets the clients before index `stop` start; `stop(jobs, why)` withdraws jobs;
    `later(call)` calls at the end of the turn.
    """

    def __init__(
        self,
        plan: RolloutPlan,
        *,
        release: Callable[[Job, int], object],
        stop: Callable[[Iterable[Job], str | None], object],
        later: Callable[[Callable[[], object]], object],
    ) -> None:
        self._plan = plan
        self._release = release
        self._stop = stop
        self._later = later
        self._parts: dict[int, _Part] = {}
        self._failed: set[Key] = set()
        #: For the current wave: whether it is the canary, how many keys were ok and how many failed.
        self._canary = False
        self._good = self._bad = 0
        self._look_is_due = False
        self._stopped = False

    def add(self, job: Job) -> None:
        """Take a job that enters the run; its clients wait for their waves."""
        if not (job.in_waves and self._plan.has_waves):
            self._release(job, len(job.nodes))
        if job.in_waves:
            part = self._parts[job.id] = _Part(job)
            if not self._plan.has_waves:
                part.released = job.size
            # Jobs of one turn are in the same wave.
            self.look()

    def judge(self, job: Job, keys: list[Key], *, ok: bool) -> None:
        """Count the last verdict of keys, except those of aborted clients."""
        if job.id not in self._parts:
            return
        if ok:
            self._good += len(keys)
            return
        self._bad += len(keys)
        self._failed.update(keys)
        if self._plan.max_fail is not None and len(self._failed) >= self._plan.max_fail:
            self._end(None)

    def look(self) -> None:
        """Check, at the end of the turn, whether a wave is over."""
        if not self._look_is_due:
            self._look_is_due = True
            self._later(self._go_on)

    def _go_on(self) -> None:
        self._look_is_due = False
        self._parts = {number: part for number, part in self._parts.items() if part.job.unfinished}
        parts = list(self._parts.values())
        if self._stopped:
            self._end(None)
            return
        if any(part.runs for part in parts) or not any(part.waits for part in parts):
            return
        if (why := self._verdict()) is not None:
            self._end(why)
            return
        self._good = self._bad = 0
        first = [part for part in parts if part.waits and not part.released]
        self._canary = bool(first) and self._plan.canary is not None
        size = self._plan.canary if self._canary else self._plan.batch
        for part in first if self._canary else parts:
            if part.waits:
                clients = part.job.size
                part.released = clients if size is None else min(clients, part.released + size)
                self._release(part.job, part.job.stop_after(part.released))

    def _verdict(self) -> str | None:
        """Return why no wave may follow the one that is over; None if the next one may."""
        if self._canary and self._bad:
            return f"{self._bad} of {self._bad + self._good} nodes of the canary failed"
        if self._plan.max_fail is None and self._bad and not self._good:
            return "no node of the batch before was ok" if self._plan.batch is not None else None
        return None

    def _end(self, why: str | None) -> None:
        """Start no more clients of the jobs that take part."""
        self._stopped = True
        self._stop([part.job for part in self._parts.values() if part.job.starts_clients], why)
