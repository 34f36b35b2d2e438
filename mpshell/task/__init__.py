"""The Task API for scripts. `from mpshell.task import *` has the other names that these need, too.

They are loaded at their first use, as in `mpshell`: a run without nodes needs no node sets.
"""

from __future__ import annotations

import os as os

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from mpshell.task.names import (
        DEFAULTS as DEFAULTS,
    )
    from mpshell.task.names import (
        AlreadyRunningError as AlreadyRunningError,
    )
    from mpshell.task.names import (
        EnginePort as EnginePort,
    )
    from mpshell.task.names import (
        EngineTimer as EngineTimer,
    )
    from mpshell.task.names import (
        EventHandler as EventHandler,
    )
    from mpshell.task.names import (
        MsgTree as MsgTree,
    )
    from mpshell.task.names import (
        NodeSet as NodeSet,
    )
    from mpshell.task.names import (
        Task as Task,
    )
    from mpshell.task.names import (
        TaskError as TaskError,
    )
    from mpshell.task.names import (
        TaskException as TaskException,
    )
    from mpshell.task.names import (
        TaskMsgTreeError as TaskMsgTreeError,
    )
    from mpshell.task.names import (
        TimeoutError as TimeoutError,
    )
    from mpshell.task.names import (
        WorkerPopen as WorkerPopen,
    )
    from mpshell.task.names import (
        task_cleanup as task_cleanup,
    )
    from mpshell.task.names import (
        task_self as task_self,
    )
    from mpshell.task.names import (
        task_terminate as task_terminate,
    )
    from mpshell.task.names import (
        task_wait as task_wait,
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
