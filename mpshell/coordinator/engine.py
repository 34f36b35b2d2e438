"""One engine of a run in the coordinator, and the receiver of the events about its clients."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import mpshell
from mpshell.coordinator.job import Job
from mpshell.coordinator.queues import Slice
from mpshell.errors import EngineStartError
from mpshell.launch.link import Link
from mpshell.runtime.lean import TYPE_CHECKING, Protocol
from mpshell.runtime.states import Stated
from mpshell.wire import messages
from mpshell.wire.credentials import MOST_DESCRIPTORS
from mpshell.wire.messages import Message, PasswordGiven, client_id, job_and_index

if TYPE_CHECKING:
    from typing import Final

    from mpshell.coordinator.clientinput import ClientInputs

#: With so many bytes on the way to an engine, no more stdin is sent.
HIGH_WATER = 1 << 20

#: Bytes of stdin in one Write.
_PIECE = 1 << 18

# The states of an engine in a run, and its events. An event that a state does not name does not change it.
LEASED: Final = "LEASED"  # it may not answer at all: it gets no clients yet
SERVING: Final = "SERVING"  # the slot pools hand out work to it
RETIRED: Final = "RETIRED"  # it has ids of before: it gets no more work, and ends its present work
SILENT: Final = "SILENT"  # it neither sends nor receives; its commands go on until it is gone
FREE: Final = "FREE"  # the run is over for it: it can serve another one
UNUSED: Final = "UNUSED"  # it has no work, and gets none: the run does not wait for it
STATES: Final = (LEASED, SERVING, RETIRED, SILENT, FREE, UNUSED)

ADMIT: Final = "ADMIT"
RETIRE: Final = "RETIRE"
FALL_SILENT: Final = "FALL_SILENT"
END_RUN: Final = "END_RUN"
RUN_ENDED: Final = "RUN_ENDED"
EVENTS: Final = (ADMIT, RETIRE, FALL_SILENT, END_RUN, RUN_ENDED)

TABLE: Final[dict[str, dict[str, str]]] = {
    LEASED: {ADMIT: SERVING, RETIRE: UNUSED, END_RUN: UNUSED},
    SERVING: {RETIRE: RETIRED, FALL_SILENT: SILENT, RUN_ENDED: FREE},
    RETIRED: {RUN_ENDED: FREE},
    SILENT: {RETIRE: RETIRED, RUN_ENDED: FREE},
    FREE: {},
    UNUSED: {},
}


class EngineState(Stated):
    """One engine in this run, in the coordinator."""

    table = TABLE
    __slots__ = (
        "assigned",
        "bodies",
        "descriptors",
        "files",
        "hungry",
        "input_queued",
        "jobs",
        "link",
        "most_slots",
        "outbox",
        "running",
    )

    def __init__(self, link: Link) -> None:
        self.link = link
        self.outbox: list[Message] = []
        #: Bytes of stdin in the outbox.
        self.input_queued = 0
        #: Clients that were handed out and not announced.
        self.assigned: set[int] = set()
        #: Clients that were announced and have not finished, with the time of that, 0 if not known.
        self.running: dict[int, float] = {}
        #: Its jobs, with the number of bytes of stdin that were sent to it; -1: all and the end.
        self.jobs: dict[int, int] = {}
        #: Jobs for which it waits for more stdin.
        self.hungry: set[int] = set()
        #: Device and inode of its files for the stdin of jobs, and the files that are sent with the outbox.
        self.files: dict[int, tuple[int, int]] = {}
        self.descriptors: list[int] = []
        #: Gathered output to which later outcomes refer, by number.
        self.bodies: dict[int, bytes] = {}
        #: The most slots of one slot pool that it ever had.
        self.most_slots = 0
        self.state: str = LEASED

    @property
    def is_admitted(self) -> bool:
        """Whether the slot pools have handed out work to it, or may have."""
        return self.state not in (LEASED, UNUSED)

    @property
    def is_over(self) -> bool:
        """Whether the run need not wait for it."""
        return self.state in (FREE, UNUSED)

    @property
    def is_counted(self) -> bool:
        """Whether it counts as one of the engines for the work."""
        return self.state not in (RETIRED, UNUSED)

    def give_slots(self, slot_pool: int, slots: int) -> None:
        """Send it the number of clients of a slot pool that it may run at once."""
        self.most_slots = max(self.most_slots, slots)
        self.outbox.append(messages.SetSlots(slot_pool, slots))

    def hand_out(self, job: Job, work: Slice) -> None:
        """Send it clients of a job, and with the first of them the job."""
        new = job.id not in self.jobs
        nodes = job.nodes[work.first : work.stop]
        parts = tuple(job.parts[work.first : work.stop])
        spec = self.spec_of(job) if new else None
        if new and job.password is not None and spec is not None and spec.connect is not None:
            password = PasswordGiven(spec.connect.password, job.password.reveal())
            self.outbox.append(password)
        self.outbox.append(messages.Submit(job.id, spec, work.first, nodes, parts))
        self.assigned.update(range(client_id(job.id, work.first), client_id(job.id, work.stop)))
        if new:
            self.jobs[job.id] = 0
        if new or job.inputs is not None:
            self.feed(job)

    def spec_of(self, job: Job) -> messages.JobSpec:
        """Return the specification with which it runs a job's clients."""
        return job.spec

    def feed(self, job: Job) -> None:
        """Send it the new part of a job's stdin, as far as there is room on the way."""
        if job.inputs is not None:
            self._feed_each(job, job.inputs)
            return
        sent = self.jobs[job.id]
        room = HIGH_WATER - self.link.pending - self.input_queued
        while 0 <= sent < job.input.size and room > 0:
            if sent >= job.input.in_memory and self.link.passes_descriptors:
                if self._pass_file(job):
                    size = job.input.size - sent
                    self.outbox.append(messages.Stored(job.id, size, *self.files[job.id]))
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

    def _feed_each(self, job: Job, inputs: ClientInputs) -> None:
        """Send it the new part of the stdin of each of its clients."""
        self.hungry.discard(job.id)
        room = HIGH_WATER - self.link.pending - self.input_queued
        for index in list(inputs.unsent):
            client = client_id(job.id, index)
            if client not in self.assigned and client not in self.running:
                continue
            if room <= 0:
                self.hungry.add(job.id)
                return
            size = inputs.send(job.id, index, room, self.outbox)
            room -= size
            self.input_queued += size
            if index in inputs.unsent:
                self.hungry.add(job.id)

    def _pass_file(self, job: Job) -> bool:
        """Return whether it has, or gets with this frame, the file with the rest of a job's stdin."""
        if job.id in self.files:
            return True
        if len(self.descriptors) == MOST_DESCRIPTORS:
            return False
        fd = job.input.file()
        status = os.fstat(fd)
        self.descriptors.append(fd)
        self.files[job.id] = status.st_dev, status.st_ino
        return True

    def send(self) -> None:
        """Send it the outbox."""
        outbox, self.outbox, self.input_queued = self.outbox, [], 0
        if self.descriptors:
            descriptors, self.descriptors = self.descriptors, []
            self.link.send(outbox, descriptors)
        else:
            self.link.send(outbox)

    def explain_retirement(self, uid: int, gid: int) -> None:
        """Add to its detail why it could not go on: the program has these ids now.

        It takes nothing from another user, not even the rest of a command's stdin.
        """
        how = self.link.detail or "its engine has ended"
        self.link.detail = f"{how}, after the program changed its user to uid {uid}, gid {gid}"

    def not_run(self) -> dict[int, list[int]]:
        """Return the clients of a gone engine that have surely not run: indexes by job, last first.

        If its end is uncertain there are none: any of them may have been announced, and count as running.
        """
        if not self.link.certain:
            self.running.update(dict.fromkeys(self.assigned, 0.0))
            self.assigned.clear()
        found: dict[int, list[int]] = {}
        for client in sorted(self.assigned, reverse=True):
            job_id, index = job_and_index(client)
            found.setdefault(job_id, []).append(index)
        return found

    def take_back(self, client: int) -> bool:
        """Note that a client has ended unannounced; False for one that this engine does not have."""
        if client in self.assigned:
            self.assigned.remove(client)
            return True
        return False


def check_version(event: messages.Ready) -> None:
    """Raise EngineStartError for an engine that runs another version of the package."""
    if event.version != mpshell.__version__:
        raise EngineStartError(
            f"an engine process runs mpshell {event.version}, this program {mpshell.__version__}: "
            "the package was replaced, and the program has to be started anew"
        )


class ClientEvents(Protocol):
    """The receiver of events about clients, in order for each client: an Intake."""

    def starting(self, clients: list[int]) -> None:
        """Clients have been announced: they are about to be spawned."""

    def trace(self, lines: list[tuple[int, str]]) -> None:
        """Command lines of clients have been executed."""

    def bodies(self, engine: EngineState, event: messages.Bodies) -> None:
        """Gathered output has arrived, to which outcomes will refer."""

    def output(self, engine: EngineState, blocks: list[tuple[int, int, bytes]]) -> None:
        """Clients have written."""

    def written(self, writes: list[tuple[int, int]]) -> None:
        """The stdins of clients have taken bytes."""

    def finished(self, engine: EngineState, results: list[messages.Result]) -> None:
        """Clients have ended for good."""

    def lost(self, engine: EngineState, clients: Iterable[tuple[int, float]]) -> None:
        """The engine of clients is gone: announced at that time (0: not known), they may have run."""

    def dropped(self, job: Job, indexes: Sequence[int]) -> None:
        """Clients that have surely not run are dropped."""
