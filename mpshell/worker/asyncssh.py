"""WorkerAsyncSsh: the command of each node runs there, over connections that the engines make themselves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mpshell.coordinator.job import Job
from mpshell.errors import EngineClientNotSupportedError, WorkerError
from mpshell.ssh.check import check_request
from mpshell.ssh.extra import missing
from mpshell.ssh.request import Request
from mpshell.wire.messages import Connect
from mpshell.worker.openssh import connect_seconds, split_setting, ssh_words
from mpshell.worker.ssh import WorkerSsh

if TYPE_CHECKING:
    from mpshell.worker.scheduler import PublicTask


class WorkerAsyncSsh(WorkerSsh):
    """Run `command` on each of `nodes`, over connections of AsyncSSH (the extra `mpshell[asyncssh]`).

    Results, events and info keys are those of `WorkerSsh`, but a command that a signal has ended is "signal".
    A node whose configuration asks for what AsyncSSH lacks runs over ssh(1); one RuntimeWarning a run has the
    number of such nodes and the reasons. Copies go over scp(1), and ssh(1) where they are atomic.

    WorkerError where AsyncSSH is not installed.
    """

    _trace_name = "ASYNCSSHCLIENT"

    def check_far(self) -> None:
        super().check_far()
        raise EngineClientNotSupportedError(
            "engines on other hosts host no connections of AsyncSSH: the info key 'launcher' is set; "
            "the worker ssh can be used"
        )

    def _make_job(self, task: PublicTask) -> Job:
        if (how := missing()) is not None:
            raise WorkerError(how)
        job = super()._make_job(task)
        if self._copy is None and self._executes:
            job.spec = job.spec._replace(connect=self._connect(task))
        return job

    def _connect(self, task: PublicTask) -> Connect:
        _, own = ssh_words(task)
        request = Request(
            user=str(task.info("ssh_user") or ""),
            connect_timeout=connect_seconds(task),
            options=(*own, *split_setting(task, "ssh_options", "")),
            kex=str(task.info("ssh_kex")),
        )
        request = check_request(request, list(self.nodes), os.environb)
        return Connect(
            library="asyncssh",
            command=self.command or "",
            user=request.user,
            timeout=request.connect_timeout,
            options=request.options,
            kex=request.kex,
            execs=request.execs,
            keep=float(task.info("ssh_keep")),
        )


WORKER_CLASS = WorkerAsyncSsh
