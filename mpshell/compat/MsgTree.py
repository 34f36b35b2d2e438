"""The names of ClusterShell.MsgTree."""

from mpshell.msgtree import MODE_DEFER, MODE_SHIFT, MODE_TRACE, MsgTree, MsgTreeElem

__all__ = ["MODE_DEFER", "MODE_SHIFT", "MODE_TRACE", "MsgTree", "MsgTreeElem"]
