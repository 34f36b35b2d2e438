"""A run without processes: a Coordinator over engines that are nowhere, played from a history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mpshell.coordinator.coordinator import Coordinator
from mpshell.coordinator.interrupt import Interrupts
from mpshell.coordinator.job import Job
from mpshell.coordinator.observer import Observer
from mpshell.coordinator.results import Key, WorkerResults
from mpshell.coordinator.retry import RetryPolicy
from mpshell.coordinator.rollout import RolloutPlan
from mpshell.launch.pool import EnginePool
from mpshell.outcome import Outcome
from mpshell.wire import messages as m
from tests.engine.conftest import job as spec
from tests.fakes import FakeEngine, FakeLauncher, FakeLoop


class RecordedEvents:
    """A job's listener: records each event, and calls `act` with it."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.act: Callable[[tuple[Any, ...]], object] = lambda event: None

    def _record(self, *event: Any) -> None:
        self.events.append(event)
        self.act(event)

    def of(self, kind: str) -> list[Any]:
        return [event[1] for event in self.events if event[0] == kind]

    def job_starting(self, job: Job, indexes: Sequence[int]) -> None:
        for index in indexes:
            for key in job.keys_of(index):
                self._record("start", key)

    def job_output(
        self, job: Job, keys: Sequence[Key], stream: int, lines: Iterator[bytes]
    ) -> None:
        for line in lines:
            self._record("line", keys[0], line)

    def job_written(self, job: Job, index: int, size: int) -> None:
        self._record("written", index, size)

    def stream_written(self, job: Job, sname: str, size: int) -> None:
        self._record("written", sname, size)

    def job_finished(
        self, job: Job, keys: Sequence[Key], code: int | None, timed_out: bool
    ) -> None:
        for key in keys:
            self._record("end", key, code, timed_out)

    def job_retry(self, job: Job, attempts: Sequence[tuple[Key, Outcome]], delay: float) -> None:
        for key, outcome in attempts:
            self._record("retry", key, outcome.attempt, delay)

    def job_closed(self, job: Job, timed_out: bool) -> None:
        self._record("close", timed_out)

    def job_logged(self, messages: bytes) -> None:
        self._record("logged", messages)

    def job_trace(self, job: Job, text: str) -> None:
        self._record("trace", text)


class Scene:
    """One run. Whenever it would wait, each engine acts in turn; planned actions happen when they are due."""

    def __init__(
        self,
        *,
        fanout: int | None = 4,
        engines: int = 2,
        retry: RetryPolicy | None = None,
        heartbeat: float | None = None,
        rate: float | None = None,
        observer: Observer | None = None,
        far: bool = False,
        plan: RolloutPlan | None = None,
    ) -> None:
        self.loop = FakeLoop(self._on_idle)
        self.launcher = FakeLauncher(far=far)
        self.pool = EnginePool(self.launcher)
        self.coordinator = Coordinator(
            self.pool, Interrupts(), fanout=fanout, engines=engines, records=lambda sname: True,
            rate=rate, heartbeat=heartbeat, retry=retry, plan=plan, observer=observer, loop=self.loop,
        )  # fmt: skip
        self.jobs: list[Job] = []
        #: Clients that ran at once, at most.
        self.most = 0
        self._plan: list[tuple[Callable[[], bool], Callable[[], object]]] = []
        self._turns = 0

    def job(
        self, nodes: int, *, wants_events: bool = True, in_waves: bool = True, **changes: Any
    ) -> Job:
        """Give the run a job for so many nodes."""
        names = [f"n{number}" for number in range(nodes)]
        job = Job(
            spec("true", **changes), names, list(names), RecordedEvents(), WorkerResults(),
            wants_events=wants_events, in_waves=in_waves,
        )  # fmt: skip
        self.jobs.append(job)
        self.coordinator.start(job)
        return job

    def when(self, condition: Callable[[], bool], action: Callable[[], object]) -> None:
        """Plan something for the first moment at which a condition holds."""
        self._plan.append((condition, action))

    def after(self, ended: int, action: Callable[[], object]) -> None:
        """Plan something for when so many keys have ended."""
        self.when(lambda: sum(len(job.results.outcomes) for job in self.jobs) >= ended, action)

    def run(self, timeout: float | None = None) -> None:
        """Run to the end; an exception of the run passes through."""
        try:
            self.coordinator.run_until_idle(timeout, lambda: False)
        finally:
            self.coordinator.close()

    def _on_idle(self) -> bool:
        running = [len(clients) for e in self.launcher.living() for clients in e.running.values()]
        self.most = max(self.most, sum(running))
        for entry in self._plan:
            condition, action = entry
            if condition():
                self._plan.remove(entry)
                action()
                return True
        return self.act()

    def act(self) -> bool:
        """Have the next engine act that has something to do."""
        living = self.launcher.living()
        self._turns += 1
        return any(
            living[(self._turns + place) % len(living)].act() for place in range(len(living))
        )

    # -- results -------------------------------------------------------------------------------

    def engine(self, place: int = 0) -> FakeEngine:
        return self.launcher.living()[place]

    def started(self, job: Job) -> Counter[str]:
        """Return how many times each node of a job has really been started."""
        pairs = map(m.job_and_index, self.launcher.ledger)
        return Counter(job.nodes[index] for job_id, index in pairs if job_id == job.id)

    def check(self, job: Job, *, once: bool = True) -> dict[Key, Outcome]:
        """Check the invariants of every history, and return the outcomes."""
        outcomes, recorded, started = job.results.outcomes, events_of(job), self.started(job)
        assert set(outcomes) == set(job.keys), "each node has a verdict"
        ends = Counter(recorded.of("end"))
        assert not ends or max(ends.values()) == 1, "one end is reported"
        assert recorded.events[-1][0] == "close" and len(recorded.of("close")) == 1
        if once:
            assert not started or max(started.values()) == 1, "at most once"
        for key, outcome in outcomes.items():
            if outcome.reason == m.EXITED:
                assert started[str(key)] >= 1
        return outcomes


def events_of(job: Job) -> RecordedEvents:
    """Return the listener of a job of a scene."""
    recorded = job.listener
    assert isinstance(recorded, RecordedEvents)
    return recorded


def of_reason(outcomes: dict[Key, Outcome], reason: int) -> list[Key]:
    return [key for key, outcome in outcomes.items() if outcome.reason == reason]
