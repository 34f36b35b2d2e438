"""WorkerSsh: the command of each node runs there, over OpenSSH's ssh(1); copies go over scp(1)."""

from __future__ import annotations

import math
import os.path
import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mpshell.errors import WorkerError
from mpshell.wire.messages import NODE, Template
from mpshell.worker import atomic
from mpshell.worker.base import whole_words
from mpshell.worker.copy import Copy, is_plain, kept_here, local_path
from mpshell.worker.text import check_text
from mpshell.worker.transport import Transport, Word

if TYPE_CHECKING:
    from mpshell.worker.owner import Owner


#: What OpenSSH's client says (ssh.c, sshconnect.c, clientloop.c) when it ends with 255 by itself.
_DIAGNOSES = (
    ("hostkey", re.compile(r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED")),
    (
        "auth",
        re.compile(r"Permission denied \(|Too many authentication failures|no mutual signature"),
    ),
    (
        "unreachable",
        re.compile(
            r"Could not resolve hostname|ssh: connect to host|kex_exchange_identification|"
            r"banner exchange|Connection (?:closed|reset) by \S+ port \d+|Unable to negotiate with"
        ),
    ),
    (
        "lost",
        re.compile(
            r"Connection to \S+ closed by remote host|client_loop: send disconnect|"
            r"not responding|Connection to \S+ (?:timed out|closed)|Broken pipe"
        ),
    ),
)


def diagnose_ssh(words: str) -> str | None:
    """Return why ssh(1) has ended with 255 by itself, or None when the command has."""
    return next((reason for reason, said in _DIAGNOSES if said.search(words)), None)


#: What scp's newer protocol takes for a pattern in the path of a remote source (glob(3)).
_PATTERN = re.compile(r"([*?\[\]\\{}])")

#: Seconds: ssh has it as milliseconds in 32 bits.
_LONGEST_CONNECT = 2_000_000

#: Nodes, with or without a user, of which scp would make nothing else in "user@[node]:path".
_COPY_NODE = re.compile(r"(?:[^-/@:\[\]\s][^/@:\[\]\s]*@)?[^/@\[\]\s]+")


class WorkerSsh(Transport):
    """Run `command` on each of `nodes`, one ssh(1) a node; the command is not changed in any way.

    The task's info keys `ssh_path` (may hold arguments), `ssh_options`, `ssh_user` and
    `connect_timeout` (seconds) say how. Return code 255 is ssh's own: no connection, no permission.

    With `source` and `dest` a copy, one scp(1) a node: `scp_path`, `scp_options` and `scp_user`, in place
    of the last two those of ssh where they are not set. With `atomic` over ssh(1).
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
        #: Whether addresses hold the users of nodes, and the user that goes before those, as with ssh.
        self._own_users = self._over_scp and any("@" in node for node in self.nodes)
        self._user = ""
        if self._copy is not None and self._copy.atomic:
            atomic.check_names(self._copy)

    @property
    def _over_scp(self) -> bool:
        return self._copy is not None and not self._copy.atomic

    def address(self, node: str) -> str:
        if not self._own_users:
            return node
        user, _, host = node.rpartition("@")
        user = self._user or user
        return f"{user}@[{host}]" if user else f"[{host}]"

    def command_argv(self, task: Owner, command: str) -> list[Word]:
        return [*ssh_words(task), (NODE,), command]

    def copy_argv(self, task: Owner, copy: Copy) -> Iterable[Word]:
        if not copy.atomic:
            self._user = scp_user(task)
            before, after = f"{self._user}@[" if self._user else "[", "]"
            return scp_words(task, copy, (NODE,) if self._own_users else (before, NODE, after))
        program: tuple[Template, ...] = (*whole_words(ssh_words(task)), (NODE,))
        if copy.reverse:
            return atomic.fetch(copy, program, kept_here(copy))
        return atomic.send(copy, program)


def ssh_words(task: Owner) -> list[str]:
    """Return ssh(1) and its options."""
    words = split_setting(task, "ssh_path", "ssh")
    words += split_setting(task, "ssh_options", "")
    words += ["-oForwardAgent=no", "-oForwardX11=no"]
    if task.info("ssh_user"):
        words += ["-l", str(task.info("ssh_user"))]
    return words + _connection(task)


def _connection(task: Owner) -> list[str]:
    limit = connect_seconds(task)
    return [*([f"-oConnectTimeout={limit}"] if limit else []), "-oBatchMode=yes"]


def connect_seconds(task: Owner) -> int:
    """Return the time to connect in whole seconds, as ssh(1) and pdcp(1) take it, 0 for no limit.

    A part of a second is one: 0 would mean no limit to them. They do not count to more than a few weeks.
    """
    return math.ceil(min(float(task.info("connect_timeout")), _LONGEST_CONNECT))


def scp_user(task: Owner) -> str:
    """Return the user of all nodes, "" when there is none; WorkerError for one that scp would misread."""
    user = str(task.info("scp_user") or task.info("ssh_user") or "")
    if re.search(r"[/@:\[\]]", user) or user.startswith("-"):
        raise WorkerError(f"user {user!r} would be taken for something else by scp")
    return user


def scp_words(task: Owner, copy: Copy, place: Template) -> list[Word]:
    """Return scp(1) with what it takes for a copy to or from a place on a node."""
    words = split_setting(task, "scp_path", "scp")
    words += split_setting(task, "scp_options" if task.info("scp_options") else "ssh_options", "")
    words += ["-r"] * copy.tree + ["-p"] * copy.preserve
    words += _connection(task)
    remote = copy.source if copy.reverse else copy.dest
    if not is_plain(remote):
        # The older protocol would give the name to a shell on the node: insist on the newer one, in which
        # a name is a name. An scp that does not know it says so.
        words.append("-s")
        if copy.reverse:
            remote = _PATTERN.sub(r"\\\1", remote)
    node: Template = (*place, f":{remote}")
    if copy.reverse:
        return [*words, "--", node, kept_here(copy)]
    return [*words, "--", local_path(copy.source), node]


def split_setting(task: Owner, key: str, default: str) -> list[str]:
    """Return the words of an info key, with quotes as a shell has them and `~` expanded."""
    value = str(task.info(key) or default)
    try:
        words = shlex.split(check_text(key, value))
    except ValueError as error:
        raise WorkerError(f"{key} {value!r}: {error}") from error
    return [os.path.expanduser(word) for word in words]


WORKER_CLASS = WorkerSsh
