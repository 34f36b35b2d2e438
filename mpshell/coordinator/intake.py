"""The events about clients, taken into the results of workers and passed on to their listeners.

    EngineSet ──► Output ───► (a transport's reader) ───► results of the worker, its listener
              └─► Finished ─► (a transport's reader) ───► Verdicts

The engines of a run call it (`mpshell.coordinator.engine.ClientEvents`), in the thread of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from mpshell.coordinator.engine import EngineState
from mpshell.coordinator.job import Ended, Job, Reader, Said
from mpshell.coordinator.observer import Observer
from mpshell.coordinator.results import Interned, Key, LiveBlock, text
from mpshell.coordinator.run import Run
from mpshell.coordinator.verdicts import Verdicts
from mpshell.outcome import Outcome
from mpshell.wire import messages
from mpshell.wire.messages import CANCELLED, EXITED, LOST, job_and_index


class _Remembered(dict[str, bool]):
    """The results of a function, which is called once for each argument."""

    def __init__(self, function: Callable[[str], bool]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, argument: str) -> bool:
        answer = self[argument] = self._function(argument)
        return answer


class Intake:
    """Events about the clients of one run; `records` returns whether a stream is recorded now."""

    def __init__(
        self,
        run: Run,
        jobs: Mapping[int, Job],
        verdicts: Verdicts,
        intern: Interned,
        records: Callable[[str], bool],
        observer: Observer | None = None,
    ) -> None:
        self._run = run
        self._jobs = jobs
        self._verdicts = verdicts
        self._intern = intern
        self._records = records
        #: The observer that also keeps output, or None.
        self._keeper = observer if observer is not None and observer.keeps_output else None

    # -- starts --------------------------------------------------------------------------------

    def starting(self, clients: list[int]) -> None:
        """Clients have been announced: they are about to be spawned."""
        for job_id, indexes in indexes_by_job(clients).items():
            job = self._jobs.get(job_id)
            if job is not None:
                self._start(job, indexes)
        self._run.end_wait_for_start()

    def _start(self, job: Job, indexes: list[int]) -> None:
        if job.reader is not None:
            job.started_at.update(dict.fromkeys(indexes, self._run.loop.time()))
        first = not job.announced
        job.announced += len(indexes)
        if job.is_aborted:
            job.untold.update(key for index in indexes for key in job.keys_of(index))
        elif job.wants_events or first:
            self._run.tell(job.listener.job_starting, job, indexes)

    def trace(self, lines: list[tuple[int, str]]) -> None:
        """Command lines have been executed."""
        for client, line in lines:
            if (job := self._jobs.get(job_and_index(client)[0])) is not None:
                self._run.call(job.listener.job_trace, job, line)

    # -- output --------------------------------------------------------------------------------

    def bodies(self, engine: EngineState, event: messages.Bodies) -> None:
        """Gathered output has arrived, to which outcomes will refer: one object for equal bodies of a run."""
        if event.floor:
            engine.bodies = {n: body for n, body in engine.bodies.items() if n >= event.floor}
        for number, body in event.bodies:
            engine.bodies[number] = self._intern(text(body))

    def output(self, engine: EngineState, blocks: list[tuple[int, int, bytes]]) -> None:
        """Clients have written: lines each ended by a newline, or a piece of a very long one."""
        for client, stream, block in blocks:
            job_id, index = job_and_index(client)
            job = self._jobs.get(job_id)
            if job is None:
                continue
            if stream == messages.LOG:
                self._run.tell(job.listener.job_logged, block)
                continue
            if job.reader is not None:
                self._have_read(engine, job, job.reader, index, stream, block)
                continue
            if self._keeper is not None:
                self._keeper.said(job, job.keys_of(index), stream, block)
            if self._wants_lines(job, stream):
                whole = self._whole_lines(job, index, stream, block)
                if whole is not None:
                    self._tell_lines(job, job.keys_of(index), stream, whole)
            elif self._records(sname := job.snames[stream]):
                job.results.record(sname, job.keys_of(index), block)

    def _wants_lines(self, job: Job, stream: int) -> bool:
        return job.streams_lines(stream) and job.is_told and not self._run.stopping

    def _whole_lines(self, job: Job, index: int, stream: int, block: bytes) -> bytes | None:
        """Return a block that ends with a line, however long; None while its end has not arrived."""
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
        """Record and report the lines of a stream of the user."""
        if job.is_told and not self._run.stopping:
            whole = self._whole_lines(job, 0, number, block)
            if whole is not None:
                self._tell_lines(job, job.keys, number, whole)
        elif self._records(sname := job.snames[number]):
            job.results.record(sname, job.keys, block)

    def written(self, writes: list[tuple[int, int]]) -> None:
        """The stdins of clients have taken bytes."""
        for client, size in writes:
            job_id, index = job_and_index(client)
            job = self._jobs.get(job_id)
            if job is not None and not job.is_aborted:
                self._run.tell(job.listener.job_written, job, index, size)

    # -- ends ----------------------------------------------------------------------------------

    def finished(self, engine: EngineState, results: list[messages.Result]) -> None:
        """Clients of an engine have ended for good."""
        jobs, engine_id, bodies = self._jobs, engine.link.engine_id, engine.bodies
        host, offset = engine.link.host, engine.link.offset
        records = _Remembered(self._records)
        # The call that `Outcome(...)` makes: twice as fast without the function in between, which only names
        # the fields.
        new = tuple.__new__
        for client, reason, status, stdout, stderr, started, duration, detail in results:
            # `job_and_index` inline: the saved call pays for half of the checks of a result.
            job = jobs.get(client >> messages.INDEX_BITS)
            index = client & messages.INDEX_MASK
            if job is None:
                continue
            attempt = job.attempts.get(index, 1) if job.attempts else 1
            if job.inputs is not None:
                job.inputs.end(index)
            if offset and started:
                # On another host's clock.
                started += offset
            outcome = new(
                Outcome, (reason, status, started, duration, detail, engine_id, attempt, host)
            )
            if job.reader is None:
                keys = job.keys_of(index)
                if stdout >= 0 and records[sname := job.snames[messages.STDOUT]]:
                    job.results.record_whole(sname, keys, bodies[stdout])
                if stderr >= 0 and records[sname := job.snames[messages.STDERR]]:
                    job.results.record_whole(sname, keys, bodies[stderr])
                if self._keeper is not None:
                    for stream, number in ((messages.STDOUT, stdout), (messages.STDERR, stderr)):
                        if number >= 0:
                            self._keeper.has_said(job, keys, stream, bodies[number])
                self._verdicts.finished(job, index, keys, outcome)
            else:
                for stream, number in ((messages.STDOUT, stdout), (messages.STDERR, stderr)):
                    if number >= 0:
                        whole = bodies[number] + b"\n"
                        self._have_read(engine, job, job.reader, index, stream, whole)
                self._end_read(job, job.reader, index, outcome)
            if job.wants_events:
                # A handler may have switched recording on or off.
                records.clear()

    def lost(self, engine: EngineState, clients: Iterable[tuple[int, float]]) -> None:
        """An engine is gone with these clients, announced at a time (0: not known): they may have run."""
        now = self._run.loop.time()
        detail = engine.link.detail or "its engine has ended"
        for client, began in clients:
            job_id, index = job_and_index(client)
            job = self._jobs.get(job_id)
            if job is None:
                continue
            for stream in (messages.STDOUT, messages.STDERR):
                job.open_lines.pop((index, stream), None)
            job.end_input(index)
            reason = CANCELLED if job.is_aborted else LOST
            duration = now - began if began else 0.0
            link, attempt = engine.link, job.attempt_of(index)
            outcome = Outcome(
                reason, 0, began, duration, detail, link.engine_id, attempt, link.host
            )
            if job.reader is None:
                self._verdicts.finished(job, index, job.keys_of(index), outcome)
            else:
                self._end_read(job, job.reader, index, outcome)

    def dropped(self, job: Job, indexes: Sequence[int]) -> None:
        """Clients that no engine has any more are dropped."""
        self._verdicts.dropped(job, indexes)

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
            link, attempt = engine.link, job.attempt_of(index)
            outcome = Outcome(
                EXITED, 0, began, now - began, None, link.engine_id, attempt, link.host
            )
            self._take(job, items, outcome)

    def _end_read(self, job: Job, reader: Reader, index: int, outcome: Outcome) -> None:
        """Let a reader end a client: keys that it does not end get the client's own outcome."""
        items: list[Said | Ended] = []
        self._ask(items, reader.finish, index, outcome.reason, outcome.status, outcome.detail)
        ends = {item.key: _end_of(item, outcome) for item in items if isinstance(item, Ended)}
        keys = job.keys_of(index)
        # First check for another attempt: a reader must not process the end of one that is not the last.
        attempts = [(key, ends.get(key, outcome)) for key in keys]
        if not self._verdicts.runs_again(job, index, attempts):
            self._take(job, items, outcome)
            missing = [key for key in keys if key not in job.results.outcomes]
            self._verdicts.end(job, missing, outcome)

    def _ask(
        self, items: list[Said | Ended], call: Callable[..., Iterable[Said | Ended]], *args: object
    ) -> None:
        """Call a reader; it may be the user's, and its exception ends the run."""
        self._run.call(lambda: items.extend(call(*args)))

    def _take(self, job: Job, items: Sequence[Said | Ended], outcome: Outcome) -> None:
        """Record and report the lines of a reader; an end has times, engine and attempt of `outcome`."""
        for item in items:
            if isinstance(item, Said):
                if self._keeper is not None:
                    self._keeper.said(job, [item.key], item.stream, item.lines)
                if self._wants_lines(job, item.stream):
                    self._tell_lines(job, [item.key], item.stream, item.lines)
                elif self._records(sname := job.snames[item.stream]):
                    job.results.record(sname, [item.key], item.lines)
            elif item.key not in job.results.outcomes:
                self._verdicts.judge(job, [item.key], _end_of(item, outcome))


def _end_of(item: Ended, outcome: Outcome) -> Outcome:
    """Return the outcome of a key that a reader has ended, with its client's times, engine and attempt."""
    return outcome._replace(reason=item.reason, status=item.status, detail=item.detail)


def indexes_by_job(clients: list[int]) -> dict[int, list[int]]:
    """Return the indexes of clients by their job's number."""
    first = (clients[0] if clients else 0) & ~messages.INDEX_MASK
    if clients and first <= min(clients) and max(clients) <= first | messages.INDEX_MASK:
        # All clients are of one job, as nearly always: twice as fast.
        return {first >> messages.INDEX_BITS: [client - first for client in clients]}
    by_job: dict[int, list[int]] = {}
    for client in clients:
        by_job.setdefault(client >> messages.INDEX_BITS, []).append(client & messages.INDEX_MASK)
    return by_job
