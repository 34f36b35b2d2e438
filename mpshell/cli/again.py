"""--resume and --rerun-failed: a run that goes on with an earlier one of a journal.

The journal is locked before the nodes are chosen, and stays so until the run is over: no other run can choose
the same.
"""

from __future__ import annotations

import argparse
import os
import stat
from typing import Any

from mpshell.cli.past import command_line
from mpshell.cli.run import stdin_is_for_commands
from mpshell.errors import JournalError, TaskSettingError
from mpshell.journal.past import (
    MAY_HAVE_RUN,
    Past,
    PastCommand,
    choose,
)
from mpshell.journal.recorder import Continuation
from mpshell.journal.schema import RERUN_FAILED, RESUME, RESUME_UNKNOWN
from mpshell.journal.store import Store
from mpshell.nodeset import NodeSet
from mpshell.task.journalling import restored, stamp
from mpshell.task.task import Task
from mpshell.worker.distant import CommandWorker
from mpshell.worker.loading import load_worker_class
from mpshell.worker.pdsh import WorkerPdsh


class Again:
    """The part of an earlier run to run now."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Choose the nodes, and fill the options from the journal; JournalError."""
        path = options.rerun_failed if options.resume is None else options.resume
        self.mode = RERUN_FAILED
        if options.resume is not None:
            self.mode = RESUME_UNKNOWN if options.rerun_unknown else RESUME
        self._path = path
        self._store = Store.open(path, sync=options.journal_sync, must_exist=True)
        try:
            past = Past(self._store.path, self._store.connection)
            self.run = past.run(options.run)
            self.commands = past.commands(self.run)
            self._choose(past)
            self._fill(options)
            self.has_input = any(command.stdin for command in self.commands)
            self._check_input(options)
        except BaseException:
            self._store.close()
            raise

    def _choose(self, past: Past) -> None:
        self._names: dict[int, list[str]] = {}
        self._chosen: dict[int, list[str]] = {}
        self.nodes = NodeSet()
        #: Nodes that may have run and are not run again.
        self.unknown = NodeSet()
        for command in self.commands:
            if command.kind == "local":
                raise JournalError(
                    f"run {self.run.run} has a command without nodes, {command.text!r}: only the program "
                    "that made it can run it again"
                )
            names = past.nodes(command.command)
            states = past.states(self.run, command.command)
            chosen = [names[rank] for rank in choose(states, self.mode)]
            self._names[command.command] = names
            self._chosen[command.command] = chosen
            self.nodes.update(NodeSet.fromnames(chosen))
            self.unknown.update(
                NodeSet.fromnames(
                    name for name, state in zip(names, states, strict=True) if state == MAY_HAVE_RUN
                )
            )
        self.unknown.difference_update(self.nodes)

    def _fill(self, options: argparse.Namespace) -> None:
        """Set the options that the displays read."""
        for name in ("outdir", "errdir", "report"):
            # Relative to the directory here: the run is in another one.
            if (given := getattr(options, name)) is not None:
                setattr(options, name, os.path.join(os.getcwd(), given))
        options.command = [str(c.source if c.text is None else c.text) for c in self.commands]
        kinds = {command.kind for command in self.commands}
        options.copy, options.rcopy = "copy" in kinds, "rcopy" in kinds
        options.worker = self.commands[0].transport if self.commands else options.worker

    def _check_input(self, options: argparse.Namespace) -> None:
        if options.password_prompt and not (options.nostdin or _has_input()):
            # The password may have been all that they have read.
            return
        if self.has_input and self.nodes and (options.nostdin or not _has_input()):
            raise JournalError(
                f"the commands of run {self.run.run} read stdin, which the journal does not hold: give it "
                f"again, with < FILE after the command"
            )

    @property
    def path(self) -> str:
        """The journal, wherever the working directory is."""
        return self._store.path

    # -- the run -----------------------------------------------------------------------------------

    def line(self) -> str:
        """Return a sentence for a terminal about the run to come."""
        return (
            f"{self.mode} of run {self.run.run}: {self.nodes} ({len(self.nodes)}) over "
            f"{self.commands[0].transport}: {command_line(self.commands)}"
        )

    def configure(self, task: Task) -> None:
        """Set a Task as the run had it; JournalError."""
        try:
            os.chdir(self.run.directory)
        except OSError as error:
            raise JournalError(
                f"run {self.run.run} was in directory {self.run.directory!r}: {error.strerror}"
            ) from None
        try:
            for key, value in restored(self.run.settings):
                task.set_info(key, value)
        except (TaskSettingError, TypeError) as error:
            raise JournalError(f"journal {self._path!r} is damaged: {error}") from None
        task.set_info("journal", Continuation(self._store, self.run.root, self.mode))

    def schedule(
        self, task: Task, options: argparse.Namespace, handler: Any, *, stdin: bool
    ) -> list[Any]:
        """Schedule the commands on the nodes that are chosen, and return the workers."""
        workers = [
            self._worker(command, options, handler)
            for command in self.commands
            if self._chosen[command.command]
        ]
        for worker in workers:
            if not stdin and worker.copying is None:
                worker.without_input()
            task.schedule(worker)
        return workers

    def _worker(self, command: PastCommand, options: argparse.Namespace, handler: Any) -> Any:
        try:
            worker_class = load_worker_class(command.transport)
        except ImportError as error:
            raise JournalError(
                f"run {self.run.run} used the transport {command.transport!r}: {error}"
            ) from None
        copies = command.kind != "command"
        # Those of pdsh are one client for many nodes, and copies have no rank.
        subset = copies or issubclass(worker_class, WorkerPdsh)
        chosen, names = self._chosen[command.command], self._names[command.command]
        said = command.options
        if said.get("relay"):
            from mpshell.worker.relayed import relay_class

            worker_class = relay_class(worker_class, said["relay"])
        what: dict[str, Any] = {"command": command.text}
        if copies:
            what = {
                "source": command.source, "dest": command.dest, "preserve": said.get("preserve", False),
                "atomic": said.get("atomic", False), "reverse": command.kind == "rcopy",
            }  # fmt: skip
        worker = worker_class(
            NodeSet.fromnames(chosen if subset else names), handler=handler, timeout=said.get("timeout"),
            stderr=not options.gather_all, **what,
        )  # fmt: skip
        if not subset:
            if list(worker.nodes) != names:
                raise JournalError(f"journal {self._path!r} is damaged: its nodes are out of order")
            worker.run_only(chosen)
        worker.recorded_as = command.command
        self._check_source(command, worker)
        return worker

    def _check_source(self, command: PastCommand, worker: Any) -> None:
        copy = worker.copying if isinstance(worker, CommandWorker) else None
        if copy is None or command.kind != "copy":
            return
        now = stamp(copy)
        if now is None:
            raise JournalError(
                f"{command.source!r}, which run {self.run.run} copied, does not exist"
            )
        if command.stamp is not None and now != command.stamp:
            raise JournalError(
                f"{command.source!r} has changed since run {self.run.run} copied it: "
                + (
                    f"it had {command.stamp[0]} bytes and has {now[0]}"
                    if command.stamp[0] != now[0]
                    else "its modification time differs"
                )
            )

    def close(self) -> None:
        """Let the journal go, when nothing is run."""
        self._store.close()


def _has_input() -> bool:
    """Return whether stdin can be the earlier input: not a terminal, and not empty from the start."""
    if not stdin_is_for_commands():
        return False
    found = os.fstat(0)
    if stat.S_ISREG(found.st_mode):
        return found.st_size > os.lseek(0, 0, os.SEEK_CUR)
    return not (stat.S_ISCHR(found.st_mode) and found.st_rdev == os.stat(os.devnull).st_rdev)
