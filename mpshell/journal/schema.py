"""The tables of a journal, and how a file is recognized as one. docs/journal.md has them for other programs.

A change of a table is another `VERSION`.
"""

from __future__ import annotations

import os
import sqlite3

from mpshell.errors import JournalError

#: Of the schema, in `PRAGMA user_version`.
VERSION = 1

#: In `PRAGMA application_id`, by which file(1) and this package know a journal: "mpsh".
APPLICATION = 0x6D707368

#: How the nodes of a run were chosen: all that were given, or those of an earlier one.
NEW, RESUME, RESUME_UNKNOWN, RERUN_FAILED = "run", "resume", "resume unknown", "rerun failed"

TABLES = """\
CREATE TABLE runs (
    run INTEGER PRIMARY KEY,
    root INTEGER NOT NULL REFERENCES runs,
    mode TEXT NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL,
    error TEXT,
    incomplete TEXT,
    version TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    user TEXT NOT NULL,
    directory TEXT NOT NULL,
    settings TEXT NOT NULL
);
CREATE TABLE commands (
    command INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs,
    kind TEXT NOT NULL,
    text TEXT,
    source TEXT,
    dest TEXT,
    transport TEXT NOT NULL,
    options TEXT NOT NULL,
    stdin INTEGER NOT NULL,
    size INTEGER,
    modified INTEGER
);
CREATE INDEX commands_of_run ON commands (run);
CREATE TABLE nodes (
    command INTEGER NOT NULL REFERENCES commands,
    rank INTEGER NOT NULL,
    node TEXT NOT NULL,
    PRIMARY KEY (command, rank)
) WITHOUT ROWID;
CREATE TABLE attempts (
    command INTEGER NOT NULL REFERENCES commands,
    rank INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    attempt INTEGER NOT NULL,
    reason TEXT,
    code INTEGER,
    signal INTEGER,
    started_at REAL,
    duration REAL,
    detail TEXT,
    engine INTEGER,
    host TEXT,
    stdout INTEGER REFERENCES bodies,
    stderr INTEGER REFERENCES bodies,
    PRIMARY KEY (command, rank, run, attempt)
) WITHOUT ROWID;
CREATE TABLE bodies (
    body INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    content BLOB NOT NULL,
    UNIQUE (digest, size)
);
CREATE VIEW verdicts AS
    SELECT commands.run AS run, nodes.command AS command, nodes.rank AS rank, node,
        CASE WHEN attempts.rank IS NULL AND EXISTS
                (SELECT 1 FROM runs WHERE root = commands.run AND incomplete IS NOT NULL) THEN 'may have run'
            WHEN attempts.rank IS NULL THEN 'not run'
            WHEN reason IS NULL THEN 'may have run'
            ELSE 'ended' END AS state,
        attempts.run AS in_run, attempt, reason, code, signal, started_at, duration, detail, engine, host,
        stdout, stderr
    FROM nodes JOIN commands ON commands.command = nodes.command
    LEFT JOIN attempts ON attempts.command = nodes.command AND attempts.rank = nodes.rank
        AND (attempts.run, attempt) = (
            SELECT run, attempt FROM attempts AS last
            WHERE last.command = nodes.command AND last.rank = nodes.rank
            ORDER BY run DESC, attempt DESC LIMIT 1);
"""


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, in the transaction that goes on; sqlite3.Error."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def check(connection: sqlite3.Connection, path: str) -> bool:
    """Return whether an open file is a journal, False for an empty one; JournalError for anything else."""
    [[application]] = connection.execute("PRAGMA application_id")
    [[version]] = connection.execute("PRAGMA user_version")
    if not application and not version:
        [[tables]] = connection.execute("SELECT count(*) FROM sqlite_master")
        if not tables:
            return False
    if application != APPLICATION:
        raise JournalError(
            f"{path!r} is not a journal of mpshell but a database of another program"
        )
    if version != VERSION:
        raise JournalError(
            f"journal {path!r} has schema {version}, but this mpshell knows schema {VERSION}: use the "
            "mpshell that wrote it, or another file"
        )
    return True


def stored(text: str) -> str | bytes:
    """Return the stored form of a text: bytes if it is not UTF-8, as names of files may be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def loaded(value: str | bytes) -> str:
    """Return the text that `stored` has made a value of."""
    return os.fsdecode(value) if isinstance(value, bytes) else value
