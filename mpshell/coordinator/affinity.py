"""Which engine of a run has an open connection to a node: its next client goes there. Pure.

A connection stays open after its command has ended, for as long as the job requests (`Connect.keep`). Its
engine does not report it, in particular not between two runs: so this is an estimate. If it is wrong, a
client costs a new connection, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from mpshell.coordinator.job import Job
from mpshell.coordinator.queues import Slice
from mpshell.coordinator.results import Key
from mpshell.wire.messages import EXITED, SIGNALED, Result, job_and_index

#: Nodes that are remembered for an engine: as many as it keeps connections (`mpshell.engine.limits`).
MOST = 2000


class Connected(Protocol):
    """An engine, and the times until which it has connections to nodes, on the monotonic clock."""

    engine_id: int
    connected: dict[Key, float]


class Affinity:
    """The open connections of a run's engines; `jobs` are those of the run by id."""

    def __init__(self, jobs: Mapping[int, Job], clock: Callable[[], float]) -> None:
        self._jobs = jobs
        self._clock = clock
        #: The engine with a connection, by the node's name, among the engines that get clients.
        self._engine_of: dict[Key, int] = {}
        self._serving: set[int] = set()
        #: How many engines have connections to nodes of the run, including warm ones that it has not leased.
        self.engines = 0

    # -- events ------------------------------------------------------------------------------------

    def add_engine(self, engine: Connected) -> None:
        """An engine joins the run, perhaps with connections of earlier runs."""
        now = self._clock()
        self._serving.add(engine.engine_id)
        for node, until in list(engine.connected.items()):
            if until > now:
                self._engine_of[node] = engine.engine_id
            else:
                del engine.connected[node]

    def remove_engine(self, engine: Connected) -> None:
        """An engine gets no more clients: its connections are of no use."""
        self._serving.discard(engine.engine_id)
        for node in engine.connected:
            if self._engine_of.get(node) == engine.engine_id:
                del self._engine_of[node]

    def ended(self, engine: Connected, results: Iterable[Result]) -> None:
        """Clients of an engine have ended."""
        for client, reason, *_ in results:
            job_id, index = job_and_index(client)
            job = self._jobs.get(job_id)
            if job is None or not job.keep:
                continue
            node = job.keys[index]
            # After the others, if at all: the first of them is the oldest.
            if node in engine.connected:
                self._forget(engine, node)
            if reason in (EXITED, SIGNALED):
                engine.connected[node] = self._clock() + job.keep
                if engine.engine_id in self._serving:
                    self._engine_of[node] = engine.engine_id
                if len(engine.connected) > MOST:
                    self._forget(engine, next(iter(engine.connected)))

    def _forget(self, engine: Connected, node: Key) -> None:
        del engine.connected[node]
        if self._engine_of.get(node) == engine.engine_id:
            del self._engine_of[node]

    def begin(self, job: Job, warm: Iterable[Connected]) -> None:
        """A job begins; `warm` are the engines that the run could lease for it."""
        if job.keep:
            held = sum(bool(self._connections(engine, [job])) for engine in warm)
            self.engines = max(self.engines, len(self._serving) + held)

    # -- results -----------------------------------------------------------------------------------

    def part(self, work: Slice, most: int) -> tuple[Slice, int | None]:
        """Return the first of some clients, at most `most`, that go to one engine, and its id.

        None: they go to any engine.
        """
        job = self._jobs[work.job_id]
        if not (self._engine_of and job.keep):
            return work, None
        nodes, engine_of = job.keys, self._engine_of.get
        its = engine_of(nodes[work.first])
        end = min(work.stop, work.first + max(1, most))
        stop = work.first + 1
        while stop < end and engine_of(nodes[stop]) == its:
            stop += 1
        return work._replace(stop=stop), its

    def connections(self, engine: Connected) -> int:
        """Return to how many nodes of the run's jobs an engine has a connection."""
        return self._connections(engine, self._jobs.values())

    def _connections(self, engine: Connected, jobs: Iterable[Job]) -> int:
        if not engine.connected:
            return 0
        now, until = self._clock(), engine.connected.get
        return sum(until(node, 0.0) > now for job in jobs if job.keep for node in job.keys)
