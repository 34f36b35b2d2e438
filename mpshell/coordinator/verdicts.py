"""The verdicts of keys: the only place that records them, for commands, streams, dropped and lost clients.

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

from mpshell.coordinator.job import Job
from mpshell.coordinator.observer import Observer
from mpshell.coordinator.results import Interned, Key, returncode
from mpshell.coordinator.run import Run
from mpshell.outcome import Outcome, reason_of
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.wire.messages import CANCELLED, EXITED, LOST, TIMED_OUT

if TYPE_CHECKING:
    from mpshell.coordinator.retry import RetryPolicy
    from mpshell.coordinator.rollout import Rollout

#: The outcome of a client that was cancelled before any engine had started it.
NEVER_STARTED = Outcome(CANCELLED, 0, 0.0, 0.0, None, 0, attempt=0)

#: The detail of a client without a verdict at the end of a run, which only an unexpected exception can cause.
_BROKEN_OFF = Outcome(LOST, 0, 0.0, 0.0, "an exception has ended the run", 0)

#: Seconds from the outcome of a timed out client until its slot is free, in addition to its grace: an engine
#: gives a killed command four (`mpshell.engine.clients`).
_UNTIL_GONE = 5.0


class Verdicts:
    """The verdicts of one run.

    `again` queues a client once more, after a number of seconds; `close` ends a job, once.
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
        #: Decides at every end whether there is another attempt; None: there never is.
        self._policy = policy
        #: Notified of the last verdicts, if they decide on the next start.
        self._rollout = rollout
        self._again = again
        self._close = close
        self._observer = observer
        #: The turn in which a return code was seen for the first time.
        self.first_seen: dict[int, int] = {}
        #: Clients that were cancelled before another attempt.
        self._called_off: list[tuple[Job, int]] = []

    # -- commands ------------------------------------------------------------------------------

    def runs_again(self, job: Job, index: int, attempts: Sequence[tuple[Key, Outcome]]) -> bool:
        """If the policy allows another attempt of a client's keys, queue it; return whether it does not."""
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
        """Return the seconds until a client is run again as a whole: only if that applies to all its keys."""
        longest = 0.0
        for key, outcome in attempts:
            if outcome.reason == EXITED and not outcome.status:
                return None
            # Some keys of a client with many may have ended already.
            if job.groups is not None and key in job.results.outcomes:
                return None
            reasons: list[str] = []
            self._ask_reason(job, outcome, reasons)
            delay = policy.wait(reasons[0], outcome.attempt) if reasons else None
            if delay is None:
                return None
            if outcome.reason == TIMED_OUT:
                # A timeout is reported before the command has ended: two of its commands must not run at once.
                delay = max(delay, job.spec.grace + _UNTIL_GONE)
            longest = max(longest, delay)
        return longest if attempts else None

    def _ask_reason(self, job: Job, outcome: Outcome, reasons: list[str]) -> None:
        """Get the reason from a transport; it may be the user's, and its exception ends the run."""
        self._run.call(lambda: reasons.append(reason_of(outcome, job.results.diagnose)))

    def finished(self, job: Job, index: int, keys: list[Key], outcome: Outcome) -> None:
        """A client has ended, and with it its keys."""
        if self._policy is None or not self.runs_again(
            job, index, [(key, outcome) for key in keys]
        ):
            self.end(job, keys, outcome)

    def end(self, job: Job, keys: list[Key], outcome: Outcome) -> None:
        """A client has ended for good, and with it the rest of its keys: `keys`."""
        if keys:
            self.judge(job, keys, outcome)
        job.unfinished -= 1
        if not job.unfinished:
            self._close(job)
        if self._rollout is not None:
            self._rollout.look()

    def judge(self, job: Job, keys: list[Key], outcome: Outcome) -> None:
        """Record and report the outcome of keys: nothing else writes a verdict into results."""
        if self._observer is not None:
            self._observer.ended(job, keys, outcome)
        results = job.results
        # After an abort an end has no event any more, and an end without an attempt never has.
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
        """Return the outcome of the last attempt of a client that was cancelled before another one."""
        # With a detail, its engine is gone and the client may have run.
        never_ran = not outcome.attempt or (not outcome.started and outcome.detail is None)
        if outcome.reason != CANCELLED or not never_ran or len(keys) != 1:
            return None
        return job.results.earlier.get(keys[0], [None])[-1]

    def dropped(
        self, job: Job, indexes: Sequence[int], why: str | None = None, reason: int = CANCELLED
    ) -> None:
        """Clients that no engine has are dropped.

        One that was never started has an outcome and no event; for another the last attempt's outcome is
        reported.
        """
        outcome = NEVER_STARTED._replace(reason=reason, detail=why)
        for index in indexes:
            if index in job.attempts:
                self._called_off.append((job, index))
            else:
                self.judge(job, job.keys_of(index), outcome)
                job.unfinished -= 1
        if self._called_off:
            # Later: this may be called by a handler, which must not be called within itself.
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
        """Record clients without a verdict at the end of a run: there are none without an unexpected exception.

        Memory may be short, or another thread may have raised one here (PyThreadState_SetAsyncExc): the
        clients that were being handled then are recorded nowhere else.
        """
        self._end_called_off()
        keys = (key for index in job.indexes() for key in job.keys_of(index))
        missing = [key for key in keys if key not in job.results.outcomes]
        if missing:
            self.judge(job, missing, _BROKEN_OFF)

    # -- streams -------------------------------------------------------------------------------

    def streams_ended(self, job: Job, timed_out: bool) -> None:
        """The streams of a worker have ended: they are not commands, and have neither code nor outcome."""
        results = job.results
        results.settle(job.keys, self._intern)
        if timed_out:
            results.timeouts.update(dict.fromkeys(job.keys))
        if job.announced:
            # For any kind of end, as in ClusterShell: it is not a command that was aborted.
            self._run.call(job.listener.job_finished, job, job.keys, None, False)
        self._close(job)
