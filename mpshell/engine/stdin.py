"""What is written to the commands of a job: one log of it an engine, and a place in it for each client.

A client that starts late reads the log from its beginning, as one that was there when it was said. So
the log is kept whole while the job runs, once and not once a node.
"""

import os
from collections.abc import Callable

from mpshell.runtime.loop import EventLoop

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
    """One client's stdin: writes what the log holds as the command reads it.

    A command that does not read any more (EPIPE) is no error: the rest is not for it.
    """

    __slots__ = (
        "_blocking",
        "_chunk",
        "_fd",
        "_log",
        "_loop",
        "_offset",
        "_on_written",
        "_waiting",
    )

    def __init__(
        self, fd: int, log: InputLog, loop: EventLoop, on_written: Callable[[int], object] | None
    ) -> None:
        self._fd = fd
        self._blocking = True
        self._log = log
        self._loop = loop
        self._on_written = on_written
        self._chunk = 0
        self._offset = 0
        self._waiting = False
        log.readers.add(self)
        if log.chunks or log.closed:
            self._write()

    def wake(self) -> None:
        """Write on: there is something new in the log."""
        if not self._waiting and self._fd >= 0:
            self._write()

    def _write(self) -> None:
        log = self._log
        if self._blocking:
            # Not before there is something to write: most commands are never written to.
            self._blocking = False
            os.set_blocking(self._fd, False)
        while self._chunk < len(log.chunks):
            chunk = log.chunks[self._chunk]
            try:
                size = os.write(self._fd, memoryview(chunk)[self._offset : self._offset + _PIECE])
            except BlockingIOError:
                if not self._waiting:
                    self._waiting = True
                    self._loop.add_writer(self._fd, self._write)
                return
            except OSError:
                self.close()
                return
            if self._on_written is not None:
                self._on_written(size)
            self._offset += size
            if self._offset >= len(chunk):
                self._chunk += 1
                self._offset = 0
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._fd)
        if log.closed:
            self.close()

    def close(self) -> None:
        """Give the command its end of file. Harmless when done already."""
        if self._fd < 0:
            return
        if self._waiting:
            self._loop.remove_writer(self._fd)
        self._log.readers.discard(self)
        os.close(self._fd)
        self._fd = -1
