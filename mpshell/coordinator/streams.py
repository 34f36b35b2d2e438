"""Descriptors of the user's, read and written by the coordinator's loop: what a stream worker is.

Each has a name, and ends by itself: a reader at its end of file, a writer when it is told to and all is
written, or when nobody reads it any more. The whole ends when no stream is left that retains it.
Runs in the thread that owns the Task. The flags of a descriptor are the user's, who may share it with
other processes: it does not block for the moment of a read or write, and is as it was after it.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from mpshell.coordinator.job import Job
from mpshell.runtime.loop import EventLoop, TimerHandle
from mpshell.wire.lines import StreamBuffer
from mpshell.wire.messages import CANCELLED, TIMED_OUT

if TYPE_CHECKING:
    from mpshell.coordinator.coordinator import Coordinator

_READ_SIZE = 65536
_PIECE = 65536


class Stream:
    """One descriptor, or an object that has one (kept alive), under a name."""

    def __init__(self, sname: str, file: Any, retain: bool, closefd: bool) -> None:
        self.sname = sname
        self.file = file
        self.fd: int = file if isinstance(file, int) else file.fileno()
        self.retain = retain
        self.closefd = closefd
        self.open = True
        self.polled = False

    def call(self, function: Any, argument: Any) -> Any:
        """Call os.read or os.write so that it does not block; BlockingIOError when it would."""
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        if flags & os.O_NONBLOCK:
            return function(self.fd, argument)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        try:
            return function(self.fd, argument)
        finally:
            fcntl.fcntl(self.fd, fcntl.F_SETFL, flags)

    def close(self, loop: EventLoop) -> None:
        """Leave the loop, and close the descriptor where it is ours to close."""
        self.open = False
        if not self.closefd:
            return
        self.closefd = False
        try:
            if isinstance(self.file, int):
                os.close(self.fd)
            else:
                self.file.close()
        except OSError:
            # Closed by the user meanwhile, or its last bytes find nobody: it is closed in any case.
            return


class StreamReader(Stream):
    """A stream that is read, line by line."""

    def __init__(self, sname: str, file: Any, retain: bool, closefd: bool) -> None:
        super().__init__(sname, file, retain, closefd)
        self.buffer = StreamBuffer()

    def close(self, loop: EventLoop) -> None:
        if self.polled:
            self.polled = False
            _leave(loop.remove_reader, self.fd)
        super().close(loop)


class StreamWriter(Stream):
    """A stream that is written, as fast as its reader takes it."""

    def __init__(self, sname: str, file: Any, retain: bool, closefd: bool) -> None:
        super().__init__(sname, file, retain, closefd)
        self.pending: deque[memoryview] = deque()
        self.eof = False
        self.due = False

    def write(self, data: bytes | None) -> None:
        """Queue bytes; None is the end."""
        if self.eof or not self.open:
            return
        if data is None:
            self.eof = True
        elif data:
            self.pending.append(memoryview(data))

    def close(self, loop: EventLoop) -> None:
        if self.polled:
            self.polled = False
            _leave(loop.remove_writer, self.fd)
        self.pending.clear()
        super().close(loop)


def _leave(remove: Any, fd: int) -> None:
    try:
        remove(fd)
    except OSError:
        # Closed by the user: the kernel has forgotten it by itself.
        return


class Streams:
    """The streams of one worker, in one run."""

    def __init__(self, readers: list[StreamReader], writers: list[StreamWriter]) -> None:
        self.readers = readers
        self.writers = writers
        self._run: Coordinator | None = None
        self._job: Job | None = None
        self._deadline: TimerHandle | None = None
        #: Whether its start has been told: an end is told only after that.
        self._begun = False

    def enter(self, run: Coordinator, job: Job) -> None:
        """Take part in a run, with one stream at least."""
        self._run, self._job = run, job
        if job.spec.timeout is not None:
            self._deadline = run.loop.call_later(job.spec.timeout, self._on_timeout)
        job.started = True
        run.tell(job.listener.job_starting, job, [0])
        self._begun = True
        for number, reader in enumerate(self.readers):
            if reader.open:
                self._await_input(run, number, reader)
        for writer in self.writers:
            self.wake(writer)

    def _await_input(self, run: Coordinator, number: int, reader: StreamReader) -> None:
        try:
            run.loop.add_reader(reader.fd, self._on_readable, number, reader)
            reader.polled = True
        except PermissionError:
            # A regular file can always be read, and not be polled (epoll_ctl(2), EPERM).
            run.loop.call_soon(self._read_file, number, reader)
        except OSError:
            self._finish(reader)

    def _read_file(self, number: int, reader: StreamReader) -> None:
        if reader.open and self._run is not None:
            self._on_readable(number, reader)
            if reader.open and self._run is not None:
                self._run.loop.call_soon(self._read_file, number, reader)

    def _on_readable(self, number: int, reader: StreamReader) -> None:
        try:
            data = reader.call(os.read, _READ_SIZE)
        except BlockingIOError:
            return  # somebody else who reads it was faster
        except OSError:
            data = b""  # the other side of a terminal is gone, or the user has closed it
        if data:
            reader.buffer.add(data)
        self._tell(number, reader, final=not data)
        if not data:
            self._finish(reader)
        if self._run is not None:
            self._run.raise_noted()

    def _tell(self, number: int, reader: StreamReader, final: bool) -> None:
        """Record what is complete and tell it; with `final` the unfinished last line too."""
        run, job = self._run, self._job
        if run is None or job is None:
            return
        block = reader.buffer.take(final)
        if block:
            run.intake.stream_output(job, number, block)

    # -- writing -------------------------------------------------------------------------------

    def write(self, data: bytes | None, sname: str | None) -> None:
        """Write to a stream, or to all; None closes it when all is written."""
        for writer in self.writers:
            if sname in (None, writer.sname):
                writer.write(data)
                self.wake(writer)

    def wake(self, writer: StreamWriter) -> None:
        """Have a stream written in this turn: there is something new for it."""
        if self._run is not None and writer.open and not (writer.polled or writer.due):
            writer.due = True
            self._run.loop.call_soon(self._on_due, writer)

    def _on_due(self, writer: StreamWriter) -> None:
        writer.due = False
        if self._run is not None and writer.open:
            self._on_writable(writer)

    def _on_writable(self, writer: StreamWriter) -> None:
        run = self._run
        while run is not None and writer.pending:
            chunk = writer.pending[0]
            try:
                size = writer.call(os.write, chunk[:_PIECE])
            except BlockingIOError:
                if not writer.polled:
                    writer.polled = True
                    run.loop.add_writer(writer.fd, self._on_writable, writer)
                return
            except OSError:
                self._finish(writer)  # nobody reads it any more: no error, the rest is not for it
                break
            if size == len(chunk):
                writer.pending.popleft()
            else:
                writer.pending[0] = chunk[size:]
            self._tell_written(writer, size)
            run = self._run
        if run is None:
            return
        if writer.open and not writer.pending:
            if writer.polled:
                writer.polled = False
                run.loop.remove_writer(writer.fd)
            if writer.eof:
                self._finish(writer)
        run.raise_noted()

    def _tell_written(self, writer: StreamWriter, size: int) -> None:
        run, job = self._run, self._job
        if run is not None and job is not None and job.spec.report_written and not run.stopping:
            run.tell(job.listener.stream_written, job, writer.sname, size)

    # -- the end -------------------------------------------------------------------------------

    def _finish(self, stream: Stream) -> None:
        """A stream has ended; the last one that retains ends the whole."""
        if self._run is None or not stream.open:
            return
        stream.close(self._run.loop)
        if not any(other.open and other.retain for other in (*self.readers, *self.writers)):
            self.end(None)

    def _on_timeout(self) -> None:
        run = self._run
        self.end(TIMED_OUT)
        if run is not None:
            run.raise_noted()

    def end(self, reason: int | None) -> None:
        """End all streams: by themselves (None), TIMED_OUT or CANCELLED. Harmless when done before."""
        run, job = self._run, self._job
        if run is None or job is None:
            return
        if reason != CANCELLED:
            for number, reader in enumerate(self.readers):
                if reader.open:
                    self._tell(number, reader, final=True)
        if self._run is None:
            return  # a handler has aborted it meanwhile
        self._run = None
        if self._deadline is not None:
            self._deadline.cancel()
        for stream in (*self.readers, *self.writers):
            if stream.open:
                stream.close(run.loop)
        job.results.settle(job.keys, run.intake.intern)
        if reason == TIMED_OUT:
            job.timed_out = True
            job.results.timeouts.update(dict.fromkeys(job.keys))
        if self._begun:
            # Of whatever kind the end is, as in ClusterShell: it is no command that was aborted.
            run.tell(job.listener.job_finished, job, job.keys, None, False)
        run.unserve(job)
