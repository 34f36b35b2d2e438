"""Runs for asyncio: `async with mpshell.aio.run(command, nodes=...) as run: async for outcome in run: ...`

Each run has a Task and a coordinator of its own. They make their turns in the event loop of the caller, as
callbacks for one descriptor: no thread is made, and any number of runs can go on at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack, overload

from mpshell.aio.asyncrun import AsyncRun
from mpshell.nodeset import Nodes
from mpshell.task.outcomes import Arrivals
from mpshell.task.task import Task
from mpshell.worker.kinds import DistantWorker, WorkerPopen
from mpshell.worker.public import IterationOptions

__all__ = ["AsyncRun", "run"]


@overload
def run(
    command: str, *, nodes: None = None, key: Any = None, info: Mapping[str, Any] | None = None,
    default: Mapping[str, Any] | None = None, **options: Unpack[IterationOptions],
) -> AsyncRun[WorkerPopen]: ...  # fmt: skip
@overload
def run(
    command: str, *, nodes: Nodes, key: None = None, info: Mapping[str, Any] | None = None,
    default: Mapping[str, Any] | None = None, **options: Unpack[IterationOptions],
) -> AsyncRun[DistantWorker]: ...  # fmt: skip
@overload
def run(
    command: str, *, nodes: Nodes | None, key: None = None, info: Mapping[str, Any] | None = None,
    default: Mapping[str, Any] | None = None, **options: Unpack[IterationOptions],
) -> AsyncRun[WorkerPopen | DistantWorker]: ...  # fmt: skip
def run(
    command: str,
    *,
    nodes: Nodes | None = None,
    key: Any = None,
    info: Mapping[str, Any] | None = None,
    default: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    stderr: bool | None = None,
    stdin: bool | None = False,
    tree: bool | None = None,
    remote: bool = True,
) -> AsyncRun[WorkerPopen | DistantWorker]:
    """Return a run of a command, to be entered with `async with`; nothing is started before.

    The arguments are those of `Task.shell`, except that commands have no stdin without `stdin=True`. `info` and
    `default` are settings (`Task.set_info`, `set_default`). Errors in any of these are raised here. Groups of
    nodes are resolved here too, by programs that may take a while.
    """
    task, runs = Task.beside()
    for name, value in (default or {}).items():
        task.set_default(name, value)
    for name, value in (info or {}).items():
        task.set_info(name, value)
    arrivals = Arrivals()
    worker = task.shell(
        command, nodes, key, handler=arrivals, timeout=timeout, stderr=stderr, stdin=stdin, tree=tree,
        remote=remote,
    )  # fmt: skip
    return AsyncRun(runs, worker, arrivals)
