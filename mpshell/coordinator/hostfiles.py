"""What the engines of another host read from files there: the input of a job, or the source of a copy.

    job ── Keep, once a host ──► keeper, one engine of the host ── file ──► StoredAt: every engine there
                                 ◄── Kept: so much of it can be read

Each file crosses once. When its keeper dies another engine of the host goes on where the file ends.
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
        """What a file is to hold: the input of a job, or the source of a copy."""

        size: int

        def piece(self, offset: int, most: int) -> memoryview: ...


#: Bytes in one Keep.
_PIECE = 1 << 18


class _HostFile:
    """One file on one host."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.keeper: EngineState | None = None
        #: Bytes that were sent, and those that can be read there.
        self.sent = self.kept = 0
        #: Its end was sent; and has got there.
        self.is_closed = self.is_whole = False


class HostFiles:
    """The files of one run's jobs, by the directory of a host's outpost and the job."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, int], _HostFile] = {}
        #: The paths of those of closed jobs: what was reported of them may be on the way still.
        self._forgotten: set[str] = set()

    def _file_of(self, engine: EngineState, job: Job) -> _HostFile:
        place = engine.link.stage, job.id
        file = self._files.get(place)
        if file is None:
            name = "input" if job.source is None else job.source.name
            file = self._files[place] = _HostFile(f"{engine.link.stage}/{job.token}/{name}")
        return file

    def is_there(self, engine: EngineState, job: Job) -> bool:
        """Whether the source of a job can be read where an engine is; a job without one has all it needs."""
        return job.source is None or self._file_of(engine, job).is_whole

    def feed(self, engine: EngineState, job: Job, room: int) -> int:
        """Send an engine what it is to keep of a job, about `room` bytes at most; return how many.

        An engine whose host has no keeper for it becomes that.
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
        """Whether an engine has more to keep of a job than it was sent."""
        file = self._file_of(engine, job)
        content: Content = job.input if job.source is None else job.source
        return file.keeper is engine and file.sent < content.size

    def readable(self, engine: EngineState, job: Job) -> tuple[int, str]:
        """Return how many bytes of a job's input an engine can read, and where."""
        file = self._file_of(engine, job)
        return file.kept, file.path

    def kept(self, engine: EngineState, event: files.Kept) -> int:
        """Take note of what an engine keeps; return the job, 0 for a closed one.

        ProtocolError for what it was not asked to keep.
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
        """An engine is gone: return the jobs of which it has kept files that lack something."""
        found = []
        for (_, job_id), file in self._files.items():
            if file.keeper is engine:
                file.keeper = None
                if not file.is_whole:
                    found.append(job_id)
        return found

    def forget(self, job: Job, engines: Iterable[EngineState]) -> None:
        """Have the files of a closed job removed, by an engine of each host that has one."""
        for place in [place for place in self._files if place[1] == job.id]:
            file = self._files.pop(place)
            self._forgotten.add(file.path)
            if not (file.sent or file.is_closed):
                continue
            there = (engine for engine in engines if engine.link.stage == place[0])
            # Its keeper first: what that still writes comes before.
            if (engine := file.keeper or next(there, None)) is not None:
                engine.outbox.append(files.Drop(file.path))
