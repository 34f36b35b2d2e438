"""The names of ClusterShell.Engine.Factory."""

from mpshell.errors import EngineNotSupportedError
from mpshell.pollers import EngineEPoll, EnginePoll, EngineSelect, PreferredEngine

__all__ = [
    "EngineEPoll",
    "EngineNotSupportedError",
    "EnginePoll",
    "EngineSelect",
    "PreferredEngine",
]
