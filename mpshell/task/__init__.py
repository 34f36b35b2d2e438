"""The Task API for scripts. `from mpshell.task import *` has the other names that these need, too.

They are loaded at their first use, as in `mpshell`: a run without nodes needs no node sets.
"""

from __future__ import annotations

import os

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from mpshell.task.names import (
        DEFAULTS,
        AlreadyRunningError,
        EnginePort,
        EngineTimer,
        EventHandler,
        MsgTree,
        NodeSet,
        Task,
        TaskError,
        TaskException,
        TaskMsgTreeError,
        TimeoutError,
        WorkerPopen,
        task_cleanup,
        task_self,
        task_terminate,
        task_wait,
    )

__all__ = [
    "DEFAULTS",
    "AlreadyRunningError",
    "EnginePort",
    "EngineTimer",
    "EventHandler",
    "MsgTree",
    "NodeSet",
    "Task",
    "TaskError",
    "TaskException",
    "TaskMsgTreeError",
    "TimeoutError",
    "WorkerPopen",
    "os",
    "task_cleanup",
    "task_self",
    "task_terminate",
    "task_wait",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mpshell.task import names

    return getattr(names, name)
