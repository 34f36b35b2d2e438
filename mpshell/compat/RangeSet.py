"""The names of ClusterShell.RangeSet."""

from mpshell.rangeset import (
    AUTOSTEP_DISABLED,
    RangeSet,
    RangeSetError,
    RangeSetException,
    RangeSetPaddingError,
    RangeSetParseError,
)
from mpshell.rangesetnd import RangeSetND

__all__ = [
    "AUTOSTEP_DISABLED",
    "RangeSet",
    "RangeSetError",
    "RangeSetException",
    "RangeSetND",
    "RangeSetPaddingError",
    "RangeSetParseError",
]
