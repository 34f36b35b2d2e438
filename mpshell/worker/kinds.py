"""The classes of workers: `Worker`, of all, `WorkerPopen` for one command here, `DistantWorker` over nodes.

They are in one module because their types name each other: the Task of any worker makes workers of the two
other classes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

from mpshell.coordinator.job import Job
from mpshell.coordinator.results import Key, key_matcher, matcher
from mpshell.errors import WorkerError
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.worker.base import WorkerParts, check_command

if TYPE_CHECKING:
    from typing import Any

    from mpshell.msgtree import MsgTreeElem
    from mpshell.nodeset import NodeSet
    from mpshell.worker.public import TaskOf
    from mpshell.worker.scheduler import PublicTask


class Worker(WorkerParts):
    """Base of all workers.

    Lines are bytes without their newline. `handler` may be None; `timeout` is in seconds from the start
    of each command, None or -1 for none.
    """

    #: `Any` frees handlers, which are called when there is a Task, from a comparison with None.
    task: TaskOf[Worker, WorkerPopen, DistantWorker] | Any


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
        from mpshell.msgtree import MsgTreeElem

        store = self._store_of(sname)
        match = key_matcher(match_keys)
        if store is not None:
            for body, keys in store.groups(match).items():
                yield MsgTreeElem(body), _node_set(keys)

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
        from mpshell.msgtree import MsgTreeElem

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

        In the order in which the codes first arrived in the run, those of one turn in ascending order.
        """
        self._bound()
        for code, keys in self.results.by_code(matcher(match_keys)).items():
            if keys:
                yield code, _node_set(keys)

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


def _node_set(keys: Iterable[Key]) -> NodeSet:
    # Late: a run without nodes needs no node sets.
    from mpshell.nodeset import NodeSet

    return NodeSet.fromnames(map(str, keys))


def _check_key(key: Any) -> Any:
    """Return the key; TypeError for one that cannot be looked up in results."""
    if not isinstance(key, Hashable):
        raise TypeError(f"a key is hashable, {key!r} is not")
    hash(key)  # also a tuple of lists, for instance
    return key
