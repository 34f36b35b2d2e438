"""Where ClusterShell has `EngineEPoll`: a name to import from here too, for users. No engine loads it."""

from mpshell.pollers import EngineEPoll

__all__ = ["EngineEPoll"]
