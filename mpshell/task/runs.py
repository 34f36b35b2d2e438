"""The runs of a Task: the workers, timers and ports in a run, its begin and its end. A part of `Task`.

    Task (public) ──► Runs ──► Coordinator (one for each run)
                       ├─ TaskThread: state, mailbox, waits
                       ├─ Workload: workers
                       ├─ RunResults: their results
                       └─ timers and ports

In the thread of the Task, or in any thread while there is no run.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

import mpshell.task.registry as registry
from mpshell.coordinator.interrupt import Interrupts
from mpshell.errors import (
    AlreadyRunningError,
    EngineAbortException,
    EngineTimeoutException,
    TimeoutError,
)
from mpshell.launch.pool import engine_pool
from mpshell.outcome import look_at_the_clock
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.task.results import RunResults
from mpshell.task.settings import Settings
from mpshell.task.threads import START, TaskThread
from mpshell.task.workload import Workload

if TYPE_CHECKING:
    from typing import Any

    from mpshell.coordinator.coordinator import Coordinator
    from mpshell.coordinator.retry import RetryPolicy
    from mpshell.coordinator.rollout import RolloutPlan
    from mpshell.journal.recorder import Recorder
    from mpshell.launch.pool import EnginePool
    from mpshell.runtime.loop import EventLoop
    from mpshell.task.ports import EnginePort
    from mpshell.task.timers import EngineTimer
    from mpshell.worker.scheduler import PublicTask


class Runs:
    """The parts of a Task that a run takes, and the run itself; the `Runner` of a TaskThread."""

    def __init__(
        self,
        task: PublicTask,
        settings: Settings,
        thread: threading.Thread | None,
        on_failure: Callable[[BaseException], object],
    ) -> None:
        self._task = task
        self._settings = settings
        self._on_failure = on_failure
        self.task_thread = TaskThread(self, thread)
        self.results = RunResults(settings)
        self.work = Workload(task, self.task_thread, settings, self.results)
        self._timers: list[EngineTimer] = []
        self._ports: list[EnginePort] = []
        #: Seconds given to the last run, or None.
        self.timeout: float | None = None
        #: The reason why the journal of the last run is incomplete, None if it is complete.
        self.journal_failure: str | None = None
        self._recorder: Recorder | None = None
        #: Ends the run whose outcomes are iterated over, while its caller handles one of them.
        self.leave_iteration: weakref.WeakMethod[Callable[[], object]] | None = None

    # -- timers, ports and settings --------------------------------------------------------------

    def add_timer(self, timer: EngineTimer) -> None:
        """Take a timer, which joins the current run."""
        timer.bind(self.task_thread.in_own_thread)
        self.task_thread.in_own_thread(self._take_part, self._timers, timer)

    def add_port(self, port: EnginePort) -> None:
        """Take a port, which joins the current run."""
        self.task_thread.in_own_thread(self._take_part, self._ports, port)

    def _take_part(self, members: list[Any], member: EngineTimer | EnginePort) -> None:
        members.append(member)
        coordinator = self.work.coordinator
        if coordinator is not None and not coordinator.run.stopping:
            member.enter(coordinator.run)

    def remove_port(self, port: EnginePort) -> None:
        """Close a port and let it go."""
        if port in self._ports:
            self._ports.remove(port)
        port.close()

    def apply_settings(self) -> None:
        """Apply the present settings to the current run."""
        coordinator = self.work.coordinator
        if coordinator is not None:
            coordinator.set_engines(self._settings.info("engines"))
            coordinator.set_rate(self._settings.info("rate"))
            coordinator.set_fanout(self._fanout())

    def _fanout(self) -> int | None:
        fanout = self._settings.info("fanout")
        return None if fanout == -1 else int(fanout)

    def _engine_pool(self) -> EnginePool:
        return engine_pool(self._settings.info("launcher"))

    def engines_for(self, commands: int) -> int:
        """Return how many engines run a number of commands, by the present setting."""
        return self._engine_pool().engines_for(commands, self._settings.info("engines"))

    def _retry_policy(self) -> RetryPolicy | None:
        policy: RetryPolicy | None = self._settings.info("retry")
        if not self._settings.info("retry_lost"):
            return policy
        from mpshell.coordinator.retry import RETRY_LOST

        return RETRY_LOST if policy is None else policy.also_on("lost")

    def _rollout_plan(self) -> RolloutPlan | None:
        limits = [self._settings.info(key) for key in ("canary", "batch", "max_fail")]
        if not any(limits):
            return None
        from mpshell.coordinator.rollout import RolloutPlan

        return RolloutPlan(*limits)

    # -- a run -----------------------------------------------------------------------------------

    def resume(self, timeout: float | None) -> None:
        """One run, here in the Task's thread; AlreadyRunningError from a handler."""
        with Interrupts() as interrupts:
            self._take_up()
            self.run(timeout, interrupts)

    def check_idle(self) -> None:
        """Raise AlreadyRunningError during a run, TaskError for a killed Task."""
        self.task_thread.check_alive()
        if self.task_thread.in_a_run:
            raise AlreadyRunningError("this task is running already")

    def _take_up(self) -> None:
        with self.task_thread.condition:
            self.check_idle()
            self.task_thread.handle(START)

    def run(self, timeout: float | None, interrupts: Interrupts) -> None:
        """One run, taken up by START; TimeoutError after `timeout` seconds."""
        self.timeout = timeout
        try:
            coordinator = self._make_coordinator(interrupts, None)
            try:
                self._begin(coordinator)
                coordinator.run_until_idle(timeout or None, self.task_thread.on_idle)
            finally:
                self._end(coordinator)
        except EngineTimeoutException:
            raise TimeoutError(f"the run did not end within {timeout} s") from None
        except EngineAbortException as abort:
            self.terminate(abort.kill)
        finally:
            self.task_thread.stopped()

    def open(self, interrupts: Interrupts, loop: EventLoop | None = None) -> Coordinator:
        """Begin a run; the caller makes its turns, in the Task's thread, and then closes it (`close`)."""
        self._take_up()
        self.timeout = None
        try:
            coordinator = self._make_coordinator(interrupts, loop)
            try:
                self._begin(coordinator)
            except BaseException:
                self._end(coordinator)
                raise
        except BaseException:
            self.task_thread.stopped()
            raise
        return coordinator

    def close(self, coordinator: Coordinator) -> None:
        """End a run that was opened, and is wound up."""
        try:
            self._end(coordinator)
        finally:
            self.task_thread.stopped()

    def _make_coordinator(self, interrupts: Interrupts, loop: EventLoop | None) -> Coordinator:
        self.results.reset()
        look_at_the_clock()
        pool = self._engine_pool()
        if self.work.needs_engines:
            pool.prepare()
        # Late: the fork server starts meanwhile.
        from mpshell.coordinator.connects import Connects
        from mpshell.coordinator.coordinator import Coordinator

        self._begin_journal()
        try:
            return Coordinator(
                pool,
                interrupts,
                here=None if self._settings.info("launcher") is None else engine_pool,
                remote_env=self._remote_env(),
                fanout=self._fanout(),
                engines=self._settings.info("engines"),
                records=self.results.records,
                rate=self._settings.info("rate"),
                heartbeat=self._settings.info("heartbeat"),
                connects=Connects(
                    self._settings.info("connect_fanout"), self._settings.info("connect_rate")
                ),
                retry=self._retry_policy(),
                plan=self._rollout_plan(),
                observer=self._recorder,
                loop=loop,
            )
        except BaseException as error:
            self._end_journal(error)
            raise

    def _remote_env(self) -> tuple[tuple[str, str], ...]:
        """Return the variables that commands on other hosts get from here, those that are set."""
        names = str(self._settings.info("remote_env")).split()
        return tuple((name, os.environ[name]) for name in names if name in os.environ)

    def _begin_journal(self) -> None:
        """Begin the journal of a run, if there is one; JournalError before anything runs."""
        self.journal_failure = None
        if self._settings.info("journal") is not None:
            from mpshell.task.journalling import begin

            self._recorder = begin(self._settings, self._warn)

    def _end_journal(self, error: BaseException | None) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close(error)
            self.journal_failure = recorder.failure

    def _warn(self, text: str) -> None:
        """Issue a warning during a run; a warning that is configured as an error ends it."""
        import warnings

        coordinator = self.work.coordinator
        if coordinator is not None:
            coordinator.run.call(warnings.warn, text, RuntimeWarning)
        else:
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def _begin(self, coordinator: Coordinator) -> None:
        with self.task_thread.condition:
            self.work.coordinator = coordinator
            self.task_thread.begin(coordinator.run)
        for port in list(self._ports):
            port.enter(coordinator.run)
        for timer in list(self._timers):
            if timer.is_valid():
                timer.enter(coordinator.run)
        self.work.start_pending()
        if self._recorder is not None:
            self._recorder.begin(coordinator.run.note)

    def _end(self, coordinator: Coordinator) -> None:
        with self.task_thread.condition:
            self.task_thread.end()
            self.work.coordinator = None
        # Only autoclose ones are left, unless the run came to an early end.
        for timer in self._timers:
            timer.invalidate()
        self._timers.clear()
        # Before the loop is closed: other threads that send a message wake it.
        for port in self._ports:
            port.leave()
        coordinator.close()
        self._end_journal(coordinator.run.error)

    # -- the end of the Task ---------------------------------------------------------------------

    def failed(self, error: BaseException) -> None:
        """A run in a thread of the Task's own has raised."""
        self._on_failure(error)

    def waits(self) -> bool:
        """Return whether workers wait for the next run."""
        return bool(self.work.pending)

    def abort(self, kill: bool) -> None:
        """End everything, from any thread; from a handler it raises through the handler."""
        if not self.task_thread.is_own():
            self.task_thread.abort(kill)
        elif self.leave_iteration is not None:
            if (leave := self.leave_iteration()) is not None:
                leave()
            self.terminate(kill)
        elif self.task_thread.in_a_run:
            raise EngineAbortException(kill)
        else:
            self.terminate(kill)

    def abort_run(self, kill: bool) -> None:
        """Called for another thread; the run may have ended in the meantime."""
        if self.work.coordinator is None:
            self.terminate(kill)
        else:
            raise EngineAbortException(kill)

    def terminate(self, kill: bool, keep_results: bool = False) -> None:
        """End everything of a Task whose run is over; with `kill`, or a thread of its own, the Task too."""
        ports: list[EnginePort] = []
        timers: list[EngineTimer] = []
        with self.task_thread.condition:
            self.work.pending.clear()
            if not keep_results:
                self.results.reset()
            if kill or self.task_thread.owned:
                ports, self._ports = self._ports, []
                timers, self._timers = self._timers, []
                self.task_thread.kill()
                registry.unbind(self._task)
            self.task_thread.condition.notify_all()
        for port in ports:
            port.close()
        for timer in timers:
            timer.invalidate()

    # -- in the child of a fork ------------------------------------------------------------------

    def renew_locks(self) -> None:
        """Renew the locks, which threads of the parent may hold."""
        for port in self._ports:
            port.renew_lock()

    def lose_thread(self) -> None:
        """End the Task here: its thread is in the parent."""
        self.work.coordinator = None
        for port in self._ports:
            port.lose_owner()
