"""What engines say, taken into the results of workers and told to their listeners.

    Output ───► (a transport's reader) ───► results of the worker, its listener (the user's handler)
    Finished ─► (a transport's reader) ───► one verdict a key ─► results, listener

Part of a `Coordinator`, in the thread of its run.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from mpshell.coordinator.engines import EngineState
from mpshell.coordinator.job import Ended, Job, Reader, Said
from mpshell.coordinator.results import Interned, Key, LiveBlock, Outcome, returncode
from mpshell.errors import ProtocolError
from mpshell.wire import messages
from mpshell.wire.messages import CANCELLED, LOST, TIMED_OUT, Message, job_and_index

#: Times that a lost client is run again: a command that kills its engine would be for ever.
_MOST_RETRIES = 10

if TYPE_CHECKING:
    from mpshell.coordinator.coordinator import Coordinator


class Intake:
    """Events of all engines of one run; `records` tells whether a stream is recorded now."""

    def __init__(
        self, run: "Coordinator", records: Callable[[str], bool], retry_lost: bool
    ) -> None:
        self._run = run
        self._records = records
        self._retry_lost = retry_lost
        self.intern = Interned()
        #: The turn in which a return code was seen for the first time.
        self.first_seen: dict[int, int] = {}
        self._warned: set[str] = set()

    def handle(self, engine: EngineState, event: Message) -> None:
        if isinstance(event, messages.Finished):
            self._on_finished(engine, event.results)
        elif isinstance(event, messages.Starting):
            self._on_starting(engine, event.client_ids)
        elif isinstance(event, messages.Output):
            for client, stream, block in event.blocks:
                self._on_output(engine, client, stream, block)
        elif isinstance(event, messages.Bodies):
            self._on_bodies(engine, event)
        elif isinstance(event, messages.Written):
            self._on_written(event)
        elif isinstance(event, messages.SlotsHeld):
            self._run.engines.slots_held(engine, event)
        elif isinstance(event, messages.Trace):
            for client, text in event.lines:
                job = self._run.jobs[client >> 32]
                self._run.tell(job.listener.job_trace, job, text)
        elif isinstance(event, messages.Pong):
            pass  # any frame is a sign of life
        elif isinstance(event, messages.Warn):
            if event.text not in self._warned:
                self._warned.add(event.text)
                self._run.tell(warnings.warn, event.text, RuntimeWarning)
        elif isinstance(event, messages.Drained):
            engine.drained = True
        elif isinstance(event, messages.Ready):
            self._run.engines.ready()
        elif isinstance(event, messages.EngineFailed):
            self._run.engines.failed(engine, event.traceback)
        else:
            raise ProtocolError(f"a coordinator got {event!r}")

    def _on_starting(self, engine: EngineState, clients: list[int]) -> None:
        self._run.engines.starting(engine, clients)
        by_job: dict[int, list[int]] = {}
        for client in clients:
            by_job.setdefault(client >> 32, []).append(client & 0xFFFFFFFF)
        for job_id, indexes in by_job.items():
            job = self._run.jobs.get(job_id)
            if job is None:
                continue
            if job.reader is not None:
                job.started_at.update(dict.fromkeys(indexes, self._run.loop.time()))
            first = not job.started
            job.started = True
            if job.cancelled:
                job.untold.update(key for index in indexes for key in job.keys_of(index))
            elif (job.wants_events or first) and not self._run.stopping:
                self._run.tell(job.listener.job_starting, job, indexes)
        self._run.end_wait_for_start()

    def _on_bodies(self, engine: EngineState, event: messages.Bodies) -> None:
        if event.floor:
            engine.bodies = {n: body for n, body in engine.bodies.items() if n >= event.floor}
        for number, body in event.bodies:
            engine.bodies[number] = self.intern(body)

    def _on_output(self, engine: EngineState, client: int, stream: int, block: bytes) -> None:
        job_id, index = job_and_index(client)
        job = self._run.jobs.get(job_id)
        if job is None:
            return
        if job.reader is not None:
            self._have_read(engine, job, job.reader, index, stream, block)
        elif self._wants_lines(job, stream):
            whole = self._whole_lines(job, index, stream, block)
            if whole is not None:
                self._tell_lines(job, job.keys_of(index), stream, whole)
        elif self._records(sname := job.snames[stream]):
            job.results.record(sname, job.keys_of(index), block)

    def _wants_lines(self, job: Job, stream: int) -> bool:
        wanted = job.wants_events and job.streams_lines(stream)
        return wanted and not (job.cancelled or self._run.stopping)

    def _whole_lines(self, job: Job, index: int, stream: int, block: bytes) -> bytes | None:
        """Return a block that ends with a line, however long; None when its end is still to come."""
        if not block.endswith(b"\n"):
            job.open_lines.setdefault((index, stream), []).append(block)
            return None
        if job.open_lines and (pieces := job.open_lines.pop((index, stream), None)):
            return b"".join((*pieces, block))
        return block

    def _tell_lines(self, job: Job, keys: list[Key], stream: int, block: bytes) -> None:
        live = LiveBlock(job.results, self._records, job.snames[stream], keys, block)
        self._run.tell(job.listener.job_output, job, keys, stream, live.told)
        live.end()

    def stream_output(self, job: Job, number: int, block: bytes) -> None:
        """Record and tell what has come from a stream of the user's."""
        if job.wants_events and not (job.cancelled or self._run.stopping):
            whole = self._whole_lines(job, 0, number, block)
            if whole is not None:
                self._tell_lines(job, job.keys, number, whole)
        elif self._records(sname := job.snames[number]):
            job.results.record(sname, job.keys, block)

    def _on_written(self, event: messages.Written) -> None:
        for client, size in event.writes:
            job_id, index = job_and_index(client)
            job = self._run.jobs.get(job_id)
            if job is not None and not (job.cancelled or self._run.stopping):
                self._run.tell(job.listener.job_written, job, index, size)

    def _on_finished(self, engine: EngineState, finished: list[messages.Result]) -> None:
        jobs, engine_id = self._run.jobs, engine.handle.engine_id
        ended: dict[int, int] = {}
        for client, reason, status, stdout, stderr, started, duration, detail in finished:
            job_id, index = job_and_index(client)
            job = jobs.get(job_id)
            if not engine.end(client) or job is None:
                continue
            pool = job.spec.pool
            ended[pool] = ended.get(pool, 0) + 1
            if stdout >= 0:
                self._on_body(engine, job, index, messages.STDOUT, engine.bodies[stdout])
            if stderr >= 0:
                self._on_body(engine, job, index, messages.STDERR, engine.bodies[stderr])
            self._verdict(job, index, (reason, status, started, duration, detail, engine_id))
        self._run.engines.finished(engine, ended)

    def _on_body(self, engine: EngineState, job: Job, index: int, stream: int, body: bytes) -> None:
        """Take all that a client has said."""
        if job.reader is not None:
            self._have_read(engine, job, job.reader, index, stream, body)
        elif self._records(sname := job.snames[stream]):
            job.results.record_whole(sname, job.keys_of(index), body)

    def _verdict(self, job: Job, index: int, outcome: Outcome) -> None:
        """Record the outcome of a client, tell it, and close the job after the last."""
        if job.reader is None:
            self._judge(job, job.keys_of(index), outcome)
        else:
            reason, status, _, _, detail, _ = outcome
            items: list[Said | Ended] = []
            self._ask(items, job.reader.finish, index, reason, status, detail)
            self._take(job, items, outcome)
            missing = [key for key in job.keys_of(index) if key not in job.results.outcomes]
            if missing:
                self._judge(job, missing, outcome)
        job.unfinished -= 1
        if not job.unfinished:
            self._run.close_job(job)

    def _judge(self, job: Job, keys: list[Key], outcome: Outcome) -> None:
        """Record and tell the one outcome of keys."""
        results = job.results
        reason, status = outcome[:2]
        code = returncode(reason, status)
        timed_out = reason == TIMED_OUT
        if code is not None and code not in self.first_seen:
            self.first_seen[code] = self._run.loop.turns
        for key in keys:
            results.outcomes[key] = outcome
            if code is not None:
                results.codes[key] = code
            elif timed_out:
                results.timeouts[key] = None
        results.settle(keys, self.intern)
        job.timed_out = job.timed_out or timed_out
        if job.wants_events and not self._run.stopping and reason != CANCELLED:
            if job.untold:
                keys = [key for key in keys if key not in job.untold]
            self._run.tell(job.listener.job_finished, job, keys, code, timed_out)

    # -- a transport that reads ----------------------------------------------------------------

    def _have_read(
        self, engine: EngineState, job: Job, reader: Reader, index: int, stream: int, block: bytes
    ) -> None:
        whole = self._whole_lines(job, index, stream, block)
        if whole is not None:
            items: list[Said | Ended] = []
            self._ask(items, reader.read, index, stream, whole)
            now = self._run.loop.time()
            began = job.started_at.get(index, now)
            self._take(job, items, (0, 0, began, now - began, None, engine.handle.engine_id))

    def _ask(
        self, items: list[Said | Ended], call: Callable[..., Iterable[Said | Ended]], *args: object
    ) -> None:
        """Have a reader read; it may be the user's, and what it raises ends the run."""
        self._run.tell(lambda: items.extend(call(*args)))

    def _take(self, job: Job, items: Sequence[Said | Ended], outcome: Outcome) -> None:
        """Record and tell what a reader has read; an end has times and engine of `outcome`."""
        for item in items:
            if isinstance(item, Said):
                if self._wants_lines(job, item.stream):
                    self._tell_lines(job, [item.key], item.stream, item.lines)
                elif self._records(sname := job.snames[item.stream]):
                    job.results.record(sname, [item.key], item.lines)
            elif item.key not in job.results.outcomes:
                _, _, started, duration, _, engine = outcome
                its = (item.reason, item.status, started, duration, item.detail, engine)
                self._judge(job, [item.key], its)

    def judge_rest(self, job: Job) -> None:
        """Report what has no verdict at the end of a run: nothing, unless an error came from anywhere.

        Memory may be short, or another thread may have one raised here (PyThreadState_SetAsyncExc): what was in
        hand is known to nobody then.
        """
        keys = (key for index in range(len(job.nodes)) for key in job.keys_of(index))
        missing = [key for key in keys if key not in job.results.outcomes]
        if missing:
            self._judge(job, missing, (LOST, 0, 0.0, 0.0, "an exception has broken the run off", 0))

    def lose(self, engine: EngineState, job: Job, index: int, began: float) -> None:
        """Report a client of a lost engine, announced at `began`, or run it again where that is asked for."""
        for stream in (messages.STDOUT, messages.STDERR):
            job.open_lines.pop((index, stream), None)
        # Of a client that is for many nodes some may have ended already.
        losses = job.losses[index] = job.losses.get(index, 0) + 1
        again = self._retry_lost and losses <= _MOST_RETRIES
        if again and job.groups is None and not self._run.is_over(job):
            if job.reader is not None:
                job.reader.finish(index, LOST, 0, None)
            job.results.drop_output(job.keys_of(index))
            self._run.engines.again(job, index)
            return
        reason = CANCELLED if job.cancelled else LOST
        detail = engine.handle.detail or "its engine is gone"
        duration = self._run.loop.time() - began if began else 0.0
        self._verdict(job, index, (reason, 0, began, duration, detail, engine.handle.engine_id))
