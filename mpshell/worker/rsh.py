"""WorkerRsh: the command of each node runs there, over rsh(1); copies go over rcp(1).

rsh does not report how a command ended, so the command writes its return code in a line at the end, which is
removed from its output again.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mpshell.coordinator.job import Ended, Job, Reader, Said
from mpshell.errors import EngineClientNotSupportedError, WorkerError
from mpshell.wire.messages import EXITED, LOST, NODE, STDOUT
from mpshell.worker.copy import Copy, check_shell_names, kept_here, local_path
from mpshell.worker.openssh import split_setting
from mpshell.worker.password import refuse_password
from mpshell.worker.transport import Transport, Word

if TYPE_CHECKING:
    from mpshell.worker.scheduler import PublicTask

_CODE = re.compile(rb"^(.*)XXRETCODE: (\d+)\n", re.MULTILINE)

#: Exit statuses of rsh after which the command's own line shows how it ended.
_SILENT = (0, 1)


class WorkerRsh(Transport):
    """Run `command` on each of `nodes`, one rsh(1) a node, or copy with rcp(1).

    The task's info keys `rsh_path`, `rsh_options`, `rsh_user`, `rcp_path` and `rcp_options` set programs and
    options; rsh has no `connect_timeout`. The command runs in a subshell of the user's shell there. If no
    return code arrives, the command was cut off: it is lost, with return code 255.
    """

    _trace_name = "RSHCLIENT"

    def __init__(self, nodes: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(nodes, *args, **kwargs)
        for node in self.nodes:
            if node.startswith("-") or re.search(r"[/@\[\]\s]", node):
                hint = " (a user is given with rsh_user, or -l)" if "@" in node else ""
                raise WorkerError(f"node {node!r} would be taken for something else by rsh{hint}")
        if self._copy is not None:
            if self._copy.atomic:
                raise EngineClientNotSupportedError(
                    f"rcp cannot copy {self._copy.source!r} atomically"
                )
            check_shell_names(self._copy, "rcp")

    def _make_job(self, task: PublicTask) -> Job:
        refuse_password(task, "rsh(1)")
        return super()._make_job(task)

    def command_argv(self, task: PublicTask, command: str) -> list[Word]:
        words: list[Word] = [*split_setting(task, "rsh_path", "rsh")]
        if task.info("rsh_user"):
            words += ["-l", str(task.info("rsh_user"))]
        words += split_setting(task, "rsh_options", "")
        # Evaluated in a subshell, so that neither exit nor a comment suppresses the last line.
        return [*words, (NODE,), f"(eval {shlex.quote(command)}); echo XXRETCODE: $?"]

    def copy_argv(self, task: PublicTask, copy: Copy) -> list[Word]:
        words: list[Word] = [*split_setting(task, "rcp_path", "rcp")]
        words += split_setting(
            task, "rcp_options" if task.info("rcp_options") else "rsh_options", ""
        )
        words += ["-r"] * copy.tree + ["-p"] * copy.preserve
        user = f"{task.info('rsh_user')}@" if task.info("rsh_user") else ""
        if copy.reverse:
            return [*words, (user, NODE, f":{copy.source}"), kept_here(copy)]
        return [*words, local_path(copy.source), (user, NODE, f":{copy.dest}")]

    def address(self, node: str) -> str:
        return f"[{node}]" if self._copy is not None and ":" in node else node

    def reader(self, task: PublicTask, nodes: list[str]) -> Reader | None:
        return RshReader(nodes) if self._copy is None else None


class RshReader:
    """Removes the line with the return code from the output of each rsh (`job.Reader`)."""

    def __init__(self, keys: list[str]) -> None:
        self._keys = keys
        #: The line that may have the code, by client: the last one that looks like it.
        self._codes: dict[int, tuple[bytes, int]] = {}

    def read(self, index: int, stream: int, lines: bytes) -> Iterator[Said | Ended]:
        if stream != STDOUT or b"XXRETCODE: " not in lines:
            yield Said(self._keys[index], stream, lines)
            return
        *_, last = [None, *_CODE.finditer(lines)]
        if last is None:
            yield Said(self._keys[index], stream, lines)
            return
        before = self._codes.pop(index, None)
        if before is not None:
            # So that line was output of the command.
            yield Said(self._keys[index], stream, before[0])
        self._codes[index] = (last[0][len(last[1]) :], int(last[2]))
        # Text before the code in its line had no newline.
        rest = lines[: last.start()] + (last[1] + b"\n" if last[1] else b"") + lines[last.end() :]
        if rest:
            yield Said(self._keys[index], stream, rest)

    def finish(self, index: int, reason: int, status: int, detail: str | None) -> Iterator[Ended]:
        found = self._codes.pop(index, None)
        if reason == EXITED and status in _SILENT:
            if found is not None:
                status = found[1]
            elif status == 0:
                reason, detail = LOST, "no return code arrived"
        yield Ended(self._keys[index], reason, status, detail)


WORKER_CLASS = WorkerRsh
