"""The names of ClusterShell.NodeSet."""

from mpshell.defaults import DEFAULTS as DEFAULTS
from mpshell.defaults import config_paths
from mpshell.nodeset import *  # noqa: F403
from mpshell.nodeset import RESOLVER_NOGROUP as NOGROUP_RESOLVER  # noqa: F401
from mpshell.nodeset import RESOLVER_STD_GROUP as RESOLVER_STD_GROUP
from mpshell.parsingengine import ParsingEngine as ParsingEngine

STD_GROUP_RESOLVER = RESOLVER_STD_GROUP
DEF_GROUPS_CONFIGS = config_paths("groups.conf")
