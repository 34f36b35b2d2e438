"""The names of ClusterShell.Event."""

from mpshell.event import EventHandler

__all__ = ["EventHandler"]
