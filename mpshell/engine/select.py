"""Where ClusterShell has `EngineSelect`: a name to import from here too, for users. No engine loads it."""

from mpshell.pollers import EngineSelect

__all__ = ["EngineSelect"]
