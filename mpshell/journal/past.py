"""The content of a journal, read: runs, their commands and nodes, the fate of each. It changes nothing.

A run that goes on with an earlier one has no commands and nodes of its own: they are those of its `root`. The
state of a node is that of its last row over all runs of one root.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from mpshell.errors import JournalError
from mpshell.journal import columns, schema
from mpshell.journal.schema import NEW, RERUN_FAILED, RESUME_UNKNOWN, loaded
from mpshell.journal.store import cannot_be_read, readable

#: The state of a node: its verdict, that it may have run, that it has surely not.
ENDED_OK, ENDED_FAILED, MAY_HAVE_RUN, NOT_RUN = "ok", "failed", "may have run", "not run"


class PastRun(NamedTuple):
    """A row of `runs`."""

    run: int
    root: int
    mode: str
    started_at: float
    ended_at: float | None
    error: str | None
    #: Why its rows are not complete, None when they are.
    incomplete: str | None
    host: str
    user: str
    directory: str
    settings: Mapping[str, Any]


class PastCommand(NamedTuple):
    """A row of `commands`."""

    command: int
    kind: str
    text: str | None
    source: str | None
    dest: str | None
    transport: str
    options: Mapping[str, Any]
    stdin: bool
    stamp: tuple[int, int] | None


class PastAttempt(NamedTuple):
    """A row of `attempts`; the texts are those of the streams, None if there was none or it was not kept."""

    rank: int
    run: int
    attempt: int
    reason: str | None
    code: int | None
    signal: int | None
    started_at: float | None
    duration: float
    detail: str | None
    engine: int | None
    host: str | None
    stdout: int | None
    stderr: int | None

    @property
    def ok(self) -> bool:
        return self.reason == "exit" and self.code == 0


class Past:
    """A journal that is read; a damaged one is a JournalError, wherever that is found."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: str) -> Past:
        """Open a journal to read it, also while a run writes it; JournalError."""
        path = os.path.abspath(path)
        try:
            # Not opened here: to close any descriptor of a file lets go of all locks of the process on it.
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise JournalError(f"journal {path!r} is not a regular file")
            if not os.access(path, os.R_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise JournalError(f"journal {path!r} cannot be read: {error.strerror}") from None
        with readable(path):
            connection = _connect(path)
        return cls(path, connection)

    def close(self) -> None:
        """Close the file. Repeatable."""
        self._connection.close()

    # -- runs --------------------------------------------------------------------------------------

    def _rows(self, statement: str, *values: Any) -> Iterator[Any]:
        try:
            for row in self._connection.execute(statement, values):  # noqa: UP028
                # Not `yield from`: rows that are not read to their end would close their cursor late.
                yield row
        except sqlite3.Error as error:
            raise cannot_be_read(self.path, error) from None

    def _checked(self, expected: columns.Columns, statement: str, *values: Any) -> Iterator[Any]:
        """Yield rows in which each column has a value that it can have; JournalError for any other."""
        for row in self._rows(statement, *values):
            columns.check(self.path, expected, row)
            yield row

    def runs(self) -> list[PastRun]:
        """Return all runs, the first one first."""
        rows = self._checked(
            columns.RUN, f"SELECT {columns.names(columns.RUN)} FROM runs ORDER BY run"
        )
        return [self._run(PastRun(*row)) for row in rows]

    def _run(self, run: PastRun) -> PastRun:
        return run._replace(
            error=_loaded(run.error),
            directory=loaded(run.directory),
            settings=self._mapping(run.settings),
        )

    def run(self, number: int | None) -> PastRun:
        """Return a run, the last one for None; JournalError when there is none."""
        runs = self.runs()
        if not runs:
            raise JournalError(f"journal {self.path!r} holds no run")
        if number is None:
            return runs[-1]
        for run in runs:
            if run.run == number:
                return run
        raise JournalError(
            f"journal {self.path!r} has no run {number}, but {runs[0].run} to {runs[-1].run}"
        )

    def last_of(self, pid: int, host: str) -> PastRun:
        """Return the last run that a process wrote; JournalError without one."""
        rows = self._rows("SELECT max(run) FROM runs WHERE pid = ? AND host = ?", pid, host)
        [[number]] = rows
        if number is None:
            raise JournalError(f"journal {self.path!r} holds no run of process {pid}")
        return self.run(number)

    def _mapping(self, text: Any) -> Mapping[str, Any]:
        try:
            found = json.loads(text)
        except (TypeError, ValueError):
            found = None
        if not isinstance(found, dict):
            raise JournalError(
                f"journal {self.path!r} is damaged: {text!r} is not an object of settings"
            )
        return found

    def commands(self, run: PastRun) -> list[PastCommand]:
        """Return the commands of a run, in the order in which they were given."""
        rows = self._checked(
            columns.COMMAND,
            f"SELECT {columns.names(columns.COMMAND)} FROM commands WHERE run = ? ORDER BY command",
            run.root,
        )
        return [self._command(*row) for row in rows]

    def _command(self, *row: Any) -> PastCommand:
        number, kind, text, source, dest, transport, options, stdin, size, modified = row
        needed = {
            "command": [text],
            "local": [],
            "copy": [source, dest],
            "rcopy": [source, dest],
        }.get(kind)
        if needed is None or None in needed:
            raise JournalError(
                f"journal {self.path!r} is damaged: its command {number} is a {kind!r}"
            )
        return PastCommand(
            number, kind, _loaded(text), _loaded(source), _loaded(dest), transport, self._mapping(options),
            bool(stdin), None if size is None or modified is None else (size, modified),
        )  # fmt: skip

    def nodes(self, command: int) -> list[str]:
        """Return the nodes of a command by rank."""
        rows = self._checked(
            columns.NODE, "SELECT rank, node FROM nodes WHERE command = ? ORDER BY rank", command
        )
        names: list[str] = []
        for rank, node in rows:
            if rank != len(names):
                raise JournalError(
                    f"journal {self.path!r} is damaged: command {command} has no node {len(names)}"
                )
            names.append(loaded(node))
        return names

    # -- nodes -------------------------------------------------------------------------------------

    def attempts(self, run: PastRun, command: int) -> Iterator[PastAttempt]:
        """Yield the last attempt of a run at each node that it has handed out, by rank."""
        last: PastAttempt | None = None
        count = self._count(command)
        rows = self._checked(
            columns.ATTEMPT,
            f"SELECT {columns.names(columns.ATTEMPT)} FROM attempts WHERE command = ? AND run = ? "
            "ORDER BY rank, attempt",
            command,
            run.run,
        )
        for row in rows:
            attempt = PastAttempt(*row)
            self._check_rank(command, attempt.rank, count)
            if last is not None and last.rank != attempt.rank:
                yield last
            last = attempt
        if last is not None:
            yield last

    def _count(self, command: int) -> int:
        """Return how many nodes a command has."""
        [[count]] = self._rows("SELECT count(*) FROM nodes WHERE command = ?", command)
        return int(count)

    def _check_rank(self, command: int, rank: Any, count: int) -> None:
        if not (isinstance(rank, int) and 0 <= rank < count):
            raise JournalError(
                f"journal {self.path!r} is damaged: command {command} has no node of rank {rank}"
            )

    def states(self, run: PastRun, command: int, before: int | None = None) -> list[str]:
        """Return the states of the nodes of a command, by rank, over all runs of a root (`before` one)."""
        count = self._count(command)
        incomplete = any(
            other.incomplete is not None
            for other in self.runs()
            if other.root == run.root and (before is None or other.run < before)
        )
        states = [MAY_HAVE_RUN if incomplete else NOT_RUN] * count
        rows = self._rows(
            "SELECT rank, reason, code FROM attempts WHERE command = ? AND (? IS NULL OR run < ?) "
            "ORDER BY rank, run, attempt",
            command,
            before,
            before,
        )
        for rank, reason, code in rows:
            self._check_rank(command, rank, count)
            if reason is None:
                states[rank] = MAY_HAVE_RUN
            else:
                states[rank] = ENDED_OK if reason == "exit" and code == 0 else ENDED_FAILED
        return states

    def chosen(self, run: PastRun, command: int) -> list[int]:
        """Return the ranks of the nodes that a run was for."""
        if run.mode == NEW:
            return list(range(self._count(command)))
        return choose(self.states(run, command, before=run.run), run.mode)

    # -- output ------------------------------------------------------------------------------------

    def text(self, body: int) -> tuple[bytes, int, bytes]:
        """Return the part of a text that is kept, its size in bytes, and its SHA-256."""
        rows = list(
            self._checked(
                columns.BODY,
                f"SELECT {columns.names(columns.BODY)} FROM bodies WHERE body = ?",
                body,
            )
        )
        if not rows:
            raise JournalError(f"journal {self.path!r} is damaged: output {body} is missing")
        [(content, size, digest)] = rows
        return content, size, digest


def choose(states: list[str], mode: str) -> list[int]:
    """Return the ranks of the nodes that a run of a mode is for, by the state of each."""
    if mode == RERUN_FAILED:
        wanted = {ENDED_FAILED}
    elif mode == RESUME_UNKNOWN:
        wanted = {NOT_RUN, MAY_HAVE_RUN}
    else:
        wanted = {NOT_RUN}
    return [rank for rank, state in enumerate(states) if state in wanted]


def _loaded(value: str | bytes | None) -> str | None:
    return None if value is None else loaded(value)


def _connect(path: str) -> sqlite3.Connection:
    """Open a database to read it."""
    # With an empty host, as a path may begin with two slashes; and the name may be no UTF-8.
    uri = f"file://{quote(os.fsencode(path))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None)
    try:
        if not schema.check(connection, path):
            raise JournalError(f"journal {path!r} holds no run: it is empty")
    except BaseException:
        connection.close()
        raise
    return connection
