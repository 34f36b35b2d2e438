"""The engines of one run: leased as the work needs them, told what to do in one frame a turn.

Owned by a coordinator and used in its thread. It keeps what was handed out to which engine, so that
when one is lost its announced clients can be told from those that have surely not run.
"""

import os
from collections.abc import Callable

from mpshell.coordinator.job import Job
from mpshell.coordinator.rate import TokenBucket
from mpshell.coordinator.sharding import Slice, SlotPool
from mpshell.errors import EngineStartError
from mpshell.launch.local import EngineHandle
from mpshell.launch.pool import EnginePool
from mpshell.runtime.loop import EventLoop
from mpshell.wire import messages
from mpshell.wire.messages import Message, client_id, job_and_index

#: Bytes on the way to an engine at which no more stdin is sent.
_HIGH_WATER = 1 << 20

#: Engines in a row that end before they have said a word, until a run gives up, and those that fail with an
#: error of their own before they have announced a command: for each that it has had at once, as one blow may
#: hit them all. The first are more, as a killed fork server can cost two starts, the second sent to it in its
#: last moment.
_FALSE_STARTS, _FAILURES = 10, 3

#: Signs of life that an engine is asked for in the time after which it is given up.
_BEATS = 4

#: Seconds that an engine has for its first word, also with a shorter heartbeat: it may have to wait for a
#: fork server that only starts, on a machine that is busy.
_START = 10.0

#: Clients that make one more engine worth it, when the number of engines is not asked for.
_CLIENTS_AN_ENGINE = 8


class EngineState:
    """What the coordinator knows of one engine in this run."""

    __slots__ = (
        "assigned",
        "bodies",
        "drained",
        "handle",
        "hungry",
        "jobs",
        "outbox",
        "running",
        "silent",
    )

    def __init__(self, handle: EngineHandle) -> None:
        self.handle = handle
        self.outbox: list[Message] = []
        #: Clients handed out and not announced.
        self.assigned: set[int] = set()
        #: Those announced and not finished, with the moment of that, 0 where it is not known.
        self.running: dict[int, float] = {}
        #: Jobs it knows, with the number of stdin pieces it has been sent; -1: the end of it too.
        self.jobs: dict[int, int] = {}
        #: Jobs of which it waits for more of the stdin.
        self.hungry: set[int] = set()
        self.bodies: dict[int, bytes] = {}
        self.drained = False
        #: Beats in a row without a word.
        self.silent = 0

    def end(self, client: int) -> bool:
        """Take note that a client has ended; False for one that was not this engine's to end."""
        if self.running.pop(client, None) is not None:
            return True
        if client in self.assigned:
            self.assigned.remove(client)
            return True
        return False


class EngineSet:
    """Leased engines, slot pools, and the frames that go down to them."""

    def __init__(
        self,
        loop: EventLoop,
        pool: EnginePool,
        wanted: Callable[[int], int],
        configure: messages.Configure,
        on_events: Callable[[EngineState, list[Message]], None],
        on_lost: Callable[[EngineState], None],
        heartbeat: float | None,
    ) -> None:
        self._loop = loop
        self._pool = pool
        #: The number of engines for a number of clients, by setting and processors.
        self._wanted = wanted
        self._configure = configure
        self._on_events = on_events
        self._on_lost = on_lost
        self._engines: dict[int, EngineState] = {}
        self._pools: dict[int, SlotPool] = {}
        self._jobs: dict[int, Job] = {}
        self._turn_is_due = False
        #: Engines that started with the ids of before the program changed: they end what they run.
        self._retired: set[int] = set()
        self._ids = os.getuid(), os.getgid()
        self._false_starts = 0
        self._failures = 0
        self._most = 1
        self.closing = False
        #: Starts a second, over all pools and engines.
        self._bucket = TokenBucket(loop.time)
        self._token_is_due = False
        #: Seconds of silence after which an engine is given up, or None.
        self._heartbeat = heartbeat
        self._beating = False

    # -- work ----------------------------------------------------------------------------------

    def add_pool(self, number: int, fanout: int | None) -> None:
        """Make a slot pool, or give one another fanout."""
        pool = self._pools.get(number)
        if pool is None:
            pool = self._pools[number] = SlotPool(number, fanout)
            for engine_id in self._engines.keys() - self._retired:
                pool.add_engine(engine_id)
        pool.fanout = fanout
        self._end_of_turn()

    def set_rate(self, rate: float | None) -> None:
        """Hand out no more than `rate` clients a second."""
        self._bucket.set_rate(rate)
        self._end_of_turn()

    def submit(self, job: Job) -> None:
        """Queue all clients of a job."""
        self._jobs[job.id] = job
        self._pools[job.spec.pool].add_work(Slice(job.id, 0, len(job.nodes)))
        self._end_of_turn()

    def drop(self, job: Job) -> list[int]:
        """Take a job's clients that no engine has back; return their indexes."""
        dropped = self._pools[job.spec.pool].drop_work(job.id)
        return [index for work in dropped for index in range(work.first, work.stop)]

    def tell_about(self, job: Job, command: messages.Cancel | messages.Withdraw) -> None:
        """Say something to every engine that has clients of a job."""
        for engine in self._engines.values():
            if job.id in engine.jobs:
                engine.outbox.append(command)
        self._end_of_turn()

    def forget(self, job: Job) -> None:
        """No engine needs to know of a closed job any more."""
        self._jobs.pop(job.id, None)
        if job.fanout is not None:
            self._pools.pop(job.spec.pool, None)
        for engine in self._engines.values():
            engine.hungry.discard(job.id)
            if engine.jobs.pop(job.id, None) is not None:
                engine.outbox.append(messages.ForgetJob(job.id))
        self._end_of_turn()

    def again(self, job: Job, index: int) -> None:
        """Queue a client once more, in front."""
        self._pools[job.spec.pool].add_work(Slice(job.id, index, index + 1), front=True)
        self._end_of_turn()

    def feed(self, job: Job) -> None:
        """Send what is new of a job's stdin."""
        for engine in self._engines.values():
            if job.id in engine.jobs:
                self._feed(engine, job)
        self._end_of_turn()

    def _feed(self, engine: EngineState, job: Job) -> None:
        sent = engine.jobs[job.id]
        room = _HIGH_WATER - engine.handle.channel.pending
        while 0 <= sent < len(job.input) and room > 0:
            engine.outbox.append(messages.Write(job.id, job.input[sent]))
            room -= len(job.input[sent])
            sent += 1
        engine.hungry.discard(job.id)
        if 0 <= sent < len(job.input):
            engine.hungry.add(job.id)
        elif sent == len(job.input) and job.input_closed:
            engine.outbox.append(messages.CloseStdin(job.id))
            sent = -1
        engine.jobs[job.id] = sent

    # -- what engines say ----------------------------------------------------------------------

    def _on_frame(self, handle: EngineHandle, events: list[Message]) -> None:
        engine = self._engines.get(handle.engine_id)
        if engine is not None:
            engine.silent = 0
            self._on_events(engine, events)
            self._end_of_turn()

    def starting(self, engine: EngineState, clients: list[int]) -> None:
        """An engine is about to spawn these."""
        self._failures = 0
        engine.assigned.difference_update(clients)
        engine.running.update(dict.fromkeys(clients, self._loop.time()))

    def finished(self, engine: EngineState, ended: dict[int, int]) -> None:
        """Clients of an engine have ended, so many of each pool."""
        for number, count in ended.items():
            if (pool := self._pools.get(number)) is not None:
                pool.finished(engine.handle.engine_id, count)

    def slots_held(self, engine: EngineState, event: messages.SlotsHeld) -> None:
        pool = self._pools.get(event.pool)
        if pool is not None:
            pool.held(engine.handle.engine_id, event.slots)

    def ready(self) -> None:
        """An engine has said its first word."""
        self._false_starts = 0

    def failed(self, engine: EngineState, traceback: str) -> None:
        """An engine ends with an error of its own."""
        engine.handle.detail = traceback
        self._failures += 1
        if self._failures >= _FAILURES * self._most:
            # The next one would be handed the same work, and fail at it as well.
            last = traceback.strip().splitlines()[-1]
            raise EngineStartError(f"{self._failures} engine processes in a row failed: {last}")

    def _on_gone(self, handle: EngineHandle) -> None:
        engine = self._engines.pop(handle.engine_id, None)
        if engine is None:
            return
        self._retired.discard(handle.engine_id)
        for pool in self._pools.values():
            pool.remove_engine(handle.engine_id)
        self._pool.discard(handle)
        if handle.ready is None:
            self._false_starts += 1
        if handle.garbled:
            # Any of them may have been announced, and have run.
            engine.running.update(dict.fromkeys(engine.assigned, 0.0))
            engine.assigned.clear()
        for client in sorted(engine.assigned, reverse=True):
            # Handed out and never announced: it has surely not run, and does elsewhere.
            job_id, index = job_and_index(client)
            job = self._jobs.get(job_id)
            if job is not None:
                self.again(job, index)
        engine.assigned.clear()
        self._on_lost(engine)
        self._end_of_turn()

    def _on_drained(self, handle: EngineHandle) -> None:
        engine = self._engines.get(handle.engine_id)
        if engine is not None:
            for job_id in list(engine.hungry):
                self._feed(engine, self._jobs[job_id])
            self._end_of_turn()

    # -- turns ---------------------------------------------------------------------------------

    def _end_of_turn(self) -> None:
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        if not self.closing:
            if (ids := (os.getuid(), os.getgid())) != self._ids:
                self._ids = ids
                self._retire_engines()
            self._lease_what_is_needed()
            for pool in self._pools.values():
                slots, dealt = pool.plan(self._bucket.available())
                for engine_id, number in slots.items():
                    self._engines[engine_id].outbox.append(messages.SetSlots(pool.number, number))
                for engine_id, work in dealt:
                    self._hand_out(self._engines[engine_id], work)
                    self._bucket.take(work.stop - work.first)
            self._wait_for_token()
        for engine in self._engines.values():
            if engine.outbox:
                outbox, engine.outbox = engine.outbox, []
                engine.handle.send(outbox)
                if engine.hungry and not engine.handle.channel.pending:
                    # It took all at once: nobody will say that there is room again.
                    self._loop.call_soon(self._on_drained, engine.handle)

    def _retire_engines(self) -> None:
        """Hand out no more to the engines of before: they would take no command of another user."""
        self._retired = set(self._engines)
        for pool in self._pools.values():
            for engine_id in self._engines:
                pool.remove_engine(engine_id)

    def _wait_for_token(self) -> None:
        """Make a turn when the rate lets the next client start."""
        seconds = self._bucket.next_token()
        if seconds and not self._token_is_due and any(p.queued for p in self._pools.values()):
            self._token_is_due = True
            self._loop.call_later(seconds, self._on_token)

    def _on_token(self) -> None:
        self._token_is_due = False
        self._end_of_turn()

    def _hand_out(self, engine: EngineState, work: Slice) -> None:
        job = self._jobs[work.job_id]
        new = job.id not in engine.jobs
        nodes = job.nodes[work.first : work.stop]
        engine.outbox.append(messages.Submit(job.id, job.spec if new else None, work.first, nodes))
        engine.assigned.update(range(client_id(job.id, work.first), client_id(job.id, work.stop)))
        if new:
            engine.jobs[job.id] = 0
            self._feed(engine, job)

    def _lease_what_is_needed(self) -> None:
        if not any(pool.queued for pool in self._pools.values()):
            return
        if self._false_starts >= _FALSE_STARTS * self._most:
            raise EngineStartError(f"{self._false_starts} engine processes in a row ended at once")
        clients = sum(job.unfinished for job in self._jobs.values())
        commands = sum(job.unfinished * job.weight for job in self._jobs.values())
        fanout = sum(
            min(clients if pool.fanout is None else pool.fanout, clients)
            for pool in self._pools.values()
        )
        while len(self._engines) - len(self._retired) < max(1, min(self._wanted(commands), fanout)):
            try:
                handle = self._pool.lease()
            except EngineStartError:
                if len(self._engines) == len(self._retired):
                    raise
                return
            self._attach(handle)

    def _attach(self, handle: EngineHandle) -> None:
        engine = self._engines[handle.engine_id] = EngineState(handle)
        self._most = max(self._most, len(self._engines))
        if handle.configured != self._configure:
            handle.configured = self._configure
            engine.outbox.append(self._configure)
        for pool in self._pools.values():
            pool.add_engine(handle.engine_id)
        handle.attach(self._loop, self._on_frame, self._on_gone, self._on_drained)
        if self._heartbeat is not None and not self._beating:
            self._beating = True
            self._loop.call_later(self._heartbeat / _BEATS, self._beat)

    def _beat(self) -> None:
        """Ask every engine for a sign of life, and give up those that have missed all of the last.

        A turn reads the channels before it comes to deadlines, and the next beat counts from here. So an
        engine that has answered while a handler was slow is never taken for dead.
        """
        heartbeat = self._heartbeat or 0.0
        for engine in self._engines.values():
            engine.silent += 1
            limit = heartbeat if engine.handle.ready else max(heartbeat, _START)
            if engine.silent * heartbeat / _BEATS > limit:
                engine.handle.detail = f"no sign of life for {limit:g} s"
                engine.handle.fence()
            else:
                engine.handle.send([messages.Ping()])
        self._loop.call_later(heartbeat / _BEATS, self._beat)

    # -- the end -------------------------------------------------------------------------------

    def end_run(self) -> None:
        """Ask every engine to finish; `drained` tells when they have."""
        self.closing = True
        for engine in self._engines.values():
            engine.outbox.append(messages.EndRun())
        self._turn()

    def kill_all(self, reason: int) -> None:
        """Give what still runs no more grace."""
        for engine in self._engines.values():
            engine.outbox.append(messages.Cancel(None, reason, True))
        self._turn()

    def drained(self) -> bool:
        return all(engine.drained for engine in self._engines.values())

    def fence(self) -> None:
        """Kill the engines that do not come to an end."""
        for engine in self._engines.values():
            if not engine.drained:
                engine.handle.fence()

    def release(self) -> None:
        """Give the engines back; those that are not drained end."""
        for engine in self._engines.values():
            engine.handle.detach()
            if engine.drained and not engine.handle.gone:
                self._pool.give_back(engine.handle)
            else:
                self._pool.discard(engine.handle)
        self._engines.clear()


def default_engines(clients: int, cpus: int) -> int:
    """Return how many engines so many clients are worth."""
    return min(cpus, -(-clients // _CLIENTS_AN_ENGINE))
