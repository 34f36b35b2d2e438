"""The next time at which a client may start because of the time alone: by the rate, or for another attempt."""

from __future__ import annotations

import math
from collections.abc import Callable

from mpshell.runtime.loop import EventLoop

#: A call is planned anew only if it is earlier than the planned one by this many seconds.
_EARLIER = 1e-3


class NextStart:
    """A call of `act` on the run's loop, at the earliest planned time."""

    def __init__(self, loop: EventLoop, act: Callable[[], object]) -> None:
        self._loop = loop
        self._act = act
        self._at = math.inf

    def plan(self, moment: float) -> None:
        """Plan a call at a time, unless an earlier one is planned."""
        if moment < self._at - _EARLIER:
            self._at = moment
            self._loop.call_at(moment, self._on_time, moment)

    def _on_time(self, moment: float) -> None:
        if moment == self._at:
            self._at = math.inf
            self._act()
