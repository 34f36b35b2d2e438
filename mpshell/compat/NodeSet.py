"""The names of ClusterShell.NodeSet."""

from mpshell.defaults import DEFAULTS, config_paths
from mpshell.nodeset import (
    ILLEGAL_GROUP_CHARS,
    RESOLVER_NOGROUP,
    RESOLVER_NOINIT,
    RESOLVER_STD_GROUP,
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
from mpshell.parsingengine import ParsingEngine
from mpshell.rangeset import AUTOSTEP_DISABLED, RangeSet, RangeSetParseError
from mpshell.rangesetnd import RangeSetND

__all__ = [
    "AUTOSTEP_DISABLED",
    "DEFAULTS",
    "DEF_GROUPS_CONFIGS",
    "ILLEGAL_GROUP_CHARS",
    "NOGROUP_RESOLVER",
    "RESOLVER_NOGROUP",
    "RESOLVER_NOINIT",
    "RESOLVER_STD_GROUP",
    "STD_GROUP_RESOLVER",
    "NodeSet",
    "NodeSetBase",
    "NodeSetError",
    "NodeSetException",
    "NodeSetExternalError",
    "NodeSetParseError",
    "NodeSetParseRangeError",
    "ParsingEngine",
    "RangeSet",
    "RangeSetND",
    "RangeSetParseError",
    "config_paths",
    "expand",
    "fold",
    "grouplist",
    "set_std_group_resolver",
    "set_std_group_resolver_config",
    "std_group_resolver",
]

NOGROUP_RESOLVER = RESOLVER_NOGROUP
STD_GROUP_RESOLVER = RESOLVER_STD_GROUP

DEF_GROUPS_CONFIGS = config_paths("groups.conf")
