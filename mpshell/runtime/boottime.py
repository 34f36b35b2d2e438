"""Deadlines of CLOCK_BOOTTIME, which runs while a machine is suspended; CLOCK_MONOTONIC stands still then.

A host that was suspended for longer than its lease must not use the rest of the lease when it wakes up.
"""

import ctypes
import os
import time

_libc = ctypes.PyDLL(None, use_errno=True)

#: timerfd_create(2), clock_gettime(2).
_CLOCK_BOOTTIME = 7
_TFD_TIMER_ABSTIME = 1


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_sec", ctypes.c_long), ("interval_nsec", ctypes.c_long),
        ("value_sec", ctypes.c_long), ("value_nsec", ctypes.c_long),
    )  # fmt: skip


def now() -> float:
    """Return the seconds of CLOCK_BOOTTIME."""
    return time.clock_gettime(_CLOCK_BOOTTIME)


class Alarm:
    """A descriptor that becomes readable at a time (timerfd_create(2)); OSError if there is no room."""

    def __init__(self) -> None:
        self._fd: int = _libc.timerfd_create(_CLOCK_BOOTTIME, os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def fileno(self) -> int:
        """Return the descriptor, for a loop."""
        return self._fd

    def set(self, when: float) -> None:
        """Make it readable from `when` on, a time of CLOCK_BOOTTIME, which may be past."""
        # A value of zero would disarm it.
        whole, part = divmod(max(when, 1e-9), 1)
        value = _Itimerspec(0, 0, int(whole), max(int(part * 1e9), not whole))
        if _libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(value), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        """Close the descriptor. Repeatable."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
