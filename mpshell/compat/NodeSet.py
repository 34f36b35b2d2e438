"""The names of ClusterShell.NodeSet."""

from mpshell.defaults import DEFAULTS as DEFAULTS
from mpshell.nodeset import *  # noqa: F403
from mpshell.nodeset import RESOLVER_NOGROUP as NOGROUP_RESOLVER  # noqa: F401
