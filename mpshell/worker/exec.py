"""ExecWorker: one local command for each node, its name and rank put into the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mpshell.coordinator.job import Job
from mpshell.coordinator.results import Key
from mpshell.errors import EngineClientNotSupportedError, WorkerError
from mpshell.nodeset import NodeSet
from mpshell.wire.messages import NODE, PART, RANK, Template
from mpshell.worker.base import whole_words
from mpshell.worker.copy import Copy
from mpshell.worker.distant import CommandWorker

if TYPE_CHECKING:
    from mpshell.worker.scheduler import PublicTask

_PLACEHOLDER = re.compile(r"%(?:(%)|\{(\w+)\}|(\w+)|)")
_MARKS = {"h": NODE, "host": NODE, "n": RANK, "rank": RANK}

#: The marks in a line for a shell, where the node's name can also be quoted.
_SHELL_MARKS = {**_MARKS, "q": PART}


class ExecWorker(CommandWorker):
    """Run `command` here once for each of `nodes`, with /bin/sh, or copy here with cp(1).

    In the command `%h` and `%host` are the node, `%n` and `%rank` its rank in the order of the nodes
    from 0, `%%` a percent sign; with `%hosts`, all nodes folded, the command runs once for all of them.
    Braces end a name before a letter: `%{h}x`. Anything else after `%` raises WorkerError when the run
    starts. The same applies to `source` and `dest` of a copy. All of these are inserted unquoted, so that
    the shell of a command interprets a node's name: `%q` is the name quoted for the shell, always one
    word.
    """

    def _kept_names(self, copy: Copy) -> Iterable[str]:
        template, _ = parse_template(copy.name, self.nodes)
        for rank, node in enumerate(self.nodes):
            marked = {NODE: node, RANK: str(rank)}
            name = "".join(p if isinstance(p, str) else marked[p] for p in template)
            yield f"{name}.{node}"

    def check_far(self) -> None:
        if self._copy is not None and "%" in self._copy.source:
            raise EngineClientNotSupportedError(
                f"the copy of {self._copy.source!r} is not done by engines on other hosts (info key "
                "'launcher'): its source has a placeholder"
            )
        super().check_far()

    def _make_job(self, task: PublicTask) -> Job:
        nodes = list(self.nodes)
        shell: Template | None = None
        argv: tuple[Template, ...] = ()
        parts: tuple[str, ...] = ()
        if self._copy is not None:
            argv, for_all = copy_argv(self._copy, self.nodes)
        else:
            shell, for_all = parse_template(self.command or "", self.nodes, _SHELL_MARKS)
        names = nodes
        groups: list[list[Key]] | None = None
        if for_all and nodes:
            names, groups = [""], [list(nodes)]
        if shell is not None and PART in shell:
            parts = tuple(map(shlex.quote, names))
        return self._new_job(
            task, names, list(nodes), shell=shell, argv=argv, groups=groups, parts=parts
        )


def copy_argv(copy: Copy, nodes: NodeSet) -> tuple[tuple[Template, ...], bool]:
    """Return the argument vector of a local copy, and whether it is one for all nodes.

    Raise WorkerError for a placeholder that does not exist.
    """
    (source, one_source), (dest, one_dest), (name, _) = (
        parse_template(text, nodes) for text in (copy.source, copy.dest, copy.name)
    )
    if NODE in dest or one_dest:
        _check_path_names(copy.dest, nodes)
    if copy.reverse:
        dest = (*dest, "/", *name, ".", NODE)
    for_all = (one_source or one_dest) and not copy.reverse
    if copy.atomic:
        # Late: most runs copy nothing.
        from mpshell.worker import atomic

        return atomic.local(source, dest, name, copy.preserve), for_all
    options = whole_words(["-r"] * copy.tree + ["-p"] * copy.preserve)
    return (("cp",), *options, ("--",), source, dest), for_all


def _check_path_names(dest: str, nodes: NodeSet) -> None:
    """Raise WorkerError for a node whose name would lead to another directory than `dest` shows."""
    for node in nodes:
        if "/" in node or node in (".", ".."):
            raise WorkerError(f"node {node!r} would lead out of {dest!r}")


def parse_template(
    command: str, nodes: NodeSet, marks: Mapping[str, int] = _MARKS
) -> tuple[Template, bool]:
    """Return a command's text and marks, and whether it is one command for all nodes.

    Raise WorkerError for a placeholder that does not exist.
    """
    parts: list[str | int] = []
    for_all = False
    end = 0
    for found in _PLACEHOLDER.finditer(command):
        parts.append(command[end : found.start()])
        end = found.end()
        name = found[2] or found[3]
        if found[1]:
            parts.append("%")
        elif name == "hosts":
            for_all = True
            parts.append(str(nodes))
        elif name in marks:
            parts.append(marks[name])
        else:
            bad = command[found.start() : max(end, found.start() + 2)]
            raise WorkerError(
                f"unknown placeholder {bad!r} in {command!r}: there are %h %host %hosts %n %rank"
                f"{' %q' if 'q' in marks else ''} %%"
            )
    parts.append(command[end:])
    return tuple(part for part in parts if part != ""), for_all


WORKER_CLASS = ExecWorker
