"""The interface of a Task for the workers that are scheduled on it.

A worker uses its Task only through these protocols: `TaskOf` (`mpshell.worker.public`) is the
public Task, for handlers and transports; `Scheduler` is the Task's part that runs workers
(`mpshell.task.workload.Workload`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from mpshell.coordinator.job import Job
    from mpshell.worker.public import TaskOf


#: The Task, for the parts of a worker.
PublicTask: TypeAlias = "TaskOf[Any, Any, Any]"

#: The Task, as a parameter that a user's transport annotates with `mpshell.Task`. An override may not require
#: more than the method that it overrides, so that method requires nothing.
AnyTask: TypeAlias = Any


class Tables(Protocol):
    """The settings of a Task with which workers are made."""

    def default(self, default_key: str, def_val: Any = None) -> Any: ...


class Scheduled(Protocol):
    """A worker, for its Scheduler."""

    #: Its job in a run.
    job: Job | None

    def abort(self) -> None: ...


class Scheduler(Protocol):
    """Runs workers. In the thread of the Task, except `in_own_thread`."""

    def in_own_thread(self, call: Callable[..., object], *args: Any) -> None:
        """Call in the Task's thread, from any thread: at once there, or if there is no run."""

    def check_recorded(self, sname: str) -> None:
        """Raise TaskMsgTreeError if a stream neither is nor was recorded in this run."""

    def put_off(self, worker: Scheduled) -> None:
        """Leave a worker that has nothing to do yet to the next run."""

    def feed(self, job: Job) -> None:
        """Send new input of a job."""

    def abort_worker(self, worker: Scheduled) -> None:
        """End a worker's commands, or drop the worker if it has not begun."""

    def withdraw_worker(self, worker: Scheduled) -> None:
        """Start no more of a worker's commands."""

    def debug(self, line: str) -> None:
        """Pass a line of debugging to the Task's `print_debug`."""
