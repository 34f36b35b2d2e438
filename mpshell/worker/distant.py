"""The base of workers that run a command, or make a copy, for each of their nodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mpshell.errors import EngineClientNotSupportedError, WorkerBadArgumentError, WorkerError
from mpshell.nodeset import NodeSet
from mpshell.wire.templates import encode_template, fill
from mpshell.worker.base import WorkerParts, check_command
from mpshell.worker.copy import Copy, check_apart, check_copy, check_kept
from mpshell.worker.kinds import DistantWorker
from mpshell.worker.text import check_texts

if TYPE_CHECKING:
    from mpshell.coordinator.coordinator import Coordinator
    from mpshell.runtime.sourcefile import StagedSource
    from mpshell.worker.scheduler import PublicTask


class CommandWorker(DistantWorker):
    """A worker that runs one command, or makes one copy, for each of its nodes.

    `nodes` is a node set in any form; None or an empty one runs nothing. `timeout` is in seconds, for
    each command from its own start. With `stderr` the two streams are kept apart. An empty command is passed to
    the shell, and returns 0.

    Instead of a `command` there can be a `source` and a `dest`: a file or directory that is copied to
    each node, or with `reverse` from each node to `dest`/basename.node here. `preserve` keeps times and
    modes. With `atomic` a file gets a temporary name and is renamed when it is complete.
    """

    _in_waves = True

    def __init__(
        self,
        nodes: Any,
        handler: Any = None,
        timeout: float | None = None,
        *,
        command: str | None = None,
        source: Any = None,
        dest: Any = None,
        stderr: bool = False,
        autoclose: bool = False,
        preserve: bool = False,
        reverse: bool = False,
        atomic: bool = False,
        remote: bool = True,
    ) -> None:
        super().__init__(handler, timeout=timeout, stderr=stderr, autoclose=autoclose)
        self.nodes = NodeSet(nodes) if nodes is not None else NodeSet()
        check_texts("a node's name", self.nodes)
        self.remote = remote
        #: Whether its job is to be run, and not only shown.
        self._executes = True
        self.command = None
        self._copy: Copy | None = None
        #: The file that a copy reads on other hosts.
        self._staged: StagedSource | None = None
        if source is None and dest is None:
            self.command = check_command(command, may_be_empty=True)
        elif command is not None:
            raise WorkerBadArgumentError(
                f"either a command or a copy: {command!r}, and source={source!r} dest={dest!r}"
            )
        else:
            self._copy = self._check_copy(
                source, dest, preserve=preserve, reverse=reverse, atomic=atomic
            )
            if reverse:
                check_kept(self._copy, self.nodes, self._kept_names(self._copy))
            # A copy reads no input.
            self._stdin = False
            self._input_closed = True
        self.source = None if self._copy is None else self._copy.source
        self.dest = None if self._copy is None else self._copy.dest

    @property
    def copying(self) -> Copy | None:
        """The source of a copy, None for a command."""
        return self._copy

    def needs_engine(self) -> bool:
        return bool(self.nodes)

    def _kept_names(self, copy: Copy) -> Iterable[str]:
        """Return the names of the copies from the nodes, in the order of the nodes."""
        return (f"{copy.name}.{node}" for node in self.nodes)

    def _check_copy(
        self, source: Any, dest: Any, *, preserve: bool, reverse: bool, atomic: bool
    ) -> Copy:
        return check_copy(source, dest, preserve=preserve, reverse=reverse, atomic=atomic)

    def check_beside(self, unfinished: Callable[[], Iterable[WorkerParts]]) -> None:
        if self._copy is None or not self._copy.reverse:
            return
        for other in unfinished():
            if isinstance(other, CommandWorker) and other._copy and other._copy.reverse:
                check_apart(self._copy, self.nodes, other._copy, other.nodes)

    def check_far(self) -> None:
        """Prepare a copy of a file of this host on other hosts; raise if that is not supported."""
        copy = self._copy
        if copy is None or self._staged is not None:
            return
        # Engines would look for the path on their own hosts, and might find another file there.
        why = ""
        if copy.reverse:
            why = "files copied from nodes would arrive on those hosts, not here"
        elif copy.tree:
            why = "only a file can be sent there, not a directory"
        if why:
            raise EngineClientNotSupportedError(
                f"the copy of {copy.source!r} is not done by engines on other hosts (info key 'launcher'): "
                f"{why}"
            )
        # Late: only for engines on other hosts.
        from mpshell.runtime.sourcefile import StagedSource

        try:
            self._staged = StagedSource(copy.source)
        except OSError as error:
            raise WorkerError(
                f"source {copy.source!r} cannot be sent to other hosts: {error.strerror}"
            ) from error
        self._copy = copy._replace(source=self._staged.placeholder, found=self._staged.found)

    def enter(self, task: PublicTask, run: Coordinator) -> None:
        # The launcher may have been set, or removed, since this was scheduled.
        if task.info("launcher") is not None:
            self.check_far()
        elif self._staged is not None and self._copy is not None:
            self._copy = self._copy._replace(source=self.source or "", found=None)
            self._staged = None
        job = self._make_job(task)
        job.source = self._staged
        run.start(job)

    def _check_writer(self, sname: str | None) -> None:
        if self._copy is not None:
            raise WorkerError(f"the copy of {self.source!r} reads no input")
        super()._check_writer(sname)

    def command_lines(self, task: PublicTask) -> Iterator[tuple[NodeSet, list[str]]]:
        """Yield (nodes, argument vector) for each command that it would execute on a Task, and run nothing.

        A command line for /bin/sh is one word.
        """
        self._executes = False
        try:
            job = self._make_job(task)
        finally:
            self._executes = True
            self.job = None
        templates = job.spec.argv if job.spec.shell is None else (job.spec.shell,)
        pieces = [encode_template(template) for template in templates]
        for index in job.indexes():
            node = job.nodes[index]
            keys = NodeSet.fromnames(map(str, job.keys_of(index)))
            part = os.fsencode(job.parts[index]) if job.parts else b""
            words = fill(pieces, os.fsencode(node), index, part)
            yield keys, [os.fsdecode(word) for word in words]
