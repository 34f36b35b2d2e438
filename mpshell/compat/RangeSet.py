"""The names of ClusterShell.RangeSet."""

from mpshell.rangeset import *  # noqa: F403
from mpshell.rangesetnd import RangeSetND as RangeSetND
