"""The names of ClusterShell.Engine.Select."""

from mpshell.errors import EngineClientEOF, EngineNotSupportedError, EngineTimeoutException
from mpshell.pollers import EngineSelect

__all__ = ["EngineClientEOF", "EngineNotSupportedError", "EngineSelect", "EngineTimeoutException"]
