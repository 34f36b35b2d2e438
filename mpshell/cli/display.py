"""The display of a run: one handler for each form of output.

All methods run in the thread of the Task, `settle` and `show_rest` in the main thread after it. A handler has
`ev_read` only if lines are shown as they arrive: without it the engines gather the output of nodes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from typing import Any

from mpshell.cli.files import NodeFiles
from mpshell.cli.outcomes import Tally, never_run, sentence, worst
from mpshell.cli.progress import Progress
from mpshell.cli.terminal import PIECE, STDERR, STDOUT, Terminal
from mpshell.cli.text import visible
from mpshell.event import EventHandler
from mpshell.nodeset import NodeSet, NodeSetException
from mpshell.outcome import NodeOutcome


class Display(EventHandler):
    """Counts outcomes, answers Ctrl-C; shows no output by itself.

    There is one worker, or one for each file to copy: a node has ended when it has for all of them.
    """

    #: Whether the output of nodes is kept until the end.
    records = True

    #: Whether the failure of a node is reported at once, and not only in the summary.
    tells_failures = False

    def __init__(self, options: argparse.Namespace, nodes: NodeSet, terminal: Terminal) -> None:
        """Make the directories of --outdir and --errdir; OSError when that is not possible."""
        self.options = options
        self.terminal = terminal
        self.tally = Tally(nodes)
        self.files = NodeFiles(options.outdir, options.errdir, terminal.own)
        self.progress = Progress(self.tally)
        terminal.make_way = self.progress.hide
        #: Filled in before the run.
        self.workers: list[Any] = []
        #: The outcomes so far of nodes that have not ended for all workers.
        self._partly: dict[str, list[NodeOutcome]] = {}
        #: Nodes of which too much has come for the memory to be shown.
        self.unshown: set[str] = set()

    # -- events ----------------------------------------------------------------------------------

    def ev_pickup(self, worker: Any, node: str) -> None:
        if node not in self.tally.running and node not in self._partly:
            self.files.begin(node)
        self.tally.start(node)

    def ev_outcome(self, worker: Any, outcome: NodeOutcome) -> None:
        so_far = [*self._partly.pop(outcome.node, ()), outcome]
        if len(so_far) < self._expected(outcome.node):
            self._partly[outcome.node] = so_far
        else:
            outcome = worst(so_far)
            self._end(outcome)
            if self.tells_failures and not outcome.ok:
                self.terminal.message(f"{outcome.node}: {sentence(outcome)}")

    def ev_retry(self, worker: Any, outcome: NodeOutcome, delay: float) -> None:
        # Of several files each may be tried again: the node is then still at the others.
        if len(self.workers) == 1:
            self.tally.retry(outcome.node)
            # They begin anew with the next try.
            self.files.end(outcome.node)
        if self.tells_failures:
            self.terminal.message(
                f"{outcome.node}: {sentence(outcome)}; try {outcome.attempt + 1} in {delay:.1f} s"
            )

    def _expected(self, node: str) -> int:
        """Return how many workers a node has: not all of them where a run goes on with an earlier one."""
        workers = self.workers
        return 1 if len(workers) == 1 else sum(node in worker.nodes for worker in workers)

    def _end(self, outcome: NodeOutcome) -> None:
        self.tally.end(outcome)
        self.show(outcome)
        self.files.end(outcome.node)

    def show(self, outcome: NodeOutcome) -> None:
        """Show the output of a node that has ended, as far as possible now, and write it to its files."""

    def read(self, node: str, sname: str = "stdout") -> bytes | None:
        """Return the recorded output of a node's stream, None if it is empty."""
        try:
            found = (worker.read(node, sname) for worker in self.workers)
            texts = [said for said in found if said is not None]
            return b"\n".join(texts) if texts else None
        except MemoryError:
            # The others go on, and are shown: `unshown` is for the end.
            self.unshown.add(node)
            return None

    def ev_timer(self, timer: Any) -> None:
        self.progress.draw()

    def ev_msg(self, port: Any, msg: str) -> None:
        """Show which nodes are slow and which have not begun, after a Ctrl-C."""
        tally = self.tally
        lines = [f"{tally.done} of {len(tally.nodes)} nodes done, {tally.failed} failed"]
        if tally.running:
            node, since = next(iter(tally.running.items()))
            longest = f"longest: {node}, for {time.monotonic() - since:.1f} s"
            lines.append(f"running: {NodeSet.fromnames(tally.running)} ({longest})")
        if tally.retrying:
            lines.append(f"waiting for another try: {NodeSet.fromnames(tally.retrying)}")
        if tally.waiting:
            lines.append(f"not started yet: {NodeSet.fromnames(tally.not_started())}")
        lines.append("Ctrl-C again within a second stops everything")
        self.terminal.own(*lines)

    # -- after the run ---------------------------------------------------------------------------

    def settle(self) -> None:
        """Count and show the nodes that have had no event: they were stopped, or never run."""
        found: dict[str, list[NodeOutcome]] = {}
        for worker in self.workers:
            for outcome in worker.outcomes():
                if outcome.node not in self.tally.ended:
                    found.setdefault(outcome.node, []).append(outcome)
        for node in self.tally.nodes:
            if node not in self.tally.ended:
                outcomes = found.get(node, [])
                if len(outcomes) < self._expected(node):
                    outcomes.append(never_run(node))
                self._end(worst(outcomes))
        self.files.close()

    def show_rest(self, seconds: float, status: int) -> None:
        """Show the rest at the end of a run that took `seconds`, for an exit `status`."""


class LinesDisplay(Display):
    """Labelled lines as they come."""

    records = False
    tells_failures = True

    def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
        line = msg + b"\n"
        self.files.write(node, sname, line)
        fd = STDERR if sname == "stderr" else STDOUT
        if not self.options.no_label:
            line = self.terminal.label(fd, node) + line
        if fd == STDOUT:
            self.terminal.out(line)
        else:
            self.terminal.err(line)


class KeptDisplay(Display):
    """The Task keeps the output of nodes; files are written when a node has ended."""

    def show(self, outcome: NodeOutcome) -> None:
        for sname in ("stdout", "stderr"):
            said = self.read(outcome.node, sname)
            if said is not None:
                for part in (said, b"\n"):
                    self.files.write(outcome.node, sname, part)


class GatheredDisplay(KeptDisplay):
    """Shows the output of nodes at the end, gathered or in their order; stderr of a node at its end."""

    def show(self, outcome: NodeOutcome) -> None:
        super().show(outcome)
        said = self.read(outcome.node, "stderr")
        if said is not None:
            label = b"" if self.options.no_label else self.terminal.label(STDERR, outcome.node)
            for piece in labelled(label, said):
                self.terminal.err(piece)

    def show_rest(self, seconds: float, status: int) -> None:
        options = self.options
        if options.diff:
            self._show_diff()
        elif options.by_node and not (options.dshbak or options.gather_all):
            for node in self.tally.nodes:
                said = self.read(node)
                if said is not None:
                    self._show_lines(node, said)
        elif options.by_node:
            for nodes, line in by_line(self._groups()):
                self._show_lines(self._name(nodes), line)
        else:
            for nodes, said in self._groups():
                header = b"" if options.no_label else self.terminal.header(self._counted(nodes))
                self.terminal.out(header, said, b"\n")

    def _show_lines(self, name: str, said: bytes) -> None:
        label = b"" if self.options.no_label else self.terminal.label(STDOUT, name)
        for piece in labelled(label, said):
            self.terminal.out(piece)

    def _groups(self) -> list[tuple[NodeSet, bytes]]:
        """Return (nodes, output), the most common first."""
        groups: dict[bytes, list[str]] = {}
        for node in self.tally.nodes:
            if (said := self.read(node)) is not None:
                groups.setdefault(said, []).append(node)
        return largest_first((NodeSet.fromnames(nodes), said) for said, nodes in groups.items())

    def _counted(self, nodes: NodeSet) -> str:
        """Return nodes folded, with their number when there are more than one and it is wanted."""
        name = self._name(nodes)
        if len(nodes) == 1 or not self.options.node_count:
            return name
        return f"{name} ({len(nodes)})"

    def _name(self, nodes: NodeSet) -> str:
        """Return nodes folded, with -r into groups."""
        if self.options.regroup:
            try:
                return nodes.regroup(noprefix=self.options.groupbase)
            except NodeSetException as error:
                # It worked before the run. Show the gathered output all the same.
                self.options.regroup = False
                self.terminal.message(f"-r: {error}")
        return str(nodes)

    def _show_diff(self) -> None:
        """Show how each output differs from the most common one; no output is one, too."""
        import os

        from mpshell.cli.diff import unified

        found = self._groups()
        silent = NodeSet.fromnames(self.tally.ended - set(self.tally.failures))
        for nodes, _ in found:
            silent.difference_update(nodes)
        texts: list[tuple[NodeSet, bytes | None]] = [*found]
        if silent:
            texts.append((silent, None))
            texts.sort(key=lambda text: -len(text[0]))
        for nodes, said in texts[1:]:
            before, after = (
                os.fsencode(visible(self._counted(named))) for named in (texts[0][0], nodes)
            )
            lines = unified(texts[0][1], said, before, after)
            self.terminal.stream(self.terminal.diff_line(line) + b"\n" for line in lines)


def largest_first(groups: Iterable[tuple[NodeSet, bytes]]) -> list[tuple[NodeSet, bytes]]:
    """Return (nodes, output), the most common first."""
    return sorted(groups, key=lambda group: -len(group[0]))


def by_line(groups: list[tuple[NodeSet, bytes]]) -> Iterator[tuple[NodeSet, bytes]]:
    """Yield (nodes, line) for the output of nodes, first lines first, the most common of each first."""
    # Where the next line of each begins: all lines at once would take a multiple of their text.
    places = [(nodes, said, 0) for nodes, said in groups]
    while places:
        found: dict[bytes, NodeSet] = {}
        after = []
        for nodes, said, begin in places:
            end = said.find(b"\n", begin)
            found.setdefault(said[begin : len(said) if end < 0 else end], NodeSet()).update(nodes)
            if end >= 0:
                after.append((nodes, said, end + 1))
        yield from largest_first((nodes, line) for line, nodes in found.items())
        places = after


def labelled(label: bytes, said: bytes) -> Iterator[bytes]:
    """Yield lines with a label before each, about a `PIECE` at a time."""
    begin = 0
    while begin <= len(said):
        end = said.find(b"\n", begin + PIECE)
        end = len(said) if end < 0 else end
        yield label + said[begin:end].replace(b"\n", b"\n" + label) + b"\n"
        begin = end + 1
