"""The work that a Task takes: commands and copies become workers, workers become jobs. A part of `Task`.

`shell`, `copy`, `rcopy` and `schedule` are for any thread; a worker is started in the Task's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from mpshell.coordinator.job import Job
from mpshell.errors import WorkerError
from mpshell.nodeset import NodeSet
from mpshell.task.results import RunResults
from mpshell.task.settings import Settings
from mpshell.task.threads import RUNNING, TaskThread
from mpshell.worker.base import Worker
from mpshell.worker.popen import WorkerPopen

if TYPE_CHECKING:
    from mpshell.coordinator.coordinator import Coordinator
    from mpshell.worker.owner import Owner


class Workload:
    """The workers of a Task: those that wait for a run, and the run that has the others.

    It is the `Host` of its workers (`mpshell.worker.owner`).
    """

    def __init__(
        self, owner: Owner, life: TaskThread, settings: Settings, results: RunResults
    ) -> None:
        self._owner = owner
        self._life = life
        self._settings = settings
        self._results = results
        #: Workers for the next run.
        self.pending: list[Worker] = []
        #: The run that goes on.
        self.coordinator: Coordinator | None = None

    @property
    def needs_engines(self) -> bool:
        """Whether a worker that waits has commands to run."""
        return any(worker.needs_engine() for worker in self.pending)

    def schedule(self, worker: Worker) -> None:
        """Take a worker, from any thread (see `Task.schedule`)."""
        if not isinstance(worker, Worker):
            raise TypeError(f"a worker is expected, not {worker!r}")
        with self._life.condition:
            self._life.check_alive()
            if worker.task is not None:
                raise WorkerError(f"{worker!r} has been scheduled already")
            worker.check_beside(self._unfinished)
            worker.bind(self._owner, self)
            if self._life.state is not RUNNING:
                self.pending.append(worker)
                return
        self.in_own_thread(self._start, worker)

    def _unfinished(self) -> list[Worker]:
        running = [] if self.coordinator is None else list(self.coordinator.jobs.values())
        return [*self.pending, *(cast(Worker, job.listener) for job in running)]

    def start_pending(self) -> None:
        """Start the workers that have waited; those without anything to do yet put themselves back."""
        for _ in range(len(self.pending)):
            if self.pending:
                self._start(self.pending.pop(0))

    def _start(self, worker: Worker) -> None:
        if self.coordinator is None or self.coordinator.run.stopping:
            # The run has ended meanwhile: it is for the next.
            self.pending.append(worker)
        elif not worker.aborted:
            self._results.add(worker.results)
            worker.enter(self._owner, self.coordinator)

    # -- for the workers -----------------------------------------------------------------------

    def in_own_thread(self, call: Callable[..., object], *args: Any) -> None:
        """Call in the Task's thread, from any thread."""
        self._life.in_own_thread(call, *args)

    def check_recorded(self, sname: str) -> None:
        """Raise TaskMsgTreeError when nothing of a stream is or was recorded in this run."""
        self._results.check_recorded(sname)

    def put_off(self, worker: Worker) -> None:
        """Leave a worker that has nothing to do yet to the next run."""
        self.pending.append(worker)

    def feed(self, job: Job) -> None:
        """Send input that a job has got."""
        if self.coordinator is not None:
            self.coordinator.feed(job)

    def abort_worker(self, worker: Worker) -> None:
        """End a worker's commands, or drop it when it has not begun."""
        if worker in self.pending:
            self.pending.remove(worker)
            worker.drop()
        elif worker.job is not None and self.coordinator is not None:
            self.coordinator.cancel(worker.job)

    def withdraw_worker(self, worker: Worker) -> None:
        """Start no more of a worker's commands; one that has not begun is dropped."""
        if worker.job is not None and self.coordinator is not None:
            self.coordinator.withdraw(worker.job)
        else:
            worker.abort()

    def debug(self, line: str) -> None:
        """Pass a line of debugging to the Task's `print_debug`."""
        self._settings.info("print_debug")(self._owner, line)


class WorkAccess:
    """The methods of a Task that make workers and hand them to its part `Workload`."""

    _settings: Settings
    _work: Workload

    def shell(
        self,
        command: str,
        nodes: Any = None,
        key: Any = None,
        handler: Any = None,
        timeout: float | None = None,
        autoclose: bool = False,
        stderr: bool | None = None,
        stdin: bool | None = None,
        tree: bool | None = None,
        remote: bool = True,
    ) -> Any:
        """Schedule a command and return its worker; from any thread.

        Without `nodes` it runs here, known by `key`; with them (a node set in any form) on each, over
        the distant transport, or here once for each when `remote` is false. `timeout` is in seconds
        from the start of each command. `stderr` and `stdin` are the task's defaults unless given. There
        are no gateways: with `tree` too commands go out directly.
        """
        stderr = self._settings.default("stderr") if stderr is None else stderr
        stdin = self._settings.default("stdin") if stdin is None else stdin
        worker: Worker
        if nodes is None:
            worker = WorkerPopen(
                command,
                key=key,
                handler=handler,
                stderr=stderr,
                timeout=timeout,
                autoclose=autoclose,
            )
        elif key is not None:
            raise ValueError(f"key={key!r}: a command for nodes is known by the nodes' names")
        else:
            worker_class = self._settings.default("distant_worker" if remote else "local_worker")
            worker = worker_class(
                NodeSet(nodes), handler=handler, timeout=timeout, command=command, stderr=stderr,
                autoclose=autoclose, remote=remote,
            )  # fmt: skip
        if not stdin:
            worker.without_input()
        self.schedule(worker)
        return worker

    def copy(
        self,
        source: Any,
        dest: Any,
        nodes: Any,
        handler: Any = None,
        timeout: float | None = None,
        stderr: bool | None = None,
        preserve: bool = False,
        reverse: bool = False,
        atomic: bool = False,
        tree: bool | None = None,
    ) -> Any:
        """Schedule the copy of a file or directory to nodes and return its worker; from any thread.

        With `preserve` times and modes are kept. With `reverse` it is `rcopy`. With `atomic`, for files
        only (ValueError), a node has the old file or the new one and nothing between, whatever happens.
        `timeout` is in seconds for each node. ValueError for names that cannot be. `tree` makes no
        difference, as for `shell`.
        """
        stderr = self._settings.default("stderr") if stderr is None else stderr
        if nodes is None:
            raise ValueError("nodes=None: a copy needs nodes")
        worker = self._settings.default("distant_worker")(
            NodeSet(nodes), handler=handler, timeout=timeout, source=source, dest=dest, stderr=stderr,
            preserve=preserve, reverse=reverse, atomic=atomic,
        )  # fmt: skip
        self.schedule(worker)
        return worker

    def rcopy(
        self,
        source: Any,
        dest: Any,
        nodes: Any,
        handler: Any = None,
        timeout: float | None = None,
        stderr: bool | None = None,
        preserve: bool = False,
        atomic: bool = False,
        tree: bool | None = None,
    ) -> Any:
        """Schedule the copy of a file or directory from nodes, each to `dest`/basename.node here.

        ValueError when `dest` is no directory. The rest is as for `copy`.
        """
        return self.copy(
            source, dest, nodes, handler, timeout, stderr, preserve, True, atomic, tree
        )

    def schedule(self, worker: Worker) -> None:
        """Take a worker: it starts at once in a running Task, within the fanout; from any thread.

        Raise WorkerError for a worker that was scheduled before, TaskError when the Task is killed.
        """
        self._work.schedule(worker)
