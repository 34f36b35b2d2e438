"""StreamWorker and WorkerSimple: file objects and descriptors of the user instead of a command.

The loop of the task's run reads and writes them. They take no slot of the fanout, and have no return code.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mpshell.coordinator.job import Job
from mpshell.coordinator.results import Key
from mpshell.coordinator.streams import StreamReader, Streams, StreamWriter
from mpshell.errors import WorkerError
from mpshell.worker.kinds import Worker

if TYPE_CHECKING:
    from mpshell.coordinator.coordinator import Coordinator
    from mpshell.worker.scheduler import PublicTask


class StreamWorker(Worker):
    """Read and write streams of the caller, each with its own name.

    `key` identifies it in events and results; without one, the worker itself does. It ends when
    no stream is left that retains it. The data of a stream are recorded if the task's default
    `<name>_msgtree` is true. Without any stream it takes no part in a run, and waits in the Task for a stream
    or for `abort()`. `timeout` is in seconds.
    """

    _warns_of_timeout = True
    _trace_name = "STREAM"

    def __init__(
        self,
        handler: Any,
        key: Any = None,
        stderr: bool = False,
        timeout: float | None = None,
        autoclose: bool = False,
    ) -> None:
        super().__init__(handler, timeout=timeout, stderr=stderr, autoclose=autoclose)
        hash(key)  # TypeError for an invalid key
        self.key = key
        self._readers: list[StreamReader] = []
        self._writers: list[StreamWriter] = []
        self._streams = Streams(self._readers, self._writers)

    def set_key(self, key: Any) -> None:
        """Set the key, before the run only (WorkerError)."""
        self._check_not_run()
        hash(key)
        self.key = key

    def _check_not_run(self) -> None:
        if self.job is not None:
            raise WorkerError(
                f"{self!r} has been started: its key and its streams cannot be changed any more"
            )

    def set_reader(self, sname: str, sfile: Any, retain: bool = True, closefd: bool = True) -> None:
        """Read a file object or descriptor as stream `sname`, before the run only (WorkerError).

        Without `retain` it does not keep the worker going; with `closefd` it is closed at its end.
        TypeError, ValueError for an object without a descriptor, or a closed one.
        """
        self._check_stream(sname, sfile, self._readers)
        self._readers.append(StreamReader(sname, sfile, bool(retain), bool(closefd)))

    def set_writer(self, sname: str, sfile: Any, retain: bool = True, closefd: bool = True) -> None:
        """Write to a file object or descriptor as stream `sname`, before the run only (WorkerError).

        Without `retain` it does not keep the worker going; with `closefd` it is closed at its end, which
        comes with `set_write_eof`. TypeError, ValueError for an object without a descriptor, or a closed one.
        """
        self._check_stream(sname, sfile, self._writers)
        self._writers.append(StreamWriter(sname, sfile, bool(retain), bool(closefd)))

    def _check_stream(
        self, sname: str, sfile: Any, others: Sequence[StreamReader | StreamWriter]
    ) -> None:
        self._check_not_run()
        if not isinstance(sname, str):
            raise TypeError(f"a stream has a name, not {sname!r}")
        try:
            fd = sfile if isinstance(sfile, int) else sfile.fileno()
        except (AttributeError, io.UnsupportedOperation):
            raise TypeError(f"{sfile!r} is not a descriptor and has no fileno()") from None
        if isinstance(sfile, bool) or fd < 0:
            raise ValueError(f"{sfile!r} is not a descriptor")
        if any(other.sname == sname for other in (*self._readers, *self._writers)):
            raise WorkerError(f"there is a stream {sname!r} already")
        if any(other.fd == fd for other in others):
            raise WorkerError(f"descriptor {fd} is a stream of this worker already")

    # -- the run -------------------------------------------------------------------------------

    def _own_key(self) -> Key:
        return self if self.key is None else self.key

    def enter(self, task: PublicTask, run: Coordinator) -> None:
        if not (self._readers or self._writers):
            self._bound().put_off(self)
            return
        snames = tuple(reader.sname for reader in self._readers)
        job = self._new_job(task, [""], [self._own_key()], snames=snames)
        run.serve(job, self._streams)

    def needs_engine(self) -> bool:
        return False

    def _pass_input(self, job: Job) -> None:
        """Input goes to the streams, not to a command."""

    def _effective_timeout(self, task: PublicTask) -> float | None:
        # `command_timeout` applies to commands only.
        return self.timeout

    def job_finished(
        self, job: Job, keys: Sequence[Key], code: int | None, timed_out: bool
    ) -> None:
        for key in keys:
            self._turn_to(key, code)
            self._recall(job, key)
            self._tell_hup(key, code)

    def _check_writer(self, sname: str | None) -> None:
        if sname is not None and all(writer.sname != sname for writer in self._writers):
            raise WorkerError(f"{self!r} has no stream {sname!r} to write to")

    def write(self, buf: bytes, sname: str | None = None) -> None:
        """Write to stream `sname`, or to all streams for writing; dropped after a stream's end."""
        self._check_writer(sname)
        self._from_any_thread(self._streams.write, self._as_bytes(buf), sname)

    def set_write_eof(self, sname: str | None = None) -> None:
        """End stream `sname`, or all streams for writing, as soon as all written bytes have left."""
        self._check_writer(sname)
        self._from_any_thread(self._streams.write, None, sname)

    def read(self, node: Any = None, sname: str = "stdout") -> bytes | None:
        """Return the record of a stream, or None if it is empty."""
        return self._read(self._own_key() if node is None else node, sname)


class WorkerSimple(StreamWorker):
    """Read and write the three streams of a process of the caller; deprecated, see `StreamWorker`."""

    def __init__(
        self,
        file_reader: Any,
        file_writer: Any,
        file_error: Any,
        key: Any,
        handler: Any,
        stderr: bool = False,
        timeout: float | None = None,
        autoclose: bool = False,
        closefd: bool = True,
    ) -> None:
        super().__init__(handler, key, stderr, timeout, autoclose)
        if file_reader is not None:
            self.set_reader("stdout", file_reader, closefd=closefd)
        if file_error is not None:
            self.set_reader("stderr", file_error, closefd=closefd)
        if file_writer is not None:
            self.set_writer("stdin", file_writer, closefd=closefd)

    def _key_shown(self, key: Key) -> Any:
        return None

    def _fileno(self, sname: str) -> int:
        for stream in (*self._readers, *self._writers):
            if stream.sname == sname:
                return stream.fd
        raise WorkerError(f"{self!r} has no stream {sname!r}")

    def reader_fileno(self) -> int:
        """Return the descriptor of stdout; WorkerError if there is none."""
        return self._fileno("stdout")

    def writer_fileno(self) -> int:
        """Return the descriptor of stdin; WorkerError if there is none."""
        return self._fileno("stdin")

    def error_fileno(self) -> int:
        """Return the descriptor of stderr; WorkerError if there is none."""
        return self._fileno("stderr")

    def error(self) -> bytes | None:
        """Return the record of stderr, or None if it is empty."""
        return self.read(sname="stderr")
