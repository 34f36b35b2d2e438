"""Whether a run needs another engine. Pure, but for the functions that it is given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from mpshell.coordinator.connects import Connects, LateAffinity
from mpshell.coordinator.engine import EngineState
from mpshell.coordinator.job import Job
from mpshell.coordinator.sharding import SlotPools
from mpshell.coordinator.worth import engines_for


class Staffing:
    """Compares the engines of a run with its work; `wanted` returns how many a number of commands is worth.

    What is needed only falls while clients end: so one comparison serves until `changed`.
    """

    def __init__(
        self,
        jobs: Mapping[int, Job],
        slot_pools: SlotPools,
        affinity: LateAffinity,
        connects: Connects,
        wanted: Callable[[int], int],
    ) -> None:
        self._jobs, self._slot_pools = jobs, slot_pools
        self._affinity, self._connects = affinity, connects
        self._wanted = wanted
        #: Whether the number of processors for engines stays as it is. It does not with hosts that come and go.
        self.steady = True
        #: Whether there were enough engines at the last comparison, and that holds.
        self.covered = False

    def changed(self) -> None:
        """There is more work, another limit or setting, or an engine less."""
        self.covered = False

    def lacks(self, engines: Collection[EngineState]) -> bool:
        """Return whether another engine is to be leased, besides `engines`."""
        if self.covered:
            return False
        at_once = self._slot_pools.at_once
        wanted = engines_for(self._jobs.values(), at_once, self._wanted, self._affinity.engines)
        if self._connects.able(engines) < self._connects.most_engines(wanted):
            return True
        self.covered = self.steady
        return False
