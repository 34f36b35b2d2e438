"""The work of an engine: jobs, slots, and the client on each node that it runs."""

from __future__ import annotations

import os
from collections import deque

from mpshell.engine.argv import Command
from mpshell.engine.client import Client
from mpshell.engine.libc import Environment
from mpshell.engine.report import Report
from mpshell.engine.stdin import InputLog, OwnInputs
from mpshell.errors import ProtocolError
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.wire.lines import StreamBuffer
from mpshell.wire.messages import DISCARD, client_id, slot_pool_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mpshell.engine.carrier import Carrier, Redialing
    from mpshell.engine.log import LogLines
    from mpshell.engine.stdin import InputFeed
    from mpshell.runtime.loop import TimerHandle
    from mpshell.wire.logformat import LogFormat
    from mpshell.wire.messages import JobSpec


def _log_lines(form: LogFormat) -> LogLines:
    # Late: plain commands have no log.
    from mpshell.engine.log import LogLines

    return LogLines(form)


class EngineJob:
    """One job on this engine."""

    __slots__ = (
        "command", "env", "forgotten", "id", "log", "log_lines", "modes", "own_inputs", "running",
        "slot_pool", "spec",
    )  # fmt: skip

    def __init__(self, number: int, spec: JobSpec, env: Environment) -> None:
        self.id = number
        self.spec = spec
        self.slot_pool = slot_pool_of(number, spec)
        if spec.env:
            more = {os.fsencode(name): os.fsencode(text) for name, text in spec.env}
            env = Environment(env.variables | more)
        self.env = env
        self.command = Command(spec, env)
        self.log = InputLog(env.variables)
        #: In place of that log, where each client has a stdin of its own.
        self.own_inputs = OwnInputs(env.variables) if spec.stdin_each else None
        self.log_lines = None if spec.log is None else _log_lines(spec.log)
        #: The treatment of a stream's bytes, by its number.
        self.modes = (DISCARD, spec.stdout_mode, spec.stderr_mode)
        self.running: dict[int, Execution] = {}
        #: The coordinator has closed it.
        self.forgotten = False

    def expect(self, indexes: Iterable[int]) -> None:
        """Take note of clients that are to be run, for the first time or again."""
        if self.own_inputs is not None:
            self.own_inputs.expect(indexes)

    def input_of(self, index: int | None) -> InputLog | None:
        """Return the log of all clients, or that of one; None for one that reads nothing any more."""
        if index is None:
            return self.log
        if self.own_inputs is None:
            raise ProtocolError(f"client {index} of job {self.id} has no stdin of its own")
        # The one that waits first: of an earlier attempt the process may still be in its grace.
        if (log := self.own_inputs.waiting.get(index)) is not None:
            return log
        execution = self.running.get(index)
        return None if execution is None or execution.reported else execution.input

    def release(self) -> None:
        """Drop its input: no client is left, and none is to come."""
        self.log.release()
        if self.own_inputs is not None:
            self.own_inputs.release()


class Slots:
    """A slot pool on this engine: the clients that may run at once, and those that wait for that."""

    __slots__ = ("_unanswered", "limit", "number", "pending", "running")

    def __init__(self, number: int) -> None:
        self.number = number
        #: Clients that may run at once.
        self.limit = 0
        self.running = 0
        #: Job, index, node and part of each client that waits.
        self.pending: deque[tuple[EngineJob, int, str, str]] = deque()
        self._unanswered = False

    def set_limit(self, limit: int) -> None:
        self._unanswered = self._unanswered or limit < self.limit
        self.limit = limit

    def answer(self, report: Report) -> None:
        """Report that fewer slots are held, once no more than that are taken."""
        if self._unanswered and self.running <= self.limit:
            self._unanswered = False
            report.slots_held.append((self.number, self.limit))


class Execution(Client):
    """A client with all that it takes to carry out its effects."""

    __slots__ = (
        "buffers", "carrier", "detail", "dial", "drain_handle", "feed", "grace_handle", "id", "index", "input",
        "job",
        "last_byte_at", "last_words", "log", "node", "part", "passed_on", "proven", "started_at",
        "timeout_handle",
    )  # fmt: skip

    def __init__(self, job: EngineJob, index: int, node: str, part: str = "") -> None:
        super().__init__()
        self.job = job
        self.index = index
        self.node = node
        self.part = part
        self.id = client_id(job.id, index)
        self.carrier: Carrier | None = None
        self.started_at = 0.0
        self.last_byte_at = 0.0
        self.detail: str | None = None
        self.last_words = b""
        #: Its carrier knows how it has ended: no words of its own are asked.
        self.proven = False
        #: The log of its program, beside its streams.
        self.log = None if job.log_lines is None else job.log_lines.begin()
        #: Starts its program again when a server has dropped its connection.
        self.dial: Redialing | None = None
        #: Bytes that have not been passed on, by stream.
        self.buffers: dict[int, StreamBuffer] = {}
        #: Gathered streams of which the first blocks are sent already.
        self.passed_on: set[int] = set()
        #: Where its stdin comes from.
        self.input = job.log if job.own_inputs is None else job.own_inputs.take(index)
        self.feed: InputFeed | None = None
        self.timeout_handle: TimerHandle | None = None
        self.grace_handle: TimerHandle | None = None
        self.drain_handle: TimerHandle | None = None
