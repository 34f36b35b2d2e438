"""The Task as a worker sees it that is scheduled on it.

A worker knows its Task by these protocols and nothing else: `TaskOf` (`mpshell.worker.public`) is the
public Task, for handlers and transports; `Scheduler` is the Task's part that runs workers
(`mpshell.task.workload.Workload`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from mpshell.coordinator.job import Job
    from mpshell.worker.public import TaskOf


#: The Task, as the parts of a worker use it.
PublicTask: TypeAlias = "TaskOf[Any, Any, Any]"

#: The Task, as a parameter that a transport of a user annotates with `mpshell.Task`, whose methods it then
#: sees: an override may not ask for more than the method that it stands for, so that asks for nothing.
AnyTask: TypeAlias = Any


class Tables(Protocol):
    """The settings of a Task that tell how workers are made."""

    def default(self, default_key: str, def_val: Any = None) -> Any: ...


class Scheduled(Protocol):
    """A worker, as its Scheduler has it."""

    #: The job that it has become in a run.
    job: Job | None

    def abort(self) -> None: ...


class Scheduler(Protocol):
    """Runs workers. In the thread of the Task, `in_own_thread` excepted."""

    def in_own_thread(self, call: Callable[..., object], *args: Any) -> None:
        """Call in the Task's thread, from any thread: at once there, or when no run goes on."""

    def check_recorded(self, sname: str) -> None:
        """Raise TaskMsgTreeError when nothing of a stream is or was recorded in this run."""

    def put_off(self, worker: Scheduled) -> None:
        """Leave a worker that has nothing to do yet to the next run."""

    def feed(self, job: Job) -> None:
        """Send input that a job has got."""

    def abort_worker(self, worker: Scheduled) -> None:
        """End a worker's commands, or drop it when it has not begun."""

    def withdraw_worker(self, worker: Scheduled) -> None:
        """Start no more of a worker's commands."""

    def debug(self, line: str) -> None:
        """Pass a line of debugging to the Task's `print_debug`."""
