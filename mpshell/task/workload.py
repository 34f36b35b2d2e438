"""The workers of a Task: those that wait for a run, and those in the run. A part of `Task`.

`schedule` and `in_own_thread` are for any thread; a worker is started in the Task's.
"""

from __future__ import annotations

from collections.abc import Callable

from mpshell.coordinator.job import Job
from mpshell.errors import WorkerError
from mpshell.runtime.lean import TYPE_CHECKING, cast
from mpshell.task.results import RunResults
from mpshell.task.settings import Settings
from mpshell.task.threads import RUNNING, TaskThread
from mpshell.worker.kinds import Worker

if TYPE_CHECKING:
    from typing import Any

    from mpshell.coordinator.coordinator import Coordinator
    from mpshell.worker.scheduler import PublicTask, Scheduled


class Workload:
    """The workers of a Task: those that wait for a run, and the run with the others.

    It is the `Scheduler` of its workers (`mpshell.worker.scheduler`).
    """

    def __init__(
        self, task: PublicTask, task_thread: TaskThread, settings: Settings, results: RunResults
    ) -> None:
        self._task = task
        self._task_thread = task_thread
        self._settings = settings
        self._results = results
        #: Workers for the next run.
        self.pending: list[Worker] = []
        #: The current run.
        self.coordinator: Coordinator | None = None

    @property
    def needs_engines(self) -> bool:
        """Whether any waiting worker has commands to run."""
        return any(worker.needs_engine() for worker in self.pending)

    def schedule(self, worker: Worker) -> None:
        """Take a worker, from any thread (see `Task.schedule`)."""
        if not isinstance(worker, Worker):
            raise TypeError(f"a worker is expected, not {worker!r}")
        with self._task_thread.condition:
            self._task_thread.check_alive()
            if worker.task is not None:
                raise WorkerError(f"{worker!r} has been scheduled already")
            worker.check_beside(self._unfinished)
            if self._settings.info("launcher") is not None:
                worker.check_far()
            worker.bind(self._task, self)
            if self._task_thread.state is not RUNNING:
                self.pending.append(worker)
                return
        self.in_own_thread(self._start, worker)

    def _unfinished(self) -> list[Worker]:
        running = [] if self.coordinator is None else list(self.coordinator.jobs.values())
        return [*self.pending, *(cast(Worker, job.listener) for job in running)]

    def start_pending(self) -> None:
        """Start the waiting workers; workers with nothing to do yet put themselves back."""
        for _ in range(len(self.pending)):
            if self.pending:
                self._start(self.pending.pop(0))

    def _start(self, worker: Worker) -> None:
        if self.coordinator is None or self.coordinator.run.stopping:
            # The run has ended in the meantime: keep it for the next.
            self.pending.append(worker)
        elif not worker.is_over:
            self._results.add(worker.results)
            worker.enter(self._task, self.coordinator)

    # -- for the workers -----------------------------------------------------------------------

    def in_own_thread(self, call: Callable[..., object], *args: Any) -> None:
        """Call in the Task's thread, from any thread."""
        self._task_thread.in_own_thread(call, *args)

    def check_recorded(self, sname: str) -> None:
        """Raise TaskMsgTreeError if a stream neither is nor was recorded in this run."""
        self._results.check_recorded(sname)

    def put_off(self, worker: Scheduled) -> None:
        """Leave a worker that has nothing to do yet to the next run."""
        self.pending.append(cast(Worker, worker))

    def feed(self, job: Job) -> None:
        """Send new input of a job."""
        if self.coordinator is not None:
            self.coordinator.feed(job)

    def abort_worker(self, worker: Scheduled) -> None:
        """End a worker's commands, or drop the worker if it has not begun."""
        if worker in self.pending:
            self.pending.remove(worker)
        elif worker.job is not None and self.coordinator is not None:
            self.coordinator.cancel(worker.job)

    def withdraw_worker(self, worker: Scheduled) -> None:
        """Start no more of a worker's commands; one that has not begun is dropped."""
        if worker.job is not None and self.coordinator is not None:
            self.coordinator.withdraw(worker.job)
        else:
            worker.abort()

    def debug(self, line: str) -> None:
        """Pass a line of debugging to the Task's `print_debug`."""
        self._settings.info("print_debug")(self._task, line)
