"""Functions about the Tasks of all threads, which a script calls first and last.

They may be called from any thread; each concerns the Task of the calling thread or the others.
"""

from __future__ import annotations

import threading

import mpshell.task.registry as registry
from mpshell.defaults import Defaults
from mpshell.launch.pool import shutdown
from mpshell.task.task import Task


def task_self(defaults: Defaults | None = None) -> Task:
    """Return the Task of the calling thread; make one if it has none."""
    return Task(thread=threading.current_thread(), defaults=defaults)


def task_wait() -> None:
    """Wait until the runs of all other threads' Tasks are over."""
    Task.wait(threading.current_thread())


def task_terminate() -> None:
    """End the calling thread's Task: `task_self().abort(kill=True)`."""
    task_self().abort(kill=True)


def task_cleanup() -> None:
    """End the Tasks of all threads, wait until they have ended, and end the engines that wait for a run.

    A program that drops privileges calls this before or after that, so that no process keeps them.
    """
    while entries := registry.entries():
        own = [entry for entry in entries if entry.task_thread.is_own()]
        for entry in entries:
            if entry not in own:
                entry.task.abort(kill=True)
                entry.task_thread.wait_for_end()
        for entry in own:
            entry.task.abort(kill=True)
    shutdown()
