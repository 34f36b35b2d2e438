"""The work of the command `mpshell`, from its arguments to its exit status. In the main thread.

Modules that a short answer (--help, --version, an error) does not need are imported late.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO, TypeVar

from mpshell.cli.guard import INTERNAL_ERROR, IO_ERROR, own_error
from mpshell.cli.journalled import past_option
from mpshell.cli.parser import USAGE_ERROR, Parser, parse, runs_elsewhere
from mpshell.cli.text import visible, visible_lines

if TYPE_CHECKING:
    from mpshell.cli.display import Display
    from mpshell.cli.report.made import RunReport
    from mpshell.cli.run import ProgramRun
    from mpshell.cli.terminal import Terminal
    from mpshell.nodeset import NodeSet

_Made = TypeVar("_Made")

#: sysexits.h: a file that cannot be made, which is the journal.
_NO_JOURNAL = 73


def work(words: Sequence[str]) -> int:
    """Do what the arguments ask for, and return the exit status."""
    parser, options = parse(words)
    if options.print_completion:
        from mpshell.cli.completion import print_completion

        return print_completion(parser, options.print_completion)
    from mpshell.cli.conffile import ConfError
    from mpshell.cli.effective import settle

    try:
        settle(options)
        if options.config:
            from mpshell.cli.showconfig import show_config

            return show_config(options)
    except ConfError as error:
        parser.error(str(error))
    from mpshell.cli.checks import check

    check(parser, options)
    from mpshell.cli.terminal import Terminal

    terminal = Terminal(options.color, options.quiet)
    options.again = options.ended_by = options.launcher = None
    options.asked = {}
    if options.doctor:
        return _doctor(parser, options, terminal)
    if past_option(options) is not None:
        return _run_of_a_journal(parser, options, terminal)
    from mpshell.cli.nodes import NoNodesError, chosen_nodes

    try:
        nodes = chosen_nodes(options)
    except NoNodesError as error:
        parser.error(str(error))
    if options.prompt:
        from mpshell.cli.prompt import Session

        return Session(options, nodes, terminal, _typed).run()
    return _do(parser, options, nodes, terminal)


def _doctor(parser: Parser, options: argparse.Namespace, terminal: Terminal) -> int:
    from mpshell.cli.doctor import examine
    from mpshell.cli.nodes import NoNodesError, are_named, chosen_nodes
    from mpshell.cli.prepare import BAD_REQUEST, configure
    from mpshell.task.functions import task_self

    try:
        nodes = len(chosen_nodes(options)) if are_named(options) else None
        configure(task_self(), options, terminal)
    except (NoNodesError, *BAD_REQUEST) as error:
        parser.error(str(error))
    return examine(options, task_self(), nodes, terminal)


def _do(parser: Parser, options: argparse.Namespace, nodes: NodeSet, terminal: Terminal) -> int:
    """Carry out the options; exit with 64 for a bad value."""
    from mpshell.cli.prepare import BAD_REQUEST

    try:
        return _perform(options, nodes, terminal)
    except BAD_REQUEST as error:
        parser.error(str(error))


def _typed(options: argparse.Namespace, nodes: NodeSet, terminal: Terminal) -> int:
    """Run a command of the prompt: its errors do not end the session."""
    from mpshell.cli.prepare import BAD_REQUEST

    terminal.unsaid = None
    try:
        return _perform(options, nodes, terminal)
    except BAD_REQUEST as error:
        terminal.own(str(error))
        return USAGE_ERROR
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        # At the question for a password: the command is over, and not the session.
        return 128 + signal.SIGINT
    except OSError as error:
        terminal.own(str(error))
        return IO_ERROR


def _perform(options: argparse.Namespace, nodes: NodeSet, terminal: Terminal) -> int:
    """Run the command, or with --dry-run show it; one of BAD_REQUEST."""
    from mpshell.errors import JournalError

    try:
        return (_dry_run if options.dry_run else _run)(options, nodes, terminal)
    except JournalError as error:
        return _journal_error(error)


def _run_of_a_journal(parser: Parser, options: argparse.Namespace, terminal: Terminal) -> int:
    """Show the content of a journal, or continue one of its runs."""
    from mpshell.errors import JournalError

    try:
        if options.runs is not None or options.show is not None:
            from mpshell.cli.past import list_runs
            from mpshell.cli.show import show

            return (show if options.runs is None else list_runs)(options, terminal)
        from mpshell.cli.again import Again

        options.again = again = Again(options)
    except JournalError as error:
        return _journal_error(error)
    try:
        if again.unknown:
            terminal.message(
                f"may have run, and are not run again: {again.unknown} ({len(again.unknown)})"
            )
        if not again.nodes:
            terminal.message(f"{again.mode} of run {again.run.run}: no node is left to run")
            return 0
        if os.isatty(2) or options.verbose:
            # The command comes from a file: show it to the user first.
            terminal.own(again.line())
        return _do(parser, options, again.nodes, terminal)
    finally:
        again.close()


def _journal_error(error: Exception) -> int:
    sys.stderr.write(f"mpshell: {visible_lines(str(error))}\n")
    return _NO_JOURNAL


def _dry_run(options: argparse.Namespace, nodes: NodeSet, terminal: Terminal) -> int:
    """Show the commands for the nodes without executing them."""
    import shlex

    from mpshell.cli.prepare import configure, schedule
    from mpshell.task.functions import task_self

    task = _made(task_self)
    configure(task, options, terminal)
    for worker in schedule(task, options, nodes, stdin=False):
        for keys, words in worker.command_lines(task):
            line = words[0] if len(words) == 1 else shlex.join(words)
            terminal.out(os.fsencode(f"{visible(str(keys))}: {visible_lines(line)}\n"))
    return 0


def _made(make: Callable[[], _Made]) -> _Made:
    """Return a Task, or the object that has one; ValueError for an invalid transport in defaults.conf."""
    try:
        return make()
    except ImportError as error:
        raise ValueError(f"defaults.conf: {error}") from error


def _run(options: argparse.Namespace, nodes: NodeSet, terminal: Terminal) -> int:
    from mpshell.cli.run import ProgramRun

    run = _made(lambda: ProgramRun(in_session=options.prompt))
    report = _report(options)
    try:
        return _carry_out(run, options, nodes, terminal, report)
    finally:
        if report is not None:
            report.close()
        run.close()


def _report(options: argparse.Namespace) -> RunReport | None:
    """Return the report of the run that is to begin, None when none is wanted."""
    if options.report is None:
        return None
    from mpshell.cli.report.made import RunReport

    return RunReport(options)


def _carry_out(
    run: ProgramRun,
    options: argparse.Namespace,
    nodes: NodeSet,
    terminal: Terminal,
    report: RunReport | None,
) -> int:
    """Run the command of the options, show all of it, and return the exit status."""
    from mpshell.cli.prepare import configure, make_display, schedule
    from mpshell.cli.run import stdin_is_for_commands

    _report_warnings(terminal)
    configure(run.task, options, terminal)
    if report is not None:
        report.attach(run.task)
    display = make_display(options, nodes, terminal)
    feed = stdin_is_for_commands() and not (
        options.nostdin or options.copy or options.rcopy or "-" in options.nodes + options.exclude
    )
    asks = options.password or options.password_prompt
    if options.again is not None:
        feed = options.again.has_input and (stdin_is_for_commands() or not options.password_prompt)
    for sname in ("stdout", "stderr"):
        run.task.set_default(f"{sname}_msgtree", display.records)
    display.workers = schedule(
        run.task, options, nodes, display, stdin=feed or options.password_prompt
    )
    if asks:
        from mpshell.cli.password import give_password

        give_password(run.task, display.workers, options, more_input=feed)
    if options.verbose and options.again is None:
        terminal.message(_what_runs(run, options, nodes))
    seconds = run.attend(display, feed, shows_progress=options.progress or not options.quiet)
    options.ended_by = None if run.status is None else run.status - 128
    return _conclude(run, display, options, terminal, seconds, report)


def _conclude(
    run: ProgramRun,
    display: Display,
    options: argparse.Namespace,
    terminal: Terminal,
    seconds: float,
    report: RunReport | None,
) -> int:
    """Show the rest of a run that is over, and return the exit status."""
    without_room = isinstance(run.error, MemoryError)
    if run.error is not None and not without_room:
        return _failed(run.error)
    # The frames of the error refer to the data for which there was no room.
    run.error = None
    try:
        display.settle()
        failed = without_room or display.unshown
        written = report is None or report.make(terminal)
        status = INTERNAL_ERROR if failed else _status(run, display, options, written)
        display.show_rest(seconds, status)
    except MemoryError:
        return _out_of_memory(
            display, without_room, "not all of the gathered output could be shown"
        )
    if without_room or display.unshown:
        return _out_of_memory(display, without_room, "the gathered output is shown")
    _sum_up(run, display, options, terminal, seconds)
    if runs_elsewhere(options):
        from mpshell.cli.hosts import report_hosts

        report_hosts(run.task, terminal)
    if terminal.unsaid is not None and status == 0:
        raise terminal.unsaid
    return status


def _status(run: ProgramRun, display: Display, options: argparse.Namespace, written: bool) -> int:
    """Return the exit status of a run that has come to an end, and whose report was written or not."""
    if run.status is not None:
        return run.status
    if display.files.failed or not written:
        return IO_ERROR
    if run.task.journal_failure is not None:
        return _NO_JOURNAL
    return 0 if options.always_zero else display.tally.max_code


def _out_of_memory(display: Display, was_stopped: bool, shown: str) -> int:
    """Report that there was no room in memory, and for which output; return the exit status."""
    from mpshell.nodeset import NodeSet

    stopped = "the run was stopped, and " if was_stopped else ""
    if display.unshown:
        shown += (
            f", except that of {NodeSet.fromnames(display.unshown)}, which is too large by itself"
        )
    # Also with -q, since it is an error.
    display.terminal.own(f"out of memory: {stopped}{shown}")
    return INTERNAL_ERROR


def _report_warnings(terminal: Terminal) -> None:
    """Let the library's warnings be messages like others, without a line of its source."""
    import warnings

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        terminal.message(f"warning: {message}")

    warnings.showwarning = show


def _what_runs(run: ProgramRun, options: argparse.Namespace, nodes: NodeSet) -> str:
    fanout = run.task.info("fanout")
    return (
        f"{nodes} ({len(nodes)}) over {options.worker}, "
        f"{'no fanout' if fanout == -1 else f'fanout {fanout}'}: {' '.join(options.command)}"
    )


def _failed(error: BaseException) -> int:
    """Report the error that ended a run early, and return the exit status."""
    from mpshell.errors import EngineException, JournalError, WorkerException

    if isinstance(error, JournalError):
        return _journal_error(error)
    if isinstance(error, (OSError, WorkerException)):
        raise error
    if isinstance(error, EngineException):
        sys.stderr.write(f"mpshell: {visible_lines(str(error))}\n")
        return INTERNAL_ERROR
    return own_error(error)


def _sum_up(
    run: ProgramRun,
    display: Display,
    options: argparse.Namespace,
    terminal: Terminal,
    seconds: float,
) -> None:
    """Show the summary, how many and which nodes ended how, on a terminal or if there is a reason."""
    from mpshell.cli.terminal import STDERR

    tally = display.tally
    if run.task.journal_failure is not None:
        terminal.own(f"the journal is incomplete: {run.task.journal_failure}")
    if not (tally.failed or options.verbose or os.isatty(STDERR)):
        return
    if run.status is not None:
        terminal.message("stopped")
    terminal.message(tally.summary(seconds))
    for what, failed in tally.failures_by_sentence():
        terminal.message(f"{what}: {failed}")
