"""WorkerPdsh: commands over pdsh(1), copies over pdcp(1) and rpdcp(1), one process for many nodes.

The nodes are divided among as many pdsh as there are engines for them, each with its part of the fanout.
The output and the outcome of each node are read from the output of pdsh.
"""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mpshell.coordinator.job import Ended, Job, Said
from mpshell.errors import EngineClientNotSupportedError, WorkerError
from mpshell.nodeset import NodeSet
from mpshell.wire.messages import (
    EXITED,
    LOG_END,
    LOST,
    NODE,
    PART,
    SIGNALED,
    SPAWN_FAILED,
    STREAM,
    TIMED_OUT,
)
from mpshell.worker.base import check_worker_fanout
from mpshell.worker.copy import Copy, check_shell_names, local_path
from mpshell.worker.distant import CommandWorker
from mpshell.worker.openssh import connect_seconds, split_setting
from mpshell.worker.password import refuse_password
from mpshell.worker.ssh_log import diagnose_unproven
from mpshell.worker.transport import Word

if TYPE_CHECKING:
    from mpshell.worker.scheduler import PublicTask

#: pdsh's own message about a node: "pdsh@here: node: ssh exited with exit code 3".
_OWN = re.compile(rb"r?pd(?:sh|cp)@[^:]*: (?:(\S+): )?(.*)")
_EXITED = re.compile(rb".* exited with exit code (\d+)")
_KILLED = re.compile(rb".* killed by signal (\d+)")

#: The same after a line with a NUL: pdsh omits the rest of such a line, with its newline.
_GLUED = re.compile(
    rb"r?pdsh@" + re.escape(os.fsencode(os.uname().nodename.partition(".")[0]))
    + rb": (\S+): (.*? (?:exited with exit code|killed by signal) \d+)"
)  # fmt: skip

#: Messages of its modules about a node that has not been given a command yet (xrcmd.c).
_NOT_CONNECTED = re.compile(rb"connect: |rcmd: socket: |socket: ")

#: Names that pdsh takes for one node, and repeats in front of each line.
_NODE = re.compile(r"[\w.][\w.-]*")

#: The code that pdsh -S counts for a node without a return code (RC_FAILED), or whose command a signal ended.
_FAILED, _KILLED_COUNT = 254, 0


def diagnose_pdsh(detail: str) -> str | None:
    """Return the reason of a 255 from pdsh's own messages and the node's (`LOG_END`); None: the command's own.

    The node's last lines may be its command's: only messages of pdsh itself prove that nothing has run.
    """
    own, _, last = detail.partition(LOG_END)
    return "unreachable" if own else diagnose_unproven(last)


class WorkerPdsh(CommandWorker):
    """Run `command` on `nodes` with pdsh(1), or copy with pdcp(1) and rpdcp(1).

    The task's info keys `pdsh_path`, `pdcp_path` and `rpdcp_path` name the programs; `connect_timeout` and
    `command_timeout` are passed to them. pdsh itself decides how to reach the nodes (PDSH_RCMD_TYPE); return
    codes come from its module `ssh`. There is no input: `write` raises EngineClientNotSupportedError.
    A timeout applies to each node, in whole seconds.
    """

    _trace_name = "PDSH"
    diagnose = staticmethod(diagnose_pdsh)

    def __init__(self, nodes: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(nodes, *args, **kwargs)
        self._stdin = False
        self._input_closed = True
        self._rounds = 1
        for node in self.nodes:
            if not _NODE.fullmatch(node):
                hint = " (a user is given with -l USER in pdsh_path)" if "@" in node else ""
                raise WorkerError(f"node {node!r} would be taken for something else by pdsh{hint}")
        if self._copy is not None:
            if self._copy.atomic:
                raise EngineClientNotSupportedError(f"pdcp cannot copy {self.source!r} atomically")
            check_shell_names(self._copy, "pdcp")
            remote = self.source if self._copy.reverse else self.dest
            if "%" in str(remote):
                raise WorkerError(f"pdcp would replace the percent sign in {remote!r}")

    def _check_writer(self, sname: str | None) -> None:
        raise EngineClientNotSupportedError("pdsh does not pass input on to its commands")

    def without_input(self) -> None:
        """There is none in any case."""

    # -- the job -------------------------------------------------------------------------------

    def _make_job(self, task: PublicTask) -> Job:
        refuse_password(task, "pdsh(1)")
        for key in ("canary", "batch", "max_fail"):
            if (limit := task.info(key)) is not None:
                raise WorkerError(f"{key}={limit}: pdsh starts its commands by itself")
        nodes = list(self.nodes)
        fanout = self._fanout_of(task, len(nodes))
        count = min(task.engines_for(len(nodes)), fanout, len(nodes))
        shards = [nodes[at * len(nodes) // count : (at + 1) * len(nodes) // count]
                  for at in range(count)]  # fmt: skip
        parts = [fanout // count + (at < fanout % count) for at in range(count)]
        self._rounds = max(
            (-(-len(s) // part) for s, part in zip(shards, parts, strict=True)), default=1
        )
        words = self._pdcp(task, self._copy) if self._copy is not None else self._pdsh(task)
        return self._new_job(
            task,
            [folded(shard) for shard in shards],
            list(nodes),
            argv=tuple((word,) if isinstance(word, str) else word for word in words),
            groups=[list(shard) for shard in shards],
            env=self._environment(task),
            parts=tuple(str(part) for part in parts),
            reader=PdshReader(shards, copies=self._copy is not None, in_order=not self.stderr),
            # pdsh starts each ssh in a group of its own, and does not end them when it ends.
            tree=True,
            # One at once on each engine; pdsh's own fanout decides how many commands that is.
            fanout=max(1, count),
        )

    def _fanout_of(self, task: PublicTask, nodes: int) -> int:
        own = check_worker_fanout(self._fanout)
        fanout = int(task.info("fanout")) if own is None else own
        return nodes if fanout < 0 else fanout

    def _options(self, task: PublicTask) -> list[Word]:
        words: list[Word] = ["-b", "-f", (PART,)]
        limit = super()._effective_timeout(task)
        if limit:
            words += ["-u", str(math.ceil(limit))]
        return words

    def _pdsh(self, task: PublicTask) -> list[Word]:
        words: list[Word] = [*split_setting(task, "pdsh_path", "pdsh")]
        return [*words, *self._options(task), "-w", (NODE,), "--", self.command or ""]

    def _pdcp(self, task: PublicTask, copy: Copy) -> list[Word]:
        name = "rpdcp" if copy.reverse else "pdcp"
        words: list[Word] = [*split_setting(task, f"{name}_path", name), *self._options(task)]
        if limit := connect_seconds(task):
            words += ["-t", str(limit)]
        words += ["-w", (NODE,), *["-r"] * copy.tree, *["-p"] * copy.preserve, "--"]
        if copy.reverse:
            return [*words, copy.source, local_path(copy.dest)]
        return [*words, local_path(copy.source), copy.dest]

    def _environment(self, task: PublicTask) -> tuple[tuple[str, str], ...]:
        words = [os.environ.get("PDSH_SSH_ARGS_APPEND", "")]
        if limit := connect_seconds(task):
            words.append(f"-oConnectTimeout={limit}")
        if self._copy is None:
            # pdsh would keep the input of its commands open for ever, without writing to it.
            words.append("-n")
        return (("PDSH_SSH_ARGS_APPEND", " ".join(word for word in words if word)),)

    def _effective_timeout(self, task: PublicTask) -> float | None:
        """Return the time by which a pdsh must have ended; it ends each of its nodes in time by itself."""
        limit = super()._effective_timeout(task)
        if not limit:
            return limit
        each = math.ceil(limit) + connect_seconds(task)
        return self._rounds * each + float(task.info("grace")) + 5

    def _mode(self, task: PublicTask, sname: str) -> int:
        # The nodes of one process end one by one: their ends are read as they arrive.
        return STREAM


def folded(nodes: list[str]) -> str:
    """Return nodes in a form for pdsh, which supports one pair of brackets in a name."""
    text = str(NodeSet.fromnames(nodes))
    return ",".join(nodes) if re.search(r"\][^,]*\[", text) else text


class PdshReader:
    """Separates the nodes in the output of a pdsh (`job.Reader`).

    With `in_order` both streams come on one: then all output of a node precedes the message about its end.
    """

    def __init__(self, shards: list[list[str]], *, copies: bool, in_order: bool) -> None:
        self._shards = shards
        self._copies = copies
        self._in_order = in_order
        self._names: dict[bytes, str] = {}
        for shard in shards:
            for node in shard:
                # It omits a domain that all its nodes have.
                self._names.setdefault(os.fsencode(node.split(".")[0]), node)
        self._names.update((os.fsencode(node), node) for shard in shards for node in shard)
        self._ends: dict[str, Ended] = {}
        #: The last line of each node with output.
        self._heard: dict[str, bytes] = {}
        self._words: dict[int, list[str]] = {}
        #: Lines after a node's label that may be pdsh's own message about its end.
        self._glued: dict[str, bytes] = {}
        #: The code that pdsh -S counts for each node.
        self._counts: dict[str, int] = {}

    def read(self, index: int, stream: int, lines: bytes) -> Iterator[Said | Ended]:
        said: dict[str, list[bytes]] = {}
        ended: list[Ended] = []
        for line in lines[:-1].split(b"\n"):
            own = _OWN.fullmatch(line)
            if b"pdsh@" in line:
                self._find_glued(line, own[0].find(b": ") if own is not None else 0)
            if own is not None:
                ended += self._own_words(index, own[1], own[2])
                continue
            name, colon, text = line.partition(b": ")
            node = self._names.get(name if colon else line.removesuffix(b":"))
            if node is not None and self._copies and (own := _OWN.fullmatch(text)) is not None:
                # Messages of rpdcp about a local file have the node's label too.
                ended += self._own_words(index, own[1] or name, own[2])
            elif node is not None:
                said.setdefault(node, []).append(text)
                self._heard[node] = text
            elif not line.startswith(b"sending "):
                self._words.setdefault(index, []).append(os.fsdecode(line))
        for node, texts in said.items():
            yield Said(node, stream, b"\n".join([*texts, b""]))
        if self._in_order:
            yield from ended

    def _find_glued(self, line: bytes, begin: int) -> None:
        """Note lines that may end with a message of pdsh itself about any node.

        The threads of pdsh write without a lock, a label and its line separately, and a cut line has no end.
        """
        for name, words in _GLUED.findall(line, begin):
            if name in self._names:
                self._glued[self._names[name]] = words

    def _own_words(self, index: int, name: bytes | None, words: bytes) -> list[Ended]:
        """Return how a node has ended, if a message of pdsh itself reports that for the first time."""
        node = self._names.get(name or b"")
        if node is None:
            self._words.setdefault(index, []).append(os.fsdecode(words))
        elif node not in self._ends:
            self._ends[node] = self._end_of(node, words)
            return [self._ends[node]]
        return []

    def _end_of(self, node: str, words: bytes) -> Ended:
        text = os.fsdecode(words)
        exited, killed = _EXITED.fullmatch(words), _KILLED.fullmatch(words)
        self._counts[node] = int(exited[1]) if exited else _KILLED_COUNT if killed else _FAILED
        if words == b"command timeout":
            return Ended(node, TIMED_OUT, 0, None)
        if self._copies:
            return Ended(node, EXITED, errno.ENOENT, text)
        if killed is not None:
            return Ended(node, SIGNALED, int(killed[1]), None)
        if exited is None:
            if _NOT_CONNECTED.match(words):
                return Ended(node, EXITED, 255, f"pdsh: {text}{LOG_END}")
            # The command may have begun already.
            return Ended(node, LOST, 255, f"pdsh: {text}")
        code = int(exited[1])
        if code != 255 or node not in self._heard:
            return Ended(node, EXITED, code, None)
        last = os.fsdecode(self._heard[node]).replace(LOG_END, "\\0")
        return Ended(node, EXITED, code, f"{LOG_END}{last}")

    def finish(
        self, index: int, reason: int, status: int, detail: str | None
    ) -> Iterator[Said | Ended]:
        if not self._copies:
            for node in self._shards[index]:
                if node in self._glued and node not in self._ends:
                    self._ends[node] = self._end_of(node, self._glued[node])
        rest, told = EXITED, 0
        if reason != EXITED:
            rest, told = reason, status
        elif status and not any(n in self._ends or n in self._heard for n in self._shards[index]):
            rest, detail = SPAWN_FAILED, "; ".join(self._words.get(index, [])) or f"pdsh: {status}"
        elif status and status != self._largest(index):
            # With -S it ends with the largest of its nodes' codes; this is something else.
            rest, detail = LOST, f"pdsh has ended with {status}"
        for node in self._shards[index]:
            yield self._ends.get(node) or Ended(node, rest, told, detail)
        self._forget(index)

    def _forget(self, index: int) -> None:
        """Drop the notes of a process that has ended, because another attempt has the same index."""
        self._words.pop(index, None)
        for node in self._shards[index]:
            for known in (self._ends, self._heard, self._glued, self._counts):
                known.pop(node, None)

    def _largest(self, index: int) -> int:
        return max((self._counts.get(node, 0) for node in self._shards[index]), default=0)


WORKER_CLASS = WorkerPdsh
