"""Connections that the engines of a run make themselves: which engines can, how many, with which passwords."""

from collections.abc import Collection, Iterable

from mpshell.coordinator.engine import EngineState
from mpshell.coordinator.job import Job
from mpshell.coordinator.passwords import Passwords
from mpshell.wire.messages import ConnectLimits


class Connects:
    """The limits of a run, over all its engines; `rate` is per second, None for no limit."""

    def __init__(self, fanout: int = 1, rate: float | None = None) -> None:
        self._fanout = fanout
        self._rate = rate
        #: The library whose connections the run needs; "" as long as it needs none.
        self.library = ""
        self.passwords = Passwords()

    def enter(self, job: Job) -> None:
        """Take a job that may need connections."""
        self.library = job.library or self.library
        self.passwords.enter(job)

    def most_engines(self, wanted: int) -> int:
        """Return how many engines there may be: each of them makes one connection at least."""
        return min(wanted, self._fanout) if self.library else wanted

    def able(self, engines: Iterable[EngineState]) -> int:
        """Return how many engines can run all that the run has; those with a library can run anything."""
        return sum(engine.is_counted and engine.link.library == self.library for engine in engines)

    def gone(self, engine: EngineState, engines: Collection[EngineState]) -> None:
        """An engine is gone: the others share the limits."""
        self.passwords.gone(engine)
        self.share(engines)

    def share(self, engines: Collection[EngineState]) -> None:
        """Send each engine that makes connections its part of the limits."""
        hosts = [engine for engine in engines if engine.link.library and engine.is_counted]
        for rank, engine in enumerate(hosts):
            each, more = divmod(self._fanout, len(hosts))
            rate = None if self._rate is None else self._rate / len(hosts)
            engine.outbox.append(ConnectLimits(max(1, each + (rank < more)), rate))
