"""WorkerSsh: the command of each node runs there, over OpenSSH's ssh(1); copies go over scp(1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mpshell.coordinator.job import Job
from mpshell.errors import WorkerError
from mpshell.wire.messages import NODE, Template
from mpshell.worker import atomic
from mpshell.worker.copy import Copy, is_plain, kept_here, local_path
from mpshell.worker.openssh import SshProgram, connection, scp_program, ssh_program
from mpshell.worker.password import refuse_password
from mpshell.worker.ssh_log import diagnose_scp, diagnose_ssh
from mpshell.worker.transport import Transport, Word

if TYPE_CHECKING:
    from mpshell.wire.logformat import LogFormat
    from mpshell.worker.scheduler import PublicTask


#: Pattern characters in the path of a remote source, for scp's newer protocol (glob(3)).
_PATTERN = re.compile(r"([*?\[\]\\{}])")

#: Nodes, with or without a user, that scp takes for nothing else in "user@[node]:path".
_COPY_NODE = re.compile(r"(?:[^-/@:\[\]\s][^/@:\[\]\s]*@)?[^/@\[\]\s]+")


class WorkerSsh(Transport):
    """Run `command` on each of `nodes`, one ssh(1) a node; the command is not changed in any way.

    The task's info keys `ssh_path` (may contain arguments), `ssh_options`, `ssh_user` and
    `connect_timeout` (seconds) apply. ssh itself fails with return code 255: no connection, no permission.

    With `source` and `dest` it is a copy, one scp(1) a node, with `scp_path`, `scp_options` and `scp_user`;
    if the last two are not set, those of ssh apply. With `atomic` it goes over ssh(1).
    """

    _trace_name = "SSHCLIENT"
    diagnose = staticmethod(diagnose_ssh)

    def __init__(self, nodes: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(nodes, *args, **kwargs)
        for node in self.nodes:
            if node.startswith("-"):
                raise WorkerError(f"node {node!r} would be taken for an option of ssh")
            if self._over_scp and not _COPY_NODE.fullmatch(node):
                raise WorkerError(f"node {node!r} would be taken for something else by scp")
        #: Whether addresses contain the users of nodes, and the user that takes precedence over those, as
        #: with ssh.
        self._own_users = self._over_scp and any("@" in node for node in self.nodes)
        self._user = ""
        if self._over_scp and self.diagnose is diagnose_ssh:
            self.results.diagnose = diagnose_scp
        if self._copy is not None and self._copy.atomic:
            atomic.check_names(self._copy)
        self._program: SshProgram | None = None

    @property
    def _takes_password(self) -> bool:
        """Whether it can log in to nodes with the password of the task."""
        return False

    @property
    def _over_scp(self) -> bool:
        return self._copy is not None and not self._copy.atomic

    def _make_job(self, task: PublicTask) -> Job:
        if not self._takes_password:
            refuse_password(task, "scp(1)" if self._over_scp else "ssh(1)")
        read = scp_program if self._over_scp else ssh_program
        self._program = read(task, list(self.nodes) if self._executes else [])
        # scp has its own statuses for failures of its ssh.
        self._diagnosed_from = 1 if self._over_scp and self._program.log is not None else 255
        return super()._make_job(task)

    def _log(self) -> LogFormat | None:
        return None if self._program is None else self._program.log_format()

    def job_logged(self, messages: bytes) -> None:
        if self._program is not None:
            self._program.write_messages(messages)

    def address(self, node: str) -> str:
        if not self._own_users:
            return node
        user, _, host = node.rpartition("@")
        user = self._user or user
        return f"{user}@[{host}]" if user else f"[{host}]"

    def command_argv(self, task: PublicTask, command: str) -> list[Word]:
        return [*self._words(task), (NODE,), command]

    def copy_argv(self, task: PublicTask, copy: Copy) -> Iterable[Word]:
        if not copy.atomic:
            self._user = scp_user(task)
            before, after = f"{self._user}@[" if self._user else "[", "]"
            place = (NODE,) if self._own_users else (before, NODE, after)
            return scp_words(task, copy, self._words(task), place)
        program = tuple(word if isinstance(word, tuple) else (word,) for word in self._words(task))
        if copy.reverse:
            return atomic.fetch(copy, (*program, (NODE,)), kept_here(copy))
        return atomic.send(copy, (*program, (NODE,)))

    def _words(self, task: PublicTask) -> list[Word]:
        """Return the program and its options."""
        if self._program is None:
            self._program = (scp_program if self._over_scp else ssh_program)(task, [])
        return self._program.words


def scp_user(task: PublicTask) -> str:
    """Return the user of all nodes, "" if there is none; WorkerError for one that scp would misread."""
    user = str(task.info("scp_user") or task.info("ssh_user") or "")
    if re.search(r"[/@:\[\]]", user) or user.startswith("-"):
        raise WorkerError(f"user {user!r} would be taken for something else by scp")
    return user


def scp_words(task: PublicTask, copy: Copy, program: list[Word], place: Template) -> list[Word]:
    """Return scp(1) with the arguments of a copy to or from a place on a node."""
    words = [*program, *["-r"] * copy.tree, *["-p"] * copy.preserve, *connection(task)]
    remote = copy.source if copy.reverse else copy.dest
    if not is_plain(remote):
        # The older protocol would give the name to a shell on the node: require the newer one, which
        # uses no shell. An scp without it reports an error.
        words.append("-s")
        if copy.reverse:
            remote = _PATTERN.sub(r"\\\1", remote)
    node: Template = (*place, f":{remote}")
    if copy.reverse:
        return [*words, "--", node, kept_here(copy)]
    return [*words, "--", local_path(copy.source), node]


WORKER_CLASS = WorkerSsh
