"""One engine of a run: what the coordinator knows of it, and where the events about its clients go."""

import os
from collections.abc import Iterable, Sequence
from typing import Protocol

from mpshell.coordinator.job import Job
from mpshell.coordinator.sharding import Slice
from mpshell.launch.link import Link
from mpshell.wire import messages
from mpshell.wire.credentials import MOST_DESCRIPTORS
from mpshell.wire.messages import Message, client_id

#: Bytes on the way to an engine at which no more stdin is sent.
_HIGH_WATER = 1 << 20

#: Bytes of stdin in one Write.
_PIECE = 1 << 18


class EngineState:
    """What the coordinator knows of one engine in this run."""

    __slots__ = (
        "assigned",
        "bodies",
        "descriptors",
        "drained",
        "files",
        "frozen",
        "hungry",
        "input_queued",
        "jobs",
        "link",
        "outbox",
        "running",
    )

    def __init__(self, link: Link) -> None:
        self.link = link
        self.outbox: list[Message] = []
        #: Bytes of stdin in the outbox.
        self.input_queued = 0
        #: Clients handed out and not announced.
        self.assigned: set[int] = set()
        #: Those announced and not finished, with the moment of that, 0 where it is not known.
        self.running: dict[int, float] = {}
        #: Jobs it knows, with the number of bytes of stdin it has been sent; -1: the end of it too.
        self.jobs: dict[int, int] = {}
        #: Jobs of which it waits for more of the stdin.
        self.hungry: set[int] = set()
        #: Jobs of which it has the file of their stdin, and the files that go with the outbox.
        self.files: set[int] = set()
        self.descriptors: list[int] = []
        #: Gathered output that later outcomes refer to, by number.
        self.bodies: dict[int, bytes] = {}
        self.drained = False
        #: It hears nothing any more, and is handed out nothing.
        self.frozen = False

    def hand_out(self, job: Job, work: Slice) -> None:
        """Send it clients of a job, and with the first of them the job."""
        new = job.id not in self.jobs
        nodes = job.nodes[work.first : work.stop]
        parts = tuple(job.parts[work.first : work.stop])
        spec = job.spec if new else None
        self.outbox.append(messages.Submit(job.id, spec, work.first, nodes, parts))
        self.assigned.update(range(client_id(job.id, work.first), client_id(job.id, work.stop)))
        if new:
            self.jobs[job.id] = 0
            self.feed(job)

    def feed(self, job: Job) -> None:
        """Send it what is new of a job's stdin, as much as there is room for on the way."""
        sent = self.jobs[job.id]
        room = _HIGH_WATER - self.link.pending - self.input_queued
        while 0 <= sent < job.input.size and room > 0:
            if sent >= job.input.in_memory and self.link.passes_descriptors:
                if not self._has_file(job):
                    break
                self.outbox.append(messages.Stored(job.id, job.input.size - sent))
                sent = job.input.size
                break
            data = bytes(job.input.piece(sent, _PIECE))
            self.outbox.append(messages.Write(job.id, data))
            room -= len(data)
            self.input_queued += len(data)
            sent += len(data)
        self.hungry.discard(job.id)
        if 0 <= sent < job.input.size:
            self.hungry.add(job.id)
        elif sent == job.input.size and job.input_closed:
            self.outbox.append(messages.CloseStdin(job.id))
            sent = -1
        self.jobs[job.id] = sent

    def _has_file(self, job: Job) -> bool:
        """Return whether it has, or gets with this frame, the file that a job's stdin goes on in."""
        if job.id in self.files:
            return True
        if len(self.descriptors) == MOST_DESCRIPTORS:
            return False
        fd = job.input.file()
        status = os.fstat(fd)
        self.outbox.append(messages.InputFile(job.id, status.st_dev, status.st_ino))
        self.descriptors.append(fd)
        self.files.add(job.id)
        return True

    def send(self) -> None:
        """Send it what is in the outbox."""
        outbox, self.outbox, self.input_queued = self.outbox, [], 0
        if self.descriptors:
            descriptors, self.descriptors = self.descriptors, []
            self.link.send(outbox, descriptors)
        else:
            self.link.send(outbox)

    def take_back(self, client: int) -> bool:
        """Take note that a client has ended unannounced; False for one that is not this engine's to end."""
        if client in self.assigned:
            self.assigned.remove(client)
            return True
        return False


class ClientEvents(Protocol):
    """What becomes of clients, in the order in which it happened to each: an Intake."""

    def starting(self, clients: list[int]) -> None:
        """They have been announced: they are about to be spawned."""

    def trace(self, lines: list[tuple[int, str]]) -> None:
        """Their command lines have been executed."""

    def bodies(self, engine: EngineState, event: messages.Bodies) -> None:
        """Their gathered output has come, for outcomes to refer to."""

    def output(self, engine: EngineState, blocks: list[tuple[int, int, bytes]]) -> None:
        """They have written."""

    def written(self, writes: list[tuple[int, int]]) -> None:
        """Their stdins have taken bytes."""

    def finished(self, engine: EngineState, results: list[messages.Result]) -> None:
        """They have ended, each of them for good."""

    def lost(self, engine: EngineState, clients: Iterable[tuple[int, float]]) -> None:
        """Their engine is gone: announced at that moment (0: not known), they may have run."""

    def dropped(self, job: Job, indexes: Sequence[int]) -> None:
        """They have surely not run, and are not wanted any more."""
