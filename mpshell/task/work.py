"""The work that a Task takes: commands and copies become workers, workers become jobs. Part of `Task`.

`shell`, `copy`, `rcopy` and `schedule` are for any thread; a worker is started in the Task's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast, overload

from mpshell.coordinator.job import Job
from mpshell.coordinator.results import WorkerResults
from mpshell.errors import TaskError, WorkerError
from mpshell.nodeset import Nodes, NodeSet
from mpshell.worker.base import Worker
from mpshell.worker.distant import DistantWorker
from mpshell.worker.popen import WorkerPopen

if TYPE_CHECKING:
    from mpshell.coordinator.coordinator import Coordinator
    from mpshell.task.task import Task


#: A path of a file, as `open` takes it.
Path = str | bytes | os.PathLike[str]


class CommandOptions(TypedDict, total=False):
    """What `shell` and `run` take by keyword, beside the command and its nodes."""

    handler: Any
    timeout: float | None
    autoclose: bool
    stderr: bool | None
    stdin: bool | None
    tree: bool | None
    remote: bool


class TaskWork:
    """Taking and starting workers; settings, thread and runs are the Task's."""

    _state: threading.Condition
    _accepting: bool
    _pending: list[Worker]
    _run_results: list[WorkerResults]
    _coordinator: Coordinator | None

    def default(self, default_key: str, def_val: Any = None) -> Any:
        raise LookupError(default_key)

    def _check_alive(self) -> None:
        raise TaskError("a Task has to say whether it is alive")

    def resume(self, timeout: float | None = None) -> None:
        raise TaskError("a Task has to say how it runs")

    def _in_own_thread(self, call: Callable[..., object], *args: Any) -> None:
        raise TaskError("a Task has to say how its thread is reached")

    @overload
    def shell(
        self, command: str, nodes: None = None, key: Any = None, **options: Unpack[CommandOptions]
    ) -> WorkerPopen: ...
    @overload
    def shell(
        self, command: str, nodes: Nodes, key: None = None, **options: Unpack[CommandOptions]
    ) -> DistantWorker: ...
    @overload
    def shell(
        self, command: str, nodes: Nodes | None, key: None = None, **options: Unpack[CommandOptions]
    ) -> WorkerPopen | DistantWorker: ...
    def shell(
        self,
        command: str,
        nodes: Nodes | None = None,
        key: Any = None,
        handler: Any = None,
        timeout: float | None = None,
        autoclose: bool = False,
        stderr: bool | None = None,
        stdin: bool | None = None,
        tree: bool | None = None,
        remote: bool = True,
    ) -> WorkerPopen | DistantWorker:
        """Schedule a command and return its worker; from any thread.

        Without `nodes` it runs here, known by `key`; with them (a node set in any form) on each, over
        the distant transport, or here once for each when `remote` is false. `timeout` is in seconds
        from the start of each command. `stderr` and `stdin` are the task's defaults unless given. There
        are no gateways: with `tree` too commands go out directly.
        """
        stderr = self.default("stderr") if stderr is None else stderr
        stdin = self.default("stdin") if stdin is None else stdin
        worker: WorkerPopen | DistantWorker
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
            worker_class = self.default("distant_worker" if remote else "local_worker")
            worker = worker_class(
                NodeSet(nodes), handler=handler, timeout=timeout, command=command, stderr=stderr,
                autoclose=autoclose, remote=remote,
            )  # fmt: skip
        if not stdin:
            worker._without_input()
        self.schedule(worker)
        return worker

    @overload
    def run(
        self,
        command: float | None = None,
        *,
        nodes: Nodes | None = None,
        key: Any = None,
        **options: Unpack[CommandOptions],
    ) -> None: ...
    @overload
    def run(
        self,
        command: str,
        *,
        nodes: None = None,
        key: Any = None,
        **options: Unpack[CommandOptions],
    ) -> WorkerPopen: ...
    @overload
    def run(
        self, command: str, *, nodes: Nodes, key: None = None, **options: Unpack[CommandOptions]
    ) -> DistantWorker: ...
    @overload
    def run(
        self,
        command: str,
        *,
        nodes: Nodes | None,
        key: None = None,
        **options: Unpack[CommandOptions],
    ) -> WorkerPopen | DistantWorker: ...
    def run(
        self,
        command: str | float | None = None,
        *,
        nodes: Nodes | None = None,
        key: Any = None,
        handler: Any = None,
        timeout: float | None = None,
        autoclose: bool = False,
        stderr: bool | None = None,
        stdin: bool | None = None,
        tree: bool | None = None,
        remote: bool = True,
    ) -> WorkerPopen | DistantWorker | None:
        """`shell(command, ...)` and `resume()`: return the worker; `timeout` is each command's.

        Without a command, or with a number in its place, it is `resume(timeout)`, returns None, and what
        else would be for the command has no effect.
        """
        if command is None or (isinstance(command, (int, float)) and not isinstance(command, bool)):
            self.resume(timeout if command is None else command)
            return None
        options: CommandOptions = {
            "handler": handler, "timeout": timeout, "autoclose": autoclose, "stderr": stderr, "stdin": stdin,
            "tree": tree, "remote": remote,
        }  # fmt: skip
        worker = self.shell(cast(str, command), nodes, key, **options)
        self.resume()
        return worker

    def copy(
        self,
        source: Path,
        dest: Path,
        nodes: Nodes,
        handler: Any = None,
        timeout: float | None = None,
        stderr: bool | None = None,
        preserve: bool = False,
        reverse: bool = False,
        atomic: bool = False,
        tree: bool | None = None,
    ) -> DistantWorker:
        """Schedule the copy of a file or directory to nodes and return its worker; from any thread.

        With `preserve` times and modes are kept. With `reverse` it is `rcopy`. With `atomic`, for files
        only (ValueError), a node has the old file or the new one and nothing between, whatever happens.
        `timeout` is in seconds for each node. ValueError for names that cannot be. `tree` makes no
        difference, as for `shell`.
        """
        stderr = self.default("stderr") if stderr is None else stderr
        if nodes is None:
            raise ValueError("nodes=None: a copy needs nodes")
        worker: DistantWorker = self.default("distant_worker")(
            NodeSet(nodes), handler=handler, timeout=timeout, source=source, dest=dest, stderr=stderr,
            preserve=preserve, reverse=reverse, atomic=atomic,
        )  # fmt: skip
        self.schedule(worker)
        return worker

    def rcopy(
        self,
        source: Path,
        dest: Path,
        nodes: Nodes,
        handler: Any = None,
        timeout: float | None = None,
        stderr: bool | None = None,
        preserve: bool = False,
        atomic: bool = False,
        tree: bool | None = None,
    ) -> DistantWorker:
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
        if not isinstance(worker, Worker):
            raise TypeError(f"a worker is expected, not {worker!r}")
        with self._state:
            self._check_alive()
            if worker.task is not None:
                raise WorkerError(f"{worker!r} has been scheduled already")
            worker._check_beside(self._unfinished)
            worker.task = cast("Task", self)
            if not self._accepting:
                self._pending.append(worker)
                return
        self._in_own_thread(self._start_worker, worker)

    def _unfinished(self) -> list[Worker]:
        running = [] if self._coordinator is None else list(self._coordinator.jobs.values())
        return [*self._pending, *(cast(Worker, job.listener) for job in running)]

    def _start_worker(self, worker: Worker) -> None:
        if self._coordinator is None or self._coordinator.run.stopping:
            # The run has ended meanwhile: it is for the next.
            self._pending.append(worker)
        elif not worker._aborted:
            self._run_results.append(worker._results)
            worker._enter(cast("Task", self), self._coordinator)

    def _put_off(self, worker: Worker) -> None:
        """Leave a worker that has nothing to do yet to the next run."""
        self._pending.append(worker)

    def _feed(self, job: Job) -> None:
        if self._coordinator is not None:
            self._coordinator.feed(job)

    def _abort_worker(self, worker: Worker) -> None:
        if worker in self._pending:
            self._pending.remove(worker)
            worker._done = True
        elif worker._job is not None and self._coordinator is not None:
            self._coordinator.cancel(worker._job)

    def _withdraw_worker(self, worker: Worker) -> None:
        if worker._job is not None and self._coordinator is not None:
            self._coordinator.withdraw(worker._job)
        else:
            worker._abort()
