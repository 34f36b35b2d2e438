"""The names of ClusterShell.Engine.EPoll."""

from mpshell.errors import EngineClientEOF, EngineNotSupportedError, EngineTimeoutException
from mpshell.pollers import EngineEPoll

__all__ = ["EngineClientEOF", "EngineEPoll", "EngineNotSupportedError", "EngineTimeoutException"]
