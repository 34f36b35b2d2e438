"""A worker in the coordinator: commands for a list of nodes, and a listener for their events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mpshell.coordinator.results import Key, WorkerResults
from mpshell.outcome import Outcome
from mpshell.runtime.lean import TYPE_CHECKING, NamedTuple, Protocol
from mpshell.runtime.spool import Spool
from mpshell.runtime.states import Stated
from mpshell.wire.messages import STDOUT, STREAM, JobSpec, slot_pool_of

if TYPE_CHECKING:
    from typing import Final

    from mpshell.coordinator.clientinput import ClientInputs
    from mpshell.runtime.secret import Secret
    from mpshell.runtime.sourcefile import StagedSource

# The states of a job, and its events. An event that a state does not name does not change the job.
OPEN: Final = "OPEN"  # its clients are started as slots become free
WITHDRAWN: Final = "WITHDRAWN"  # no more of them are started; running ones go on
ABORTED: Final = (
    "ABORTED"  # running ones are also ended; there is no event any more except the last
)
CLOSED: Final = "CLOSED"  # the last one has ended
STATES: Final = (OPEN, WITHDRAWN, ABORTED, CLOSED)

WITHDRAW: Final = "WITHDRAW"
ABORT: Final = "ABORT"
CLOSE: Final = "CLOSE"
EVENTS: Final = (WITHDRAW, ABORT, CLOSE)

TABLE: Final[dict[str, dict[str, str]]] = {
    OPEN: {WITHDRAW: WITHDRAWN, ABORT: ABORTED, CLOSE: CLOSED},
    WITHDRAWN: {ABORT: ABORTED, CLOSE: CLOSED},
    ABORTED: {CLOSE: CLOSED},
    CLOSED: {},
}

#: The states in which events of its clients are reported: a handler may change this in the middle of an event.
HEARD: Final = frozenset((OPEN, WITHDRAWN))


class Listener(Protocol):
    """The receiver of events about a job's clients: a worker. Called in the coordinator's thread."""

    def job_starting(self, job: Job, indexes: Sequence[int]) -> None:
        """Clients are about to be started."""

    def job_output(
        self, job: Job, keys: Sequence[Key], stream: int, lines: Iterator[bytes]
    ) -> None:
        """Lines have been written; only called with `wants_output`."""

    def job_written(self, job: Job, index: int, size: int) -> None:
        """A client's stdin has taken `size` bytes; only called with `report_written`."""

    def stream_written(self, job: Job, sname: str, size: int) -> None:
        """A stream of the user has taken `size` bytes; only called with `report_written`."""

    def job_finished(
        self, job: Job, keys: Sequence[Key], code: int | None, timed_out: bool
    ) -> None:
        """Commands have ended or timed out."""

    def job_retry(self, job: Job, attempts: Sequence[tuple[Key, Outcome]], delay: float) -> None:
        """Attempts have failed; the next one of their client is due in `delay` seconds."""

    def job_closed(self, job: Job, timed_out: bool) -> None:
        """The last client has ended."""

    def job_logged(self, messages: bytes) -> None:
        """A program has written messages to its log; only called with a `LogFormat` that is `apart`."""

    def job_trace(self, job: Job, text: str) -> None:
        """A command line has been executed; only called with `trace`."""


class Said(NamedTuple):
    """Whole lines that belong to a key."""

    key: Key
    stream: int  # messages.STDOUT or STDERR
    lines: bytes


class Ended(NamedTuple):
    """How the command of a key has ended."""

    key: Key
    reason: int  # of `mpshell.wire.messages`
    status: int  # exit status or signal
    detail: str | None


class Reader(Protocol):
    """Processes the output of a job's clients before it is reported, for a transport. One for each job.

    Called in the coordinator's thread. Every key of a client ends once: in `read`, or in `finish`.
    """

    def read(self, index: int, stream: int, lines: bytes) -> Iterable[Said | Ended]:
        """Return the records in whole lines of a client."""

    def finish(
        self, index: int, reason: int, status: int, detail: str | None
    ) -> Iterable[Said | Ended]:
        """Return the last records when a client has ended: the end of each key that has not ended yet."""


class Job(Stated):
    """Clients of one worker: their nodes, their state as a whole, and their stdin.

    `keys` are the names of the clients in results and events; with `groups` a client has several of them,
    and its output and its end apply to each, unless a `reader` separates them.
    """

    table = TABLE

    #: Whether its commands run on this host, even if other engines are elsewhere.
    here = False
    #: The local file that other hosts copy, and the name of its directory there; for a job with input, the
    #: name for its input.
    source: StagedSource | None = None
    token = ""

    #: The password for its nodes, over connections of the engines.
    password: Secret | None = None

    #: The bytes for each client, if each has its own stdin (`JobSpec.stdin_each`).
    inputs: ClientInputs | None = None

    #: Whether a failed client may be run again, and whether a journal records its clients.
    repeats = recorded = True

    #: A fact about each of its clients for the user (`mpshell.coordinator.notices`); "" for none.
    notice = ""

    def __init__(
        self,
        spec: JobSpec,
        nodes: list[str],
        keys: list[Key],
        listener: Listener,
        results: WorkerResults,
        *,
        fanout: int | None = None,
        autoclose: bool = False,
        wants_events: bool = True,
        groups: list[list[Key]] | None = None,
        reader: Reader | None = None,
        parts: Sequence[str] = (),
        snames: tuple[str, ...] = ("stdin", "stdout", "stderr"),
        in_waves: bool = False,
    ) -> None:
        self.id = 0
        self.spec = spec
        self.nodes = nodes
        self.keys = keys
        #: The text for the PART of a template, client by client; empty if no template has it.
        self.parts = parts
        self.listener = listener
        self.results = results
        #: None: the task's; -1: none; else an own limit.
        self.fanout = fanout
        self.autoclose = autoclose
        self.wants_events = wants_events
        self.groups, self.reader = groups, reader
        #: Whether canary, batches and the limit of failures apply to it (`mpshell.coordinator.rollout`).
        self.in_waves = in_waves
        #: The clients to run, as (first, stop): all of them, or the rest of an earlier run.
        self.chosen: list[tuple[int, int]] = [(0, len(nodes))]
        #: How many of them have not ended.
        self.unfinished = len(nodes)
        #: The number of clients announced so far, including later attempts.
        self.announced = 0
        self.state: str = OPEN
        #: Keys aborted before their start event: they have no event of their end either.
        self.untold: set[Key] = set()
        self.input = Spool()
        self.input_closed = False
        #: When clients were announced, on the monotonic clock, by index: for a reader that reports ends early.
        self.started_at: dict[int, float] = {}
        #: The number of a client's attempt, by index; without clients at their first.
        self.attempts: dict[int, int] = {}
        #: Pieces of a long line whose end has not arrived, by (index, stream).
        self.open_lines: dict[tuple[int, int], list[bytes]] = {}
        #: The names of the streams, by number, under which their output is recorded.
        self.snames = snames

    def choose(self, keys: frozenset[Key]) -> None:
        """Run only the clients of these keys: they keep their indexes, which are the ranks of their nodes."""
        self.chosen = []
        for index in range(len(self.nodes)):
            if keys.isdisjoint(self.keys_of(index)):
                continue
            if self.chosen and self.chosen[-1][1] == index:
                self.chosen[-1] = (self.chosen[-1][0], index + 1)
            else:
                self.chosen.append((index, index + 1))
        self.unfinished = self.size

    @property
    def size(self) -> int:
        """How many clients are run."""
        return sum(stop - first for first, stop in self.chosen)

    def stop_after(self, count: int) -> int:
        """Return the index before which there are `count` clients to run."""
        for first, stop in self.chosen:
            if count <= stop - first:
                return first + count
            count -= stop - first
        return len(self.nodes)

    def indexes(self) -> Iterator[int]:
        """Return the indexes of the clients to run."""
        return (index for first, stop in self.chosen for index in range(first, stop))

    @property
    def starts_clients(self) -> bool:
        """Whether more of its clients will be started."""
        return self.state is OPEN

    @property
    def is_aborted(self) -> bool:
        return self.state is ABORTED

    @property
    def is_closed(self) -> bool:
        return self.state is CLOSED

    @property
    def is_told(self) -> bool:
        """Whether lines of its clients are events."""
        return self.wants_events and self.state is not ABORTED

    @property
    def timed_out(self) -> bool:
        """Whether any of its keys has timed out."""
        return bool(self.results.timeouts)

    @property
    def slot_pool(self) -> int:
        """The number of the slot pool of its clients."""
        return slot_pool_of(self.id, self.spec)

    @property
    def weight(self) -> int:
        """Nodes per client (pdsh runs many): used to decide how many engines to lease."""
        return -(-len(self.keys) // max(1, len(self.nodes)))

    @property
    def ssh_library(self) -> str:
        """The library whose connections its clients need from their engine; "" for none."""
        return "" if self.spec.connect is None else self.spec.connect.ssh_library

    @property
    def keep(self) -> float:
        """Seconds that the connections of its clients stay open after their commands."""
        return 0.0 if self.spec.connect is None else self.spec.connect.keep

    def rewind_input(self, indexes: Iterable[int]) -> None:
        """Let clients that have not run read their own stdin from its beginning, in another engine."""
        if self.inputs is not None:
            for index in indexes:
                self.inputs.rewind(index)

    def end_input(self, index: int) -> None:
        """Drop the input of a client that has ended and had its own stdin."""
        if self.inputs is not None:
            self.inputs.end(index)

    def attempt_of(self, index: int) -> int:
        """Return the number of a client's attempt, from 1."""
        return self.attempts.get(index, 1) if self.attempts else 1

    def keys_of(self, index: int) -> list[Key]:
        """Return the keys of a client."""
        return [self.keys[index]] if self.groups is None else self.groups[index]

    def streams_lines(self, stream: int) -> bool:
        """Return whether a stream is sent line by line, and not gathered."""
        spec = self.spec
        return (spec.stdout_mode if stream == STDOUT else spec.stderr_mode) == STREAM
