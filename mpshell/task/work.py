"""The work that a Task takes: commands and copies become workers, workers become jobs. Part of `Task`.

`shell`, `copy`, `rcopy` and `schedule` are for any thread; a worker is started in the Task's.
"""

from __future__ import annotations

from mpshell.errors import TaskError
from mpshell.runtime.lean import TYPE_CHECKING, cast
from mpshell.task.runs import Runs
from mpshell.task.settings import Settings
from mpshell.worker.base import check_timeout
from mpshell.worker.kinds import WorkerPopen

if not TYPE_CHECKING:
    from mpshell.runtime.lean import overload
else:
    from typing import Any, Unpack, overload

    from mpshell.nodeset import Nodes
    from mpshell.task.outcomes import Outcomes
    from mpshell.worker.kinds import DistantWorker, Worker
    from mpshell.worker.public import CommandOptions, IterationOptions, Path


class WorkAccess:
    """The methods of a Task that make workers, and hand them to its part `Runs`."""

    _settings: Settings
    _runs: Runs

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

        Without `nodes` it runs here, and `key` is its name; with nodes (a node set in any form) it runs on
        each, over the distant transport, or here once for each if `remote` is false. `timeout` is in seconds
        from the start of each command. `stderr` and `stdin` are the task's defaults unless given. There
        are no gateways: `tree` has no effect.
        """
        stderr = self._settings.default("stderr") if stderr is None else stderr
        stdin = self._settings.default("stdin") if stdin is None else stdin
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
            raise ValueError(f"key={key!r}: commands for nodes are known by the names of the nodes")
        else:
            # Late: a run without nodes needs no node sets.
            from mpshell.nodeset import NodeSet

            worker_class = self._settings.default("distant_worker" if remote else "local_worker")
            worker = worker_class(
                NodeSet(nodes), handler=handler, timeout=timeout, command=command, stderr=stderr,
                autoclose=autoclose, remote=remote,
            )  # fmt: skip
        if not stdin:
            worker.without_input()
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
        """`shell(command, ...)` and `resume()`: return the worker; `timeout` applies to each command.

        Without a command, or with a number in its place, it is `resume(timeout)` and returns None; then the
        keywords of a command have no effect.
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

    @overload
    def iter_outcomes(
        self,
        command: str,
        *,
        nodes: None = None,
        key: Any = None,
        **options: Unpack[IterationOptions],
    ) -> Outcomes[WorkerPopen]: ...
    @overload
    def iter_outcomes(
        self, command: str, *, nodes: Nodes, key: None = None, **options: Unpack[IterationOptions]
    ) -> Outcomes[DistantWorker]: ...
    @overload
    def iter_outcomes(
        self,
        command: str,
        *,
        nodes: Nodes | None,
        key: None = None,
        **options: Unpack[IterationOptions],
    ) -> Outcomes[WorkerPopen | DistantWorker]: ...
    def iter_outcomes(
        self,
        command: str,
        *,
        nodes: Nodes | None = None,
        key: Any = None,
        timeout: float | None = None,
        stderr: bool | None = None,
        stdin: bool | None = None,
        tree: bool | None = None,
        remote: bool = True,
    ) -> Outcomes[WorkerPopen | DistantWorker]:
        """Return an iterator that runs a command and yields a NodeOutcome for each node when it ends.

        The arguments are those of `shell`. It is a run of this Task, which advances within `next()`: while the
        caller handles an outcome, a slow one delays the engines like a slow handler. Leaving the
        loop, an exception in its body or `close()` ends the commands that still run. Each node comes once;
        nodes that were not run at all come last, "cancelled". In the Task's own thread only (TaskError);
        AlreadyRunningError if there is a run.
        """
        from mpshell.task.outcomes import Arrivals, Outcomes

        self._runs.check_idle()
        if not self._runs.task_thread.is_own():
            raise TaskError("outcomes are iterated over in the Task's own thread (task_self())")
        arrivals = Arrivals()
        worker = self.shell(
            command, nodes, key, handler=arrivals, timeout=timeout, stderr=stderr, stdin=stdin,
            tree=tree, remote=remote,
        )  # fmt: skip
        return Outcomes(self._runs, worker, arrivals)

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
        relay: bool | str = False,
    ) -> DistantWorker:
        """Schedule the copy of a file or directory to nodes and return its worker; from any thread.

        With `preserve` times and modes are kept. With `reverse` it is `rcopy`. With `atomic`, for files
        only (ValueError), a node has either the old file or the complete new one, even after a failure.
        With `relay` it is atomic, and each node passes the file on to another one while it receives it: over
        logins from node to node ("ssh", True), or an sshd that each node runs for this copy ("sshd").
        Over ssh and asyncssh only (ValueError); a file below 4 MB (info key `relay_least`) is sent to each. A
        directory is packed during this call (ValueError, WorkerError), and atomic where its target is new.
        `timeout` is in seconds for each node. ValueError for names that cannot be copied. `tree` has no
        effect, as for `shell`.
        """
        stderr = self._settings.default("stderr") if stderr is None else stderr
        if nodes is None:
            raise ValueError("nodes=None: a copy needs nodes")
        from mpshell.nodeset import NodeSet

        worker_class = self._settings.default("distant_worker")
        if relay is not False and relay is not None:
            # Late: few copies need it.
            from mpshell.worker.relayed import relaying

            worker_class, atomic = relaying(
                worker_class, relay, source, reverse, atomic, self._settings.info
            )
        worker: DistantWorker = worker_class(
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

        ValueError if `dest` is not a directory. The rest is as for `copy`.
        """
        return self.copy(
            source, dest, nodes, handler, timeout, stderr, preserve, True, atomic, tree
        )

    def schedule(self, worker: Worker) -> None:
        """Take a worker: in a running Task it starts at once, within the fanout; from any thread.

        Raise WorkerError for a worker that was scheduled before, TaskError if the Task was killed.
        """
        self._runs.work.schedule(worker)

    def resume(self, timeout: float | None = None) -> None:
        """Run until no worker, timer or port is left except autoclose ones.

        In the Task's own thread this blocks; TimeoutError after `timeout` seconds (None or 0: never),
        AlreadyRunningError from a handler. From another thread it wakes the Task and returns.
        """
        timeout = check_timeout(timeout)
        if self._runs.task_thread.is_own():
            self._runs.resume(timeout)
        else:
            self._runs.task_thread.ask(timeout)
