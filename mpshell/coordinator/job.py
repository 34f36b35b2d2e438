"""A worker as the coordinator sees it: commands for a list of nodes, and somebody who wants to know."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from mpshell.coordinator.results import Key, WorkerResults
from mpshell.wire.messages import STDOUT, STREAM, JobSpec

#: Bytes of stdin in one Write.
_PIECE = 1 << 18


class Listener(Protocol):
    """Who is told what happens to a job's clients: a worker. Called in the coordinator's thread."""

    def job_starting(self, job: "Job", indexes: Sequence[int]) -> None:
        """Clients are about to be started."""

    def job_output(
        self, job: "Job", keys: Sequence[Key], stream: int, lines: Iterator[bytes]
    ) -> None:
        """Lines have been written; only asked for with `wants_output`."""

    def job_written(self, job: "Job", index: int, size: int) -> None:
        """A client's stdin has taken `size` bytes; only asked for with `report_written`."""

    def stream_written(self, job: "Job", sname: str, size: int) -> None:
        """A stream of the user's has taken `size` bytes; only asked for with `report_written`."""

    def job_finished(
        self, job: "Job", keys: Sequence[Key], code: int | None, timed_out: bool
    ) -> None:
        """Commands have ended, or their time is over."""

    def job_closed(self, job: "Job", timed_out: bool) -> None:
        """The last client has ended."""

    def job_logged(self, messages: bytes) -> None:
        """A program has written messages to its log; only asked for with a `LogFormat` that is `apart`."""

    def job_trace(self, job: "Job", text: str) -> None:
        """A command line has been executed; only asked for with `trace`."""


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
    """Reads what a job's clients write, before anybody is told: a transport's. One for each job.

    Called in the coordinator's thread. Every key of a client ends once: in `read`, or in `finish`.
    """

    def read(self, index: int, stream: int, lines: bytes) -> Iterable[Said | Ended]:
        """Return what whole lines of a client say."""

    def finish(
        self, index: int, reason: int, status: int, detail: str | None
    ) -> Iterable[Said | Ended]:
        """Return what is left to say when a client has ended: the end of each key that has none."""


class Job:
    """Clients of one worker: their nodes, their state as a whole, and what is for their stdin.

    `keys` are what results and events call the clients; with `groups` a client is for several of them,
    and what it says and how it ends is said of each, or what the `reader` makes of it.
    """

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
    ) -> None:
        self.id = 0
        self.spec = spec
        self.nodes = nodes
        self.keys = keys
        self.listener = listener
        self.results = results
        #: None: the task's; -1: none; else an own limit.
        self.fanout = fanout
        self.autoclose = autoclose
        self.wants_events = wants_events
        self.groups = groups
        self.reader = reader
        #: Commands that a client stands for, as far as engines are worth it.
        self.weight = -(-len(keys) // max(1, len(nodes)))
        self.unfinished = len(nodes)
        self.started = False
        self.closed = False
        self.timed_out = False
        #: After an abort no event but the last comes any more.
        self.cancelled = False
        #: Whose start was not told for an abort: nor is their end.
        self.untold: set[Key] = set()
        #: No more of its clients are to be started.
        self.withdrawn = False
        self.input: list[bytes] = []
        self.input_closed = False
        #: When clients were announced, on the monotonic clock, by index: for a reader that tells ends early.
        self.started_at: dict[int, float] = {}
        #: How many times a client was lost, by index.
        self.losses: dict[int, int] = {}
        #: Pieces of a long line that wait for its end, by (index, stream).
        self.open_lines: dict[tuple[int, int], list[bytes]] = {}
        #: Keys by stream name under which output is recorded, None where it is not.
        self.snames: tuple[str, ...] = ("stdin", "stdout", "stderr")

    def keys_of(self, index: int) -> list[Key]:
        """Return whom a client speaks for."""
        return [self.keys[index]] if self.groups is None else self.groups[index]

    def streams_lines(self, stream: int) -> bool:
        """Return whether a stream comes line by line, and not gathered."""
        spec = self.spec
        return (spec.stdout_mode if stream == STDOUT else spec.stderr_mode) == STREAM

    def add_input(self, data: bytes) -> None:
        view = memoryview(data)
        self.input += [bytes(view[at : at + _PIECE]) for at in range(0, len(data), _PIECE)]
