"""Clients that are child processes of the engine: pipes, signals, and the reaping of all that is left.

The first family of carriers (`mpshell.engine.carrier`). In the engine's thread, called by its loop; the
system calls about processes are in `mpshell.engine.process`.
"""

from __future__ import annotations

import os

from mpshell.engine import client as states
from mpshell.engine import marks, process
from mpshell.engine.argv import PathCache
from mpshell.engine.libc import Environment
from mpshell.runtime import procfs
from mpshell.runtime.lean import TYPE_CHECKING, signal
from mpshell.wire.messages import LOG, STDERR, STDOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpshell.engine.carrier import Redialing
    from mpshell.engine.cores import CoreLimit
    from mpshell.engine.family import Owner
    from mpshell.engine.gate import Gate
    from mpshell.engine.helpers import Helper, Helpers
    from mpshell.engine.log import RedialTexts
    from mpshell.engine.logwatch import LogWatch
    from mpshell.engine.work import EngineJob, Execution
    from mpshell.runtime.loop import EventLoop


class ProcessCarrier:
    """A child process and the engine's ends of its pipes."""

    __slots__ = (
        "_family", "_fds", "_loop", "_mark", "_owner", "_paused", "_stdin", "_stdin_blocks",
        "execution", "pid",
    )  # fmt: skip

    def __init__(
        self,
        family: Processes,
        execution: Execution,
        child: process.Child,
        mark: int,
        log: int,
    ) -> None:
        self._mark = mark
        self._family = family
        self._loop = family.loop
        self._owner = family.owner
        self.execution = execution
        self.pid = child.pid
        #: Open reading ends, by stream, and those of them that wait for the coordinator to catch up.
        self._fds: dict[int, int] = {}
        self._paused: set[int] = set()
        self._stdin = child.stdin
        #: Not before there is something to write: most commands are never written to.
        self._stdin_blocks = True
        self._open(STDOUT, child.stdout)
        if child.stderr >= 0:
            self._open(STDERR, child.stderr)
        if log >= 0:
            # Not a stream whose end is awaited: the log is complete when its program has ended.
            self._fds[LOG] = log
            self._watch(LOG, log)

    # -- output --------------------------------------------------------------------------------

    def _open(self, stream: int, fd: int) -> None:
        self.execution.streams += 1
        self._fds[stream] = fd
        self._watch(stream, fd)

    def _watch(self, stream: int, fd: int) -> None:
        if stream == LOG:
            self._family.logs.add(fd, self._on_log)
        else:
            self._loop.add_reader(fd, self._on_readable, stream, fd)

    def _unwatch(self, stream: int, fd: int) -> None:
        if stream == LOG:
            self._family.logs.remove(fd)
        else:
            self._loop.remove_reader(fd)

    def _waits(self, stream: int, fd: int) -> bool:
        """Return whether a stream is not read now: the coordinator has to catch up."""
        if not self._owner.congested:
            return False
        self._unwatch(stream, fd)
        self._paused.add(stream)
        self._owner.pause(self)
        return True

    def _on_log(self) -> None:
        fd = self._fds[LOG]
        if not self._waits(LOG, fd) and (data := process.read(fd)):
            self._owner.received(self.execution, LOG, data)

    def _on_readable(self, stream: int, fd: int) -> None:
        owner = self._owner
        if self._waits(stream, fd):
            return
        data = process.read(fd)
        if data:
            owner.received(self.execution, stream, data)
            if len(data) == process.READ_SIZE:
                return
            # Most commands write little, and end: their end has arrived as well, or will soon.
            data = process.read(fd)
            if data:
                owner.received(self.execution, stream, data)
        if data == b"":
            self._close_stream(stream)
            owner.stream_ended(self.execution)

    def _close_stream(self, stream: int) -> None:
        fd = self._fds.pop(stream)
        if stream in self._paused:
            self._paused.discard(stream)
        else:
            self._unwatch(stream, fd)
        os.close(fd)

    @property
    def paused(self) -> bool:
        return bool(self._paused)

    def resume_reading(self) -> None:
        paused, self._paused = self._paused, set()
        for stream in paused:
            self._watch(stream, self._fds[stream])

    def rest(self) -> Iterator[tuple[int, bytes]]:
        for stream, fd in list(self._fds.items()):
            if stream != LOG and (data := process.read(fd)):
                yield stream, data

    def rest_of_log(self) -> bytes:
        fd = self._fds.get(LOG)
        return b"" if fd is None else process.read_log(fd)

    # -- input ---------------------------------------------------------------------------------

    @property
    def has_input(self) -> bool:
        return self._stdin >= 0

    def write(self, data: memoryview) -> int | None:
        if self._stdin_blocks:
            self._stdin_blocks = False
            os.set_blocking(self._stdin, False)
        try:
            return os.write(self._stdin, data)
        except BlockingIOError:
            return 0
        except OSError:
            # EPIPE is not an error: the command reads no more, so drop the rest.
            return None

    def await_room(self, callback: Callable[[], None] | None) -> None:
        if callback is not None:
            self._loop.add_writer(self._stdin, callback)
        else:
            self._loop.remove_writer(self._stdin)

    def close_input(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    # -- ends ----------------------------------------------------------------------------------

    def terminate(self) -> None:
        self._family.note_stopped(self._mark)
        if self.execution.job.spec.tree:
            process.terminate_tree(self.pid)
        else:
            process.signal_group(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.execution.job.spec.tree:
            self._family.kill_tree(self.pid)
        process.signal_group(self.pid, signal.SIGKILL)

    def abandon(self) -> None:
        self._family.abandon(self.pid)

    def close(self) -> None:
        for stream in list(self._fds):
            self._close_stream(stream)
        self.close_input()


class Processes:
    """The children of this engine by pid, and the processes that they leave behind."""

    def __init__(self, loop: EventLoop, owner: Owner) -> None:
        self.loop = loop
        self.owner = owner
        self.set_environment(dict(os.environb))
        self._by_pid: dict[int, ProcessCarrier] = {}
        #: Programs that carry connections; None as long as there has been none.
        self._helpers: Helpers | None = None
        #: Groups whose leader has ended and which have members left, with the leader's end.
        self._lingering: dict[int, tuple[ProcessCarrier, int, bool]] = {}
        #: Processes that `kill_all` has killed and that are not reaped yet.
        self._doomed: set[int] = set()
        #: Processes that commands of earlier runs have left in the background, as daemons do: the user's.
        self._survivors: set[int] = set()
        self._marks = marks.Marks()
        #: Set in an engine that has secrets in its memory.
        self.core_limit: CoreLimit | None = None
        #: Marks of commands that did not end by themselves, for as long as processes may carry them.
        self._stopped: set[int] = set()
        #: Limits the connections that programs make, and others in this engine.
        self._gate: Gate | None = None
        self._logs: LogWatch | None = None
        #: Clients whose program is started again.
        self._dials: set[Redialing] = set()

    def start_helper(
        self, argv: list[bytes], env: Environment, on_stderr: Callable[[bytes], object]
    ) -> Helper:
        """Start a program that carries a connection; OSError when the system refuses, ValueError for a NUL."""
        # A mark of its own: with that of another command it would end with the processes that this has left.
        self._marks.next()
        if self._helpers is None:
            # Late: plain commands need none.
            from mpshell.engine.helpers import Helpers

            self._helpers = Helpers(self.loop)
        if self.core_limit is None:
            return self._helpers.start(argv, env, on_stderr)
        with self.core_limit:
            return self._helpers.start(argv, env, on_stderr)

    def set_environment(self, variables: dict[bytes, bytes]) -> None:
        """Take the environment of the commands to come."""
        self.env = Environment(variables)
        self._paths = PathCache(variables)

    @property
    def busy(self) -> bool:
        """Whether commands are not reaped yet."""
        return bool(self._by_pid or self._lingering or self._doomed)

    @property
    def logs(self) -> LogWatch:
        if self._logs is None:
            # Late: plain commands have none.
            from mpshell.engine.logwatch import LogWatch

            self._logs = LogWatch(self.loop)
        return self._logs

    def start(self, execution: Execution) -> ProcessCarrier:
        """Spawn a client's command; OSError when the system refuses, ValueError for a NUL in a word."""
        job = execution.job
        try:
            log, path = (-1, b"") if execution.log is None else self.logs.open()
        except OSError as error:
            execution.detail = f"a log: {error}"
            raise
        argv, words = job.command.plan(execution.node, execution.index, execution.part, path)
        if job.spec.trace:
            text = argv[-1] if job.spec.shell is not None else b" ".join(argv)
            self.owner.trace(execution, os.fsdecode(text))
        mark = self._marks.next()
        try:
            if self.core_limit is None:
                child = self._spawn(job, argv, words)
            else:
                with self.core_limit:
                    child = self._spawn(job, argv, words)
        except (OSError, ValueError) as error:
            execution.detail = f"{os.fsdecode(argv[0])}: {error}"
            if log >= 0:
                os.close(log)
            raise
        carrier = self._by_pid[child.pid] = ProcessCarrier(self, execution, child, mark, log)
        if job.log_lines is not None and job.log_lines.redial is not None:
            self._dial(execution, job.log_lines.redial)
        return carrier

    def _spawn(self, job: EngineJob, argv: list[bytes], words: list[bytes] | None) -> process.Child:
        spec = job.spec
        if words is not None and (path := self._paths.find(words[0])) is not None:
            try:
                return process.spawn(path, words, job.env, spec.stdin, spec.separate_stderr)
            except OSError:
                # Not executable after all, a script without a first line: the shell knows.
                pass
        path = argv[0] if words is not None else self._paths.find(argv[0])
        return process.spawn(path or argv[0], argv, job.env, spec.stdin, spec.separate_stderr)

    # -- programs that are started again -------------------------------------------------------------

    @property
    def gate(self) -> Gate:
        if self._gate is None:
            # Late: plain commands need none.
            from mpshell.engine.gate import Gate

            self._gate = Gate(self.loop)
        return self._gate

    def share_gate(self, gate: Gate) -> None:
        """Have programs count as the connections that this engine makes itself."""
        self._gate = gate

    def _dial(self, execution: Execution, texts: RedialTexts) -> None:
        """Look after a program that connects somewhere, its first one or another."""
        if execution.dial is None:
            from mpshell.engine.redial import Dial

            execution.dial = Dial(self, execution, texts)

    def start_again(self, execution: Execution) -> bool:
        """Start the program of a client once more; return False if there is no room for it now."""
        if execution.job.log_lines is not None:
            execution.log = execution.job.log_lines.begin()
        return self.owner.start_over(execution, self)

    def _end(self, carrier: ProcessCarrier, status: int, signaled: bool) -> None:
        """Take the end of a client's program."""
        execution = carrier.execution
        if (dial := execution.dial) is not None:
            if dial.undecided and execution.state is states.RUNNING:
                self.owner.read_log(execution)
            if dial.goes_on(status, signaled) and not self.owner.leaving:
                self._dials.add(dial)
                self.owner.hand_over(execution, dial)
                dial.pause()
                return
            self._dials.discard(dial)
            status, signaled = dial.verdict(status, signaled)
        self.owner.ended(execution, status, signaled)

    # -- ends ----------------------------------------------------------------------------------------

    def on_children(self) -> None:
        """Take note of the children that have ended (SIGCHLD)."""
        for pid, status, signaled in process.reap():
            self._doomed.discard(pid)
            self._survivors.discard(pid)
            if self._helpers is not None and self._helpers.reaped(pid):
                continue
            carrier = self._by_pid.pop(pid, None)
            if carrier is None:
                continue
            ending = carrier.execution.state in (states.STOPPING, states.KILLING)
            if ending and process.group_lives(pid):
                self._lingering[pid] = (carrier, status, signaled)
            else:
                self._end(carrier, status, signaled)
        for pgid, (carrier, status, signaled) in list(self._lingering.items()):
            if not process.group_lives(pgid):
                del self._lingering[pgid]
                self._end(carrier, status, signaled)

    def note_stopped(self, mark: int) -> None:
        """Keep in mind that a command does not end by itself."""
        if mark:
            self._stopped.add(mark)

    def kill_tree(self, pid: int) -> None:
        """Kill a child that is not reaped yet, and all that descends from it."""
        if pid in self._by_pid:
            self._doomed.update(process.kill_tree(pid))

    def abandon(self, pid: int) -> None:
        """Wait for a child no longer: it is another user's by now, or in an uninterruptible sleep."""
        self._by_pid.pop(pid, None)
        self._lingering.pop(pid, None)

    def kill_all(self) -> None:
        """Kill all that runs; to be called again for processes that each leaves, until nothing is left."""
        for dial in self._dials:
            dial.abandon()
        if process.has_children():
            known = self._survivors | self._doomed
            roots = [pid for pid in procfs.children_of(os.getpid()) if pid not in known]
            # Do not stop them first: if this process is killed here, no other one would continue them.
            self._doomed.update(process.kill(roots))
            # Not again, also if they cannot be killed (another user's by now).
            self._survivors.update(roots)

    def end_run(self) -> None:
        """Nothing runs any more: all that is still there belongs to no run to come.

        A daemon that a finished command has left is the user's. Processes of a stopped one in other sessions
        end with this engine: not now, as they may serve others, like the master of ssh's shared connections.
        """
        if self._helpers is not None:
            self._helpers.kill_all()
        self._dials.clear()
        if self._gate is not None:
            self._gate.forget()
        left = procfs.children_of(os.getpid()) if process.has_children() else []
        of_stopped: dict[int, int] = {}
        if self._stopped:
            carried = {pid: marks.mark_of(pid) for pid in left}
            of_stopped = {pid: mark for pid, mark in carried.items() if mark in self._stopped}
            self._stopped = set(of_stopped.values())
        self._survivors = set(left).difference(of_stopped)

    def left_on_purpose(self) -> list[int]:
        """Return the children that are not killed and waited for."""
        if not process.has_children():
            return []
        return [pid for pid in procfs.children_of(os.getpid()) if pid not in self._doomed]
