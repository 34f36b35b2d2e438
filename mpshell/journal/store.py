"""The file of a journal, open to be written by one run: its lock, its transactions, and when one fails.

    Store.open ─► OPEN ── a transaction fails ──► FAILED ──► closed
                   └────────────────────────────────────────► closed

A transaction is in the page cache when `write` returns, so a SIGKILL of this process takes nothing of it away;
with `sync` it is on the disk. In the thread of the run, and before it in the one that opens it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from mpshell.errors import JournalError
from mpshell.journal import schema

#: Seconds that a transaction waits for another program that writes to the file. It is no run of mpshell, which
#: has a lock of its own beside SQLite's.
_PATIENCE = 1.0

#: The byte of the file that a run has locked: one that is never written, far from those that SQLite locks.
_LOCKED_BYTE = 1 << 60

#: Bytes that are set aside on the disk, for the note that the journal is incomplete because the disk is full.
_RESERVE = 1 << 18

#: Bytes of a file up to which it is checked as a whole before a run is added to it: a tenth of a second or two.
_CHECKED = 1 << 26

#: Pages that the log may have before it is written back into the file, which waits for the disk.
_LOG_PAGES = 16384

#: File systems that have no files without a name.
_NAMES_ONLY = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)

#: The descriptors of the files that runs of this process have locked: those are not opened a second time.
_locked_here: dict[tuple[int, int], int] = {}


def _leave_locks() -> None:
    """In the child of a fork: its descriptors would keep the files locked when the parent has ended."""
    for fd in _locked_here.values():
        os.close(fd)
    _locked_here.clear()


os.register_at_fork(after_in_child=_leave_locks)


class Store:
    """A journal that one run writes."""

    def __init__(
        self, path: str, fd: int, connection: sqlite3.Connection, reserve: int | None
    ) -> None:
        self.path = path
        #: Why nothing is written any more, None while all is well.
        self.failure: str | None = None
        self._fd = fd
        self._connection = connection
        self._reserve = reserve
        self._process = os.getpid()

    @classmethod
    def open(cls, path: str, *, sync: bool, must_exist: bool = False) -> Store:
        """Open a journal, made if need be, and lock it; JournalError, also for a full disk.

        One that must exist is to be gone on with: it is checked as a whole.
        """
        path = os.path.abspath(path)
        try:
            fd = _open(path, must_exist)
        except OSError as error:
            raise JournalError(f"journal {path!r} cannot be opened: {error.strerror}") from None
        connection: sqlite3.Connection | None = None
        try:
            _lock(fd, path)
            reserve = _reserve(os.path.dirname(path))
            connection = _connect(path, sync, must_exist or os.fstat(fd).st_size <= _CHECKED)
            return cls(path, fd, connection, reserve)
        except BaseException as error:
            if connection is not None:
                connection.close()
            _unlock(fd)
            if isinstance(error, sqlite3.Error):
                raise cannot_be_read(path, error) from None
            if isinstance(error, OSError):
                raise JournalError(f"journal {path!r}: {error.strerror}") from None
            raise

    @property
    def connection(self) -> sqlite3.Connection:
        """The database, to read from."""
        return self._connection

    def write(self, change: Callable[[sqlite3.Connection], object]) -> bool:
        """Make a change in a transaction; return False, and note the `failure`, when that is not possible.

        After a failure nothing is changed any more.
        """
        if self.failure is not None or os.getpid() != self._process:
            return False
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            change(self._connection)
            self._connection.execute("COMMIT")
        except (sqlite3.Error, MemoryError) as error:
            self.failure = _reason(error)
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            return False
        return True

    def look_for_the_file(self) -> None:
        """Note a `failure` when the file that was written is not the one that will be looked for."""
        try:
            is_there = _name(os.stat(self.path)) == _name(os.fstat(self._fd))
        except OSError:
            is_there = False
        if not is_there and self.failure is None:
            self.failure = "the file was removed, or another one is in its place"

    def note_incomplete(self, run: int) -> None:
        """Note, in the room that was set aside, that a run goes on without its journal.

        Where not even that can be written the file loses the permission to be written: without either, nodes
        that run from now on would be taken for such as have not.
        """
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
        try:
            self._connection.execute(
                "UPDATE runs SET incomplete = ? WHERE run = ?", (self.failure, run)
            )
        except sqlite3.Error:
            with suppress(OSError):
                os.fchmod(self._fd, stat.S_IRUSR)

    def close(self) -> None:
        """Close the file and release its lock. Repeatable."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        if self._reserve is not None:
            os.close(self._reserve)
        if os.getpid() != self._process:
            # A fork: the connection is the parent's.
            return
        with suppress(sqlite3.Error):
            if self.failure is None:
                # One plain file again, that can be read where nothing can be written. Somebody who reads it now
                # prevents that, without harm.
                self._connection.execute("PRAGMA busy_timeout = 0")
                self._connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        with suppress(sqlite3.Error):
            self._connection.close()
        # After the connection: to close any descriptor of a file lets go of all locks of the process.
        _unlock(fd)


def cannot_be_read(path: str, error: sqlite3.Error) -> JournalError:
    """Return the error for SQLite's message about a file."""
    if isinstance(error, sqlite3.OperationalError):
        return JournalError(f"journal {path!r}: {_reason(error)}")
    return JournalError(f"{path!r} is damaged, or no journal: {error}")


@contextmanager
def readable(path: str) -> Iterator[None]:
    """A context in which errors of SQLite are JournalErrors."""
    try:
        yield
    except sqlite3.Error as error:
        raise cannot_be_read(path, error) from None


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    # SQLite says "database or disk is full", "attempt to write a readonly database", "database is locked".
    return str(error)


def _open(path: str, must_exist: bool) -> int:
    """Open the file, made for this user alone; JournalError for one that is not a file of this user."""
    with suppress(FileNotFoundError):
        # Before it is opened: to close any descriptor of a file lets go of all locks of the process.
        if _name(os.stat(path)) in _locked_here:
            raise _locked(path)
    fd = os.open(
        path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | (0 if must_exist else os.O_CREAT), 0o600
    )
    found = os.fstat(fd)
    complaint = None
    if not stat.S_ISREG(found.st_mode):
        complaint = "is not a regular file"
    elif found.st_uid != os.geteuid():
        complaint = f"belongs to another user (id {found.st_uid}), who could read and change it"
    elif not found.st_mode & stat.S_IWUSR:
        complaint = (
            "is read-only: mpshell makes it so when it cannot record that a run is incomplete, so it does not "
            "show which nodes have run"
        )
    if complaint is not None:
        os.close(fd)
        raise JournalError(f"journal {path!r} {complaint}")
    return fd


def _set_lock(fd: int, kind: int) -> None:
    """Lock the byte for an open file description; BlockingIOError when another one has it.

    Not for the process, as fcntl(2) does by default: SQLite lets go of all of those on the file.
    """
    fcntl.fcntl(
        fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, _LOCKED_BYTE, 1, 0)
    )


def _lock(fd: int, path: str) -> None:
    try:
        _set_lock(fd, fcntl.F_WRLCK)
    except (BlockingIOError, PermissionError):
        raise _locked(path) from None
    _locked_here[_name(os.fstat(fd))] = fd


def _unlock(fd: int) -> None:
    name = _name(os.fstat(fd))
    os.close(fd)
    _locked_here.pop(name, None)


def _name(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _locked(path: str) -> JournalError:
    return JournalError(f"journal {path!r} is locked by another run, which is in progress")


def is_locked(path: str) -> bool:
    """Return whether a run goes on that writes a journal; OSError."""
    if _name(os.stat(path)) in _locked_here:
        return True
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _set_lock(fd, fcntl.F_RDLCK)
    except (BlockingIOError, PermissionError):
        return True
    finally:
        os.close(fd)
    return False


def _reserve(folder: str) -> int | None:
    """Reserve room in a directory, in a file without a name; None if that is not possible."""
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _NAMES_ONLY or error.errno in (errno.EACCES, errno.EPERM):
            return None
        raise
    try:
        os.posix_fallocate(fd, 0, _RESERVE)
    except OSError as error:
        os.close(fd)
        if error.errno in _NAMES_ONLY:
            return None
        raise
    return fd


def _connect(path: str, sync: bool, whole: bool) -> sqlite3.Connection:
    """Open the database with its tables, checked as a `whole` or not; sqlite3.Error, JournalError."""
    connection = sqlite3.connect(
        path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        is_journal = schema.check(connection, path)
        if whole:
            [[verdict]] = connection.execute("PRAGMA quick_check(1)").fetchall()
            if verdict != "ok":
                raise JournalError(f"journal {path!r} is damaged: {verdict}")
        # Where the file system cannot have it, SQLite stays with its other journal, which is as safe.
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}").fetchall()
        connection.execute("BEGIN IMMEDIATE")
        if not is_journal:
            schema.create(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection
