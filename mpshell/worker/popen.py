"""WorkerPopen: one local command, identified by a key."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from mpshell.coordinator.job import Job
from mpshell.coordinator.results import Key
from mpshell.errors import WorkerError
from mpshell.worker.base import Worker, check_command

if TYPE_CHECKING:
    from mpshell.worker.scheduler import PublicTask


class WorkerPopen(Worker):
    """Run `command` here, once, with /bin/sh.

    `key` identifies it in events and results; without one, the worker itself does.
    """

    _wants_outcomes = True
    _warns_of_timeout = True
    _trace_name = "POPEN"

    def __init__(
        self,
        command: str,
        key: Any = None,
        handler: Any = None,
        stderr: bool = False,
        timeout: float | None = None,
        autoclose: bool = False,
    ) -> None:
        super().__init__(handler, timeout=timeout, stderr=stderr, autoclose=autoclose)
        self.command = check_command(command)
        self.key = _check_key(key)
        self._rc: int | None = None

    def set_key(self, key: Any) -> None:
        """Set the key, before the run only (WorkerError)."""
        if self.job is not None:
            raise WorkerError(f"{self!r} runs already: its key stays {self.key!r}")
        self.key = _check_key(key)

    def _own_key(self) -> Key:
        return self if self.key is None else self.key

    def _make_job(self, task: PublicTask) -> Job:
        job = self._new_job(task, [""], [self._own_key()], shell=(self.command,))
        job.here = True
        return job

    def _key_shown(self, key: Key) -> Any:
        return None

    def _trace_of(self, key: Key, line: bytes) -> str:
        return f"LINE {line!r}"

    def job_finished(
        self, job: Job, keys: Sequence[Key], code: int | None, timed_out: bool
    ) -> None:
        self._rc = code
        super().job_finished(job, keys, code, timed_out)

    def retcode(self) -> int | None:
        """Return the return code; None while it runs, after a timeout, and after an abort."""
        return self._rc

    def read(self, node: Any = None, sname: str = "stdout") -> bytes | None:
        """Return the record of a stream, or None if it is empty."""
        return self._read(self._own_key() if node is None else node, sname)

    def error(self) -> bytes | None:
        """Return the record of its stderr, or None if it is empty."""
        return self.read(sname=self.SNAME_STDERR)


def _check_key(key: Any) -> Any:
    """Return the key; TypeError for one that cannot be looked up in results."""
    if not isinstance(key, Hashable):
        raise TypeError(f"a key is hashable, {key!r} is not")
    hash(key)  # also a tuple of lists, for instance
    return key


WORKER_CLASS = WorkerPopen
