"""How keys end: the one place that records it, for commands, streams, dropped and lost clients alike.

    a client's Finished ──┐
    a lost engine ────────┤                        ┌─► results of the worker
    clients taken back ───┼──► Verdicts ──► record ┤
    streams at their end ─┤       │                └─► listener (the user's handler)
    the end of a run ─────┘       └─► another attempt (`mpshell.coordinator.retry`)

A key has one verdict, which is its last; a client has one for each of its keys. After the last client of
a job the job is closed. In the thread of the run.
"""

from collections.abc import Callable, Sequence

from mpshell.coordinator.job import Job
from mpshell.coordinator.observer import Observer
from mpshell.coordinator.results import Interned, Key, returncode
from mpshell.coordinator.retry import RetryPolicy
from mpshell.coordinator.run import Run
from mpshell.outcome import Outcome
from mpshell.wire.messages import CANCELLED, EXITED, LOST, TIMED_OUT

#: The outcome of a client that was called off before any engine had started it.
NEVER_STARTED = Outcome(CANCELLED, 0, 0.0, 0.0, None, 0, attempt=0)

#: What no client has at the end of a run, unless an error came from nowhere.
_BROKEN_OFF = Outcome(LOST, 0, 0.0, 0.0, "an exception has broken the run off", 0)


class Verdicts:
    """The verdicts of one run.

    `again` queues a client once more, after so many seconds; `close` ends a job, once.
    """

    def __init__(
        self,
        run: Run,
        intern: Interned,
        policy: RetryPolicy | None,
        again: Callable[[Job, int, float], object],
        close: Callable[[Job], object],
        observer: Observer | None = None,
    ) -> None:
        self._run = run
        self._intern = intern
        #: Asked at every end whether there is another attempt; None: there never is.
        self._policy = policy
        self._again = again
        self._close = close
        self._observer = observer
        #: The turn in which a return code was seen for the first time.
        self.first_seen: dict[int, int] = {}

    # -- commands ------------------------------------------------------------------------------

    def runs_again(self, job: Job, index: int, outcome: Outcome) -> bool:
        """Ask the policy whether this attempt of a client is its last; queue the next one if it is not."""
        # Of a client that is for many keys some may have ended already.
        if self._policy is None or job.groups is not None or not self._is_wanted(job):
            return False
        delay = self._policy.delay(outcome)
        if delay is None:
            return False
        if self._observer is not None:
            self._observer.ended(job, job.keys_of(index), outcome)
        job.attempts[index] = outcome.attempt + 1
        job.results.drop_output(job.keys_of(index))
        self._again(job, index, delay)
        return True

    def _is_wanted(self, job: Job) -> bool:
        return job.starts_clients and not self._run.stopping

    def finished(self, job: Job, index: int, keys: list[Key], outcome: Outcome) -> None:
        """A client has ended, and with it those of its keys that have not: `keys`."""
        if self._policy is not None and self.runs_again(job, index, outcome):
            return
        if keys:
            self.judge(job, keys, outcome)
        job.unfinished -= 1
        if not job.unfinished:
            self._close(job)

    def judge(self, job: Job, keys: list[Key], outcome: Outcome) -> None:
        """Record and tell the one outcome of keys: nothing else writes a verdict into results."""
        results, reason = job.results, outcome.reason
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
        if self._observer is not None:
            self._observer.ended(job, keys, outcome)
        # After an abort no end is an event any more.
        if job.wants_events and reason != CANCELLED:
            if job.untold:
                keys = [key for key in keys if key not in job.untold]
            self._run.tell(job.listener.job_finished, job, keys, code, reason == TIMED_OUT)

    def dropped(self, job: Job, indexes: Sequence[int]) -> None:
        """Clients that no engine has are not wanted any more; each has an outcome, and no event."""
        for index in indexes:
            outcome = NEVER_STARTED
            if index in job.attempts:
                # Called off while it waited for another attempt.
                outcome = outcome._replace(attempt=job.attempts[index] - 1)
            self.judge(job, job.keys_of(index), outcome)
        job.unfinished -= len(indexes)
        if not job.unfinished:
            self._run.loop.call_soon(self._close, job)

    def rest(self, job: Job) -> None:
        """Record what has no verdict at the end of a run: nothing, unless an error came from anywhere.

        Memory may be short, or another thread may have one raised here (PyThreadState_SetAsyncExc): what was in
        hand is known to nobody then.
        """
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
