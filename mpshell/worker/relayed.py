"""Relay copies as workers over nodes: the class of a transport, for a file or tree that each node passes on.

    head ── control connections, one a node ──► RECEIVE (`mpshell.worker.relay`)
    head ── the file, once ──► first node ──► second node ──► ... (`mpshell.coordinator.relay`)

In the thread of the task, `relaying` in any.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mpshell.coordinator.relay import RelayCopy
from mpshell.coordinator.relayprogress import RelayProgress
from mpshell.coordinator.relaywire import SHA256
from mpshell.errors import InputStorageError, WorkerBadArgumentError, WorkerError
from mpshell.nodeset import NodeSet
from mpshell.outcome import RELAY_DETAIL as DETAIL
from mpshell.wire.connect import Connect, FileCopy
from mpshell.wire.messages import NODE, STREAM, Template
from mpshell.worker import atomic, relay
from mpshell.worker.base import whole_words
from mpshell.worker.copy import Copy, check_path
from mpshell.worker.openssh import connect_seconds, split_setting, ssh_program
from mpshell.worker.relaytree import PackedTree, survey
from mpshell.worker.ssh import WorkerSsh

if TYPE_CHECKING:
    from mpshell.coordinator.coordinator import Coordinator
    from mpshell.coordinator.job import Job, Reader
    from mpshell.worker.scheduler import PublicTask
    from mpshell.worker.transport import Word

#: The ways in which a node logs in to another one.
WAYS = (relay.SSH, relay.SSHD)

#: What there is to do where nodes cannot log in to each other, by the way that was tried.
_INSTEAD = {
    relay.SSH: "use --relay=sshd, or copy without --relay",
    relay.SSHD: "copy without --relay, or name ports that nodes reach in the info key relay_ports",
}

#: Nodes that receive at once.
MOST_NODES = 1024

#: A connection whose host is silent for six seconds ends; the user's options take precedence over these.
_ALIVE = ("-oServerAliveInterval=3", "-oServerAliveCountMax=2")

#: Names of nodes that an order can contain, and that ssh(1) accepts on any node.
_NAME = re.compile(r"[^-\s][^\s]*")

#: Sends a file from a byte on over a program. Arguments: file, byte (from 1), the program and its arguments.
_SEND = 'f=$1 o=$2; shift 2; tail -c "+$o" <"$f" | "$@"'

#: The checksum of a file as the first word. Argument: the file.
_SHA256 = (
    'if command -v sha256sum >/dev/null; then exec sha256sum <"$1"; fi; '
    'if command -v shasum >/dev/null; then exec shasum -a 256 <"$1"; fi; '
    'exec openssl dgst -r -sha256 <"$1"'
)
_CKSUM = 'exec cksum <"$1"'


class Relayed(WorkerSsh):
    """A copy of a file or tree over ssh(1) that each node passes on to another one."""

    relays_over = relay.SSH

    def __init__(self, nodes: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(nodes, *args, **kwargs)
        for node in self.nodes:
            if not _NAME.fullmatch(node):
                raise WorkerError(f"node {node!r} cannot be named to another node")
        self._fanout = MOST_NODES
        self._in_waves = False
        self._token = os.urandom(8).hex()
        self._stamp = _stamp_of(self.source or "")
        #: The archive of a tree, which is what is relayed then.
        self._packed: PackedTree | None = None
        if self._copy is not None and self._copy.tree:
            self._packed = PackedTree(self._copy.source, self._copy.preserve)
            self._stamp.size = self._packed.size
        self._relay: RelayCopy | None = None
        #: How engines reach nodes by themselves, None where ssh(1) does.
        self._over_connection: Connect | None = None
        #: The nodes in the order in which they begin; empty for that of the node set.
        self._order: list[str] = []
        self.results.diagnose = self._diagnosed

    def _check_copy(
        self, source: Any, dest: Any, *, preserve: bool, reverse: bool, atomic: bool
    ) -> Copy:
        tree = atomic and os.path.isdir(check_path("source", source))
        copy = super()._check_copy(
            source, dest, preserve=preserve, reverse=reverse, atomic=atomic and not tree
        )
        return copy._replace(atomic=atomic)

    def _diagnosed(self, detail: str) -> str | None:
        # Messages of a node's own ssh must not be taken for a verdict on ours.
        diagnose = type(self).diagnose
        return None if detail.startswith(DETAIL) or diagnose is None else diagnose(detail)

    def progress(self) -> RelayProgress | None:
        """Return the progress; None before the run. In the Task's thread, in an event or a timer."""
        return None if self._relay is None else self._relay.progress()

    def relay_source(self, node: str) -> str | None:
        """Return the node from which a node has or fetches the file; None for this host or none."""
        if self._relay is None:
            return None
        return self._relay.source_of(node)

    # -- the run -----------------------------------------------------------------------------------

    def enter(self, task: PublicTask, run: Coordinator) -> None:
        for key in ("canary", "batch", "max_fail"):
            if task.info(key) is not None:
                raise WorkerError(
                    f"{key} does not go with a relay copy, which runs on all nodes at once"
                )
        job = self._make_job(task)
        told = self._tell_source if self._dispatch.relay is not None else None
        # It is also the reader of its job.
        job.reader = self._relay = RelayCopy(
            run,
            job,
            self._source_of(task, job.nodes),
            # A node that has unpacked a tree still has the archive, for others.
            stays=self.relays_over == relay.SSHD or self._packed is not None,
            on_source=told,
        )
        run.start(job)
        self._relay.begin()

    def _source_of(self, task: PublicTask, nodes: list[str]) -> _Source:
        if self._packed is None:
            return _Source(self, task, nodes)
        try:
            return _TreeSource(self, task, nodes, self._packed)
        except InputStorageError as error:
            raise WorkerError(f"the archive of source {self.source!r} is gone: {error}") from error

    def _tell_source(self, node: str, source: str | None, offset: int) -> None:
        if self._dispatch.relay is not None:
            self._turn_to(node)
            self._dispatch.relay(self, node, source, offset)

    def job_closed(self, job: Job, timed_out: bool) -> None:
        if self._relay is not None:
            self._relay.close()
        if self._packed is not None:
            self._packed.close()
        super().job_closed(job, timed_out)

    def _make_job(self, task: PublicTask) -> Job:
        job = super()._make_job(task)
        job.repeats = False
        connect = job.spec.connect
        if connect is not None:
            # Over the engines' own connections: the script reads its orders there.
            options, command = (*connect.options, *_ALIVE), self.receive_command(task)
            connect = connect._replace(copy=None, command=command, options=options)
            self._over_connection = connect
        job.spec = job.spec._replace(
            stdin=True, stdin_each=True, separate_stderr=True, stdout_mode=STREAM, connect=connect,
            grace=max(job.spec.grace, relay.CLEARING),
        )  # fmt: skip
        if self._order:
            job.nodes = list(self._order)
            job.keys = list(self._order)
        return job

    def ask_in_order(self, names: Iterable[str]) -> None:
        """Before the run: begin with the nodes in this order; ValueError unless it has exactly these nodes."""
        order = list(names)
        if sorted(order) != sorted(self.nodes):
            raise WorkerBadArgumentError(f"an order of nodes must name each of {self.nodes} once")
        self._order = order

    def reader(self, task: PublicTask, nodes: list[str]) -> Reader | None:
        return None

    def copy_argv(self, task: PublicTask, copy: Copy) -> Iterable[Word]:
        return [*self._words(task), *_ALIVE, (NODE,), self.receive_command(task)]

    def receive_command(self, task: PublicTask) -> str:
        """Return the command of each node."""
        copy = self.copying
        if copy is None:
            raise WorkerError("a relay has a file to copy")
        size, mode, times = self._stamp.size, self._stamp.mode, None
        if copy.preserve:
            times = atomic.stamp(self._stamp.accessed), atomic.stamp(self._stamp.modified)
        ports = str(task.info("relay_ports") or "")
        ssh = ["ssh", "-oBatchMode=yes"]
        if limit := connect_seconds(task):
            ssh.append(f"-oConnectTimeout={limit}")
        ssh += [*split_setting(task, "relay_options", ""), *_ALIVE]
        way = self.relays_over or relay.SSH
        unpacked = None if self._packed is None else self._packed.unpacked
        return relay.receive(copy, size, mode, times, self._token, way, ports, ssh, unpacked)

    def command_lines(self, task: PublicTask) -> Iterator[tuple[NodeSet, list[str]]]:
        super().command_lines(task)
        chain = " -> ".join(["head", *(self._order or self.nodes)])
        yield (
            NodeSet(self.nodes),
            [
                f"relay over {self.relays_over} of {self.source} ({self._stamp.size} bytes"
                f"{', packed' if self._packed is not None else ''}), "
                f"in the order in which the nodes answer: {chain}"
            ],
        )

    # -- for the head ------------------------------------------------------------------------------

    @property
    def stamp(self) -> SourceStamp:
        """The facts about the file from when the worker was made."""
        return self._stamp

    def feed_command(self, rank: int, seq: int) -> str:
        """Return the command that passes the file from here to a node."""
        copy = self.copying
        if copy is None:
            raise WorkerError("a relay has a file to copy")
        return relay.feed(copy, self._token, rank, seq)

    def feed_connect(self, path: str, rank: int, seq: int, offset: int) -> Connect | None:
        """Return the work of an engine that sends a file from an offset on by itself; None for ssh(1)."""
        if self._over_connection is None:
            return None
        copy = FileCopy(
            source=path, target=(), name="", preserve=False, reverse=False,
            script=(self.feed_command(rank, seq),), temporary=(), first=offset,
        )  # fmt: skip
        return self._over_connection._replace(command="", copy=copy, keep=0.0)


class SourceStamp:
    """Identifies an unchanged file: size in bytes, mode, times in seconds, and its place."""

    def __init__(self, found: os.stat_result) -> None:
        self.size = found.st_size
        self.mode = stat.S_IMODE(found.st_mode)
        self.accessed, self.modified = found.st_atime, found.st_mtime
        self.identity = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _stamp_of(path: str) -> SourceStamp:
    try:
        return SourceStamp(os.stat(path))
    except OSError as error:
        raise WorkerBadArgumentError(f"source {path!r}: {error.strerror}") from None


class _Source:
    """The file of a worker (`mpshell.coordinator.relay.RelaySource`)."""

    def __init__(self, worker: Relayed, task: PublicTask, nodes: list[str]) -> None:
        self._worker = worker
        self.name = worker.source or ""
        #: From where it is read.
        self._path = self.name
        self.size = worker.stamp.size
        self.instead = _INSTEAD[worker.relays_over or relay.SSH]
        # Their log is not read: their messages about a failure are on stderr.
        words = ssh_program(task, []).words
        self._program = [word if isinstance(word, tuple) else (word,) for word in words]
        self._nodes = nodes

    def sum_words(self, algorithm: str) -> Sequence[Template]:
        text = _SHA256 if algorithm == SHA256 else _CKSUM
        return whole_words(["/bin/sh", "-c", text, "sh", self._path])

    def key_words(self) -> Sequence[Template]:
        return whole_words(relay.keys()) if self._worker.relays_over == relay.SSHD else ()

    def send_words(self, rank: int, seq: int, offset: int) -> Sequence[Template]:
        before = whole_words(["/bin/sh", "-c", _SEND, "sh", self._path, str(offset + 1)])
        after = [*_ALIVE, self._nodes[rank], self._worker.feed_command(rank, seq)]
        return (*before, *self._program, *whole_words(after))

    def send_connect(self, rank: int, seq: int, offset: int) -> Connect | None:
        return self._worker.feed_connect(self._path, rank, seq, offset)

    def has_changed(self) -> bool:
        try:
            return SourceStamp(os.stat(self.name)).identity != self._worker.stamp.identity
        except OSError:
            return True


class _TreeSource(_Source):
    """The archive of a worker's tree, which does not change any more."""

    def __init__(
        self, worker: Relayed, task: PublicTask, nodes: list[str], packed: PackedTree
    ) -> None:
        super().__init__(worker, task, nodes)
        self._path, self._sha256 = packed.path(), packed.sha256

    def sum_words(self, algorithm: str) -> Sequence[Template]:
        if algorithm != SHA256:
            return super().sum_words(algorithm)
        return whole_words(["/bin/sh", "-c", 'echo "$1"', "sh", self._sha256])

    def has_changed(self) -> bool:
        return False


def relaying(
    worker_class: type[Any],
    way: bool | str,
    source: Any,
    reverse: bool,
    atomic: bool,
    info: Callable[[str], Any],
) -> tuple[type[Any], bool]:
    """Return the class of workers for a relay copy over a transport, and whether it is atomic.

    What is too small goes by the transport itself, a tree of that size over scp -r. That follows symbolic
    links: a tree that has some is relayed in any size. ValueError for what cannot be relayed.
    """
    if way is not True and way not in WAYS:
        raise WorkerBadArgumentError(f"relay is True, 'ssh' or 'sshd', not {way!r}")
    if reverse:
        raise WorkerBadArgumentError(
            "relay is for copies to nodes: each has a file of its own to copy from"
        )
    if not (isinstance(worker_class, type) and issubclass(worker_class, WorkerSsh)):
        name = getattr(worker_class, "__name__", worker_class)
        raise WorkerBadArgumentError(
            f"relay={way!r} needs nodes with ssh, and {name} does not use it"
        )
    if info("launcher") is not None:
        raise WorkerBadArgumentError(
            "relay is for engines on this host, and the info key 'launcher' is set"
        )
    path = check_path("source", source)
    relayed = relay_class(worker_class, relay.SSH if way is True else str(way))
    if not os.path.isdir(path):
        is_small = os.path.isfile(path) and _stamp_of(path).size < info("relay_least")
        return worker_class if is_small else relayed, True
    if atomic:
        raise WorkerBadArgumentError(
            f"source {path!r} is a directory: only a file can arrive in one step on every node"
        )
    if os.path.basename(path.rstrip("/")) in ("", ".."):
        raise WorkerBadArgumentError(f"source {path!r} has no name to be copied under")
    found = survey(path)
    is_small = found.size < info("relay_least") and not found.has_links
    return (worker_class, False) if is_small else (relayed, True)


def relay_class(worker_class: Any, way: str) -> type[Relayed]:
    """Return the class of a transport over ssh whose workers relay a file or tree."""
    namespace = {
        "__module__": worker_class.__module__,
        "relays_over": way,
        "__doc__": Relayed.__doc__,
    }
    bases = (Relayed,) if worker_class is WorkerSsh else (Relayed, worker_class)
    return type(f"Relay{worker_class.__name__}", bases, namespace)
