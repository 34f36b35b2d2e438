"""WorkerAsyncSsh: the command of each node runs there, over connections that the engines make themselves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mpshell.coordinator.job import Job
from mpshell.errors import WorkerError
from mpshell.ssh.check import check_request
from mpshell.ssh.extra import missing
from mpshell.ssh.request import Request
from mpshell.wire.connect import Connect, FileCopy
from mpshell.wire.messages import NODE, Template
from mpshell.wire.notices import NOTICE_REASON, OVER_SSH
from mpshell.worker import atomic
from mpshell.worker.copy import NAME, Copy, kept_here
from mpshell.worker.openssh import connect_seconds, scp_as_ssh, split_setting, ssh_words
from mpshell.worker.password import password_of, refuse_far_password, refuse_password
from mpshell.worker.ssh import WorkerSsh, scp_user

if TYPE_CHECKING:
    from mpshell.worker.scheduler import PublicTask


class WorkerAsyncSsh(WorkerSsh):
    """Run `command` on each of `nodes`, over connections of AsyncSSH (the extra `mpshell[asyncssh]`).

    Results, events and info keys are those of `WorkerSsh`, but a command that a signal ended is "signal".
    A node whose configuration needs a feature that AsyncSSH lacks runs over ssh(1); one RuntimeWarning per run
    reports the number of such nodes and the reasons. Files are copied over such connections too, directories
    over scp(1).

    WorkerError if AsyncSSH is not installed.
    """

    _trace_name = "ASYNCSSHCLIENT"

    @property
    def _takes_password(self) -> bool:
        return True

    def _make_job(self, task: PublicTask) -> Job:
        # Engines on other hosts use the library of their host, and ssh(1) if it is not installed there.
        if task.info("launcher") is not None:
            refuse_far_password(task)
        elif (how := missing()) is not None:
            raise WorkerError(how)
        job = super()._make_job(task)
        if not self._executes:
            return job
        _, own = ssh_words(task)
        options = [*own, *split_setting(task, "ssh_options", "")]
        if self._copy is None:
            job.spec = job.spec._replace(connect=self._connect(task, options, self.command or ""))
            job.password = password_of(task)
            return job
        only = _only_for_scp(self._copy)
        user = ""
        if self._over_scp:
            user = scp_user(task)
            options, alone = scp_as_ssh(task)
            only = only or alone
        if only is not None:
            refuse_password(task, f"scp(1), which copies {only},")
            job.notice = f"{OVER_SSH}{NOTICE_REASON}{only}"
        else:
            copy = _over_connection(self._copy, has_parts=bool(job.parts))
            connect = self._connect(task, options, "", user)
            job.spec = job.spec._replace(connect=connect._replace(copy=copy))
            job.password = password_of(task)
        return job

    def _connect(
        self, task: PublicTask, options: list[str], command: str, user: str = ""
    ) -> Connect:
        request = Request(
            user=user or str(task.info("ssh_user") or ""),
            connect_timeout=connect_seconds(task),
            options=tuple(options),
            kex=str(task.info("ssh_kex")),
        )
        if task.info("launcher") is None:
            # Configuration, keys and the answers of `Match exec` are of this host.
            request = check_request(request, list(self.nodes), os.environb)
        return Connect(
            ssh_library="asyncssh",
            command=command,
            user=request.user,
            timeout=request.connect_timeout,
            options=request.options,
            kex=request.kex,
            execs=request.execs,
            keep=float(task.info("ssh_keep")),
            keep_password=bool(task.info("ssh_keep_password")),
        )


def _only_for_scp(copy: Copy) -> str | None:
    """Return why a copy goes over scp(1), None when it may go over a connection."""
    # An atomic one is relayed, by commands.
    if copy.tree and not copy.reverse and not copy.atomic:
        return "a directory"
    path = copy.source if copy.reverse else copy.dest
    if path.startswith("~") and not copy.atomic and path != "~" and not path.startswith("~/"):
        return "another user's home"
    return None


def _over_connection(copy: Copy, has_parts: bool) -> FileCopy:
    """Return the description of a copy for an engine."""
    target: Template = (copy.dest,)
    if copy.reverse:
        # Without parts a node's address is its name.
        target = tuple(NODE if part == NAME and not has_parts else part for part in kept_here(copy))
    return FileCopy(
        source=copy.source,
        target=target,
        name=copy.name,
        preserve=copy.preserve,
        reverse=copy.reverse,
        script=atomic.receiver(copy) if copy.atomic and not copy.reverse else (),
        temporary=atomic.temporary() if copy.atomic and copy.reverse else (),
    )


WORKER_CLASS = WorkerAsyncSsh
