"""The values of a journal as they are read: SQLite keeps any value in any column."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mpshell.errors import JournalError
from mpshell.journal import columns
from mpshell.journal.past import Past
from tests.cli.program import local, mpshell

TABLES = {
    "runs": columns.RUN, "commands": columns.COMMAND, "nodes": columns.NODE, "attempts": columns.ATTEMPT,
    "bodies": columns.BODY,
}  # fmt: skip

TEXT, BYTES, NEGATIVE, ENDLESS, EMPTY = "abc", b"\xff", -1, float("inf"), None

#: SQLite stores a number in a column of texts as a text.
_A_TEXT = (TEXT, NEGATIVE, ENDLESS)

#: Values that a column can have, of those above, or SQLite refuses.
RIGHT = {
    **dict.fromkeys(("mode", "user", "transport"), _A_TEXT),
    **dict.fromkeys(("host", "incomplete", "reason"), (*_A_TEXT, EMPTY)),
    **dict.fromkeys(("directory", "text", "node"), (*_A_TEXT, BYTES)),
    **dict.fromkeys(("error", "source", "dest", "detail"), (*_A_TEXT, BYTES, EMPTY)),
    **dict.fromkeys(("ended_at", "started_at", "size", "engine", "stdout", "stderr"), (EMPTY,)),
    **dict.fromkeys(("modified", "code", "signal", "duration"), (NEGATIVE, EMPTY)),
    **dict.fromkeys(("content", "digest"), (BYTES,)),
    "stdin": (NEGATIVE,),
}

#: Columns that say which rows belong together: with another value there, a row is not found.
KEYS = (("runs", "root"), ("commands", "command"), ("attempts", "run"))


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("columns") / "journal"
    local("-w", "n[0-2]", "--journal", str(path), "echo out; echo err >&2; exit %n")
    return path


def cases() -> Iterator[tuple[str, str, Any]]:
    for table, of_table in TABLES.items():
        for column in of_table:
            for value in (TEXT, BYTES, NEGATIVE, ENDLESS, EMPTY):
                if (table, column) not in KEYS and value not in RIGHT.get(column, ()):
                    yield table, column, value


def read_all(path: Path) -> str:
    """Read all of a journal; return the error, "" without one."""
    past = Past.open(str(path))
    try:
        run = past.run(None)
        for command in past.commands(run):
            past.nodes(command.command)
            past.states(run, command.command)
            for attempt in past.attempts(run, command.command):
                for body in (attempt.stdout, attempt.stderr):
                    if body is not None:
                        past.text(body)
        return ""
    except JournalError as error:
        return str(error)
    finally:
        past.close()


def test_a_value_that_is_never_written_is_an_error(journal: Path, tmp_path: Path) -> None:
    tried = 0
    changed = tmp_path / "journal"
    for table, column, value in cases():
        changed.write_bytes(journal.read_bytes())
        with closing(sqlite3.connect(changed)) as connection:
            try:
                where = "rank = 1" if table in ("nodes", "attempts") else "rowid = 1"
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value,))
            except sqlite3.IntegrityError:
                continue  # SQLite itself refuses it
            connection.commit()
        tried += 1
        assert "damaged" in read_all(changed), (table, column, value)
    assert tried > 80


def test_what_is_written_is_right(journal: Path) -> None:
    assert read_all(journal) == ""


@pytest.mark.parametrize("words", [["--show"], ["--runs"], ["--resume"], ["--rerun-failed"]])
def test_the_program_names_it(words: list[str], journal: Path, tmp_path: Path) -> None:
    changed = tmp_path / "journal"
    changed.write_bytes(journal.read_bytes())
    with closing(sqlite3.connect(changed)) as connection:
        connection.execute("UPDATE runs SET started_at = 'noon'")
        connection.commit()
    done = mpshell(*words, str(changed))
    assert done.code == 73 and "is damaged: 'noon' is no started_at" in done.err
