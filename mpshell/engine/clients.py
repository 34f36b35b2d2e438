"""The clients that an engine runs, from the start to the release: their output, deadlines and outcomes.

Carries out the effects of the state machine (`mpshell.engine.client`) and feeds it the events that the carriers
(`mpshell.engine.carrier`) report. In the engine's thread, called by its loop.
"""

from __future__ import annotations

from mpshell.engine import client as states
from mpshell.engine.limits import passes
from mpshell.engine.processes import Processes
from mpshell.engine.stdin import InputFeed
from mpshell.engine.uplink import Uplink
from mpshell.engine.work import Execution
from mpshell.errors import InvalidTransition, ProtocolError
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.wire.lines import LONG_LINE, StreamBuffer
from mpshell.wire.messages import (
    DISCARD,
    EXITED,
    GATHER,
    LOG,
    LOG_END,
    STDERR,
    STDOUT,
    STREAM,
    TRANSPORT,
    ConnectLimits,
    PasswordGiven,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpshell.engine.carrier import Carrier
    from mpshell.engine.family import Connecting, Family, Steering
    from mpshell.engine.log import ClientLog
    from mpshell.runtime.loop import EventLoop

#: Gathered bytes that an engine keeps over all its clients before it passes them on.
HELD = 1 << 25

#: Seconds that a killed command has to be gone; one that cannot be killed is left then, and its slot is free.
_LAST_GRACE = 4.0

#: The number of last bytes that are kept for a command that needs a diagnosis.
_LAST_WORDS = 2000


class Clients:
    """The owner of all carriers; `on_release` is called when a client's slot is free again."""

    def __init__(
        self, loop: EventLoop, uplink: Uplink, on_release: Callable[[Execution], None]
    ) -> None:
        self.loop = loop
        self._uplink = uplink
        self._on_release = on_release
        self.processes = Processes(loop, self)
        #: By which clients are carried.
        self.family: Family = self.processes
        #: By which those of jobs with a `Connect` are, in an engine that hosts connections.
        self.connections: Connecting | None = None
        #: Carriers that wait for the coordinator to catch up, those that have waited longest first.
        self._paused: dict[Carrier, None] = {}
        #: Gathered bytes, of all clients.
        self._held = 0

    @property
    def leaving(self) -> bool:
        return self._uplink.leaving

    @property
    def busy(self) -> bool:
        """Whether commands have not been seen off yet."""
        return self.family.busy or (self.connections is not None and self.connections.busy)

    def kill_all(self) -> None:
        """Kill all that runs; to be called again for processes that each leaves, until nothing is left."""
        self.family.kill_all()
        if self.connections is not None:
            self.connections.kill_all()

    def end_run(self) -> None:
        """Nothing runs any more: all that is still there belongs to no run to come."""
        self.family.end_run()
        if self.connections is not None:
            self.connections.end_run()

    def start(self, execution: Execution, last_try: bool) -> OSError | None:
        """Start a client that was announced; return the error if there is no room for it now.

        Any other failure, and that one on the `last_try`, is the outcome of the client.
        """
        execution.started_at = self.loop.time()
        try:
            carrier = self._family_of(execution).start(execution)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and passes(error) and not last_try:
                execution.detail = None
                return error
            self.carry_out(execution, execution.handle(states.SPAWN_FAILURE))
            return None
        execution.carrier = carrier
        self.carry_out(execution, execution.handle(states.SPAWNED))
        if carrier.has_input:
            self._feed(execution, carrier)
        return None

    def _family_of(self, execution: Execution) -> Family:
        if execution.job.spec.connect is None:
            return self.family
        if self.connections is None:
            raise ProtocolError("a job that needs connections came to an engine that hosts none")
        return self.connections

    def _feed(self, execution: Execution, carrier: Carrier) -> None:
        job, log = execution.job, execution.input
        if log.is_empty:
            carrier.close_input()
            return
        on_written = None
        if job.spec.report_written:

            def on_written(size: int) -> None:
                if not execution.reported:
                    self._uplink.report.written.append((execution.id, size))
                    self._uplink.end_of_turn()

        fed = 0 if execution.dial is None else execution.dial.fed
        execution.feed = InputFeed(carrier, log, on_written, fed)

    # -- reports of carriers ---------------------------------------------------------------------

    def bundle_reports(self, seconds: float) -> None:
        """Let a report wait so long at most, while each turn finds more to read."""
        self._uplink.patience = seconds

    @property
    def congested(self) -> bool:
        """Whether the coordinator is behind."""
        return self._uplink.congested

    def pause(self, carrier: Carrier) -> None:
        """Note that a carrier has stopped reading."""
        self._paused[carrier] = None

    def resume_reading(self) -> None:
        """The coordinator has caught up."""
        paused, self._paused = self._paused, {}
        for carrier in paused:
            carrier.resume_reading()

    def trace(self, execution: Execution, text: str) -> None:
        """Report a command line."""
        self._uplink.report.trace.append((execution.id, text))
        self._uplink.end_of_turn()

    def received(self, execution: Execution, stream: int, data: bytes) -> None:
        """Take bytes that a command has written; those after its outcome count no more."""
        if execution.reported:
            return
        if stream == LOG:
            self._take_log(execution, data)
        else:
            self._take(execution, stream, data)

    def stream_ended(self, execution: Execution) -> None:
        """Note that a stream is at its end."""
        self.carry_out(execution, execution.handle(states.EOF))

    def ended(self, execution: Execution, status: int, signaled: bool) -> None:
        """Note that the command has ended."""
        self.carry_out(execution, execution.exited(status, signaled))

    def failed(self, execution: Execution, reason: int, detail: str) -> None:
        """Note that the connection that carries a command has failed."""
        if not execution.reported:
            execution.detail = detail
        self.carry_out(execution, execution.failed(reason))

    def hand_over(self, execution: Execution, carrier: Carrier | None) -> None:
        """Close the carrier of a client of which nothing has run, and have another one in its place."""
        if execution.feed is not None:
            if execution.dial is not None:
                execution.dial.fed = execution.feed.fed
            execution.feed.close()
            execution.feed = None
        if execution.carrier is not None:
            for stream, data in execution.carrier.rest():
                self._take(execution, stream, data)
            self._paused.pop(execution.carrier, None)
            execution.carrier.close()
        execution.carrier = carrier
        execution.streams = 0

    def start_over(self, execution: Execution, family: Family) -> bool:
        """Let a family start a client of which nothing has run; False if there is no room now."""
        self.hand_over(execution, execution.dial)
        execution.proven = False
        try:
            carrier = execution.carrier = family.start(execution)
        except (OSError, ValueError) as error:
            if execution.dial is not None and passes(error):
                execution.detail = None
                return False
            execution.carrier = None
            self.failed(execution, TRANSPORT, str(error))
            return True
        if carrier.has_input:
            self._feed(execution, carrier)
        return True

    def read_log(self, execution: Execution) -> None:
        """Read the rest of a client's log: whole, also for a coordinator that is behind."""
        if execution.carrier is not None and execution.log is not None:
            # The verdict depends on it.
            self._take_log(execution, execution.carrier.rest_of_log() + b"\n")

    def host_key(self, path: str, line: str) -> None:
        """Report a line for a file of host keys."""
        self._uplink.report.host_keys.append((path, line))
        self._uplink.end_of_turn()

    def steer_connections(self, command: Steering) -> None:
        """Pass on messages of the coordinator about connections, in an engine that makes some."""
        if self.connections is not None:
            if isinstance(command, ConnectLimits):
                self.connections.set_limits(command.most, command.rate)
            elif isinstance(command, PasswordGiven):
                self.connections.give_password(command.number, command.text)
            else:
                self.connections.set_password_state(command)

    def password_news(self, number: int, event: str) -> None:
        """Report the fate of a password."""
        self._uplink.report.passwords.append((number, event))
        self._uplink.end_of_turn()

    def notice(self, text: str) -> None:
        """Count one more node of which the user should know that."""
        notices = self._uplink.report.notices
        notices[text] = notices.get(text, 0) + 1
        self._uplink.end_of_turn()

    def _take(self, execution: Execution, stream: int, data: bytes) -> None:
        """Keep the output of a command, or pass it on."""
        execution.last_byte_at = self.loop.time() if execution.drain_handle is not None else 0.0
        if execution.job.spec.diagnose:
            execution.last_words = (execution.last_words + data)[-_LAST_WORDS:]
        mode = execution.job.modes[stream]
        if mode == DISCARD:
            return
        buffer = execution.buffers.get(stream)
        if buffer is None:
            buffer = execution.buffers[stream] = StreamBuffer()
        buffer.add(data)
        if mode == STREAM:
            if block := buffer.take(final=False):
                self._uplink.output(execution.id, stream, block)
            return
        self._held += len(data)
        if buffer.size >= LONG_LINE or self._held > HELD:
            before = buffer.size
            block = buffer.take(final=False)
            self._held -= before - buffer.size
            if block:
                execution.passed_on.add(stream)
                self._uplink.output(execution.id, stream, block)

    def _take_log(self, execution: Execution, data: bytes) -> None:
        """Keep the part of a log that the diagnosis needs; the rest are messages, as on stderr."""
        if (log := execution.log) is not None:
            messages = log.take(data)
            if execution.dial is not None:
                messages = execution.dial.look(log.notes, messages)
            if messages:
                self._pass_on(execution, log, messages)

    def _pass_on(self, execution: Execution, log: ClientLog, messages: bytes) -> None:
        """Pass messages of a log on to the user."""
        if log.apart:
            execution.last_words = (execution.last_words + messages)[-_LAST_WORDS:]
            self._uplink.output(execution.id, LOG, messages)
        else:
            stream = STDERR if execution.job.spec.separate_stderr else STDOUT
            self._take(execution, stream, messages)

    def _take_rest(self, execution: Execution) -> None:
        """Take the output that a command had written before it was asked to end, as far as it has arrived."""
        if execution.carrier is not None and not self._uplink.congested:
            for stream, data in execution.carrier.rest():
                self._take(execution, stream, data)
                if self._uplink.congested:
                    break
        self.read_log(execution)
        dial, log = execution.dial, execution.log
        if dial is not None and log is not None and (messages := dial.take_messages()):
            self._pass_on(execution, log, messages)

    # -- ends ----------------------------------------------------------------------------------

    def _on_timeout(self, execution: Execution) -> None:
        if execution.state is states.RUNNING:
            self.carry_out(execution, execution.handle(states.TIMEOUT))
        elif execution.state is states.DRAINING:
            # The command did end in time; only a process that it left behind keeps its output open.
            self.carry_out(execution, execution.handle(states.DRAIN_OVER))

    def _on_grace_over(self, execution: Execution) -> None:
        if execution.state is states.KILLING and execution.carrier is not None:
            # It cannot be killed: another user's by now, or in an uninterruptible sleep.
            execution.carrier.abandon()
        if execution.state in (states.STOPPING, states.KILLING):
            self.carry_out(execution, execution.handle(states.GRACE_OVER))

    def _on_drain_over(self, execution: Execution) -> None:
        drain, carrier = execution.job.spec.drain, execution.carrier
        if execution.state is not states.DRAINING or drain is None or carrier is None:
            return
        until = execution.last_byte_at + drain
        if until > self.loop.time():
            execution.drain_handle = self.loop.call_at(until, self._on_drain_over, execution)
        elif carrier.paused:
            execution.drain_handle = self.loop.call_later(drain, self._on_drain_over, execution)
        else:
            self.carry_out(execution, execution.handle(states.DRAIN_OVER))

    def carry_out(self, execution: Execution, effects: tuple[str, ...]) -> None:
        """Carry out the effects of a transition of a client's state."""
        for effect in effects:
            if effect is states.REPORT:
                self.report(execution)
            elif effect is states.RELEASE:
                self._release(execution)
            elif effect is states.ARM_TIMEOUT:
                if execution.job.spec.timeout is not None:
                    execution.timeout_handle = self.loop.call_at(
                        execution.started_at + execution.job.spec.timeout,
                        self._on_timeout,
                        execution,
                    )
            elif effect is states.ARM_DRAIN:
                execution.last_byte_at = self.loop.time()
                if execution.job.spec.drain is not None:
                    execution.drain_handle = self.loop.call_later(
                        execution.job.spec.drain, self._on_drain_over, execution
                    )
            else:
                self._end(execution, effect)

    def _end(self, execution: Execution, effect: str) -> None:
        """Carry out TERMINATE or KILL, and arm the grace that follows."""
        carrier = execution.carrier
        if carrier is None:
            raise InvalidTransition(f"{effect} without a carrier, after {execution.history}")
        if effect is states.TERMINATE:
            carrier.terminate()
            grace = execution.job.spec.grace
        else:
            carrier.kill()
            grace = _LAST_GRACE
        if execution.grace_handle is not None:
            execution.grace_handle.cancel()
        execution.grace_handle = self.loop.call_later(grace, self._on_grace_over, execution)

    def report(self, execution: Execution) -> None:
        """Report a client's last output and its outcome."""
        self._take_rest(execution)
        refs = [-1, -1, -1]
        for stream, buffer in execution.buffers.items():
            gathered = execution.job.modes[stream] == GATHER
            if gathered:
                self._held -= buffer.size
            block = buffer.take(final=True)
            if not block:
                continue
            if gathered and stream not in execution.passed_on:
                refs[stream] = self._uplink.body(block)
            else:
                self._uplink.output(execution.id, stream, block)
        duration = self.loop.time() - execution.started_at if execution.started_at else 0.0
        self._diagnose(execution)
        self._uplink.finished(
            (execution.id, execution.reason, execution.status, refs[STDOUT], refs[STDERR],
             execution.started_at, duration, execution.detail)
        )  # fmt: skip

    def _diagnose(self, execution: Execution) -> None:
        """Add the text for a diagnosis to an outcome, if one is needed."""
        least = execution.job.spec.diagnose
        if execution.proven or not least or execution.reason != EXITED or execution.status < least:
            return
        words = execution.last_words.decode(errors="backslashreplace").replace(LOG_END, "\\0")
        if execution.log is not None:
            notes = execution.log.notes.decode(errors="backslashreplace").replace(LOG_END, "\\0")
            execution.detail = f"{notes}{LOG_END}{words}"
        elif words:
            execution.detail = words

    def _release(self, execution: Execution) -> None:
        for handle in (execution.timeout_handle, execution.grace_handle, execution.drain_handle):
            if handle is not None:
                handle.cancel()
        if execution.feed is not None:
            execution.feed.close()
        if execution.dial is not None:
            execution.dial.abandon()
            execution.dial = None
        if execution.input is not execution.job.log:
            execution.input.release()
        if execution.carrier is not None:
            self._paused.pop(execution.carrier, None)
            execution.carrier.close()
            # The two know each other, and an engine looks for cycles rarely: all that the job holds would stay.
            execution.carrier = None
        if execution.job.running.pop(execution.index, None) is not None:
            self._on_release(execution)
        self._uplink.end_of_turn()
