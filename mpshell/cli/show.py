"""--show: shows a past run with the displays of a live run, and its report."""

from __future__ import annotations

import argparse
import os
from typing import Any

from mpshell.cli.outcomes import Tally
from mpshell.cli.past import PastWorker, clock, command_line, goes_on, took, workers_of
from mpshell.cli.terminal import Terminal
from mpshell.journal.past import Past, PastRun
from mpshell.nodeset import NodeSet


def show(options: argparse.Namespace, terminal: Terminal) -> int:
    """Show a run, and return the exit status; JournalError."""
    from mpshell.cli.display import LinesDisplay
    from mpshell.cli.prepare import make_display

    past = Past.open(options.show)
    run = past.run(options.run)
    commands = past.commands(run)
    workers = workers_of(past, run, options.gather_all)
    nodes = NodeSet()
    for worker in workers:
        nodes.update(worker.nodes)
    options.command = [str(c.source if c.text is None else c.text) for c in commands]
    display = make_display(options, nodes, terminal)
    display.workers = workers
    if options.verbose:
        terminal.message(f"run {run.run}, {clock(run.started_at)}: {command_line(commands)}")
    for worker in workers:
        for outcome in worker.outcomes():
            display.ev_pickup(worker, outcome.node)
            if isinstance(display, LinesDisplay):
                _tell_lines(display, worker, outcome.node)
            display.ev_outcome(worker, outcome)
    display.settle()
    seconds = took(run, workers)
    display.show_rest(seconds, display.tally.max_code)
    _sum_up(options, run, display.tally, terminal, seconds)
    cut = set().union(*(worker.cut for worker in workers))
    if cut:
        terminal.message(
            f"not all output is in the journal (--journal-limit): {NodeSet.fromnames(cut)}"
        )
    written = True
    if options.report is not None:
        from mpshell.cli.report.made import make

        written = make(past, run, options.report, terminal)
    past.close()
    return 74 if display.files.failed or not written else 0


def _tell_lines(display: Any, worker: PastWorker, node: str) -> None:
    for sname in ("stdout", "stderr"):
        said = worker.read(node, sname)
        if said is not None:
            for line in said.split(b"\n"):
                display.ev_read(worker, node, sname, line)


def _sum_up(
    options: argparse.Namespace, run: PastRun, tally: Tally, terminal: Terminal, seconds: float
) -> None:
    if run.error is not None:
        terminal.message(f"the run was ended by {run.error}")
    if run.incomplete is not None:
        terminal.message(f"the journal of this run is incomplete: {run.incomplete}")
    elif run.ended_at is None:
        terminal.message(f"the run {'goes on' if goes_on(options.show, run) else 'was broken off'}")
    if tally.failed or options.verbose or os.isatty(2):
        terminal.message(tally.summary(seconds))
        for what, failed in tally.failures_by_sentence():
            terminal.message(f"{what}: {failed}")
