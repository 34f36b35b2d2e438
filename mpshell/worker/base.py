"""The parts of all workers: handler, state, results.  `mpshell.worker.kinds` has the classes.

A worker is a command for one local key or many nodes. The user or `Task.shell` makes it. The Task
on which it is scheduled turns it into a job for the coordinator (`_make_job`), which calls it back as the
job's listener. All of this is in the thread of the task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from mpshell.coordinator.job import Job, Reader
from mpshell.coordinator.results import Key, StreamStore, WorkerResults
from mpshell.errors import WorkerBadArgumentError, WorkerError
from mpshell.kept import KEEPS_NONE
from mpshell.outcome import NodeOutcome
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.runtime.spool import Spool
from mpshell.runtime.uncopied import Uncopied
from mpshell.wire.messages import DISCARD, GATHER, STREAM, JobSpec, Template
from mpshell.worker.dispatch import dispatch_to
from mpshell.worker.events import DROPPED, STARTED, WAITING, WorkerEvents
from mpshell.worker.text import check_text

if TYPE_CHECKING:
    from typing import Any

    from mpshell.coordinator.coordinator import Coordinator
    from mpshell.wire.logformat import LogFormat
    from mpshell.worker.scheduler import PublicTask, Scheduler, Tables

#: Values of a worker's `_fanout`: no limit; the task's.
FANOUT_UNLIMITED, FANOUT_DEFAULT = -1, None


class WorkerParts(Uncopied, WorkerEvents):
    """All of a worker that does not depend on the other classes of workers."""

    _instead = "make another one with the same arguments, its outcomes and texts can be passed on"

    SNAME_STDIN = "stdin"
    SNAME_STDOUT = "stdout"
    SNAME_STDERR = "stderr"

    #: Commands at once: None shares the task's fanout, -1 has no limit, n is a limit of its own.
    _fanout: int | None = FANOUT_DEFAULT

    #: Finds the reason for a status 255 in a command's last lines: for a transport with failures of its own.
    #: One of `outcome.REASONS`, or None.
    diagnose: Callable[[str], str | None] | None = None

    #: The smallest exit status that may be the transport's own.
    _diagnosed_from = 255

    #: The keys for which it runs its command, None for all of them.
    _only: frozenset[Key] | None = None
    #: Whether canary, batches and the limit of failures apply to it: they do to a worker over nodes.
    _in_waves = False
    #: Whether it keeps outcomes itself, beside the results.
    _wants_outcomes = False

    def __init__(
        self,
        handler: Any = None,
        *,
        timeout: float | None = None,
        stderr: bool = False,
        autoclose: bool = False,
    ) -> None:
        self._dispatch = dispatch_to(handler)
        self.timeout = check_timeout(timeout)
        self.stderr = bool(stderr)
        self.autoclose = bool(autoclose)
        #: The Task on which it is scheduled; None before.
        self.task: Any = None
        self._scheduler: Scheduler | None = None
        self._state: str = WAITING
        self.metaworker: Any = None
        self.metarefcnt = 0
        self.current_node: Any = None
        self.current_msg: bytes | None = None
        self.current_errmsg: bytes | None = None
        self.current_rc: int | None = None
        self.current_sname: str | None = None
        self._stdin = True
        self._input = Spool()
        self._input_closed = False
        self.job: Job | None = None
        self.results = WorkerResults()
        self.results.diagnose = self.diagnose

    # -- the user's side -----------------------------------------------------------------------

    @property
    def eh(self) -> Any:
        """The event handler, or None; may be replaced at any time.

        It gets lines only if the handler at the worker's start did: otherwise the engines gather them.
        """
        return self._dispatch.handler

    @eh.setter
    def eh(self, handler: Any) -> None:
        self._dispatch = dispatch_to(handler)
        if self.job is not None and self._dispatch.wants_clients:
            self.job.wants_events = True

    @property
    def started(self) -> bool:
        """Whether the first of its commands has started, and its handler was notified of it."""
        return self._state is STARTED

    @property
    def is_over(self) -> bool:
        """Whether none of its commands runs or will run any more."""
        return self._state is DROPPED if self.job is None else self.job.is_closed

    def _bound(self) -> Scheduler:
        if self._scheduler is None:
            raise WorkerError(f"{self!r} is not scheduled on a task")
        return self._scheduler

    def did_timeout(self) -> bool:
        """Return whether any of its commands timed out; WorkerError if it is not scheduled."""
        self._bound()
        return bool(self.results.timeouts)

    def _store_of(self, sname: str) -> StreamStore | None:
        """Return the record of a stream, None if it is empty; TaskMsgTreeError if its recording is off."""
        self._bound().check_recorded(sname)
        return self.results.streams.get(sname)

    def read(self, node: Any = None, sname: str = "stdout") -> bytes | None:
        """Return the record of a stream of a node, or None if it is empty."""
        return self._read(node, sname)

    def _read(self, key: Key, sname: str) -> bytes | None:
        store = self._store_of(sname)
        return None if store is None else store.get(key)

    def write(self, buf: bytes, sname: str | None = None) -> None:
        """Write to the stdin of every command, including those that start later.

        Bytes that are written after a command's end are dropped for it. `buf` is bytes-like. Beyond 64 MiB it
        is kept in a file (in TMPDIR, or /tmp): InputStorageError if the disk is full. If another thread
        than the task's writes, that error ends the run instead.
        """
        self._check_writer(sname)
        self._from_any_thread(self._write, self._as_bytes(buf))

    @staticmethod
    def _as_bytes(buf: Any) -> bytes:
        try:
            return bytes(memoryview(buf))
        except TypeError:
            raise TypeError(f"write() takes bytes, not {type(buf).__name__}") from None

    def set_write_eof(self, sname: str | None = None) -> None:
        """Close the stdin of every command as soon as all written bytes have been sent. Repeatable."""
        self._check_writer(sname)
        self._from_any_thread(self._write, None)

    def _check_writer(self, sname: str | None) -> None:
        if sname not in (None, self.SNAME_STDIN):
            raise WorkerError(f"{sname!r} is no stream to write to, {self.SNAME_STDIN!r} is")

    def _from_any_thread(self, call: Callable[..., object], *args: Any) -> None:
        if self._scheduler is None:
            call(*args)
        else:
            self._scheduler.in_own_thread(call, *args)

    def _write(self, data: bytes | None) -> None:
        # Before the start, bytes after set_write_eof are still written, as in ClusterShell.
        if self.is_over or (self._input_closed and self.job is not None):
            return
        if data is None:
            self._input_closed = True
        else:
            self._input.append(data)
        if self.job is not None:
            self._pass_input(self.job)
            self._bound().feed(self.job)

    def _pass_input(self, job: Job) -> None:
        job.input = self._input
        job.input_closed = self._input_closed

    def abort(self) -> None:
        """End its commands: SIGTERM, then SIGKILL after the task's grace. Repeatable.

        Before the run the worker is dropped without any event; after its end this does nothing.
        """
        self._from_any_thread(self._abort)

    def _abort(self) -> None:
        if self.is_over:
            return
        if self.job is None:
            self._state = DROPPED
        if self._scheduler is not None:
            self._scheduler.abort_worker(self)

    def withdraw(self) -> None:
        """Start no more of its commands; running ones go on. From any thread, repeatable.

        A node whose command never started has the outcome "cancelled", without a start time. Before the run
        this is the same as `abort`.
        """
        self._from_any_thread(self._withdraw)

    def _withdraw(self) -> None:
        if self._scheduler is None:
            self._state = DROPPED
        elif not self.is_over:
            self._scheduler.withdraw_worker(self)

    def outcomes(self) -> Iterator[NodeOutcome]:
        """Yield a NodeOutcome for each command that has ended, in the order in which they ended."""
        self._bound()
        return self.results.iter_outcomes()

    def attempts(self, node: Any) -> list[NodeOutcome]:
        """Return the ended attempts of a node in order; the last one is its outcome.

        More than one only with a policy for that (info keys `retry`, `retry_lost`); none for a node that was
        not run. KeyError for a node without an outcome.
        """
        self._bound()
        return self.results.attempts_of(node)

    def flush_buffers(self) -> None:
        """Drop the record of its stdout."""
        self._flush(self.SNAME_STDOUT)

    def flush_errors(self) -> None:
        """Drop the record of its stderr."""
        self._flush(self.SNAME_STDERR)

    def _flush(self, sname: str) -> None:
        self._bound()
        if (store := self.results.streams.get(sname)) is not None:
            store.clear()

    # -- for the Task --------------------------------------------------------------------------

    def bind(self, task: PublicTask, scheduler: Scheduler) -> None:
        """Store the Task on which it is scheduled, and the part of it that runs workers."""
        self.task = task
        self._scheduler = scheduler

    def without_input(self) -> None:
        """Give its commands no input: their stdin ends at once."""
        self._stdin = False
        self.set_write_eof()

    def check_beside(self, unfinished: Callable[[], Iterable[WorkerParts]]) -> None:
        """Raise WorkerError if it cannot run beside the unfinished workers of its task."""

    def check_far(self) -> None:
        """Raise EngineClientNotSupportedError for work that engines on other hosts cannot do."""

    def enter(self, task: PublicTask, run: Coordinator) -> None:
        """Take part in a run; WorkerError for a bad command."""
        run.start(self._make_job(task))

    def needs_engine(self) -> bool:
        """Whether it has commands to run."""
        return True

    def _make_job(self, task: PublicTask) -> Job:
        """Return the job that runs this worker's commands; WorkerError for a bad command."""
        raise WorkerError(f"{type(self).__name__} has no command of its own")

    def _new_job(
        self,
        task: PublicTask,
        nodes: list[str],
        keys: list[Key],
        *,
        shell: Template | None = None,
        argv: tuple[Template, ...] = (),
        groups: list[list[Key]] | None = None,
        env: tuple[tuple[str, str], ...] = (),
        parts: tuple[str, ...] = (),
        reader: Reader | None = None,
        tree: bool = False,
        log: LogFormat | None = None,
        fanout: int | None = None,
        snames: tuple[str, ...] | None = None,
    ) -> Job:
        if fanout is None:
            fanout = check_worker_fanout(self._fanout)
        spec = self._spec(
            task,
            shell=shell,
            argv=argv,
            env=env,
            # Output that is not recorded may still show a reader how a command ended.
            least=DISCARD if reader is None else GATHER,
            tree=tree,
            log=log,
            own_slots=fanout is not None,
        )
        job = Job(
            spec,
            nodes,
            keys,
            self,
            self.results,
            fanout=fanout,
            autoclose=self.autoclose,
            wants_events=self._wants_outcomes or self._dispatch.wants_clients or spec.trace,
            groups=groups,
            reader=reader,
            parts=parts,
            snames=snames or (self.SNAME_STDIN, self.SNAME_STDOUT, self.SNAME_STDERR),
            in_waves=self._in_waves,
        )
        if self._only is not None:
            job.choose(self._only)
        self._pass_input(job)
        self.job = job
        return job

    def _spec(
        self,
        task: PublicTask,
        *,
        shell: Template | None,
        argv: tuple[Template, ...],
        env: tuple[tuple[str, str], ...],
        least: int,
        tree: bool,
        log: LogFormat | None,
        own_slots: bool,
    ) -> JobSpec:
        drain = task.info("drain")
        return JobSpec(
            shell=shell,
            argv=argv,
            timeout=self._effective_timeout(task),
            stdin=self._stdin,
            separate_stderr=self.stderr,
            stdout_mode=max(least, self._mode(task, self.SNAME_STDOUT)),
            stderr_mode=max(least, self._mode(task, self.SNAME_STDERR)),
            report_written=self._dispatch.written is not None,
            grace=float(task.info("grace")),
            drain=None if drain is None else float(drain),
            trace=bool(task.info("debug")),
            diagnose=0 if self.diagnose is None else self._diagnosed_from,
            env=env,
            tree=tree,
            log=log,
            own_slots=own_slots,
        )

    def job_logged(self, messages: bytes) -> None:
        """Take the lines that a transport's program has written to its separate log."""

    def _tell_debug(self, line: str) -> None:
        self._bound().debug(line)

    def _effective_timeout(self, task: PublicTask) -> float | None:
        limit = float(task.info("command_timeout", 0) or 0) or math.inf
        timeout = min(limit, math.inf if self.timeout is None else self.timeout)
        return None if timeout == math.inf else timeout

    def _mode(self, task: PublicTask, sname: str) -> int:
        if self._dispatch.wants_output or task.info("debug"):
            return STREAM
        kept = task.info("journal") is not None and task.info("journal_output") != KEEPS_NONE
        return GATHER if kept or records(task, sname) else DISCARD


def records(settings: Tables, sname: str) -> bool:
    """Return whether the output of a stream is recorded now, by the settings of a Task."""
    return bool(settings.default(f"{sname}_msgtree", False))


def check_timeout(timeout: float | None) -> float | None:
    """Return a timeout in seconds, or None for None and -1; TypeError, ValueError for anything else."""
    if timeout is None or timeout == -1:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"a timeout is a number of seconds, not {timeout!r}")
    if math.isnan(timeout) or timeout < 0:
        raise ValueError(f"a timeout is 0 or more seconds, None or -1 for none, not {timeout!r}")
    return float(timeout)


def check_command(command: Any, *, may_be_empty: bool = False) -> str:
    """Return a command line; ValueError without one, TypeError for anything but a text."""
    if command is None or (command == "" and not may_be_empty):
        raise WorkerBadArgumentError("a worker needs a command")
    if not isinstance(command, str):
        raise TypeError(f"a command is a string, not {command!r}")
    return check_text("a command", command)


def check_worker_fanout(fanout: Any) -> int | None:
    """Return a worker's own fanout; WorkerError for anything else."""
    if fanout is None:
        return None
    if type(fanout) is int and (fanout == FANOUT_UNLIMITED or fanout > 0):
        return fanout
    raise WorkerError(
        f"a fanout is at least 1, -1 for no limit, None for the task's, not {fanout!r}"
    )


def whole_words(words: Iterable[str]) -> tuple[Template, ...]:
    """Return words of a command that hold no marks."""
    return tuple((word,) for word in words)
