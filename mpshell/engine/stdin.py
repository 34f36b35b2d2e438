"""What is written to the commands of a job: one log of it an engine, and a place in it for each client.

A client that starts late reads the log from its beginning, as one that was there when it was said. So
the log is kept whole while the job runs, once and not once a node.
"""

from __future__ import annotations

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpshell.engine.carrier import InputSink

_PIECE = 65536  # bytes, what a pipe of the default size takes at once


class InputLog:
    """Bytes for the stdin of every client of a job, and whether that is all."""

    __slots__ = ("chunks", "closed", "readers")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.closed = False
        #: Clients to wake when there is more.
        self.readers: set[InputFeed] = set()

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.chunks.append(data)
            self._wake()

    def close(self) -> None:
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        for feed in list(self.readers):
            feed.wake()


class InputFeed:
    """One client's standard input: writes what the log holds as the command reads it."""

    __slots__ = ("_chunk", "_log", "_offset", "_on_written", "_sink", "_waiting")

    def __init__(
        self, sink: InputSink, log: InputLog, on_written: Callable[[int], object] | None
    ) -> None:
        self._sink: InputSink | None = sink
        self._log = log
        self._on_written = on_written
        self._chunk = 0
        self._offset = 0
        #: The sink is full, and calls back when it has room.
        self._waiting = False
        log.readers.add(self)
        if log.chunks or log.closed:
            self._write()

    def wake(self) -> None:
        """Write on: there is something new in the log."""
        if not self._waiting and self._sink is not None:
            self._write()

    def _write(self) -> None:
        log, sink = self._log, self._sink
        while sink is not None and self._chunk < len(log.chunks):
            chunk = log.chunks[self._chunk]
            size = sink.write(memoryview(chunk)[self._offset : self._offset + _PIECE])
            if size is None:
                self.close()
                return
            if not size:
                if not self._waiting:
                    self._waiting = True
                    sink.await_room(self._write)
                return
            if self._on_written is not None:
                self._on_written(size)
            self._offset += size
            if self._offset >= len(chunk):
                self._chunk += 1
                self._offset = 0
        if self._waiting and sink is not None:
            self._waiting = False
            sink.await_room(None)
        if log.closed:
            self.close()

    def close(self) -> None:
        """Give the command its end of file. Harmless when done already."""
        sink, self._sink = self._sink, None
        if sink is None:
            return
        if self._waiting:
            self._waiting = False
            sink.await_room(None)
        self._log.readers.discard(self)
        sink.close_input()
