"""Descriptors of the user, which the coordinator's loop reads and writes: the streams of a stream worker.

Each has a name and its own end: a reader at its end of file, a writer when its end was requested and
everything is written, or when its reader has closed it. The worker ends when no stream is left that retains
it. In the thread that owns the Task. The flags of a descriptor belong to the user, and it may be shared with
other processes: it is set to non-blocking for a read or write, and restored after that.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Callable

from mpshell.coordinator.job import Job
from mpshell.coordinator.run import Run
from mpshell.coordinator.verdicts import Verdicts
from mpshell.runtime.lean import TYPE_CHECKING, NamedTuple
from mpshell.runtime.loop import EventLoop, TimerHandle
from mpshell.wire.lines import StreamBuffer
from mpshell.wire.messages import CANCELLED, TIMED_OUT

if TYPE_CHECKING:
    from typing import Any, Final

_READ_SIZE = 65536
_PIECE = 65536

# The states of a stream.
IDLE: Final = "IDLE"  # there is nothing to do for it
DUE: Final = "DUE"  # its turn comes, with the other events of this turn of the loop
POLLED: Final = "POLLED"  # the loop waits for it to be readable, or writable
CLOSED: Final = "CLOSED"  # it is at its end


class Stream:
    """One descriptor, or an object that has one (kept alive), under a name."""

    def __init__(self, sname: str, file: Any, retain: bool, closefd: bool) -> None:
        self.sname = sname
        self.file = file
        self.fd: int = file if isinstance(file, int) else file.fileno()
        self.retain = retain
        self.closefd = closefd
        self.state: str = IDLE

    @property
    def open(self) -> bool:
        return self.state is not CLOSED

    def call(self, function: Any, argument: Any) -> Any:
        """Call os.read or os.write without blocking; BlockingIOError if it would block."""
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        if flags & os.O_NONBLOCK:
            return function(self.fd, argument)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        try:
            return function(self.fd, argument)
        finally:
            fcntl.fcntl(self.fd, fcntl.F_SETFL, flags)

    def close(self, loop: EventLoop) -> None:
        """Leave the loop, and close the descriptor if it is ours to close."""
        self.state = CLOSED
        if not self.closefd:
            return
        try:
            if isinstance(self.file, int):
                os.close(self.fd)
            else:
                self.file.close()
        except OSError:
            # Closed by the user already, or its last bytes have no reader: it is closed in any case.
            return


class StreamReader(Stream):
    """A stream that is read line by line."""

    def __init__(self, sname: str, file: Any, retain: bool, closefd: bool) -> None:
        super().__init__(sname, file, retain, closefd)
        self.buffer = StreamBuffer()

    def close(self, loop: EventLoop) -> None:
        if self.state is POLLED:
            _leave(loop.remove_reader, self.fd)
        super().close(loop)


class StreamWriter(Stream):
    """A stream that is written, as fast as its reader takes it."""

    def __init__(self, sname: str, file: Any, retain: bool, closefd: bool) -> None:
        super().__init__(sname, file, retain, closefd)
        self.pending: deque[memoryview] = deque()
        #: Whether it ends when nothing is pending any more.
        self.eof = False

    def write(self, data: bytes | None) -> None:
        """Queue bytes; None means the end."""
        if self.eof or not self.open:
            return
        if data is None:
            self.eof = True
        elif data:
            self.pending.append(memoryview(data))

    def close(self, loop: EventLoop) -> None:
        if self.state is POLLED:
            _leave(loop.remove_writer, self.fd)
        self.pending.clear()
        super().close(loop)


def _leave(remove: Any, fd: int) -> None:
    try:
        remove(fd)
    except OSError:
        # Closed by the user: the kernel has removed it by itself.
        return


class _InRun(NamedTuple):
    """The part of a run that the streams of a worker use."""

    run: Run
    job: Job
    output: Callable[[Job, int, bytes], object]
    verdicts: Verdicts
    deadline: TimerHandle | None


class Streams:
    """The streams of one worker, in one run."""

    def __init__(self, readers: list[StreamReader], writers: list[StreamWriter]) -> None:
        self.readers = readers
        self.writers = writers
        self._part: _InRun | None = None

    def enter(
        self,
        run: Run,
        job: Job,
        output: Callable[[Job, int, bytes], object],
        verdicts: Verdicts,
    ) -> None:
        """Take part in a run, with at least one stream; `output` takes (job, number of a reader, lines)."""
        deadline = None
        if job.spec.timeout is not None:
            deadline = run.loop.call_later(job.spec.timeout, self.end, TIMED_OUT)
        self._part = _InRun(run, job, output, verdicts, deadline)
        run.tell(job.listener.job_starting, job, [0])
        # After the start event: if its handler ends the worker there, it gets no event about that end.
        job.announced = 1
        for number, reader in enumerate(self.readers):
            if reader.open:
                self._await_input(run.loop, number, reader)
        for writer in self.writers:
            self.wake(writer)

    def _await_input(self, loop: EventLoop, number: int, reader: StreamReader) -> None:
        try:
            loop.add_reader(reader.fd, self._on_readable, number, reader)
            reader.state = POLLED
        except PermissionError:
            # A regular file can always be read, and not be polled (epoll_ctl(2), EPERM).
            reader.state = DUE
            loop.call_soon(self._read_file, number, reader)
        except OSError:
            self._finish(reader)

    def _read_file(self, number: int, reader: StreamReader) -> None:
        if reader.open and self._part is not None:
            self._on_readable(number, reader)
            if reader.open and self._part is not None:
                self._part.run.loop.call_soon(self._read_file, number, reader)

    def _on_readable(self, number: int, reader: StreamReader) -> None:
        try:
            data = reader.call(os.read, _READ_SIZE)
        except BlockingIOError:
            return  # another process that reads it was faster
        except OSError:
            data = b""  # the other side of a terminal has closed it, or the user has
        if data:
            reader.buffer.add(data)
        self._tell(number, reader, final=not data)
        if not data:
            self._finish(reader)

    def _tell(self, number: int, reader: StreamReader, final: bool) -> None:
        """Record complete lines and report them; with `final` also the unfinished last line."""
        part = self._part
        if part is not None and (block := reader.buffer.take(final)):
            part.output(part.job, number, block)

    # -- writing -------------------------------------------------------------------------------

    def write(self, data: bytes | None, sname: str | None) -> None:
        """Write to a stream, or to all; None closes it when all is written."""
        for writer in self.writers:
            if sname in (None, writer.sname):
                writer.write(data)
                self.wake(writer)

    def wake(self, writer: StreamWriter) -> None:
        """Schedule a write to a stream in this turn: there is something new for it."""
        if self._part is not None and writer.state is IDLE:
            writer.state = DUE
            self._part.run.loop.call_soon(self._on_due, writer)

    def _on_due(self, writer: StreamWriter) -> None:
        if writer.open:
            writer.state = IDLE
            self._on_writable(writer)

    def _on_writable(self, writer: StreamWriter) -> None:
        while self._part is not None and writer.pending:
            chunk = writer.pending[0]
            try:
                size = writer.call(os.write, chunk[:_PIECE])
            except BlockingIOError:
                if writer.state is IDLE:
                    writer.state = POLLED
                    self._part.run.loop.add_writer(writer.fd, self._on_writable, writer)
                return
            except OSError:
                self._finish(writer)  # its reader has closed it: no error, drop the rest
                break
            if size == len(chunk):
                writer.pending.popleft()
            else:
                writer.pending[0] = chunk[size:]
            self._tell_written(self._part, writer, size)
        if self._part is not None and writer.open and not writer.pending:
            if writer.state is POLLED:
                writer.state = IDLE
                self._part.run.loop.remove_writer(writer.fd)
            if writer.eof:
                self._finish(writer)

    def _tell_written(self, part: _InRun, writer: StreamWriter, size: int) -> None:
        job = part.job
        if job.spec.report_written:
            part.run.tell(job.listener.stream_written, job, writer.sname, size)

    # -- the end -------------------------------------------------------------------------------

    def _finish(self, stream: Stream) -> None:
        """A stream has ended; the last one that retains the worker ends the worker."""
        if self._part is None or not stream.open:
            return
        stream.close(self._part.run.loop)
        if not any(other.open and other.retain for other in (*self.readers, *self.writers)):
            self.end(None)

    def end(self, reason: int | None) -> None:
        """End all streams: by themselves (None), TIMED_OUT or CANCELLED. Repeatable."""
        if reason != CANCELLED:
            for number, reader in enumerate(self.readers):
                if reader.open:
                    self._tell(number, reader, final=True)
        part, self._part = self._part, None
        if part is None:
            return  # ended already, perhaps just now by a handler
        if part.deadline is not None:
            part.deadline.cancel()
        for stream in (*self.readers, *self.writers):
            if stream.open:
                stream.close(part.run.loop)
        part.verdicts.streams_ended(part.job, reason == TIMED_OUT)
