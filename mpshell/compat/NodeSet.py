"""The names of ClusterShell.NodeSet."""

from mpshell.defaults import DEFAULTS
from mpshell.nodeset import (
    ILLEGAL_GROUP_CHARS,
    RESOLVER_NOGROUP,
    NodeSet,
    NodeSetBase,
    NodeSetError,
    NodeSetException,
    NodeSetExternalError,
    NodeSetParseError,
    NodeSetParseRangeError,
    expand,
    fold,
    grouplist,
    set_std_group_resolver,
    set_std_group_resolver_config,
    std_group_resolver,
)
from mpshell.rangeset import AUTOSTEP_DISABLED, RangeSet, RangeSetParseError
from mpshell.rangesetnd import RangeSetND

__all__ = [
    "AUTOSTEP_DISABLED",
    "DEFAULTS",
    "ILLEGAL_GROUP_CHARS",
    "NOGROUP_RESOLVER",
    "RESOLVER_NOGROUP",
    "NodeSet",
    "NodeSetBase",
    "NodeSetError",
    "NodeSetException",
    "NodeSetExternalError",
    "NodeSetParseError",
    "NodeSetParseRangeError",
    "RangeSet",
    "RangeSetND",
    "RangeSetParseError",
    "expand",
    "fold",
    "grouplist",
    "set_std_group_resolver",
    "set_std_group_resolver_config",
    "std_group_resolver",
]

NOGROUP_RESOLVER = RESOLVER_NOGROUP
