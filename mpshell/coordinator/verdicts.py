"""How keys end: the one place that records it, for commands, streams, dropped and lost clients alike.

    a client's Finished ──┐
    a lost engine ────────┤                        ┌─► results of the worker
    clients taken back ───┼──► Verdicts ──► record ┤
    streams at their end ─┤       │                └─► listener (the user's handler)
    the end of a run ─────┘       └─► another attempt (`mpshell.coordinator.retry`)

A key has one verdict, which is its last; a client has one for each of its keys. After the last client of
a job the job is closed. In the thread of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mpshell.coordinator.job import Job
from mpshell.coordinator.observer import Observer
from mpshell.coordinator.results import Interned, Key, returncode
from mpshell.coordinator.rollout import Rollout
from mpshell.coordinator.run import Run
from mpshell.outcome import Outcome, reason_of
from mpshell.wire.messages import CANCELLED, EXITED, LOST, TIMED_OUT

if TYPE_CHECKING:
    from mpshell.coordinator.retry import RetryPolicy

#: The outcome of a client that was called off before any engine had started it.
NEVER_STARTED = Outcome(CANCELLED, 0, 0.0, 0.0, None, 0, attempt=0)

#: The detail of a client without a verdict at the end of a run; none has it unless an error came from nowhere.
_BROKEN_OFF = Outcome(LOST, 0, 0.0, 0.0, "an exception has ended the run", 0)

#: Seconds from the outcome of a client that timed out until its slot is free, beyond its grace: an engine gives
#: a killed command four (`mpshell.engine.clients`).
_UNTIL_GONE = 5.0


class Verdicts:
    """The verdicts of one run.

    `again` queues a client once more, after so many seconds; `close` ends a job, once.
    """

    def __init__(
        self,
        run: Run,
        intern: Interned,
        policy: RetryPolicy | None,
        rollout: Rollout | None,
        again: Callable[[Job, int, float], object],
        close: Callable[[Job], object],
        observer: Observer | None = None,
    ) -> None:
        self._run = run
        self._intern = intern
        #: Asked at every end whether there is another attempt; None: there never is.
        self._policy = policy
        #: Told the last verdicts, where they decide on what starts next.
        self._rollout = rollout
        self._again = again
        self._close = close
        self._observer = observer
        #: The turn in which a return code was seen for the first time.
        self.first_seen: dict[int, int] = {}
        #: Clients that were called off before another attempt.
        self._called_off: list[tuple[Job, int]] = []

    # -- commands ------------------------------------------------------------------------------

    def runs_again(self, job: Job, index: int, attempts: Sequence[tuple[Key, Outcome]]) -> bool:
        """Ask the policy whether these are the last attempts of a client's keys; queue the next one if not."""
        policy = self._policy
        if policy is None or not (job.repeats and job.starts_clients) or self._run.stopping:
            return False
        delay = self._delay(policy, job, attempts)
        if delay is None:
            return False
        job.attempts[index] = job.attempt_of(index) + 1
        job.results.drop_output(job.keys_of(index))
        for key, outcome in attempts:
            job.results.earlier.setdefault(key, []).append(outcome)
            if self._observer is not None:
                self._observer.ended(job, [key], outcome)
        self._again(job, index, delay)
        if job.wants_events:
            self._run.tell(job.listener.job_retry, job, attempts, delay)
        return True

    def _delay(
        self, policy: RetryPolicy, job: Job, attempts: Sequence[tuple[Key, Outcome]]
    ) -> float | None:
        """Return the seconds until a client is run again as a whole: only if all its keys are to be."""
        longest = 0.0
        for key, outcome in attempts:
            if outcome.reason == EXITED and not outcome.status:
                return None
            # Of a client that is for many keys some may have ended already.
            if job.groups is not None and key in job.results.outcomes:
                return None
            reasons: list[str] = []
            self._ask_reason(job, outcome, reasons)
            delay = policy.wait(reasons[0], outcome.attempt) if reasons else None
            if delay is None:
                return None
            if outcome.reason == TIMED_OUT:
                # That is told when its time is over: two of its commands must not run at once.
                delay = max(delay, job.spec.grace + _UNTIL_GONE)
            longest = max(longest, delay)
        return longest if attempts else None

    def _ask_reason(self, job: Job, outcome: Outcome, reasons: list[str]) -> None:
        """Ask a transport for the reason; it may be the user's, and its exception ends the run."""
        self._run.call(lambda: reasons.append(reason_of(outcome, job.results.diagnose)))

    def finished(self, job: Job, index: int, keys: list[Key], outcome: Outcome) -> None:
        """A client has ended, and with it its keys."""
        if self._policy is None or not self.runs_again(
            job, index, [(key, outcome) for key in keys]
        ):
            self.end(job, keys, outcome)

    def end(self, job: Job, keys: list[Key], outcome: Outcome) -> None:
        """A client has ended for good, and with it those of its keys that have not: `keys`."""
        if keys:
            self.judge(job, keys, outcome)
        job.unfinished -= 1
        if not job.unfinished:
            self._close(job)
        if self._rollout is not None:
            self._rollout.look()

    def judge(self, job: Job, keys: list[Key], outcome: Outcome) -> None:
        """Record and tell the one outcome of keys: nothing else writes a verdict into results."""
        if self._observer is not None:
            self._observer.ended(job, keys, outcome)
        results = job.results
        # After an abort no end is an event any more; of what was never tried none is.
        told = outcome.reason != CANCELLED and outcome.attempt > 0
        if results.earlier and (last := self._last_attempt(job, keys, outcome)) is not None:
            outcome, told = last, not job.is_aborted
        reason = outcome.reason
        code = outcome.status if reason == EXITED else returncode(reason, outcome.status)
        if code is not None and code not in self.first_seen:
            self.first_seen[code] = self._run.loop.turns
        for key in keys:
            results.outcomes[key] = outcome
            if code is not None:
                results.codes[key] = code
        if reason == TIMED_OUT:
            results.timeouts.update(dict.fromkeys(keys))
        if results.in_blocks:
            results.settle(keys, self._intern)
        if job.wants_events and told:
            if job.untold:
                keys = [key for key in keys if key not in job.untold]
            self._run.tell(job.listener.job_finished, job, keys, code, reason == TIMED_OUT)
        if self._rollout is not None and reason != CANCELLED:
            self._rollout.judge(job, keys, ok=reason == EXITED and not outcome.status)

    @staticmethod
    def _last_attempt(job: Job, keys: list[Key], outcome: Outcome) -> Outcome | None:
        """Return how the last attempt of a client has ended that was called off before another one."""
        # With a detail it is one whose engine is gone, and may have run.
        never_ran = not outcome.attempt or (not outcome.started and outcome.detail is None)
        if outcome.reason != CANCELLED or not never_ran or len(keys) != 1:
            return None
        return job.results.earlier.get(keys[0], [None])[-1]

    def dropped(
        self, job: Job, indexes: Sequence[int], why: str | None = None, reason: int = CANCELLED
    ) -> None:
        """Clients that no engine has are not wanted any more.

        One that was never started has an outcome and no event; of another the last attempt's outcome is told.
        """
        outcome = NEVER_STARTED._replace(reason=reason, detail=why)
        for index in indexes:
            if index in job.attempts:
                self._called_off.append((job, index))
            else:
                self.judge(job, job.keys_of(index), outcome)
                job.unfinished -= 1
        if self._called_off:
            # Later: this may be a call of a handler's, which is not called within itself.
            self._run.loop.call_soon(self._end_called_off)
        if not job.unfinished:
            self._run.loop.call_soon(self._close, job)
        if self._rollout is not None:
            self._rollout.look()

    def _end_called_off(self) -> None:
        called_off, self._called_off = self._called_off, []
        for job, index in called_off:
            for key in job.keys_of(index):
                self.judge(job, [key], NEVER_STARTED)
            self.end(job, [], NEVER_STARTED)

    def rest(self, job: Job) -> None:
        """Record clients without a verdict at the end of a run: none, unless an error came from anywhere.

        Memory may be short, or another thread may have one raised here (PyThreadState_SetAsyncExc): the
        clients that were in hand then are nowhere else.
        """
        self._end_called_off()
        keys = (key for index in job.indexes() for key in job.keys_of(index))
        missing = [key for key in keys if key not in job.results.outcomes]
        if missing:
            self.judge(job, missing, _BROKEN_OFF)

    # -- streams -------------------------------------------------------------------------------

    def streams_ended(self, job: Job, timed_out: bool) -> None:
        """The streams of a worker have ended: they are no command, and have neither code nor outcome."""
        results = job.results
        results.settle(job.keys, self._intern)
        if timed_out:
            results.timeouts.update(dict.fromkeys(job.keys))
        if job.announced:
            # Of whatever kind the end is, as in ClusterShell: it is no command that was aborted.
            self._run.call(job.listener.job_finished, job, job.keys, None, False)
        self._close(job)
