"""The names of ClusterShell.Engine.Poll."""

from mpshell.errors import (
    EngineClientEOF,
    EngineException,
    EngineNotSupportedError,
    EngineTimeoutException,
)
from mpshell.pollers import EnginePoll

__all__ = [
    "EngineClientEOF",
    "EngineException",
    "EngineNotSupportedError",
    "EnginePoll",
    "EngineTimeoutException",
]
