"""The names of ClusterShell.Task. As there, `import *` gives `os` too."""

import os

from mpshell.defaults import DEFAULTS, config_paths
from mpshell.errors import (
    AlreadyRunningError,
    EngineAbortException,
    EngineAlreadyRunningError,
    EngineClientError,
    EngineTimeoutException,
    TaskError,
    TaskException,
    TaskMsgTreeError,
    TimeoutError,
)
from mpshell.event import EventHandler
from mpshell.msgtree import MsgTree
from mpshell.nodeset import NodeSet
from mpshell.pollers import PreferredEngine
from mpshell.task.functions import task_cleanup, task_self, task_terminate, task_wait
from mpshell.task.ports import EnginePort
from mpshell.task.task import Task
from mpshell.task.timers import EngineTimer
from mpshell.worker.base import FANOUT_UNLIMITED
from mpshell.worker.popen import WorkerPopen

__all__ = [
    "DEFAULTS",
    "FANOUT_UNLIMITED",
    "AlreadyRunningError",
    "EngineAbortException",
    "EngineAlreadyRunningError",
    "EngineClientError",
    "EnginePort",
    "EngineTimeoutException",
    "EngineTimer",
    "EventHandler",
    "MsgTree",
    "NodeSet",
    "PreferredEngine",
    "Task",
    "TaskError",
    "TaskException",
    "TaskMsgTreeError",
    "TimeoutError",
    "WorkerPopen",
    "config_paths",
    "os",
    "task_cleanup",
    "task_self",
    "task_terminate",
    "task_wait",
]
