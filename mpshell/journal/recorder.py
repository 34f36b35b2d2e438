"""Records one run in a journal: the `Observer` of a coordinator.

    handed_out ─► rows of this turn ─┐
    ended ──────► rows of this turn ─┴─► turn_ends: one transaction ─► only then the frames leave

So a client that is not in the file has surely not run. A turn's transaction holds the verdicts that have
arrived and the clients that are handed out in their place: the file never shows more clients that may have
run than are handed out. After a failed transaction nothing is written any more, and the run goes on.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mpshell import __version__
from mpshell.coordinator.job import Job
from mpshell.coordinator.results import Key, returncode
from mpshell.errors import JournalError
from mpshell.journal.output import OpenTexts, StoredTexts, Text
from mpshell.journal.schema import NEW, loaded, stored
from mpshell.journal.store import Store
from mpshell.kept import KEEPS_ALL, KEEPS_NONE
from mpshell.outcome import NodeOutcome, Outcome, node_outcome, time_of_day
from mpshell.wire.messages import CANCELLED, EXITED, STDERR, STDOUT, TIMED_OUT


class Description(NamedTuple):
    """The record of a command, from which a later run can make it again."""

    kind: str  # "command", "copy", "rcopy", or "local" for one without nodes
    text: str | None
    source: str | None
    dest: str | None
    transport: str
    options: Mapping[str, Any]
    #: Size and time of a source, in bytes and nanoseconds.
    stamp: tuple[int, int] | None = None
    #: The names of the nodes, in their order.
    nodes: Sequence[str] = ()
    #: The number in the journal of the command that this one goes on with, None for a new one.
    recorded_as: int | None = None


class Continuation(NamedTuple):
    """A run that goes on with an earlier one: the value of the info key `journal` for it, for one run."""

    #: Open and locked since before the nodes were chosen, so that no other run takes the same.
    store: Store
    #: The first of the runs that it goes on with.
    root: int
    mode: str


class Beginning(NamedTuple):
    """The run that is to be recorded."""

    settings: Mapping[str, Any]
    keeps: str = KEEPS_ALL
    bound: int = 1 << 28
    mode: str = NEW
    #: The first of the runs that it goes on with.
    root: int | None = None


class _Entry:
    """A job in the journal."""

    __slots__ = ("command", "has_input", "ranks")

    def __init__(self, command: int, ranks: dict[Key, int]) -> None:
        self.command = command
        self.ranks = ranks
        self.has_input = False


class Recorder:
    """Writes one run into a store."""

    def __init__(
        self,
        store: Store,
        beginning: Beginning,
        describe: Callable[[Job], Description],
        warn: Callable[[str], object],
    ) -> None:
        """Write nothing yet: see `begin`."""
        self._store = store
        self._beginning = beginning
        self._describe = describe
        self._warn = warn
        self.keeps_output = beginning.keeps != KEEPS_NONE
        self._entries: dict[Job, _Entry] = {}
        self._gathering = OpenTexts(beginning.bound)
        self._bodies = StoredTexts(beginning.bound)
        self._handed_out: list[tuple[int, int, int, int]] = []
        self._not_run: list[tuple[int, int, int]] = []
        self._ended: list[tuple[tuple[Any, ...], Text | None, Text | None]] = []
        #: Jobs that have entered the run before `begin`.
        self._first: list[tuple[Job, Description]] = []
        self._has_handed_out = False
        self._waits_for_input: list[Job] = []
        #: The number of the run in the journal, 0 before `begin`.
        self.run = 0

    # -- the beginning ---------------------------------------------------------------------------

    def _refused(self) -> JournalError:
        return JournalError(f"journal {self._store.path!r}: {self._store.failure}; nothing has run")

    def begin(self, refuse: Callable[[BaseException], object]) -> None:
        """Write the run and its first jobs, all or nothing; `refuse` it if there is no room.

        So a run in a journal has all of its commands and nodes, even if it is broken off early.
        """

        def change(connection: sqlite3.Connection) -> None:
            self._add_run(connection)
            for job, said in self._first:
                self._entries[job] = self._enter(connection, job, said)

        if not self._store.write(change):
            self.run = 0
            refuse(self._refused())

    def _add_run(self, connection: sqlite3.Connection) -> None:
        [[last]] = connection.execute("SELECT coalesce(max(run), 0) FROM runs")
        self.run = last + 1
        root = self._beginning.root
        connection.execute(
            "INSERT INTO runs (run, root, mode, started_at, version, host, pid, user, directory, settings) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.run, self.run if root is None else root, self._beginning.mode, time_of_day(),
                __version__, os.uname().nodename, os.getpid(), _user(), stored(_directory()),
                json.dumps(self._beginning.settings),
            ),
        )  # fmt: skip

    def job_starts(self, job: Job) -> None:
        """Record a job and its nodes; JournalError if there is no room and nothing has run yet."""
        if self._store.failure is not None:
            return
        said = self._describe(job)
        self._waits_for_input.append(job)
        if not self.run:
            self._first.append((job, said))
            return

        def change(connection: sqlite3.Connection) -> None:
            self._entries[job] = self._enter(connection, job, said)

        if self._store.write(change):
            return
        if self._has_handed_out:
            self._fail()
        else:
            raise self._refused()

    def _enter(self, connection: sqlite3.Connection, job: Job, said: Description) -> _Entry:
        if said.recorded_as is None:
            return self._add(connection, job, said)
        rows = connection.execute(
            "SELECT node, rank FROM nodes WHERE command = ?", (said.recorded_as,)
        )
        ranks: dict[Key, int] = {loaded(node): rank for node, rank in rows}
        return _Entry(said.recorded_as, ranks)

    def _add(self, connection: sqlite3.Connection, job: Job, said: Description) -> _Entry:
        size, modified = said.stamp or (None, None)
        cursor = connection.execute(
            "INSERT INTO commands (run, kind, text, source, dest, transport, options, stdin, size, modified) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
            (
                self.run, said.kind, _stored(said.text), _stored(said.source), _stored(said.dest),
                said.transport, json.dumps(said.options), size, modified,
            ),
        )  # fmt: skip
        command = int(cursor.lastrowid or 0)
        connection.executemany(
            "INSERT INTO nodes (command, rank, node) VALUES (?, ?, ?)",
            ((command, rank, stored(name)) for rank, name in enumerate(said.nodes)),
        )
        return _Entry(command, {key: rank for rank, key in enumerate(job.keys)})

    # -- the Observer ----------------------------------------------------------------------------

    def handed_out(self, job: Job, first: int, stop: int) -> None:
        entry = self._entries.get(job)
        if entry is None:
            return
        self._has_handed_out = True
        command, run, ranks, attempts = entry.command, self.run, entry.ranks, job.attempts
        for index in range(first, stop):
            attempt = attempts.get(index, 1) if attempts else 1
            for key in job.keys_of(index):
                self._handed_out.append((command, ranks[key], run, attempt))

    def handed_back(self, job: Job, indexes: Sequence[int]) -> None:
        if (entry := self._entries.get(job)) is not None:
            for index in indexes:
                self._note_not_run(entry, job.keys_of(index))

    def _note_not_run(self, entry: _Entry, keys: Sequence[Key]) -> None:
        self._not_run += [(entry.command, entry.ranks[key], self.run) for key in keys]

    def said(self, job: Job, keys: Sequence[Key], stream: int, block: bytes) -> None:
        # The output of a client for many keys is kept for the first: without a reader they end together.
        if self._store.failure is None:
            self._gathering.add((job, keys[0], stream), block)

    def has_said(self, job: Job, keys: Sequence[Key], stream: int, text: bytes) -> None:
        if self._store.failure is None:
            self._gathering.put((job, keys[0], stream), text)

    def ended(self, job: Job, keys: Sequence[Key], outcome: Outcome) -> None:
        entry = self._entries.get(job)
        if entry is None:
            return
        for number, key in enumerate(keys):
            if not number or job.reader is not None:
                out = self._gathering.take((job, key, STDOUT))
                err = self._gathering.take((job, key, STDERR))
            if _never_ran(outcome):
                self._note_not_run(entry, [key])
                continue
            made = _node_outcome(key, outcome, job)
            if self._beginning.keeps != KEEPS_ALL and made.ok:
                out = err = None
            detail = made.detail if made.detail is None else stored(made.detail)
            row = (
                entry.command, entry.ranks[key], self.run, outcome.attempt, made.reason, made.returncode,
                made.signal, made.started_at, made.duration, detail, made.engine or None,
                made.host or None,
            )  # fmt: skip
            self._ended.append((row, out, err))

    def turn_ends(self) -> None:
        self._look_for_input()
        if not (self._handed_out or self._ended or self._not_run):
            return
        if self._store.failure is None and not self._store.write(self._write_turn):
            self._fail()
        self._handed_out.clear()
        self._not_run.clear()
        self._ended.clear()

    def _write_turn(self, connection: sqlite3.Connection) -> None:
        if self._not_run:
            connection.executemany(
                "DELETE FROM attempts WHERE command = ? AND rank = ? AND run = ? AND reason IS NULL",
                self._not_run,
            )
        if self._ended:
            number = self._bodies.number
            connection.executemany(
                "REPLACE INTO attempts (command, rank, run, attempt, reason, code, signal, started_at, "
                "duration, detail, engine, host, stdout, stderr) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (*row, number(connection, out), number(connection, err))
                    for row, out, err in self._ended
                ],
            )
        if self._handed_out:
            connection.executemany(
                "REPLACE INTO attempts (command, rank, run, attempt) VALUES (?, ?, ?, ?)",
                self._handed_out,
            )

    def _look_for_input(self) -> None:
        """Note which commands get input, before the first of it leaves."""
        if not (self._waits_for_input and self.run):
            return
        jobs = [job for job in self._waits_for_input if job.input.size]
        if not jobs and not any(job.input_closed for job in self._waits_for_input):
            return
        self._waits_for_input = [
            job for job in self._waits_for_input if not (job.input.size or job.input_closed)
        ]
        commands = [(self._entries[job].command,) for job in jobs if job in self._entries]
        statement = "UPDATE commands SET stdin = 1 WHERE command = ?"
        if not commands or self._store.failure is not None:
            return
        if not self._store.write(lambda connection: connection.executemany(statement, commands)):
            self._fail()

    # -- the end ---------------------------------------------------------------------------------

    def _fail(self) -> None:
        """Nothing more is written; the run goes on."""
        self._store.note_incomplete(self.run)
        self._entries.clear()
        self._gathering = OpenTexts(0)
        self._warn(
            f"journal {self._store.path!r}: {self._store.failure}; the run goes on, and no command that "
            "starts from now on is recorded"
        )

    @property
    def failure(self) -> str | None:
        """Why the journal is incomplete, None for one that is not."""
        return self._store.failure

    @property
    def cut(self) -> int:
        """How many texts the bound has cut."""
        return self._bodies.cut

    def close(self, error: BaseException | None) -> None:
        """Write the end of the run, and close the file."""
        text = None if error is None else stored(f"{type(error).__name__}: {error}".rstrip(": "))
        self.turn_ends()
        self._store.look_for_the_file()
        if self._store.failure is None and self.run:
            written = self._store.write(
                lambda connection: connection.execute(
                    "UPDATE runs SET ended_at = ?, error = ? WHERE run = ?",
                    (time_of_day(), text, self.run),
                )
            )
            if not written:
                self._fail()
        self._store.close()


def _never_ran(outcome: Outcome) -> bool:
    """Return whether an outcome proves that its attempt has not run: it was called off before it began."""
    # With a detail it is one whose engine is gone: when it began is not known, and it may have run.
    called_off = outcome.reason in (CANCELLED, TIMED_OUT) and not outcome.started
    return not outcome.attempt or (called_off and outcome.detail is None)


def _node_outcome(key: Key, outcome: Outcome, job: Job) -> NodeOutcome:
    code = _code(outcome)
    try:
        return node_outcome(key, outcome, code, job.results.diagnose)
    except Exception:
        # A transport's `diagnose` may be the user's: its exception is raised where the outcome is read.
        return node_outcome(key, outcome, code, None)


def _code(outcome: Outcome) -> int | None:
    return (
        outcome.status if outcome.reason == EXITED else returncode(outcome.reason, outcome.status)
    )


def _stored(text: str | None) -> str | bytes | None:
    return None if text is None else stored(text)


def _user() -> str:
    """Return the name of the user that the program runs as, or the number of one without."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _directory() -> str:
    """Return the working directory; one that was removed has no name, and commands run in / then."""
    try:
        return os.getcwd()
    except OSError:
        return "/"
