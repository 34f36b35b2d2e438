"""The engines of one run: leased as the work needs them, and sent their work in one frame a turn.

    SlotPool ──► EngineSet ──► a frame a turn ──► engine
                 EngineSet ◄── frames ◄────────── engine, or the report that it is gone
                     └──► ClientEvents (Intake): messages about clients

Messages about engines are handled here. The clients of each engine are kept, so that after the loss of one
its announced clients can be distinguished from those that have surely not run. In the thread of the run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

from mpshell.coordinator import engine as states
from mpshell.coordinator.connects import Connects, LateAffinity
from mpshell.coordinator.engine import ClientEvents, EngineState, check_version
from mpshell.coordinator.heartbeat import Heartbeat
from mpshell.coordinator.job import Job
from mpshell.coordinator.misfires import Misfires
from mpshell.coordinator.nextstart import NextStart
from mpshell.coordinator.notices import NoticeCounts
from mpshell.coordinator.observer import Observer, Unobserved
from mpshell.coordinator.queues import InOrder, InWaves, Slice
from mpshell.coordinator.rate import TokenBucket
from mpshell.coordinator.run import Run
from mpshell.coordinator.sharding import SlotPools
from mpshell.coordinator.staffing import Staffing
from mpshell.errors import EngineStartError, InputStorageError, ProtocolError
from mpshell.launch.link import Link
from mpshell.launch.pool import EnginePool
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.wire import control, messages
from mpshell.wire.messages import Message, job_and_index

if TYPE_CHECKING:
    from typing import Any, ClassVar


class EngineSet:
    """Leased engines, slot pools, and the frames that go down to them.

    With `in_waves` clients wait for `release_wave`. Without `ahead` engines get no clients ahead of need.
    """

    def __init__(
        self,
        run: Run,
        pool: EnginePool,
        wanted: Callable[[int], int],
        configure: messages.Configure,
        clients: ClientEvents,
        heartbeat: float | None,
        bucket: TokenBucket | None = None,
        *,
        observer: Observer | None = None,
        in_waves: bool = False,
        ahead: bool = True,
        connects: Connects | None = None,
    ) -> None:
        self._run, self._loop, self._pool = run, run.loop, pool
        self._configure, self._clients = configure, clients
        self._observer, self._connects = observer or Unobserved(), connects or Connects()
        self._engines: dict[int, EngineState] = {}
        self._new_state: Callable[[Link], EngineState] = EngineState
        self._ahead, self._withheld, self._turn_is_due = ahead, False, False
        self._jobs: dict[int, Job] = {}
        self._affinity = LateAffinity(self._jobs, run.loop.time)
        self._slot_pools = SlotPools(InWaves if in_waves else InOrder)
        self._ids = os.getuid(), os.getgid()
        self._staff = Staffing(self._jobs, self._slot_pools, self._affinity, self._connects, wanted)
        self.notices, self._misfires = NoticeCounts(run), Misfires()
        self._bucket = bucket or TokenBucket(run.loop.time)
        self._next_start = NextStart(run.loop, self._slot_pools, self._bucket, self._end_of_turn)
        self._heartbeat = Heartbeat(run.loop, heartbeat)

    # -- work ----------------------------------------------------------------------------------

    def add_slot_pool(self, number: int, fanout: int | None) -> None:
        """Make a slot pool, or change the fanout of one."""
        serving = [n for n, engine in self._engines.items() if engine.state is states.SERVING]
        self._slot_pools.set_fanout(number, fanout, serving)
        self._staff.changed()
        self._end_of_turn()

    def set_rate(self, rate: float | None) -> None:
        """Hand out no more than `rate` clients a second."""
        self._bucket.set_rate(rate)
        self._end_of_turn()

    def withhold(self, withheld: bool) -> None:
        """Hand out no clients while they are withheld."""
        self._withheld = withheld
        self._end_of_turn()

    def submit(self, job: Job) -> None:
        """Queue all clients of a job; with waves they wait for `release_wave`."""
        self._jobs[job.id] = job
        self.notices.count_job(job)
        self._connects.enter(job)
        if job.ssh_library:
            self._slot_pools.choose_by(self._can_run, self._affinity.part)
        if job.keep:
            self._affinity.begin(job, self._pool.warm(job.ssh_library))
        for first, stop in job.chosen:
            self._slot_pools[job.slot_pool].add_work(Slice(job.id, first, stop))
        self._staff.changed()
        self._end_of_turn()

    def _can_run(self, engine_id: int, job_id: int) -> bool:
        library = self._jobs[job_id].ssh_library
        return not library or self._engines[engine_id].link.ssh_library == library

    def release_wave(self, job: Job, stop: int) -> None:
        """Let the clients of a job before an index start."""
        self._slot_pools[job.slot_pool].release_wave(job.id, stop)
        self._end_of_turn()

    def drop(self, job: Job) -> list[int]:
        """Take back a job's clients that no engine has; return their indexes."""
        dropped = self._slot_pools[job.slot_pool].drop_work(job.id)
        return [index for work in dropped for index in range(work.first, work.stop)]

    def tell_about(self, job: Job, command: messages.Cancel | messages.Withdraw) -> None:
        """Send a message to every engine that has clients of a job."""
        for engine in self._engines.values():
            if job.id in engine.jobs:
                engine.outbox.append(command)
        self._end_of_turn()

    def forget(self, job: Job) -> None:
        """A job is closed: no engine needs it any more."""
        self._jobs.pop(job.id, None)
        if job.fanout is not None:
            self._slot_pools.forget(job.slot_pool)
        for engine in self._engines.values():
            engine.hungry.discard(job.id)
            engine.files.pop(job.id, None)
            if engine.jobs.pop(job.id, None) is not None:
                engine.outbox.append(messages.ForgetJob(job.id))
        self._end_of_turn()

    def again(self, job: Job, index: int, delay: float = 0.0) -> None:
        """Queue a client once more, in front: at once, or in `delay` seconds."""
        due = self._loop.time() + delay if delay else None
        self._slot_pools[job.slot_pool].add_again(Slice(job.id, index, index + 1), due)
        self._end_of_turn()

    def feed(self, job: Job) -> None:
        """Send the new part of a job's stdin."""
        for engine in self._engines.values():
            if job.id in engine.jobs:
                engine.feed(job)
        self._end_of_turn()

    # -- messages of engines -------------------------------------------------------------------

    def _on_frame(self, link: Link, events: list[Message]) -> None:
        engine = self._engines.get(link.engine_id)
        if engine is None:
            return
        self._heartbeat.heard(link.engine_id)
        for event in events:
            try:
                if link.far:
                    from mpshell.coordinator import claims

                    claims.check(engine, event)
                receive = self._receivers.get(type(event))
                if receive is None:
                    raise ProtocolError(f"a coordinator received {event!r}")
                receive(self, engine, event)
            except ProtocolError as error:
                # Not a message for a coordinator: like garbage, it is the end of that engine.
                link.fence(str(error))
        # A start frees no slot: most frames of a start are in the turn of an end anyway, the others need none.
        if len(events) > 1 or type(events[0]) is not messages.Starting:
            self._end_of_turn()

    def _on_starting(self, engine: EngineState, event: messages.Starting) -> None:
        self._misfires.has_worked()
        clients = event.client_ids
        engine.assigned.difference_update(clients)
        engine.running.update(dict.fromkeys(clients, self._loop.time()))
        self._clients.starting(clients)

    def _on_finished(self, engine: EngineState, event: messages.Finished) -> None:
        """Free the slots of clients that have ended, and pass their ends on."""
        end = engine.running.pop
        its_own = [
            result
            for result in event.results
            if end(result[0], None) is not None or engine.take_back(result[0])
        ]
        if len(engine.jobs) == 1:
            ended = {next(iter(engine.jobs)): len(its_own)}
        else:
            ended = Counter(job_and_index(result[0])[0] for result in its_own)
        for job_id, count in ended.items():
            if (job := self._jobs.get(job_id)) is not None:
                self._slot_pools[job.slot_pool].finished(engine.link.engine_id, count)
                if job.keep:
                    self._affinity.ended(engine.link, its_own)
        self._clients.finished(engine, its_own)

    def _on_slots_held(self, engine: EngineState, event: messages.SlotsHeld) -> None:
        if (slot_pool := self._slot_pools.get(event.slot_pool)) is not None:
            slot_pool.held(engine.link.engine_id, event.slots)

    def _on_ready(self, engine: EngineState, event: messages.Ready) -> None:
        check_version(event)
        self._misfires.has_spoken()
        self._admit(engine)

    def _on_input_lost(self, engine: EngineState, event: messages.InputLost) -> None:
        """End the run: its commands must not take a part of their input for the whole."""
        self._run.note(InputStorageError(event.text))

    def _on_failure(self, engine: EngineState, event: messages.EngineFailed) -> None:
        """An engine ends with an internal error."""
        engine.link.detail = event.traceback
        if (error := self._misfires.failed(event.traceback)) is not None:
            self._run.note(error)

    def _on_gone(self, link: Link) -> None:
        engine = self._engines.pop(link.engine_id, None)
        if engine is None:
            return
        self._staff.changed()
        self._slot_pools.remove_engine(link.engine_id)
        self._affinity.remove_engine(link)
        self._heartbeat.forget(link.engine_id)
        self._connects.gone(engine, self._engines.values())
        self._pool.discard(link)
        if link.ready is None:
            self._misfires.ended_at_once(link.detail)
            if link.detail.startswith(control.REFUSED):
                self._run.note(EngineStartError(link.detail))
        for job_id, indexes in engine.not_run().items():
            self._hand_back(job_id, indexes)
        if engine.state is states.RETIRED:
            engine.explain_retirement(*self._ids)
        self._clients.lost(engine, sorted(engine.running.items()))
        self._end_of_turn()

    def _hand_back(self, job_id: int, indexes: list[int]) -> None:
        """Queue clients that were handed out and never announced: they have surely not run."""
        job = self._jobs.get(job_id)
        if job is None:
            return
        self._observer.handed_back(job, indexes)
        job.rewind_input(indexes)
        if job.starts_clients and not self._run.stopping:
            for index in indexes:
                self.again(job, index)
        else:
            self._clients.dropped(job, indexes)

    def _on_silent(self, link: Link) -> None:
        """Its commands may go on for a while: do not start others in its place before it is gone."""
        engine = self._engines.get(link.engine_id)
        if engine is not None:
            engine.handle(states.FALL_SILENT)
            self._slot_pools.freeze(link.engine_id)
            self._affinity.remove_engine(link)

    def _on_flushed(self, link: Link) -> None:
        engine = self._engines.get(link.engine_id)
        if engine is not None and not self._run.stopping:
            for job_id in list(engine.hungry):
                engine.feed(self._jobs[job_id])
            self._end_of_turn()

    #: The receiver of each kind of message. Of the class: bound methods would be a fifth of a run's garbage.
    _receivers: ClassVar[dict[type, Callable[[Any, EngineState, Any], object]]] = {
        messages.Finished: _on_finished,
        messages.Starting: _on_starting,
        messages.Bodies: lambda self, engine, event: self._clients.bodies(engine, event),
        messages.Output: lambda self, engine, event: self._clients.output(engine, event.blocks),
        messages.Written: lambda self, engine, event: self._clients.written(event.writes),
        messages.Trace: lambda self, engine, event: self._clients.trace(event.lines),
        messages.Ready: _on_ready,
        messages.SlotsHeld: _on_slots_held,
        messages.Pong: lambda self, engine, event: None,  # any frame is a sign of life
        messages.InputLost: _on_input_lost,
        messages.RunEnded: lambda self, engine, event: engine.handle(states.RUN_ENDED),
        messages.EngineFailed: _on_failure,
        messages.PasswordNews: lambda self, engine, event: self._connects.on_news(engine, event),
        messages.Warn: lambda self, engine, event: self.notices.warn(event.text),
        messages.Notices: lambda self, engine, event: self.notices.count(event.counts),
        messages.HostKeys: lambda self, engine, event: self.notices.add_host_keys(event.lines),
    }

    # -- turns ---------------------------------------------------------------------------------

    def _end_of_turn(self) -> None:
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        if self._run.seems_over:
            # Each frame wakes an engine: EndRun goes into that of this turn.
            self._end_of_turn()
            return
        if not self._run.stopping:
            if self._ids != (os.getuid(), os.getgid()):
                self._retire_engines()
            # First: clients whose wait for another attempt is over need an engine, and there may be none.
            waits = self._slot_pools.release(self._loop.time)
            try:
                self._lease_what_is_needed()
            except EngineStartError as error:
                self._cannot_start(error)
            else:
                self._deal()
                if waits or self._bucket.is_limited:
                    self._next_start.plan()
        self._observer.turn_ends()
        for engine in self._engines.values():
            if engine.outbox:
                engine.send()
                if engine.hungry and not engine.link.pending:
                    # It took everything at once: `on_flushed` will not be called.
                    self._loop.call_soon(self._on_flushed, engine.link)

    def _cannot_start(self, error: EngineStartError) -> None:
        self._run.note(error)

    def _retire_engines(self) -> None:
        """Hand out no more to engines from before a change of user: they would take no command."""
        self._ids = os.getuid(), os.getgid()
        self._staff.changed()
        for engine_id, engine in self._engines.items():
            engine.handle(states.RETIRE)
            self._slot_pools.remove_engine(engine_id)
            self._affinity.remove_engine(engine.link)

    def _deal(self) -> None:
        """Move slots and hand out clients."""
        for slot_pool in self._slot_pools:
            budget = 0 if self._withheld else self._bucket.available()
            slots, dealt = slot_pool.plan(budget, ahead=self._ahead)
            for engine_id, number in slots.items():
                self._engines[engine_id].give_slots(slot_pool.number, number)
            for engine_id, work in dealt:
                job = self._jobs[work.job_id]
                self._observer.handed_out(job, work.first, work.stop)
                self._engines[engine_id].hand_out(job, work)
                self._bucket.take(work.stop - work.first)

    def _lease_what_is_needed(self) -> None:
        if self._withheld or self._staff.covered or not self._slot_pools.has_queue:
            return
        self._misfires.check()
        while self._staff.lacks(engines := self._engines.values()):
            try:
                link = self._pool.lease(self._connects.ssh_library, self._affinity.connections)
            except EngineStartError:
                if not self._connects.able(engines):
                    raise
                return
            self._attach(link)

    def _attach(self, link: Link) -> None:
        engine = self._engines[link.engine_id] = self._new_state(link)
        self._misfires.living(len(self._engines))
        if link.configured != self._configure:
            link.configured = self._configure
            engine.outbox.append(self._configure)
        # A fork takes a millisecond. A host may never answer, and would hold the clients that it was handed.
        if not link.far or link.ready is not None:
            self._admit(engine)
        self._affinity.add_engine(link)
        self._connects.share(self._engines.values())
        link.attach(self._loop, self._on_frame, self._on_gone, self._on_flushed, self._on_silent)
        self._heartbeat.watch(link)

    def _admit(self, engine: EngineState) -> None:
        """Let the slot pools hand out work to an engine, once."""
        if engine.handle(states.ADMIT):
            self._slot_pools.add_engine(engine.link.engine_id)

    # -- the end -------------------------------------------------------------------------------

    def end_run(self) -> None:
        """Ask every engine to finish; `all_over` is true when they have."""
        for engine in self._engines.values():
            engine.outbox.append(messages.EndRun())
            # One without work has nothing to finish, and its host may never answer.
            engine.handle(states.END_RUN)
        self._turn()

    def kill_all(self, reason: int) -> None:
        """Kill commands that still run, without grace."""
        for engine in self._engines.values():
            engine.outbox.append(messages.Cancel(None, reason, True))
        self._turn()

    def all_over(self) -> bool:
        return all(engine.is_over for engine in self._engines.values())

    def fence(self) -> None:
        """Kill the engines that do not end."""
        for engine in self._engines.values():
            if not engine.is_over:
                engine.link.fence()

    def release(self) -> None:
        """Give the engines back; close those that have not ended the run."""
        for engine in self._engines.values():
            engine.link.detach()
            if engine.state is states.FREE and not engine.link.gone:
                self._pool.give_back(engine.link)
            else:
                self._pool.discard(engine.link)
        self._engines.clear()
