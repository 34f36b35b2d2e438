"""A side job: a command that a run executes for itself, in neither a journal nor a worker's results.

It takes no slot of the fanout, and has no handler: `on_end` gets its exit status and output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mpshell.coordinator.coordinator import Coordinator
from mpshell.coordinator.job import Ended, Job, Said
from mpshell.coordinator.results import Key, WorkerResults, returncode
from mpshell.outcome import Outcome
from mpshell.wire.connect import Connect
from mpshell.wire.messages import GATHER, STDOUT, Template

#: The status for a command without one.
_NONE = 255

_KEY = "beside"


class Beside:
    """A side job: listener and reader of its job. `on_end(status, stdout, stderr)` is called once."""

    job: Job

    def __init__(
        self,
        others: set[Beside],
        on_end: Callable[[int, bytes, bytes], object] | None,
        trace: Callable[[Job, str], object],
    ) -> None:
        self._others = others
        self._trace = trace
        self.on_end = on_end
        self._said = {True: b"", False: b""}
        others.add(self)

    # -- the reader ------------------------------------------------------------------------------

    def read(self, index: int, stream: int, lines: bytes) -> Iterator[Said | Ended]:
        self._said[stream == STDOUT] += lines
        return iter(())

    def finish(self, index: int, reason: int, status: int, detail: str | None) -> Iterator[Ended]:
        self._others.discard(self)
        code = returncode(reason, status)
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            err = self._said[False] or (detail or "").encode()
            on_end(_NONE if code is None else code, self._said[True], err)
        return iter(())

    # -- the listener, whose events have no handler ----------------------------------------------

    def job_starting(self, job: Job, indexes: Sequence[int]) -> None:
        """Do nothing: it has no handler."""

    def job_output(
        self, job: Job, keys: Sequence[Key], stream: int, lines: Iterator[bytes]
    ) -> None:
        """Do nothing: it has no handler."""

    def job_written(self, job: Job, index: int, size: int) -> None:
        """Do nothing: it has no handler."""

    def stream_written(self, job: Job, sname: str, size: int) -> None:
        """Do nothing: it has no handler."""

    def job_finished(
        self, job: Job, keys: Sequence[Key], code: int | None, timed_out: bool
    ) -> None:
        """Do nothing: it has no handler."""

    def job_retry(self, job: Job, attempts: Sequence[tuple[Key, Outcome]], delay: float) -> None:
        """Do nothing: it has no handler."""

    def job_closed(self, job: Job, timed_out: bool) -> None:
        """Forget it: it may have been dropped before it began."""
        self._others.discard(self)

    def job_logged(self, messages: bytes) -> None:
        """Do nothing: it has no handler."""

    def job_trace(self, job: Job, text: str) -> None:
        """Pass a command line on like one of the worker."""
        self._trace(job, text)


def start_beside(
    coordinator: Coordinator,
    job: Job,
    words: Sequence[Template],
    others: set[Beside],
    on_end: Callable[[int, bytes, bytes], object],
    connect: Connect | None = None,
    node: str = "",
) -> Beside:
    """Start a command with the surroundings of a job's, and put it among others while it runs.

    With `connect` it is that work over a connection of the engine to `node`, and the command where ssh(1) has
    to be used for that node.
    """
    beside = Beside(others, on_end, job.listener.job_trace)
    spec = job.spec._replace(
        shell=None, argv=tuple(words), timeout=None, stdin=False, stdin_each=False, separate_stderr=True,
        stdout_mode=GATHER, stderr_mode=GATHER, report_written=False, diagnose=0, log=None, own_slots=True,
        connect=connect,
    )  # fmt: skip
    own = Job(
        spec, [node], [_KEY], beside, WorkerResults(), fanout=-1, autoclose=job.autoclose,
        wants_events=spec.trace, reader=beside,
    )  # fmt: skip
    own.input_closed = True
    own.recorded = own.repeats = False
    if connect is not None:
        own.password = job.password
    beside.job = own
    coordinator.start(own)
    return beside
