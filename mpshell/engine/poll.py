"""Where ClusterShell has `EnginePoll`: a name to import from here too, for users. No engine loads it."""

from mpshell.pollers import EnginePoll

__all__ = ["EnginePoll"]
