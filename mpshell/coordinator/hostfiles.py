"""The files on another host that engines there read: the input of a job, or the source of a copy.

    job ── Keep, once a host ──► keeper, one engine of the host ── file ──► StoredAt: every engine there
                                 ◄── Kept: how much of it can be read

Each file crosses once. If its keeper dies, another engine of the host continues at the end of the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from mpshell.errors import ProtocolError
from mpshell.wire import files

if TYPE_CHECKING:
    from mpshell.coordinator.engine import EngineState
    from mpshell.coordinator.job import Job

    class Content(Protocol):
        """The content of a file: the input of a job, or the source of a copy."""

        size: int

        def piece(self, offset: int, most: int) -> memoryview: ...


#: Bytes in one Keep.
_PIECE = 1 << 18


class _HostFile:
    """One file on one host."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.keeper: EngineState | None = None
        #: The numbers of bytes that were sent, and that can be read there.
        self.sent = self.kept = 0
        #: Whether its end was sent, and whether it has arrived there.
        self.is_closed = self.is_whole = False


class HostFiles:
    """The files of one run's jobs, by the directory of a host's outpost and the job."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, int], _HostFile] = {}
        #: The paths of files of closed jobs: reports about them may still be on the way.
        self._forgotten: set[str] = set()

    def _file_of(self, engine: EngineState, job: Job) -> _HostFile:
        place = engine.link.stage, job.id
        file = self._files.get(place)
        if file is None:
            name = "input" if job.source is None else job.source.name
            file = self._files[place] = _HostFile(f"{engine.link.stage}/{job.token}/{name}")
        return file

    def is_there(self, engine: EngineState, job: Job) -> bool:
        """Whether the source of a job can be read on the host of an engine; true for a job without one."""
        return job.source is None or self._file_of(engine, job).is_whole

    def feed(self, engine: EngineState, job: Job, room: int) -> int:
        """Send an engine the data of a job that it stores, at most about `room` bytes; return how many.

        If its host has no keeper for the file, the engine becomes its keeper.
        """
        file = self._file_of(engine, job)
        if file.keeper is None:
            file.keeper, file.sent, file.is_closed = engine, file.kept, False
        if file.keeper is not engine or file.is_whole:
            return 0
        content: Content = job.input if job.source is None else job.source
        before = file.sent
        while file.sent < content.size and file.sent - before < room:
            data = bytes(content.piece(file.sent, _PIECE))
            engine.outbox.append(files.Keep(file.path, file.sent, data))
            file.sent += len(data)
        if job.source is not None and file.sent == content.size and not file.is_closed:
            file.is_closed = True
            engine.outbox.append(files.KeepEnd(file.path, *job.source.status))
        return file.sent - before

    def lacks(self, engine: EngineState, job: Job) -> bool:
        """Whether there are more data of a job for an engine to store than were sent to it."""
        file = self._file_of(engine, job)
        content: Content = job.input if job.source is None else job.source
        return file.keeper is engine and file.sent < content.size

    def readable(self, engine: EngineState, job: Job) -> tuple[int, str]:
        """Return how many bytes of a job's input an engine can read, and in which file."""
        file = self._file_of(engine, job)
        return file.kept, file.path

    def kept(self, engine: EngineState, event: files.Kept) -> int:
        """Process the report of an engine about a stored file; return the job, 0 for a closed one.

        ProtocolError for a file that was not sent to it.
        """
        if event.path in self._forgotten:
            return 0
        for (stage, job_id), file in self._files.items():
            if file.path == event.path and stage == engine.link.stage:
                if event.size == files.WHOLE and file.is_closed:
                    file.is_whole = True
                elif 0 <= event.size <= file.sent:
                    file.kept = max(file.kept, event.size)
                elif not event.text:
                    break
                return job_id
        raise ProtocolError("it stores a file that was not sent to it")

    def gone(self, engine: EngineState) -> Iterable[int]:
        """An engine is gone: return the jobs whose files it stored and that are incomplete."""
        found = []
        for (_, job_id), file in self._files.items():
            if file.keeper is engine:
                file.keeper = None
                if not file.is_whole:
                    found.append(job_id)
        return found

    def forget(self, job: Job, engines: Iterable[EngineState]) -> None:
        """Let an engine of each host with a file of a closed job remove it."""
        for place in [place for place in self._files if place[1] == job.id]:
            file = self._files.pop(place)
            self._forgotten.add(file.path)
            if not (file.sent or file.is_closed):
                continue
            there = (engine for engine in engines if engine.link.stage == place[0])
            # Preferably the keeper, so that its last writes come before the removal.
            if (engine := file.keeper or next(there, None)) is not None:
                engine.outbox.append(files.Drop(file.path))
