"""One run of a Task: jobs go out to engines, verdicts and output come back to their listeners.

    start(job) ─► EngineSet ─► engines ─► frames ─► Intake ─► results of the worker
                                                       └────► listener (the user's handler)

Runs in the thread that owns the Task, in its `run`. A handler of the user's may do anything, raise
included: the rest of the frame is then still recorded, without events, before the error goes on.
"""

import os
from collections.abc import Callable
from typing import Any

from mpshell.coordinator.engines import EngineSet, EngineState, default_engines
from mpshell.coordinator.intake import Intake
from mpshell.coordinator.interrupt import Interrupts
from mpshell.coordinator.job import Job
from mpshell.coordinator.results import Outcome
from mpshell.coordinator.streams import Streams
from mpshell.errors import EngineIllegalOperationError, EngineTimeoutException, ProtocolError
from mpshell.launch.cpus import usable_cpus
from mpshell.launch.pool import EnginePool
from mpshell.launch.surroundings import surroundings
from mpshell.runtime.loop import EventLoop
from mpshell.wire import messages
from mpshell.wire.messages import CANCELLED, TIMED_OUT, Message, job_and_index

#: Seconds beyond the grace that engines have to finish, before they are killed.
_PATIENCE = 5.0

#: The pool of the task's own fanout.
TASK_POOL = 0

#: The outcome of a client that was called off before any engine had it.
NEVER_STARTED: Outcome = (CANCELLED, 0, 0.0, 0.0, None, 0)


class Coordinator:
    """The state of one run. Its methods are for the thread of `run`, `post` excepted."""

    def __init__(
        self,
        pool: EnginePool,
        interrupts: Interrupts,
        *,
        fanout: int | None,
        engines: int | None,
        records: Callable[[str], bool],
        rate: float | None = None,
        heartbeat: float | None = None,
        retry_lost: bool = False,
    ) -> None:
        self.loop = EventLoop()
        self._process = os.getpid()
        self._interrupts = interrupts
        self._poll = self.loop.wait
        self.loop.wait = self._wait
        interrupts.wake = self.loop.wake
        self.jobs: dict[int, Job] = {}
        self._streams: dict[int, Streams] = {}
        self._next_id = 0
        self._holding = 0
        self._error: BaseException | None = None
        self._stopping = False
        self._grace = 0.0
        self._first_start: list[Callable[[], object]] = []
        self._engine_setting = engines
        self.intake = Intake(self, records, retry_lost)
        self.engines = EngineSet(
            self.loop,
            pool,
            self._wanted_engines,
            surroundings(),
            self._on_events,
            self._on_lost,
            heartbeat,
        )
        self.engines.add_pool(TASK_POOL, fanout)
        self.engines.set_rate(rate)

    # -- for the Task --------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether nothing new is taken any more in this run."""
        return self._stopping

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Call `callback` in the run's thread, from any thread; what it raises ends the run."""
        self.loop.call_soon_threadsafe(self._guarded, callback, *args)

    def set_fanout(self, fanout: int | None) -> None:
        self.engines.add_pool(TASK_POOL, fanout)

    def set_engines(self, engines: int | None) -> None:
        self._engine_setting = engines

    def set_rate(self, rate: float | None) -> None:
        self.engines.set_rate(rate)

    def _wanted_engines(self, clients: int) -> int:
        if self._engine_setting is not None:
            return self._engine_setting
        return default_engines(clients, usable_cpus())

    @property
    def held(self) -> bool:
        """Whether anything keeps the run going."""
        return self._holding > 0

    def hold(self) -> None:
        """Keep the run going, for a timer, a port, a job that does not close by itself."""
        self._holding += 1

    def unhold(self) -> None:
        self._holding -= 1
        if not self._holding:
            self.loop.stop()

    def start(self, job: Job) -> None:
        """Take a job, wholly or not at all; its clients run as slots get free."""
        before, self._interrupts.open = self._interrupts.open, False
        try:
            self._start(job)
        finally:
            self._interrupts.open = before
        if before:
            self._interrupts.deliver()

    def _start(self, job: Job) -> None:
        self._next_id += 1
        job.id = self._next_id
        own_pool = job.fanout is not None
        job.spec = job.spec._replace(job_id=job.id, pool=job.id if own_pool else TASK_POOL)
        if job.fanout is not None:
            self.engines.add_pool(job.id, None if job.fanout < 0 else job.fanout)
        self._grace = max(self._grace, job.spec.grace)
        self.jobs[job.id] = job
        job.results.first_seen = self.intake.first_seen
        if not job.autoclose:
            self.hold()
        self.engines.submit(job)
        if not job.nodes:
            self.loop.call_soon(self._close_empty, job)

    def _close_empty(self, job: Job) -> None:
        if not job.closed:
            self.close_job(job)
            self.raise_noted()

    def serve(self, job: Job, streams: Streams) -> None:
        """Take a job that is no command: descriptors of the user's, read and written by this loop."""
        self._next_id += 1
        job.id = self._next_id
        self._streams[job.id] = streams
        if not job.autoclose:
            self.hold()
        streams.enter(self, job)

    def unserve(self, job: Job) -> None:
        """The streams of a job have ended."""
        job.closed = True
        del self._streams[job.id]
        if not job.autoclose:
            self.unhold()
        self.tell(job.listener.job_closed, job, job.timed_out)

    def cancel(self, job: Job, kill: bool = False) -> None:
        """End a job's clients. From now on it has no event but the outcome of what had ended already."""
        if job.id in self._streams:
            job.cancelled = True
            self._streams[job.id].end(CANCELLED)
        elif not job.closed:
            job.cancelled = True
            self._cancel(job, CANCELLED, kill)

    def _cancel(self, job: Job, reason: int, kill: bool) -> None:
        self.engines.tell_about(job, messages.Cancel(job.id, reason, kill))
        self._drop(job)

    def withdraw(self, job: Job) -> None:
        """Start no more of a job's clients; those that run go on."""
        if not job.closed:
            job.withdrawn = True
            self.engines.tell_about(job, messages.Withdraw(job.id))
            self._drop(job)

    def _drop(self, job: Job) -> None:
        """Take back the clients that no engine has; each has an outcome, and no event."""
        for index in self.engines.drop(job):
            for key in job.keys_of(index):
                job.results.outcomes[key] = NEVER_STARTED
            job.unfinished -= 1
        if not job.unfinished:
            self.loop.call_soon(self._close_empty, job)

    def feed(self, job: Job) -> None:
        """There is more for a job's stdin, or its end."""
        if not job.closed and job.id:
            self.engines.feed(job)

    def after_first_start(self, callback: Callable[[], object]) -> bool:
        """Call it once a client has started or a job is over; False when there is nothing to wait for."""
        waits = bool(self.jobs) and not any(job.started for job in self.jobs.values())
        if waits:
            self._first_start.append(callback)
        return waits

    # -- a run ---------------------------------------------------------------------------------

    def run(self, timeout: float | None, on_idle: Callable[[], bool]) -> None:
        """Run until nothing holds it any more, and `on_idle` has nothing new either.

        Raise EngineTimeoutException when `timeout` seconds are over, or what a handler raised. In any
        case everything has ended then, and every started job is closed.
        """
        deadline = None
        try:
            if timeout is not None:
                deadline = self.loop.call_later(timeout, self._on_run_timeout)
            self.raise_noted()
            while self._holding or on_idle():
                self.loop.run_forever()
        except BaseException as error:
            self._note(error)
        if deadline is not None:
            # The run has come to its end: a timeout must not get in the way of winding it up.
            deadline.cancel()
        if not self._is_copy():
            self._wind_down()
        if self._error is not None:
            raise self._error

    def _wait(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """Wait as the loop does, and let signals through meanwhile."""
        try:
            self._interrupts.lift()
            found = self._poll(timeout, most)
        finally:
            self._interrupts.open = False
        self._leave_copy()
        return found

    def close(self) -> None:
        """Close the loop: nothing may be posted any more."""
        self._interrupts.wake = None
        if not self._is_copy():
            self.engines.release()
        self.loop.close()

    def _is_copy(self) -> bool:
        """Return whether this is what a handler that forked has in its child: the run is the parent's."""
        return os.getpid() != self._process

    def _on_run_timeout(self) -> None:
        # Now, and not when the run is wound up: then their unfinished last lines are not told any more.
        for streams in list(self._streams.values()):
            streams.end(TIMED_OUT)
        raise EngineTimeoutException

    def _note(self, error: BaseException) -> None:
        """Keep the first error: it ends the run, and with it the events."""
        if self._error is None:
            self._error = error
            self._stopping = True

    def tell(self, callback: Callable[..., object], *args: Any) -> None:
        """Call code of the user's; what it raises ends the run at the end of the frame."""
        if not (self._interrupts.pending and self._interrupted()):
            self._call(callback, *args)

    def _interrupted(self) -> bool:
        """Call the signal handlers that were put off; return whether one has raised.

        An exit goes before a Ctrl-C, and that before the other errors that end the run already.
        """
        try:
            self._interrupts.deliver()
        except BaseException as error:
            before = self._error
            if before is not None and _urgency(error) > _urgency(before):
                self._error = None
                if error.__context__ is None and before.__context__ is not error:
                    error.__context__ = before
            self._note(error)
            self._leave_copy()
            return True
        self._leave_copy()
        return False

    def _leave_copy(self) -> None:
        """Let a fork out that code of the user's has made: the run is the parent's."""
        if self._is_copy():
            raise self._error or EngineIllegalOperationError(
                "a run goes on in the process that began it, not in a fork of that"
            )

    def _call(self, callback: Callable[..., object], *args: Any) -> None:
        before = self._interrupts.open
        try:
            try:
                self._interrupts.open = True
                callback(*args)
            finally:
                self._interrupts.open = before
        except BaseException as error:
            self._note(error)
        self._leave_copy()

    def _guarded(self, callback: Callable[..., object], *args: Any) -> None:
        if not self._stopping:
            self.tell(callback, *args)
            self.raise_noted()

    def guarded(self, callback: Callable[..., object], *args: Any) -> None:
        """Call code of the user's from a loop callback, and let its error end the run."""
        self._guarded(callback, *args)

    def raise_noted(self) -> None:
        if self._error is not None and not self.engines.closing:
            raise self._error

    def _wind_down(self) -> None:
        """End what is left, wait for the engines, and give them back."""
        self._stopping = True
        # From here on Ctrl-C only ends the wait: see below.
        self.loop.wait = self._poll
        reason = TIMED_OUT if isinstance(self._error, EngineTimeoutException) else CANCELLED
        for job in list(self.jobs.values()):
            job.cancelled = reason == CANCELLED
            self._cancel(job, reason, kill=False)
        for streams in list(self._streams.values()):
            streams.end(reason)
        self.engines.end_run()
        patience = self.loop.call_later(self._grace + _PATIENCE, self.engines.fence)
        try:
            while not self.engines.drained():
                self.loop.run_once()
                if self._interrupts.pending and self._interrupted():
                    # Once more Ctrl-C: no more grace.
                    self.engines.kill_all(reason)
            for job in list(self.jobs.values()):
                self.intake.judge_rest(job)
                self.close_job(job)
        finally:
            patience.cancel()
            for job in self.jobs.values():
                self.intake.judge_rest(job)
            if not self._is_copy():
                self.engines.release()

    # -- what engines say ----------------------------------------------------------------------

    def _on_events(self, engine: EngineState, events: list[Message]) -> None:
        for event in events:
            try:
                self.intake.handle(engine, event)
            except ProtocolError as error:
                # Not a word for a coordinator: as garbage is, the end of that engine.
                engine.handle.detail = str(error)
                engine.handle.fence()
        self.raise_noted()

    def end_wait_for_start(self) -> None:
        """A client has started, or a job is over without: let those who wait look again."""
        waiting, self._first_start = self._first_start, []
        for callback in waiting:
            self.loop.call_soon(callback)

    def close_job(self, job: Job) -> None:
        """Tell the end of a job, once."""
        if job.closed:
            return
        job.closed = True
        del self.jobs[job.id]
        self.engines.forget(job)
        self.end_wait_for_start()
        if not job.autoclose:
            self.unhold()
        # Not dropped for a Ctrl-C that waits, as another event would be: that ends the run all the same.
        self._call(job.listener.job_closed, job, job.timed_out)

    def _on_lost(self, engine: EngineState) -> None:
        """An engine is gone: what it had announced may have run, and is reported once as lost."""
        engine.drained = True
        for client, began in sorted(engine.running.items()):
            job_id, index = job_and_index(client)
            job = self.jobs.get(job_id)
            if job is not None:
                self.intake.lose(engine, job, index, began)
        self._drop_cancelled()
        self.raise_noted()

    def _drop_cancelled(self) -> None:
        """What a lost engine had not announced goes to nobody else when it is not wanted any more."""
        for job in list(self.jobs.values()):
            if self.is_over(job):
                self._drop(job)

    def is_over(self, job: Job) -> bool:
        """Return whether no more client of a job is to be started."""
        return job.cancelled or job.withdrawn or self._stopping


def _urgency(error: BaseException) -> int:
    """Return 2 for an exit, 1 for a Ctrl-C, 0 for what a program may well catch and go on after."""
    return 2 if isinstance(error, SystemExit) else int(not isinstance(error, Exception))
