"""--report: a run's page, made when the run has ended. In the main thread."""

from __future__ import annotations

import argparse
import os

from mpshell.cli.report.page import write
from mpshell.cli.report.place import OwnPlace
from mpshell.cli.terminal import Terminal
from mpshell.errors import JournalError
from mpshell.journal.past import Past, PastRun
from mpshell.journal.store import Store
from mpshell.task.task import Task


class RunReport:
    """The report of a run that goes on now. Without a journal of the user's, the run has one until its end."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._target = options.report
        self._own: OwnPlace | None = None
        self._journal = ""
        #: Why there is no journal to make the page from, None while there is one.
        self._why: str | None = None

    def attach(self, task: Task) -> None:
        """Make the run of a Task, whose settings are complete, write a journal."""
        self._task = task
        again = self._options.again
        self._journal = task.info("journal") if again is None else again.path
        if self._journal:
            return
        try:
            # The output of the nodes stands in it.
            self._own = OwnPlace()
            self._journal = os.path.join(self._own.path, "journal")
            # Where it has no room the run goes on without a page.
            Store.open(self._journal, sync=False).close()
        except OSError as error:
            self._why = f"no journal can be made for it: {error.strerror}"
        except JournalError as error:
            self._why = str(error)
        else:
            task.set_info("journal", self._journal)

    def make(self, terminal: Terminal) -> bool:
        """Write the page, and return whether that was possible; an error is one line on the terminal."""
        if self._why is not None:
            return _failed(terminal, self._target, self._why)
        try:
            past = Past.open(self._journal)
        except JournalError as error:
            return _failed(terminal, self._target, str(error))
        try:
            here = (os.getpid(), os.uname().nodename)
            written = make(past, past.last_of(*here), self._target, terminal)
            # The user has asked for no journal, but without all of it the page is not whole.
            return written and (self._own is None or self._task.journal_failure is None)
        except JournalError as error:
            return _failed(terminal, self._target, str(error))
        finally:
            past.close()

    def close(self) -> None:
        """Remove the journal that was made for the report. Repeatable."""
        if self._own is not None:
            self._own.remove()
            self._own = None


def make(past: Past, run: PastRun, target: str, terminal: Terminal) -> bool:
    """Write the page of a run, and return whether that was possible; JournalError for a damaged journal."""
    try:
        write(past, run, target)
    except OSError as error:
        return _failed(terminal, target, error.strerror or str(error))
    return True


def _failed(terminal: Terminal, target: str, why: str) -> bool:
    terminal.own(f"--report file {target!r} cannot be written: {why}")
    return False
