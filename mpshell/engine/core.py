"""One engine: runs at most its slots of clients at once, and reports their outcomes.

    channel ──► commands ─► slots and pending clients ─► Starting written ahead ─► start ─► Execution
    channel ◄── one frame a turn ◄── output, writes, outcomes ◄── pipes, SIGCHLD, deadlines ◄──┘

Runs in an engine process, in its only thread, called by its loop. The reports of a turn are collected
in a `Report` and sent at the end of the turn; the clients that a turn starts are named in that frame, and
spawned only when the frame has left this process.
"""

from __future__ import annotations

import os
from collections import deque
from itertools import count, repeat

from mpshell.engine import client as states
from mpshell.engine import life, stdin
from mpshell.engine.clients import Clients
from mpshell.engine.limits import descriptors_for, room_for
from mpshell.engine.program import LOOK, Program
from mpshell.engine.uplink import Uplink
from mpshell.engine.work import EngineJob, Execution, Slots
from mpshell.errors import InputStorageError, ProtocolError
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.runtime.loop import EventLoop
from mpshell.wire import codec, messages
from mpshell.wire.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mpshell.engine.kept import FileKeeper
    from mpshell.engine.stdin import InputLog
    from mpshell.runtime.boottime import Alarm
    from mpshell.runtime.loop import TimerHandle
    from mpshell.wire.files import StoredAt

#: Seconds between tries to start a command when the machine has no room, and tries until it is given up.
_RETRY, _RETRIES = 0.05, 100

#: The same while other commands run here: the engine waits for the end of one, and others may make room too.
_RETRY_BESIDE = 1.0

#: Clients at once as long as no limit of the process has been met.
_UNLIMITED = 1 << 30

#: Messages that make an engine run something, or that are about the way to run it: an engine takes none of them
#: from a program that has dropped privileges, while commands that run already may come to their end.
_POWERFUL = (
    messages.Configure,
    messages.Submit,
    messages.Write,
    messages.Stored,
)

#: Messages about the connections of an engine that makes some.
_OF_CONNECTIONS = (messages.ConnectLimits, messages.PasswordGiven, messages.PasswordState)


class Engine:
    """Clients, slots and jobs of one engine process."""

    def __init__(self, channel: Channel, loop: EventLoop, program: Program | None = None) -> None:
        self.loop = loop
        self._program = program
        self._life = life.Life()
        self._channel = channel
        self._uplink = Uplink(
            channel,
            loop,
            self._life,
            collect=self._collect,
            on_turn=self._turn,
            on_clear=self._on_clear,
            on_relief=lambda: self.clients.resume_reading(),
        )
        self.clients = Clients(loop, self._uplink, self._on_release)
        self._jobs: dict[int, EngineJob] = {}
        self._slots: dict[int, Slots] = {}
        #: Clients named in a frame that has not left yet.
        self._announced: list[Execution] = []
        self._running = 0
        #: Whether clients of this run have had a log, a descriptor more each.
        self._has_logs = False
        self._children_ended = False
        #: Clients at once that the process's limits allow, as far as they have been met.
        self._capacity = _UNLIMITED
        self._retries = 0
        self._retry_timer: TimerHandle | None = None
        #: The time until which it goes on without a confirmation; None: for ever.
        self._lease: Alarm | None = None
        self._files: FileKeeper | None = None
        self._powerful: tuple[type, ...] = _POWERFUL
        loop.add_reader(channel.fileno(), self._on_commands)
        if program is not None and program.watched:
            loop.call_later(LOOK, self._look, program)

    # -- commands ------------------------------------------------------------------------------

    def _on_commands(self) -> None:
        try:
            frames = self._channel.receive()
        except EOFError:
            self.leave()
            return
        for frame in frames:
            for command in codec.decode(frame):
                if isinstance(command, self._powerful) and not self._may_command():
                    self.leave()
                    return
                self._handle(command)
        self._uplink.end_of_turn()

    def _may_command(self) -> bool:
        """Return whether the program may still have commands run here: it may have dropped privileges."""
        if self._channel.altered:
            return False
        program = self._program
        running = self._life.state is life.RUNNING
        look = program is not None and (not running or program.disguised)
        return not look or program is None or program.unchanged()

    def _look(self, program: Program) -> None:
        """Exit if the program has other credentials than before, except during a run."""
        if self._life.state is life.IDLE and not program.unchanged():
            self.leave()
        else:
            self.loop.call_later(LOOK, self._look, program)

    def _handle(self, command: messages.Message) -> None:
        if isinstance(command, messages.Submit):
            self._submit(command)
        elif isinstance(command, messages.Write):
            self._write(command)
        elif isinstance(command, messages.Stored):
            self._extend_input(command)
        elif isinstance(command, messages.CloseStdin):
            job = self._jobs.get(command.job_id)
            if job is not None and (log := job.input_of(command.only)) is not None:
                log.close()
        elif isinstance(command, messages.SetSlots):
            self._set_slots(command)
        elif isinstance(command, messages.Cancel):
            self._cancel(command)
        elif isinstance(command, messages.Withdraw):
            if (job := self._jobs.get(command.job_id)) is not None:
                self._withdraw(job)
        elif isinstance(command, messages.Configure):
            self._configure(command)
        elif isinstance(command, messages.ForgetJob):
            if (job := self._jobs.get(command.job_id)) is not None:
                job.forgotten = True
                self._forget_job(job)
        elif isinstance(command, _OF_CONNECTIONS):
            self.clients.steer_connections(command)
        elif isinstance(command, messages.Ping):
            self._uplink.report.pong = True
        elif isinstance(command, messages.Lease):
            self._take_lease(command.until)
        elif isinstance(command, messages.EndRun):
            self._life.handle(life.END_RUN)
        elif self._files is not None and isinstance(command, self._files.reads):
            self._extend_input(command)
        elif self._files is None or not self._files.handle(command):
            raise ProtocolError(f"an engine received {command!r}")

    def _take_lease(self, until: float) -> None:
        """Take a lease, the first or the next one; at its end this engine leaves."""
        if self._lease is None:
            # Late: engines of the coordinator's own host have no lease, and keep no files.
            from mpshell.engine.kept import FileKeeper
            from mpshell.runtime.boottime import Alarm

            if self.clients.connections is not None:
                self.clients.connections.is_far = True
            self._files = FileKeeper(self._uplink.report)
            self._powerful = (*_POWERFUL, *self._files.powerful)
            self._lease = Alarm()
            self.loop.add_reader(self._lease.fileno(), self.leave)
        self._lease.set(until)

    def _write(self, command: messages.Write) -> None:
        job = self._jobs.get(command.job_id)
        if job is not None and (log := job.input_of(command.only)) is not None:
            self._keep_input(job, log, log.write, command.data)

    def _extend_input(self, command: messages.Stored | StoredAt) -> None:
        """Read on in a file: one here, or the coordinator's, which has come if there was room for it."""
        job = self._jobs.get(command.job_id)
        if job is None:
            return
        if job.log.has_file or job.log.state is not stdin.OPEN:
            pass
        elif isinstance(command, messages.Stored):
            fd = self._channel.take_descriptor(command.device, command.inode)
            self._keep_input(job, job.log, job.log.adopt, fd)
        else:
            self._keep_input(job, job.log, job.log.read_from, command.path)
        job.log.extend(command.size)

    def _keep_input(
        self, job: EngineJob, log: InputLog, keep: Callable[[Any], object], data: Any
    ) -> None:
        try:
            keep(data)
        except InputStorageError as error:
            log.lose_rest()
            self._uplink.report.inputs_lost.append((job.id, str(error)))

    def _configure(self, command: messages.Configure) -> None:
        env = dict(os.environb) if command.env is None else command.env
        if command.umask is not None:
            os.umask(command.umask)
        # Removed meanwhile, or not on this host; most commands, those over ssh above all, don't care where they
        # are.
        home = env.get(b"HOME", b"/") if command.env is None else b"/"
        for directory in (command.cwd, home, b"/"):
            try:
                os.chdir(directory)
                break
            except OSError:
                continue
        if command.env is None:
            env[b"PWD"] = os.getcwdb()
        self.clients.processes.set_environment(env)

    def _slots_of(self, number: int) -> Slots:
        slots = self._slots.get(number)
        if slots is None:
            slots = self._slots[number] = Slots(number)
        return slots

    def _set_slots(self, command: messages.SetSlots) -> None:
        self._slots_of(command.slot_pool).set_limit(command.slots)
        if command.slots:
            self._make_room()

    def _make_room(self) -> None:
        """Raise the limit of open files for the commands that may run at once, or run fewer."""
        # Without a limit of slots there is none to make room for: spawns that fail show how many fit.
        wanted = sum(slots.limit for slots in self._slots.values() if slots.limit < 1 << 20)
        fits = room_for(wanted, self._has_logs)
        if self.clients.connections is not None:
            self.clients.connections.take_room(descriptors_for(fits, self._has_logs))
        if fits < wanted:
            self._shrink(fits, f"the limit of open files has room for {fits} commands at once")

    def _shrink(self, fits: int, why: str) -> None:
        """Run no more clients at once than the limits allow, and warn about that once per run."""
        if self._capacity == _UNLIMITED:
            self._uplink.report.warnings.append(f"an engine runs fewer commands: {why}")
        self._capacity = max(1, fits)

    def _submit(self, command: messages.Submit) -> None:
        self._life.handle(life.SUBMIT)
        if command.job is not None and command.job_id not in self._jobs:
            self._jobs[command.job_id] = EngineJob(
                command.job_id, command.job, self.clients.processes.env
            )
            if command.job.log is not None and not self._has_logs:
                self._has_logs = True
                self._make_room()
        job = self._jobs[command.job_id]
        pending = self._slots_of(job.slot_pool).pending
        job.expect(range(command.first, command.first + len(command.nodes)))
        parts = command.parts or repeat("")
        pending.extend(zip(repeat(job), count(command.first), command.nodes, parts))

    def _cancel(self, command: messages.Cancel) -> None:
        chosen = [job for number, job in self._jobs.items() if command.job_id in (None, number)]
        for job in chosen:
            self._withdraw(job)
            for execution in list(job.running.values()):
                self.clients.carry_out(execution, execution.cancel(command.reason))
                if command.kill and execution.state is states.STOPPING:
                    self.clients.carry_out(execution, execution.cancel(command.reason))

    def _withdraw(self, job: EngineJob) -> None:
        """End the clients of a job that have not started."""
        slots = self._slots_of(job.slot_pool)
        dropped = [entry for entry in slots.pending if entry[0] is job]
        slots.pending = deque(entry for entry in slots.pending if entry[0] is not job)
        for _, index, node, _ in dropped:
            execution = Execution(job, index, node)
            execution.cancel(messages.CANCELLED)
            self.clients.report(execution)

    # -- turns ---------------------------------------------------------------------------------

    def on_children(self) -> None:
        """Children may have ended: handle that after their last output, of the same turn, was read."""
        self._children_ended = True
        self._uplink.end_of_turn()

    def _collect(self) -> None:
        if self._children_ended:
            self._children_ended = False
            self.clients.processes.on_children()
            if self._life.state is life.LEAVING:
                self._see_off()

    def _turn(self) -> None:
        report = self._uplink.report
        late = bool(self._announced)
        if not late:
            self._announced = self._pick()
            report.starting += [execution.id for execution in self._announced]
        for slots in self._slots.values():
            slots.answer(report)
        if self._life.state is life.ENDING and not self._has_clients():
            self._life.handle(life.RUN_ENDED)
            self._forget()
            report.run_ended = True
        self._uplink.send()
        if self._announced and self._uplink.clear:
            self._start_announced()
            if late and not self._announced:
                # While these waited for room no other client was picked.
                self._uplink.end_of_turn()

    def _has_clients(self) -> bool:
        return self._running > 0 or any(slots.pending for slots in self._slots.values())

    def _on_clear(self) -> None:
        if self._uplink.clear:
            self._start_announced()
        self._uplink.end_of_turn()

    def _on_release(self, execution: Execution) -> None:
        self._running -= 1
        self._slots_of(execution.job.slot_pool).running -= 1
        self._forget_job(execution.job)

    def _forget_job(self, job: EngineJob) -> None:
        """Drop a job without further messages, when its last process in its grace has ended."""
        if job.forgotten and not job.running:
            self._jobs.pop(job.id, None)
            job.release()
            if job.spec.own_slots:
                self._slots.pop(job.slot_pool, None)

    def _forget(self) -> None:
        self._capacity = _UNLIMITED
        self._has_logs = False
        for job in self._jobs.values():
            job.release()
        self._jobs.clear()
        self._slots.clear()
        self._uplink.report.new_run()
        self.clients.end_run()

    def _pick(self) -> list[Execution]:
        picked: list[Execution] = []
        if self._life.state is life.LEAVING:
            return picked
        for slots in self._slots.values():
            pending = slots.pending
            early: list[tuple[EngineJob, int, str, str]] = []
            while pending and slots.running < slots.limit and self._running < self._capacity:
                job, index, node, part = pending.popleft()
                if index in job.running:
                    # Another attempt; the command of the one before is still in its grace.
                    early.append((job, index, node, part))
                    continue
                execution = Execution(job, index, node, part)
                job.running[index] = execution
                slots.running += 1
                self._running += 1
                picked.append(execution)
            pending.extendleft(reversed(early))
        return picked

    def _start_announced(self) -> None:
        if self._life.state is life.LEAVING:
            return
        announced, self._announced = self._announced, []
        for position, execution in enumerate(announced):
            if execution.state is not states.PENDING:
                continue
            error = self.clients.start(execution, last_try=self._retries >= _RETRIES)
            if error is not None:
                self._announced = announced[position:]
                self._wait_for_room(error)
                return
            self._retries = 0

    def _wait_for_room(self, error: OSError) -> None:
        """There is no room for a process or descriptor: go on when a client ends, or a little later."""
        self._shrink(self._running - len(self._announced), str(error))
        alone = self._running == len(self._announced)
        self._retries += alone
        if self._retry_timer is None:
            delay = _RETRY if alone else _RETRY_BESIDE
            self._retry_timer = self.loop.call_later(delay, self._retry)

    def _retry(self) -> None:
        self._retry_timer = None
        self._uplink.end_of_turn()

    def leave(self) -> None:
        """Kill all commands, with their descendants, and end the loop.

        After that `clients.busy` shows whether any are left: the loop may be run again, and ends when all have.
        """
        # Commands that have ended by now have run: without their verdict they would be lost, or run again.
        self._uplink.send()
        if self._life.handle(life.LEAVE):
            if self._lease is not None:
                self.loop.remove_reader(self._lease.fileno())
            self.loop.remove_reader(self._channel.fileno())
            self.clients.kill_all()
            self.loop.stop()

    def _see_off(self) -> None:
        # Descendants of a killed process become children of this engine when it has ended.
        self.clients.kill_all()
        if not self.clients.busy:
            self.loop.stop()
