"""The events of a worker's job, turned into calls of its handler. Part of `Worker`.

The coordinator calls it, in the thread of the task. After an abort no handler gets any more lines.

Handlers in the legacy form read `worker.current_*` instead of arguments. `current_node` and `current_rc` belong
together: the code is that of the node, or None. Output without a handler for it does not cross line by line;
the last line of a node is then taken from the record when the node ends.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Sequence

from mpshell.coordinator.job import HEARD, Job
from mpshell.coordinator.results import Key
from mpshell.outcome import Outcome
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.runtime.spool import Spool
from mpshell.wire.messages import STDOUT
from mpshell.worker.dispatch import Dispatch, warn_legacy

if TYPE_CHECKING:
    from typing import Any, Final

# The part of its life that a worker stores. Everything else is the state of its job, which only exists in a
# run.
WAITING: Final = "WAITING"  # no event yet
STARTED: Final = "STARTED"  # its handler was notified of its start, and will be of its end
DROPPED: Final = "DROPPED"  # aborted before it had a job: it will have none


class WorkerEvents:
    """The listener of a job (`mpshell.coordinator.job.Listener`)."""

    SNAME_STDIN = "stdin"
    SNAME_STDERR = "stderr"

    #: Whether to warn of a legacy `ev_timeout`.
    _warns_of_timeout = False

    _trace_name = "EXECCLIENT"

    _dispatch: Dispatch
    _state: str
    _input: Spool
    current_node: Any
    current_msg: bytes | None
    current_errmsg: bytes | None
    current_rc: int | None
    current_sname: str | None

    def _tell_debug(self, line: str) -> None:
        """Pass a line of debugging on to the task."""

    def _key_shown(self, key: Key) -> Any:
        """Return the value of `current_node` for a key."""
        return key

    def _turn_to(self, key: Key, code: int | None = None) -> None:
        """Make a key the current one, with its return code once that is known."""
        self.current_node = self._key_shown(key)
        self.current_rc = code

    def _recall(self, job: Job, key: Key) -> None:
        """Take over the last lines of a key that has ended, if no handler got them."""
        if self._dispatch.wants_output and job.streams_lines(STDOUT):
            return
        lines = ((sname, job.results.last_line(key, sname)) for sname in job.snames)
        last = {sname: line for sname, line in lines if line is not None}
        if self.SNAME_STDERR in last:
            self.current_errmsg = last[self.SNAME_STDERR]
        said = [sname for sname in last if sname != self.SNAME_STDERR]
        # With several streams it is not known which was the last.
        if len(said) == 1:
            self.current_msg = last[said[0]]
        if last:
            self.current_sname = next(iter(last)) if len(last) == 1 else None

    def job_starting(self, job: Job, indexes: Sequence[int]) -> None:
        dispatch = self._dispatch
        if self._state is not STARTED:
            self._state = STARTED
            self._turn_to(job.keys_of(indexes[0])[0])
            if dispatch.start is not None:
                dispatch.start(self)
        if self._dispatch.pickup is None and job.state in HEARD:
            return
        for index in indexes:
            for key in job.keys_of(index):
                if job.state not in HEARD:
                    job.untold.add(key)
                elif self._dispatch.pickup is not None:
                    self._turn_to(key)
                    self._tell_pickup(key)

    def _tell_pickup(self, key: Key) -> None:
        pickup = self._dispatch.pickup
        if pickup is None:
            return
        if self._dispatch.legacy_pickup:
            warn_legacy("ev_pickup", "self, worker, node")
            pickup(self)
        else:
            pickup(self, key)

    def job_output(
        self, job: Job, keys: Sequence[Key], stream: int, lines: Iterator[bytes]
    ) -> None:
        sname = job.snames[stream]
        # The output of one command for many keys is reported key by key.
        told = [lines] if len(keys) == 1 else itertools.tee(lines, len(keys))
        for key, key_lines in zip(keys, told, strict=True):
            self._turn_to(key)
            self.current_sname = sname
            if job.spec.trace:
                key_lines = self._traced(key, key_lines)
            if sname == self.SNAME_STDERR:
                self._tell_errors(job, key, sname, key_lines)
            else:
                self._tell_lines(job, key, sname, key_lines)

    def _tell_lines(self, job: Job, key: Key, sname: str, lines: Iterator[bytes]) -> None:
        """Pass lines of stdout to the handler; one that is replaced in the middle gets no more of them."""
        told = None
        while told is not self._dispatch:
            told = self._dispatch
            read, legacy = told.read, told.legacy_read
            if read is None:
                continue
            for line in lines:
                if job.state not in HEARD:
                    return
                self.current_msg = line
                if legacy:
                    warn_legacy("ev_read", "self, worker, node, sname, msg")
                    read(self)
                else:
                    read(self, key, sname, line)
                if self._dispatch is not told:
                    break
        if unheard := collections.deque(lines, 1):
            self.current_msg = unheard[0]

    def _tell_errors(self, job: Job, key: Key, sname: str, lines: Iterator[bytes]) -> None:
        """Pass lines of stderr to the handler, as `_tell_lines` does."""
        for line in lines:
            if job.state not in HEARD:
                return
            self.current_errmsg = line
            if self._dispatch.error is not None:
                self._dispatch.error(self)
            if self._dispatch.legacy_read:
                warn_legacy("ev_read", "self, worker, node, sname, msg")
            elif self._dispatch.read is not None:
                self._dispatch.read(self, key, sname, line)

    def job_written(self, job: Job, index: int, size: int) -> None:
        written = self._dispatch.written
        if written is None:
            return
        for key in job.keys_of(index):
            self._turn_to(key)
            self.current_sname = self.SNAME_STDIN
            written(self, key, self.SNAME_STDIN, size)

    def stream_written(self, job: Job, sname: str, size: int) -> None:
        written = self._dispatch.written
        if written is not None:
            for key in job.keys:
                self._turn_to(key)
                self.current_sname = sname
                written(self, key, sname, size)

    def job_finished(
        self, job: Job, keys: Sequence[Key], code: int | None, timed_out: bool
    ) -> None:
        outcome = self._dispatch.outcome
        for key in keys:
            self._end_of(job, key, code)
            if not timed_out:
                self._tell_hup(key, code)
            if outcome is not None:
                outcome(self, job.results.outcome_of(key))

    def job_retry(self, job: Job, attempts: Sequence[tuple[Key, Outcome]], delay: float) -> None:
        for key, outcome in attempts:
            if self._dispatch.retry is None or job.state not in HEARD:
                return
            ended = job.results.attempt(key, outcome)
            self._turn_to(key, ended.returncode)
            self._dispatch.retry(self, ended, delay)

    def _end_of(self, job: Job, key: Key, code: int | None) -> None:
        """Make a key that has ended the current one."""
        self._turn_to(key, code)
        if self._dispatch.hup is not None or self._dispatch.outcome is not None:
            self._recall(job, key)

    def _tell_hup(self, key: Key, code: int | None) -> None:
        hup = self._dispatch.hup
        if hup is None:
            return
        if self._dispatch.legacy_hup:
            warn_legacy("ev_hup", "self, worker, node, rc")
            hup(self)
        else:
            hup(self, key, code)

    def job_closed(self, job: Job, timed_out: bool) -> None:
        self._input.close()
        if self._state is not STARTED:
            return
        self._turn_to_last(job)
        dispatch = self._dispatch
        if timed_out and dispatch.timeout is not None:
            if self._warns_of_timeout:
                warn_legacy("ev_timeout", "use ev_close(self, worker, timedout)")
            dispatch.timeout(self)
        if dispatch.close is None:
            return
        if dispatch.legacy_close:
            warn_legacy("ev_close", "self, worker, timedout")
            dispatch.close(self)
        else:
            dispatch.close(self, timed_out)

    def _turn_to_last(self, job: Job) -> None:
        """Make the key that ended last the current one, whether or not its end was an event."""
        ended = job.results.last_ended()
        if ended is not None:
            key, code = ended
            self._turn_to(key, code)
            self._recall(job, key)

    def job_trace(self, job: Job, line: str) -> None:
        self._tell_debug(f"{self._trace_name}: {line}")

    def _traced(self, key: Key, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Pass lines on, and each one also to the task's `print_debug`."""
        for line in lines:
            self._tell_debug(self._trace_of(key, line))
            yield line

    def _trace_of(self, key: Key, line: bytes) -> str:
        return f"{key}: {line!r}"
