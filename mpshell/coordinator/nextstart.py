"""The next time at which a client may start because of the time alone: by the rate, or for another attempt."""

from __future__ import annotations

import math
from collections.abc import Callable

from mpshell.coordinator.rate import TokenBucket
from mpshell.coordinator.sharding import SlotPools
from mpshell.runtime.loop import EventLoop

#: A call is planned anew only if it is earlier than the planned one by this many seconds.
_EARLIER = 1e-3


class NextStart:
    """A call of `act` on the run's loop, at the time when a client of some slot pools may start."""

    def __init__(
        self,
        loop: EventLoop,
        slot_pools: SlotPools,
        bucket: TokenBucket,
        act: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._slot_pools = slot_pools
        self._bucket = bucket
        self._act = act
        self._at = math.inf

    def plan(self) -> None:
        """Plan the call, unless an earlier one is planned."""
        moments = self._slot_pools.moments()
        if self._slot_pools.has_queue and (seconds := self._bucket.next_token()):
            moments.append(self._loop.time() + seconds)
        moment = min(moments, default=math.inf)
        if moment < self._at - _EARLIER:
            self._at = moment
            self._loop.call_at(moment, self._on_time, moment)

    def _on_time(self, moment: float) -> None:
        if moment == self._at:
            self._at = math.inf
            self._act()
