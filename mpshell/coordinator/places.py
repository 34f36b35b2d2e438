"""The engines of a run on other hosts, and its local engines for commands without nodes.

Each place has its own slots: the fanout applies to each separately. A Coordinator uses it like an EngineSet.
"""

from collections.abc import Callable, Iterator

from mpshell.coordinator.engines import EngineSet
from mpshell.coordinator.job import Job
from mpshell.wire import messages
from mpshell.wire.messages import TASK_SLOTS


class Places:
    """Far engines, and local ones as soon as there is a job for them (`Job.here`)."""

    def __init__(self, far: EngineSet, make_here: Callable[[], EngineSet]) -> None:
        self._far = far
        self._make_here = make_here
        self._here: EngineSet | None = None
        self._withheld = False
        #: The fanouts of slot pools, by number.
        self._fanouts: dict[int, int | None] = {}

    def _all(self) -> Iterator[EngineSet]:
        yield self._far
        if self._here is not None:
            yield self._here

    def _of(self, job: Job) -> EngineSet:
        if not job.here:
            return self._far
        if self._here is None:
            self._here = self._make_here()
            self._here.add_slot_pool(TASK_SLOTS, self._fanouts[TASK_SLOTS])
            self._here.withhold(self._withheld)
        return self._here

    def add_slot_pool(self, number: int, fanout: int | None) -> None:
        """Make a slot pool, or change the fanout of one."""
        self._fanouts[number] = fanout
        for engines in self._all():
            engines.add_slot_pool(number, fanout)

    def set_rate(self, rate: float | None) -> None:
        """Hand out no more than `rate` clients a second, in both places together."""
        for engines in self._all():
            engines.set_rate(rate)

    def withhold(self, withheld: bool) -> None:
        """Hand out no clients while they are withheld."""
        self._withheld = withheld
        for engines in self._all():
            engines.withhold(withheld)

    def submit(self, job: Job) -> None:
        """Queue all clients of a job."""
        engines = self._of(job)
        if job.fanout is not None:
            engines.add_slot_pool(job.id, self._fanouts[job.id])
        engines.submit(job)

    def drop(self, job: Job) -> list[int]:
        """Take back a job's clients that no engine has; return their indexes."""
        return self._of(job).drop(job)

    def tell_about(self, job: Job, command: messages.Cancel | messages.Withdraw) -> None:
        """Send a message to every engine that has clients of a job."""
        self._of(job).tell_about(job, command)

    def forget(self, job: Job) -> None:
        """A job is closed: no engine needs it any more."""
        self._fanouts.pop(job.id, None)
        for engines in self._all():
            engines.forget(job)

    def release_wave(self, job: Job, stop: int) -> None:
        """Let the clients of a job below the index `stop` start."""
        self._of(job).release_wave(job, stop)

    def again(self, job: Job, index: int, delay: float = 0.0) -> None:
        """Queue a client once more, in front: at once, or in `delay` seconds."""
        self._of(job).again(job, index, delay)

    def feed(self, job: Job) -> None:
        """Send the new part of a job's stdin."""
        self._of(job).feed(job)

    @property
    def notices(self) -> "Places":
        """The notices of the engines of both places, for the user."""
        return self

    def tell_counts(self) -> None:
        """Report them, at the end of a run (`mpshell.coordinator.notices`)."""
        for engines in self._all():
            engines.notices.tell_counts()

    def end_run(self) -> None:
        """Ask every engine to finish; `all_over` is true when they have."""
        for engines in self._all():
            engines.end_run()

    def kill_all(self, reason: int) -> None:
        """Kill commands that still run, without grace."""
        for engines in self._all():
            engines.kill_all(reason)

    def all_over(self) -> bool:
        """Return whether every engine has finished."""
        return all(engines.all_over() for engines in self._all())

    def fence(self) -> None:
        """Kill the engines that do not end."""
        for engines in self._all():
            engines.fence()

    def release(self) -> None:
        """Give the engines back; those that are not drained are closed."""
        for engines in self._all():
            engines.release()
