"""One run of a Task: jobs go out to engines, verdicts and output come back to their listeners.

    start(job) ─► EngineSet ─► engines ─► frames ─► EngineSet ─► Intake ─┬► Verdicts ─► results of the worker
    serve(streams) ───────────────────────────────────► Streams ─────────┘      └─────► listener (the handler)

A `Coordinator` has the jobs of a run and its beginning and end; the `Run` decides how long it goes on, and
handles errors. In the thread that owns the Task. A user's handler may do anything, also raise: then the
messages that the turn has received are still recorded, without events, before the error is passed on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from mpshell.coordinator import job as states
from mpshell.coordinator.connects import Connects
from mpshell.coordinator.engines import EngineSet
from mpshell.coordinator.intake import Intake
from mpshell.coordinator.interrupt import Interrupts
from mpshell.coordinator.job import Job
from mpshell.coordinator.observer import Observer
from mpshell.coordinator.rate import TokenBucket
from mpshell.coordinator.results import Interned
from mpshell.coordinator.run import Run
from mpshell.coordinator.streams import Streams
from mpshell.coordinator.verdicts import Verdicts
from mpshell.errors import EngineTimeoutException
from mpshell.launch.pool import EnginePool
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.runtime.loop import EventLoop, TimerHandle
from mpshell.wire import messages
from mpshell.wire.messages import CANCELLED, SPAWN_FAILED, TASK_SLOTS, TIMED_OUT

if TYPE_CHECKING:
    from mpshell.coordinator.places import Places
    from mpshell.coordinator.retry import RetryPolicy
    from mpshell.coordinator.rollout import Rollout, RolloutPlan

#: Seconds after the grace until engines that have not finished are killed.
_PATIENCE = 5.0


class Coordinator:
    """The jobs of one run, from its beginning to its end."""

    def __init__(
        self,
        pool: EnginePool,
        interrupts: Interrupts,
        *,
        here: Callable[[], EnginePool] | None = None,
        remote_env: tuple[tuple[str, str], ...] = (),
        fanout: int | None,
        engines: int | None,
        records: Callable[[str], bool],
        rate: float | None = None,
        heartbeat: float | None = None,
        connects: Connects | None = None,
        retry: RetryPolicy | None = None,
        plan: RolloutPlan | None = None,
        observer: Observer | None = None,
        loop: EventLoop | None = None,
    ) -> None:
        self.run = Run(loop or EventLoop(), interrupts, self._is_unstarted)
        #: The jobs that run commands and are not closed, by id.
        self.jobs: dict[int, Job] = {}
        self._streams: dict[int, Streams] = {}
        self._next_id = 0
        self._grace = 0.0
        self._deadline: TimerHandle | None = None
        self._patience: TimerHandle | None = None
        self._engine_setting = engines
        intern = Interned()
        self._observer = observer
        self._rollout = None if plan is None else self._make_rollout(plan)
        self._verdicts = Verdicts(
            self.run, intern, retry, self._rollout, self._again, self._close, observer
        )
        self._intake = Intake(self.run, self.jobs, self._verdicts, intern, records, observer)
        engines_of = functools.partial(
            self._engines_of, heartbeat=heartbeat, bucket=TokenBucket(self.run.loop.time), plan=plan
        )
        self._engines: EngineSet | Places
        if here is None:
            self._engines = engines_of(EngineSet, pool, connects)
        else:
            # Late: only if the engines of the run are on other hosts.
            from mpshell.coordinator import farengines, places

            kind = functools.partial(
                farengines.FarEngineSet, stop=self._give_up_jobs, env=remote_env
            )
            far, pool_here = engines_of(kind, pool, connects), here
            self._engines = places.Places(far, lambda: engines_of(EngineSet, pool_here()))
        self._engines.add_slot_pool(TASK_SLOTS, fanout)
        self._engines.set_rate(rate)

    def _engines_of(
        self,
        kind: Callable[..., EngineSet],
        pool: EnginePool,
        connects: Connects | None = None,
        *,
        heartbeat: float | None,
        bucket: TokenBucket,
        plan: RolloutPlan | None,
    ) -> EngineSet:
        return kind(
            self.run, pool, functools.partial(self._engines_for, pool), pool.surroundings(), self._intake,
            heartbeat, bucket, observer=self._observer,
            in_waves=plan is not None and plan.has_waves, connects=connects,
            # After the last allowed failure no client may start that waits in an engine.
            ahead=plan is None or plan.max_fail is None,
        )  # fmt: skip

    def _make_rollout(self, plan: RolloutPlan) -> Rollout:
        # Late: only for runs in waves.
        from mpshell.coordinator.rollout import Rollout

        return Rollout(
            plan,
            release=lambda job, stop: self._engines.release_wave(job, stop),
            stop=self._stop_jobs,
            later=self.run.loop.call_soon,
        )

    def _stop_jobs(self, jobs: Iterable[Job], why: str | None) -> None:
        for job in jobs:
            self.withdraw(job, why)

    def _give_up_jobs(self, jobs: Iterable[Job], why: str) -> None:
        """Start no more of jobs for which no engine is left."""
        for job in jobs:
            self.withdraw(job, why, SPAWN_FAILED)

    # -- for the Task --------------------------------------------------------------------------

    def set_fanout(self, fanout: int | None) -> None:
        self._engines.add_slot_pool(TASK_SLOTS, fanout)

    def set_engines(self, engines: int | None) -> None:
        self._engine_setting = engines

    def withhold(self, withheld: bool) -> None:
        """Start no more clients while they are withheld, because outcomes are not read fast enough."""
        self._engines.withhold(withheld)

    def set_rate(self, rate: float | None) -> None:
        self._engines.set_rate(rate)

    def _engines_for(self, pool: EnginePool, clients: int) -> int:
        return pool.engines_for(clients, self._engine_setting)

    def start(self, job: Job) -> None:
        """Take a job, or refuse it with an error; its clients run as slots become free."""
        with self.run.shielded():
            if self._observer is not None and job.recorded:
                # First: it may refuse the job while nothing has run yet.
                self._observer.job_starts(job)
            self._number(job)
            if job.fanout is not None:
                self._engines.add_slot_pool(job.id, None if job.fanout < 0 else job.fanout)
            self._grace = max(self._grace, job.spec.grace)
            self.jobs[job.id] = job
            job.results.first_seen = self._verdicts.first_seen
            self._engines.submit(job)
            if self._rollout is not None:
                self._rollout.add(job)
            if not job.unfinished:
                self.run.loop.call_soon(self._close, job)

    def serve(self, job: Job, streams: Streams) -> None:
        """Take a job that is not a command: descriptors of the user, which this loop reads and writes."""
        self._number(job)
        self._streams[job.id] = streams
        streams.enter(self.run, job, self._intake.stream_output, self._verdicts)

    def _number(self, job: Job) -> None:
        self._next_id += 1
        job.id = self._next_id
        if not job.autoclose:
            self.run.hold()

    def cancel(self, job: Job) -> None:
        """End a job's clients. From now on its only events are outcomes of clients that had ended."""
        if not job.handle(states.ABORT) and not job.is_aborted:
            return
        if (streams := self._streams.get(job.id)) is not None:
            streams.end(CANCELLED)
        else:
            self._end_clients(job, CANCELLED)

    def _end_clients(self, job: Job, reason: int) -> None:
        self._engines.tell_about(job, messages.Cancel(job.id, reason, False))
        self._verdicts.dropped(job, self._engines.drop(job))

    def withdraw(self, job: Job, why: str | None = None, reason: int = CANCELLED) -> None:
        """Start no more of a job's clients; running ones go on. Outcomes have the reason, and `why`."""
        job.handle(states.WITHDRAW)
        if job.state is not states.CLOSED:
            self._engines.tell_about(job, messages.Withdraw(job.id))
            self._verdicts.dropped(job, self._engines.drop(job), why, reason)

    def feed(self, job: Job) -> None:
        """There is more for a job's stdin, or its end."""
        if job.id and job.state is not states.CLOSED:
            self._engines.feed(job)

    def _again(self, job: Job, index: int, delay: float) -> None:
        self._engines.again(job, index, delay)

    def _is_unstarted(self) -> bool:
        return bool(self.jobs) and not any(job.announced for job in self.jobs.values())

    def _close(self, job: Job) -> None:
        """Report the end of a job, once."""
        if not job.handle(states.CLOSE):
            return
        if self._streams.pop(job.id, None) is None:
            del self.jobs[job.id]
            self._engines.forget(job)
            self.run.end_wait_for_start()
        if not job.autoclose:
            self.run.unhold()
        # Also after an error and while a Ctrl-C is pending: this event completes the first one.
        self.run.call(job.listener.job_closed, job, job.timed_out)

    # -- a run ---------------------------------------------------------------------------------

    def run_until_idle(self, timeout: float | None, on_idle: Callable[[], bool]) -> None:
        """Run until nothing holds it any more, and `on_idle` has nothing new.

        Raise EngineTimeoutException after `timeout` seconds, or the exception of a handler. In any
        case everything has ended then, and every started job is closed.
        """
        run = self.run
        try:
            if timeout is not None:
                self._deadline = run.loop.call_later(timeout, self._on_run_timeout)
        except BaseException as error:
            run.note(error)
        while self.step(on_idle, run.loop.run_forever):
            continue
        self.finish()

    def step(self, on_idle: Callable[[], bool], turn: Callable[[], object]) -> bool:
        """Make turns of the loop by `turn`, and note an error; False when the run is over."""
        try:
            if self.run.held or on_idle():
                turn()
                return True
        except BaseException as error:
            self.run.note(error)
        return False

    def finish(self) -> None:
        """Wind up a run that is over, in turns that wait; raise the error that was noted."""
        run = self.run
        if not run.is_copy():
            self.begin_to_end()
            try:
                while not self.has_ended:
                    run.loop.run_once()
                    if run.interrupted():
                        self.hurry()
            finally:
                self.complete()
        if run.error is not None:
            raise run.error

    def _on_run_timeout(self) -> None:
        if self.run.stopping:
            return
        # Now, and not when the run is wound up: then their unfinished last lines would not be reported.
        for streams in list(self._streams.values()):
            streams.end(TIMED_OUT)
        self.run.note(EngineTimeoutException())

    def close(self) -> None:
        """Give the engines back, and close the loop: nothing may be posted any more."""
        if not self.run.is_copy():
            self._engines.release()
        self.run.close()

    def begin_to_end(self) -> None:
        """End all remaining work: make turns of the loop until it `has_ended`."""
        run = self.run
        if self._deadline is not None:
            # The run is at its end: a timeout must not interrupt winding it up.
            self._deadline.cancel()
        run.begin_to_end()
        for job in list(self.jobs.values()):
            if self._end_reason == CANCELLED:
                job.handle(states.ABORT)
            self._end_clients(job, self._end_reason)
        for streams in list(self._streams.values()):
            streams.end(self._end_reason)
        self._engines.end_run()
        self._patience = run.loop.call_later(self._grace + _PATIENCE, self._engines.fence)

    @property
    def _end_reason(self) -> int:
        return TIMED_OUT if isinstance(self.run.error, EngineTimeoutException) else CANCELLED

    @property
    def has_ended(self) -> bool:
        """Whether none of its commands runs any more."""
        # Without its descriptors a run receives nothing: its engines have seen their channels end.
        return self._engines.all_over() or not self.run.loop.intact()

    def hurry(self) -> None:
        """Kill commands that still run, without grace."""
        self._engines.kill_all(self._end_reason)

    def complete(self) -> None:
        """Close every job of a run that has ended, and give the engines back."""
        try:
            self._engines.notices.tell_counts()
            for job in list(self.jobs.values()):
                self._verdicts.rest(job)
                self._close(job)
        finally:
            if self._patience is not None:
                self._patience.cancel()
            for job in self.jobs.values():
                self._verdicts.rest(job)
            if not self.run.is_copy():
                self._engines.release()
