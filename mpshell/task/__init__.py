"""The Task API for scripts. `from mpshell.task import *` has the other names that these need, too."""

import os

from mpshell.defaults import DEFAULTS
from mpshell.errors import (
    AlreadyRunningError,
    TaskError,
    TaskException,
    TaskMsgTreeError,
    TimeoutError,
)
from mpshell.event import EventHandler
from mpshell.msgtree import MsgTree
from mpshell.nodeset import NodeSet
from mpshell.task.functions import task_cleanup, task_self, task_terminate, task_wait
from mpshell.task.ports import EnginePort
from mpshell.task.task import Task
from mpshell.task.timers import EngineTimer
from mpshell.worker.kinds import WorkerPopen

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
