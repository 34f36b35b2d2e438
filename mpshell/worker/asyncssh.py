"""WorkerAsyncSsh: the command of each node runs there, over connections that the engines make themselves."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING

from mpshell.coordinator.job import Job
from mpshell.errors import WorkerError
from mpshell.wire.messages import Connect
from mpshell.worker.openssh import connect_seconds, split_setting
from mpshell.worker.ssh import WorkerSsh

if TYPE_CHECKING:
    from mpshell.worker.owner import Owner

_LIBRARY = "asyncssh"


class WorkerAsyncSsh(WorkerSsh):
    """Run `command` on each of `nodes`, over connections of AsyncSSH (the extra `mpshell[asyncssh]`).

    Results, events and the info keys are those of `WorkerSsh`. A command that a signal has ended is "signal"
    here. A node whose configuration asks for what AsyncSSH has not is run over ssh(1); one RuntimeWarning a run
    has the number of such nodes and the reasons. Copies go over scp(1), and ssh(1) where they are atomic.
    """

    _trace_name = "ASYNCSSHCLIENT"

    def _make_job(self, task: Owner) -> Job:
        check_extra()
        job = super()._make_job(task)
        if self._copy is None:
            user = task.info("ssh_user")
            connect = Connect(
                _LIBRARY,
                self.command or "",
                None if user is None else str(user),
                float(connect_seconds(task)),
                tuple(split_setting(task, "ssh_options", "")),
            )
            job.spec = job.spec._replace(connect=connect)
        return job


@functools.cache
def check_extra() -> None:
    """Raise WorkerError where AsyncSSH is not installed, or too old."""
    if importlib.util.find_spec(_LIBRARY) is None:
        raise WorkerError(
            "the transport asyncssh needs the package of that name: pip install 'mpshell[asyncssh]'"
        )
    version = importlib.metadata.version(_LIBRARY)
    if tuple(map(int, version.split(".")[:2])) < (2, 24):
        raise WorkerError(f"the transport asyncssh needs AsyncSSH 2.24 or later, not {version}")


WORKER_CLASS = WorkerAsyncSsh
