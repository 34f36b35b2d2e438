"""How many engines the work of a run is worth. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection

from mpshell.coordinator.job import Job
from mpshell.coordinator.queues import UNLIMITED


def engines_for(
    jobs: Collection[Job],
    at_once: Callable[[int], int],
    wanted: Callable[[int], int],
    connected: int,
) -> int:
    """Return how many engines to lease for the unfinished clients of some jobs.

    `at_once` returns how many of a number of clients may run at once, `wanted` how many engines a number of
    commands is worth. `connected` engines have connections to nodes of the run.
    """
    clients = sum(job.unfinished for job in jobs)
    commands = sum(job.unfinished * job.weight for job in jobs)
    found = max(1, min(wanted(commands), at_once(clients)))
    if connected:
        # Existing connections are worth one more engine, within the allowed number.
        found = max(found, min(connected, wanted(UNLIMITED)))
    return found
