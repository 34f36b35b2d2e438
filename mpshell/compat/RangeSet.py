"""The names of ClusterShell.RangeSet."""

from mpshell.rangeset import (
    AUTOSTEP_DISABLED,
    RangeSet,
    RangeSetError,
    RangeSetException,
    RangeSetPaddingError,
    RangeSetParseError,
)

__all__ = [
    "AUTOSTEP_DISABLED",
    "RangeSet",
    "RangeSetError",
    "RangeSetException",
    "RangeSetPaddingError",
    "RangeSetParseError",
]
