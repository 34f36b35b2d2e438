"""The input of the commands of a job: one log of it in each engine, and a place in it for each client.

A client that starts late reads the log from its beginning, like one that started early. So
the whole log is kept while the job runs, once and not for each node: in memory, and beyond a size in a file
(`mpshell.runtime.spool`), that of the coordinator if its descriptor can be passed. If each client has its
own stdin (`OwnInputs`), each has a log, until its slot is free.
"""

from __future__ import annotations

import errno
import os

from mpshell.errors import InputStorageError
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.runtime.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Final

    from mpshell.engine.carrier import InputSink

_PIECE = 65536  # bytes that a pipe of the default size takes at once


# The states of a log.
OPEN: Final = "OPEN"  # more may come
CLOSED: Final = "CLOSED"  # it is whole
BROKEN: Final = (
    "BROKEN"  # a part is lost: no more for clients, and no end, which would look like the real one
)


class InputLog:
    """Bytes for the stdin of every client of a job, and whether that is all: its state."""

    __slots__ = ("_spool", "has_file", "piece", "readers", "state")

    def __init__(self, variables: Mapping[bytes, bytes] | None = None) -> None:
        self._spool = Spool(variables)
        self.piece = self._spool.piece
        self.state: str = OPEN
        #: It goes on in a file of the coordinator's.
        self.has_file = False
        #: Clients to wake when there is more.
        self.readers: set[InputFeed] = set()

    @property
    def size(self) -> int:
        return self._spool.size

    @property
    def is_empty(self) -> bool:
        """Whether it is whole, and has no byte."""
        return self.state is CLOSED and not self.size

    def write(self, data: bytes) -> None:
        """Add bytes; InputStorageError when they cannot be kept."""
        if self.state is OPEN:
            self._spool.append(data)
            self._wake()

    def adopt(self, fd: int) -> None:
        """Continue the log in a file of the coordinator; InputStorageError for -1, if it has not arrived."""
        if fd < 0:
            # The kernel drops a descriptor for which the receiver has no room.
            raise InputStorageError.of(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
        self._spool.adopt(fd)
        self.has_file = True

    def read_from(self, path: str) -> None:
        """Have all of the log read from a file of this host; InputStorageError when that cannot be opened."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputStorageError.of(error) from error
        self._spool.in_memory = 0
        self.adopt(fd)

    def extend(self, size: int) -> None:
        """Take note of bytes that have been added to that file."""
        if self.state is OPEN:
            self._spool.extend(size)
            self._wake()

    def close(self) -> None:
        if self.state is OPEN:
            self.state = CLOSED
            self._wake()

    def lose_rest(self) -> None:
        """Something of it could not be kept."""
        if self.state is OPEN:
            self.state = BROKEN

    def release(self) -> None:
        """Drop it: no client is left, and none is to come."""
        self._spool.close()

    def _wake(self) -> None:
        for feed in list(self.readers):
            feed.wake()


class OwnInputs:
    """The logs of a job's clients that have a stdin each, until they start."""

    __slots__ = ("_variables", "waiting")

    def __init__(self, variables: Mapping[bytes, bytes]) -> None:
        self._variables = variables
        #: Logs of clients that have not started, by index.
        self.waiting: dict[int, InputLog] = {}

    def expect(self, indexes: Iterable[int]) -> None:
        """Make an empty log for each of these clients: they are to be run."""
        for index in indexes:
            self.waiting[index] = InputLog(self._variables)

    def take(self, index: int) -> InputLog:
        """Return the log of a client that starts; a closed one for one that was not expected."""
        log = self.waiting.pop(index, None)
        if log is None:
            log = InputLog(self._variables)
            log.close()
        return log

    def release(self) -> None:
        """Drop the logs of clients that are not started any more."""
        while self.waiting:
            self.waiting.popitem()[1].release()


class InputFeed:
    """One client's standard input: writes the log as the command reads it."""

    __slots__ = ("_log", "_offset", "_on_written", "_sink", "_waiting", "fed")

    def __init__(
        self,
        sink: InputSink,
        log: InputLog,
        on_written: Callable[[int], object] | None,
        fed: int = 0,
    ) -> None:
        self._sink: InputSink | None = sink
        self._log = log
        self._on_written = on_written
        self._offset = 0
        #: Bytes that have been reported as written, those to a command before this one included.
        self.fed = fed
        #: The sink is full, and calls back when it has room.
        self._waiting = False
        log.readers.add(self)
        if log.size or log.state is CLOSED:
            self._write()

    def wake(self) -> None:
        """Write on: there is something new in the log."""
        if not self._waiting and self._sink is not None:
            self._write()

    def _write(self) -> None:
        log, sink = self._log, self._sink
        while sink is not None and self._offset < log.size:
            size = sink.write(log.piece(self._offset, _PIECE))
            if size is None:
                self.close()
                return
            if not size:
                if not self._waiting:
                    self._waiting = True
                    sink.await_room(self._write)
                return
            self._offset += size
            if self._offset > self.fed:
                new, self.fed = self._offset - self.fed, self._offset
                if self._on_written is not None:
                    self._on_written(new)
        if self._waiting and sink is not None:
            self._waiting = False
            sink.await_room(None)
        if log.state is CLOSED:
            self.close()

    def close(self) -> None:
        """Give the command its end of file. Repeatable."""
        sink, self._sink = self._sink, None
        if sink is None:
            return
        if self._waiting:
            self._waiting = False
            sink.await_room(None)
        self._log.readers.discard(self)
        sink.close_input()
