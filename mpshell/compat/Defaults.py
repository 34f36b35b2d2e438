"""The names of ClusterShell.Defaults."""

from mpshell.defaults import DEFAULTS, Defaults

__all__ = ["DEFAULTS", "Defaults"]
