"""The messages that the coordinator and an engine send each other.

Used by both processes. They travel in frames (`mpshell.wire.codec`). Commands go down from the coordinator,
events come up from an engine. For each client the events are ``Starting (Output | Written)* Finished``,
exactly one Finished, always last.

A *client* is one command on one node. Its id contains its job and its index in the job's node list
(`client_id`, `job_and_index`), so that no table of names has to be sent.

The messages of the hot path carry a list of plain tuples, one for each client, and not one object
each: a tuple is pickled fifteen times faster than a dataclass (docs/decisions.md).
"""

from __future__ import annotations

from mpshell.runtime.lean import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import TypeAlias

    # Few runs need them (`mpshell.wire.codec` loads them for those).
    from mpshell.wire.connect import Connect
    from mpshell.wire.files import Drop, Keep, KeepEnd, Kept, StoredAt
    from mpshell.wire.logformat import LogFormat

#: How an engine treats a stream of a client that nothing reads line by line.
DISCARD, GATHER, STREAM = 0, 1, 2

#: Streams of a client, as numbers on the wire.
STDIN, STDOUT, STDERR, LOG = 0, 1, 2, 3

#: Reasons in `Finished`.
EXITED, SIGNALED, TIMED_OUT, CANCELLED, SPAWN_FAILED, LOST = range(6)
#: The same for connections: cut after the login, none at all, no login, a wrong host key, no session.
CUT, UNREACHABLE, AUTH, HOSTKEY, TRANSPORT = range(6, 11)

#: Marks in a command template, where the engine puts a client's node, its rank, its text in `Submit.parts`, or
#: the path of its log.
NODE, RANK, PART, LOG_PATH = 0, 1, 2, 3

#: States of a password in a run: no node has accepted it yet; one has; it was refused too often.
UNPROVEN, PROVEN, STOPPED = "unproven", "proven", "stopped"

#: Reports of an engine about a password: it wants to send it to a node; that node has accepted or refused it;
#: the engine does not wait for its answer any more.
ASKED, TAKEN, REFUSED, FREED = "asked", "taken", "refused", "freed"

#: In the detail of a client with a log: ends the notes of the log; its last lines of output follow.
LOG_END = "\0"

#: One word of a command: text and marks in turn.
Template: TypeAlias = tuple[str | int, ...]


class JobSpec(NamedTuple):
    """One worker's commands, as an engine needs them."""

    shell: Template | None  # a line for /bin/sh -c, or
    argv: tuple[Template, ...]  # words to execute, when `shell` is None
    timeout: float | None  # seconds from the start of each client
    stdin: bool  # keep the commands' stdin open for Write
    separate_stderr: bool
    stdout_mode: int  # DISCARD, GATHER, STREAM
    stderr_mode: int
    report_written: bool
    grace: float  # seconds between SIGTERM and SIGKILL
    drain: float | None  # seconds without a byte after the exit; None: wait for ever
    trace: bool  # report each command line (debug)
    diagnose: int  # report the last lines of a command that ends with this or more; 0: never
    env: tuple[tuple[str, str], ...] = ()  # on top of the environment of the run
    tree: bool = False  # its children lead groups of their own: signals go to all its descendants
    log: LogFormat | None = None  # give each client a pipe for its log, at LOG_PATH
    own_slots: bool = False  # its clients count in a slot pool of its own, not in the task's
    connect: Connect | None = None  # with `argv` for the nodes for which it cannot be used
    stdin_each: bool = False  # with `stdin`: each client has its own, which Write names


# -- commands: coordinator to engine ------------------------------------------------------------


class Configure(NamedTuple):
    """Surroundings of later commands; without `env`, and if `cwd` does not exist, the engine's own."""

    cwd: bytes
    umask: int | None  # None: do not change it
    env: dict[bytes, bytes] | None


class Submit(NamedTuple):
    """Clients to run: the nodes of consecutive indexes, `job` with the first slice of a job."""

    job_id: int
    job: JobSpec | None
    first: int
    nodes: list[str]
    parts: tuple[str, ...] = ()  # the text for PART, node by node; empty if no template has it


class Write(NamedTuple):
    """Bytes for the stdin of every client of a job, also of later ones, or of one with `stdin_each`."""

    job_id: int
    data: bytes
    only: int | None = None  # the index of that one client


class Stored(NamedTuple):
    """As `Write`, with the bytes in a file; a descriptor of it comes with this frame or an earlier one."""

    job_id: int
    size: int
    device: int  # as fstat(2) has it, and the inode
    inode: int


class CloseStdin(NamedTuple):
    """The end of the input of `Write`, for all clients or one."""

    job_id: int
    only: int | None = None


class SetSlots(NamedTuple):
    """The number of clients of a slot pool that this engine may run at once."""

    slot_pool: int
    slots: int


class Cancel(NamedTuple):
    """End the clients of a job (of every job: None), as `reason`: CANCELLED or TIMED_OUT.

    With `kill` there is no grace. Clients that have not started end as CANCELLED in any case.
    """

    job_id: int | None
    reason: int
    kill: bool


class Withdraw(NamedTuple):
    """Start no more clients of a job: those that have not started end as CANCELLED."""

    job_id: int


class ForgetJob(NamedTuple):
    """Every client of the job is finished, and no message about it will follow."""

    job_id: int


class EndRun(NamedTuple):
    """Forget all jobs as soon as the last client has ended, then send RunEnded."""


class ConnectLimits(NamedTuple):
    most: int  # connections that the engine makes at once
    rate: float | None  # the same in a second


class PasswordGiven(NamedTuple):
    """A password, before the first job that names its number; no text shows it."""

    number: int
    text: str

    def __repr__(self) -> str:
        return f"PasswordGiven({self.number}, ...)"


class PasswordState(NamedTuple):
    """The rules for a password, in this engine from now on."""

    number: int
    state: str  # UNPROVEN, PROVEN, STOPPED
    refusals: int  # in the run so far
    permits: int  # to so many more nodes it may be sent while it is UNPROVEN


class Ping(NamedTuple):
    """Answer with Pong."""


class Lease(NamedTuple):
    """On another host: at this time of CLOCK_BOOTTIME end all commands and exit, unless another one comes."""

    until: float


# -- events: engine to coordinator --------------------------------------------------------------


class Ready(NamedTuple):
    """The first message of an engine. `version` is that of the package that it has loaded."""

    engine_id: int
    pid: int
    version: str


class Located(NamedTuple):
    """Precedes all messages of an engine on another host, and comes from this one: its host has answered."""

    offset: float  # seconds to add to its monotonic clock for the one here
    cpus: int
    stage: str  # the directory of its outpost there, for files that all engines of the host read
    lacks: str  # why the engine does not host the requested connections; "" if it does


class Starting(NamedTuple):
    """Written ahead: these clients are about to be spawned, in this order."""

    client_ids: list[int]


class Output(NamedTuple):
    """Blocks of (client_id, stream, data): lines, each ended by a newline.

    A block that does not end with one is a piece of a very long line, which continues in the next.
    """

    blocks: list[tuple[int, int, bytes]]


class Written(NamedTuple):
    """(client_id, bytes) for each successful write to a stdin."""

    writes: list[tuple[int, int]]


class Bodies(NamedTuple):
    """Gathered output to which `Finished` refers: (body id, data in the form of `Output`)."""

    bodies: list[tuple[int, bytes]]
    floor: int  # ids below it are not used in this and later frames of this engine


#: (client_id, reason, exit status or signal number, body id of stdout and stderr or -1,
#:  start on the engine's monotonic clock, seconds it ran, detail or None)
Result: TypeAlias = tuple[int, int, int, int, int, float, float, str | None]


class Finished(NamedTuple):
    results: list[Result]


class SlotsHeld(NamedTuple):
    """The answer to SetSlots, as soon as no more than `slots` of the slot pool run here."""

    slot_pool: int
    slots: int


class Trace(NamedTuple):
    """Command lines of started clients, for a job with `trace`: (client_id, text)."""

    lines: list[tuple[int, str]]


class Pong(NamedTuple):
    """This engine is alive."""


class Warn(NamedTuple):
    """A warning for the user, issued once."""

    text: str


class InputLost(NamedTuple):
    """The stdin of a job cannot be kept complete for its clients here: they get no more of it, and no end."""

    job_id: int
    text: str


class Notices(NamedTuple):
    """Facts about nodes for the user, once a run for all of them: (text about nodes, how many more)."""

    counts: list[tuple[str, int]]


class HostKeys(NamedTuple):
    """Lines to add to files of host keys: (path, line)."""

    lines: list[tuple[str, str]]


class PasswordNews(NamedTuple):
    """Reports about passwords, in order: (number, ASKED or TAKEN or REFUSED or FREED)."""

    events: list[tuple[int, str]]


class EngineFailed(NamedTuple):
    """The engine has an internal error and exits."""

    traceback: str


class RunEnded(NamedTuple):
    """No command runs here any more, and all messages have been sent."""


# Texts: some of the classes are not loaded yet.
Command: TypeAlias = (
    "Configure | Submit | Write | Stored | CloseStdin | SetSlots | Cancel | Withdraw | ForgetJob | EndRun"
    "| ConnectLimits | PasswordGiven | PasswordState | Ping | Lease"
    "| StoredAt | Keep | KeepEnd | Drop"
)
Event: TypeAlias = (
    "Ready | Located | Starting | Output | Written | Bodies | Finished | SlotsHeld | Trace | Pong | Warn"
    "| InputLost | Kept | Notices | HostKeys | PasswordNews | EngineFailed | RunEnded"
)
Message: TypeAlias = "Command | Event"

#: A client id is the number of its job, shifted by this many bits, and its index.
INDEX_BITS, INDEX_MASK = 32, (1 << 32) - 1

TASK_SLOTS = 0  # the slot pool of the task's own fanout; the others have the number of their job


def client_id(job_id: int, index: int) -> int:
    """Return the id of the client at `index` of a job's nodes."""
    return job_id << INDEX_BITS | index


def job_and_index(client: int) -> tuple[int, int]:
    """Return the job id and the index in a client id."""
    return client >> INDEX_BITS, client & INDEX_MASK


def slot_pool_of(job_id: int, spec: JobSpec) -> int:
    """Return the number of the slot pool of a job's clients: its own, or the task's."""
    return job_id if spec.own_slots else TASK_SLOTS
