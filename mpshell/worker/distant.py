"""The base of workers over nodes: results by node."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mpshell.coordinator.results import key_matcher, matcher
from mpshell.errors import EngineClientNotSupportedError, WorkerBadArgumentError, WorkerError
from mpshell.msgtree import MsgTreeElem
from mpshell.nodeset import NodeSet
from mpshell.wire.templates import encode_template, fill
from mpshell.worker.base import Worker, check_command
from mpshell.worker.copy import Copy, check_apart, check_copy, check_kept
from mpshell.worker.text import check_text

if TYPE_CHECKING:
    from mpshell.coordinator.coordinator import Coordinator
    from mpshell.runtime.sourcefile import StagedSource
    from mpshell.worker.scheduler import PublicTask


class DistantWorker(Worker):
    """A worker over nodes: results by node."""

    nodes: NodeSet
    #: Its command; None for a copy, which has a source and a destination.
    command: str | None
    source: str | None
    dest: str | None
    #: The number of its command in a journal, for a run that continues one.
    recorded_as: int | None = None
    #: How its nodes pass on the file that it copies, "ssh" or "sshd"; None if they do not.
    relays_over: str | None = None

    def relay_source(self, node: str) -> str | None:
        """Return the node from which a node gets the file of a relay copy; None for this host, or for none."""
        return None

    def run_only(self, nodes: Iterable[str]) -> None:
        """Before the run: run on only these of its nodes; each keeps its rank among all of them (`%n`)."""
        self._only = frozenset(nodes)

    def node_buffer(self, node: str) -> bytes | None:
        """Return a node's recorded stdout, or None if it is empty."""
        return self._read(node, self.SNAME_STDOUT)

    def node_error(self, node: str) -> bytes | None:
        """Return a node's recorded stderr, or None if it is empty."""
        return self._read(node, self.SNAME_STDERR)

    node_error_buffer = node_error

    def node_retcode(self, node: str) -> int:
        """Return a node's return code; KeyError for an unknown node, or one without a code."""
        self._bound()
        return self.results.codes[node]

    node_rc = node_retcode

    def iter_buffers(
        self, match_keys: Iterable[str] | None = None
    ) -> Iterator[tuple[MsgTreeElem, NodeSet]]:
        """Yield (text, nodes) for each distinct stdout, of `match_keys` only when given."""
        return self._iter_texts(self.SNAME_STDOUT, match_keys)

    def iter_errors(
        self, match_keys: Iterable[str] | None = None
    ) -> Iterator[tuple[MsgTreeElem, NodeSet]]:
        """Yield (text, nodes) for each distinct stderr, of `match_keys` only when given."""
        return self._iter_texts(self.SNAME_STDERR, match_keys)

    def _iter_texts(
        self, sname: str, match_keys: Iterable[str] | None
    ) -> Iterator[tuple[MsgTreeElem, NodeSet]]:
        store = self._store_of(sname)
        match = key_matcher(match_keys)
        if store is not None:
            for body, keys in store.groups(match).items():
                yield MsgTreeElem(body), NodeSet.fromnames(map(str, keys))

    def iter_node_buffers(
        self, match_keys: Iterable[str] | None = None
    ) -> Iterator[tuple[str, MsgTreeElem]]:
        """Yield (node, text) for each node with recorded stdout."""
        return self._iter_node_texts(self.SNAME_STDOUT, match_keys)

    def iter_node_errors(
        self, match_keys: Iterable[str] | None = None
    ) -> Iterator[tuple[str, MsgTreeElem]]:
        """Yield (node, text) for each node with recorded stderr."""
        return self._iter_node_texts(self.SNAME_STDERR, match_keys)

    def _iter_node_texts(
        self, sname: str, match_keys: Iterable[str] | None
    ) -> Iterator[tuple[str, MsgTreeElem]]:
        store = self._store_of(sname)
        match = key_matcher(match_keys)
        if store is not None:
            for key, body in store.items():
                if match is None or match(key):
                    yield str(key), MsgTreeElem(body)

    def iter_retcodes(
        self, match_keys: Iterable[str] | None = None
    ) -> Iterator[tuple[int, NodeSet]]:
        """Yield (return code, nodes); only codes that some matching node has.

        In the order in which the codes first arrived in the run of the task, those of one turn in ascending
        order.
        """
        self._bound()
        for code, keys in self.results.by_code(matcher(match_keys)).items():
            if keys:
                yield code, NodeSet.fromnames(map(str, keys))

    def iter_node_retcodes(self) -> Iterator[tuple[str, int]]:
        """Yield (node, return code) for each node that has one."""
        self._bound()
        for key, code in list(self.results.codes.items()):
            yield str(key), code

    def num_timeout(self) -> int:
        """Return the number of nodes that timed out."""
        self._bound()
        return len(self.results.timeouts)

    def iter_keys_timeout(self) -> Iterator[Any]:
        """Yield the nodes that timed out."""
        self._bound()
        return iter(list(self.results.timeouts))


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
        for node in self.nodes:
            check_text("a node's name", node)
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

    def check_beside(self, unfinished: Callable[[], list[Worker]]) -> None:
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
