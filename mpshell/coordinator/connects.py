"""Connections that the engines of a run make: which engines make them, how many, with which passwords."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from mpshell.coordinator.engine import EngineState
from mpshell.coordinator.job import Job
from mpshell.coordinator.queues import Slice
from mpshell.errors import ProtocolError
from mpshell.launch.link import Link
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.wire.messages import ConnectLimits, PasswordNews, Result

if TYPE_CHECKING:
    from mpshell.coordinator.affinity import Affinity
    from mpshell.coordinator.passwords import Passwords


class Connects:
    """The limits of a run, over all its engines; `rate` is per second, None for no limit."""

    def __init__(self, fanout: int = 1, rate: float | None = None) -> None:
        self._fanout = fanout
        self._rate = rate
        #: The library whose connections the run needs; "" while it needs none.
        self.ssh_library = ""
        #: None while no job has had a password.
        self._passwords: Passwords | None = None

    def enter(self, job: Job) -> None:
        """Take a job that may need connections."""
        self.ssh_library = job.ssh_library or self.ssh_library
        if job.password is not None:
            if self._passwords is None:
                # Late: most runs have none.
                from mpshell.coordinator.passwords import Passwords

                self._passwords = Passwords()
            self._passwords.enter(job)

    def on_news(self, engine: EngineState, event: PasswordNews) -> None:
        """Process the report of an engine about passwords; ProtocolError for one that does not exist."""
        if self._passwords is None:
            raise ProtocolError("a run without passwords received the state of one")
        self._passwords.on_news(engine, event)

    def most_engines(self, wanted: int) -> int:
        """Return how many engines there may be: each of them makes at least one connection."""
        return min(wanted, self._fanout) if self.ssh_library else wanted

    def able(self, engines: Iterable[EngineState]) -> int:
        """Return how many engines can run all commands of the run; those with a library can run any."""
        return sum(
            engine.is_counted and engine.link.ssh_library == self.ssh_library for engine in engines
        )

    def gone(self, engine: EngineState, engines: Collection[EngineState]) -> None:
        """An engine is gone: the others share the limits."""
        if self._passwords is not None:
            self._passwords.gone(engine)
        self.share(engines)

    def share(self, engines: Collection[EngineState]) -> None:
        """Send each engine that makes connections its part of the limits."""
        hosts = [engine for engine in engines if engine.link.ssh_library and engine.is_counted]
        for rank, engine in enumerate(hosts):
            each, more = divmod(self._fanout, len(hosts))
            rate = None if self._rate is None else self._rate / len(hosts)
            engine.outbox.append(ConnectLimits(max(1, each + (rank < more)), rate))


class LateAffinity:
    """The `Affinity` of a run, loaded with the first job whose connections stay open; a plain run has none.

    `jobs` are those of the run by id; `clock` is the monotonic one.
    """

    def __init__(self, jobs: Mapping[int, Job], clock: Callable[[], float]) -> None:
        self._jobs = jobs
        self._clock = clock
        #: The engines that get clients.
        self._links: dict[int, Link] = {}
        self._affinity: Affinity | None = None

    @property
    def engines(self) -> int:
        """How many engines have connections to nodes of the run."""
        return 0 if self._affinity is None else self._affinity.engines

    def add_engine(self, link: Link) -> None:
        """An engine joins the run."""
        self._links[link.engine_id] = link
        if self._affinity is not None:
            self._affinity.add_engine(link)

    def remove_engine(self, link: Link) -> None:
        """An engine gets no more clients."""
        self._links.pop(link.engine_id, None)
        if self._affinity is not None:
            self._affinity.remove_engine(link)

    def begin(self, job: Job, warm: Iterable[Link]) -> None:
        """A job begins whose connections stay open; `warm` are the engines that the run could lease for it."""
        if self._affinity is None:
            from mpshell.coordinator.affinity import Affinity

            self._affinity = Affinity(self._jobs, self._clock)
            for link in self._links.values():
                self._affinity.add_engine(link)
        self._affinity.begin(job, warm)

    def ended(self, link: Link, results: Iterable[Result]) -> None:
        """Clients of an engine have ended."""
        if self._affinity is not None:
            self._affinity.ended(link, results)

    def part(self, work: Slice, most: int) -> tuple[Slice, int | None]:
        """Divide clients by the engines that should run them (`queues.Divide`)."""
        return (work, None) if self._affinity is None else self._affinity.part(work, most)

    def connections(self, link: Link) -> int:
        """Return to how many nodes of the run's jobs an engine has a connection."""
        return 0 if self._affinity is None else self._affinity.connections(link)
