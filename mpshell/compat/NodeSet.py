"""The names of ClusterShell.NodeSet."""

from mpshell.defaults import DEFAULTS
from mpshell.nodeset import (
    NodeSet,
    NodeSetError,
    NodeSetException,
    NodeSetExternalError,
    NodeSetParseError,
    NodeSetParseRangeError,
    expand,
    fold,
)
from mpshell.rangeset import AUTOSTEP_DISABLED, RangeSet, RangeSetParseError

__all__ = [
    "AUTOSTEP_DISABLED",
    "DEFAULTS",
    "NodeSet",
    "NodeSetError",
    "NodeSetException",
    "NodeSetExternalError",
    "NodeSetParseError",
    "NodeSetParseRangeError",
    "RangeSet",
    "RangeSetParseError",
    "expand",
    "fold",
]
