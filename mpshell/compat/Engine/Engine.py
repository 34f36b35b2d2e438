"""The names of ClusterShell.Engine.Engine."""

from mpshell.errors import (
    EngineAbortException,
    EngineAlreadyRunningError,
    EngineException,
    EngineIllegalOperationError,
    EngineNotSupportedError,
    EngineTimeoutException,
)
from mpshell.task.ports import EnginePort
from mpshell.task.timers import EngineTimer
from mpshell.worker.base import FANOUT_DEFAULT, FANOUT_UNLIMITED

__all__ = [
    "FANOUT_DEFAULT",
    "FANOUT_UNLIMITED",
    "EngineAbortException",
    "EngineAlreadyRunningError",
    "EngineException",
    "EngineIllegalOperationError",
    "EngineNotSupportedError",
    "EnginePort",
    "EngineTimeoutException",
    "EngineTimer",
]
