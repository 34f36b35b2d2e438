"""What a worker hears of its job, turned into calls of its handler. Part of `Worker`.

Called by the coordinator, in the thread of the task. After an abort no line is told any more.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from mpshell.coordinator.job import Job
from mpshell.coordinator.results import Key
from mpshell.worker.dispatch import Dispatch, warn_legacy


class WorkerEvents:
    """The listener of a job (`mpshell.coordinator.job.Listener`)."""

    SNAME_STDIN = "stdin"
    SNAME_STDERR = "stderr"

    #: Whether a legacy `ev_timeout` is warned of.
    _warns_of_timeout = False

    _trace_name = "EXECCLIENT"

    _dispatch: Dispatch
    _aborted: bool
    _done: bool
    started: bool
    current_node: Any
    current_msg: bytes | None
    current_errmsg: bytes | None
    current_rc: int | None
    current_sname: str | None

    def _tell_debug(self, line: str) -> None:
        """Pass a line of debugging on to the task."""

    def _key_shown(self, key: Key) -> Any:
        """Return what `current_node` is for a key."""
        return key

    def job_starting(self, job: Job, indexes: Sequence[int]) -> None:
        dispatch = self._dispatch
        if not self.started:
            self.started = True
            self.current_node = self._key_shown(job.keys_of(indexes[0])[0])
            if dispatch.start is not None:
                dispatch.start(self)
        if self._dispatch.pickup is None and not self._aborted:
            return
        for index in indexes:
            for key in job.keys_of(index):
                if self._aborted:
                    job.untold.add(key)
                elif self._dispatch.pickup is not None:
                    self.current_node = self._key_shown(key)
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
        # What one command says for many keys is told key by key.
        told = [lines] if len(keys) == 1 else itertools.tee(lines, len(keys))
        for key, key_lines in zip(keys, told, strict=True):
            self.current_node = self._key_shown(key)
            self.current_sname = sname
            if job.spec.trace:
                key_lines = self._traced(key, key_lines)
            if sname == self.SNAME_STDERR:
                self._tell_errors(key, sname, key_lines)
            else:
                self._tell_lines(key, sname, key_lines)

    def _tell_lines(self, key: Key, sname: str, lines: Iterator[bytes]) -> None:
        """Tell lines of stdout; a handler that is replaced in the middle hears no more of them."""
        told = None
        while told is not self._dispatch:
            told = self._dispatch
            read, legacy = told.read, told.legacy_read
            if read is None:
                continue
            for line in lines:
                if self._aborted:
                    return
                self.current_msg = line
                if legacy:
                    warn_legacy("ev_read", "self, worker, node, sname, msg")
                    read(self)
                else:
                    read(self, key, sname, line)
                if self._dispatch is not told:
                    break
        collections.deque(lines, 0)

    def _tell_errors(self, key: Key, sname: str, lines: Iterator[bytes]) -> None:
        """Tell lines of stderr, as `_tell_lines` does."""
        for line in lines:
            if self._aborted:
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
            self.current_node = self._key_shown(key)
            self.current_sname = self.SNAME_STDIN
            written(self, key, self.SNAME_STDIN, size)

    def stream_written(self, job: Job, sname: str, size: int) -> None:
        written = self._dispatch.written
        if written is not None:
            for key in job.keys:
                self.current_node = self._key_shown(key)
                self.current_sname = sname
                written(self, key, sname, size)

    def job_finished(
        self, job: Job, keys: Sequence[Key], code: int | None, timed_out: bool
    ) -> None:
        outcome = self._dispatch.outcome
        for key in keys:
            self.current_node = self._key_shown(key)
            if not timed_out:
                self._tell_hup(key, code)
            if outcome is not None:
                outcome(self, job.results.outcome_of(key))

    def _tell_hup(self, key: Key, code: int | None) -> None:
        self.current_rc = code
        hup = self._dispatch.hup
        if hup is None:
            return
        if self._dispatch.legacy_hup:
            warn_legacy("ev_hup", "self, worker, node, rc")
            hup(self)
        else:
            hup(self, key, code)

    def job_closed(self, job: Job, timed_out: bool) -> None:
        self._done = True
        if not self.started:
            return
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

    def job_trace(self, job: Job, line: str) -> None:
        self._tell_debug(f"{self._trace_name}: {line}")

    def _traced(self, key: Key, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Pass lines on, and say each to the task's `print_debug`."""
        for line in lines:
            self._tell_debug(self._trace_of(key, line))
            yield line

    def _trace_of(self, key: Key, line: bytes) -> str:
        return f"{key}: {line!r}"
