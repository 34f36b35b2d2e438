"""The clients that an engine runs: their processes, pipes and deadlines, from the spawn to the release.

Carries out the effects of the state machine (`mpshell.engine.client`) and feeds it what it saw. In the
engine's thread, called by its loop.
"""

import errno
import os
from collections.abc import Callable

from mpshell.engine import client as states
from mpshell.engine import process
from mpshell.engine.argv import PathCache
from mpshell.engine.libc import Environment
from mpshell.engine.log import ClientLog
from mpshell.engine.stdin import InputFeed
from mpshell.engine.uplink import Uplink
from mpshell.engine.work import Job, Run
from mpshell.runtime.lean import signal
from mpshell.runtime.loop import EventLoop
from mpshell.wire.lines import LONG_LINE, StreamBuffer
from mpshell.wire.messages import DISCARD, EXITED, GATHER, LOG, LOG_END, STDERR, STDOUT, STREAM

#: Gathered bytes that an engine keeps over all its clients before it passes them on.
HELD = 1 << 25

_READ_SIZE = 65536

#: Errors that pass when other commands end: no descriptors, no processes, no memory.
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)

#: Seconds that a killed command has to be gone; one that cannot be killed is left then, and its slot is free.
_LAST_GRACE = 4.0

#: Last bytes that are kept of a command whose diagnosis is wanted.
_LAST_WORDS = 2000


def _read(fd: int) -> bytes | None:
    """Read from a pipe; None when there is nothing now."""
    try:
        return os.read(fd, _READ_SIZE)
    except BlockingIOError:
        return None


class Clients:
    """Running clients by pid; `on_release` is called when a client's slot is free again."""

    def __init__(self, loop: EventLoop, uplink: Uplink, on_release: Callable[[Run], None]) -> None:
        self.loop = loop
        self.set_environment(dict(os.environb))
        self._uplink = uplink
        self._on_release = on_release
        self._by_pid: dict[int, Run] = {}
        #: Groups whose leader has ended and which have members left, with the leader's end.
        self._lingering: dict[int, tuple[Run, int, bool]] = {}
        #: What `kill_all` has killed and nobody has reaped yet.
        self._doomed: set[int] = set()
        #: What commands of runs that are over have left in the background, as daemons do: the user's.
        self._survivors: set[int] = set()
        #: Readers that wait for the coordinator to catch up.
        self._paused: dict[int, tuple[Run, int]] = {}
        self._held = 0

    def set_environment(self, variables: dict[bytes, bytes]) -> None:
        """Take the environment of the commands to come."""
        self.env = Environment(variables)
        self.paths = PathCache(variables)

    @property
    def busy(self) -> bool:
        """Whether commands are not reaped yet."""
        return bool(self._by_pid or self._lingering or self._doomed)

    def resume_reading(self) -> None:
        """The coordinator has caught up."""
        paused, self._paused = self._paused, {}
        for fd, (run, stream) in paused.items():
            self.loop.add_reader(fd, self._on_readable, run, stream, fd)

    def kill_all(self) -> None:
        """Kill what runs; to be called again for what each leaves, until nothing is left."""
        if process.has_children():
            known = self._survivors | self._doomed
            roots = [pid for pid in process.children_of(os.getpid()) if pid not in known]
            # None is stopped first: if this process is killed in here, nobody would let it go on.
            self._doomed.update(process.kill(roots))
            # Not again, also if they cannot be killed (another user's by now).
            self._survivors.update(roots)

    def end_run(self) -> None:
        """Nothing runs any more: what is still there is not of a run to come."""
        self._survivors = set(process.children_of(os.getpid())) if process.has_children() else set()

    def spawn(self, run: Run, last_try: bool) -> OSError | None:
        """Start a client that was announced; return the error when there is no room for it now.

        Any other failure, and that one on the `last_try`, is the outcome of the client.
        """
        job = run.job
        spec = job.spec
        program = b"its log"
        try:
            if job.log_lines is not None:
                run.log = ClientLog(job.log_lines)
            argv, words = job.command.plan(run.node, run.index, run.log.path if run.log else b"")
            program = argv[0]
            if spec.trace:
                self._trace(run, argv)
            run.started_at = self.loop.time()
            child = self._execute(job, argv, words)
        except (OSError, ValueError) as error:
            if run.log is not None:
                run.log.close()
                run.log = None
            if isinstance(error, OSError) and error.errno in _NO_ROOM and not last_try:
                return error
            run.detail = f"{os.fsdecode(program)}: {error}"
            self.carry_out(run, run.handle(states.SPAWN_FAILURE))
            return None
        run.pid = child.pid
        self._by_pid[child.pid] = run
        self._open_stream(run, STDOUT, child.stdout)
        if child.stderr >= 0:
            self._open_stream(run, STDERR, child.stderr)
        if run.log is not None:
            # No stream whose end is waited for: it is whole when the program has ended.
            run.fds[LOG] = run.log.fd
            self.loop.add_reader(run.log.fd, self._on_readable, run, LOG, run.log.fd)
        self.carry_out(run, run.handle(states.SPAWNED))
        if child.stdin >= 0:
            self._feed(run, child.stdin)
        return None

    def _trace(self, run: Run, argv: list[bytes]) -> None:
        text = argv[-1] if run.job.spec.shell is not None else b" ".join(argv)
        self._uplink.report.trace.append((run.id, os.fsdecode(text)))
        self._uplink.end_of_turn()

    def _feed(self, run: Run, fd: int) -> None:
        job = run.job
        if job.log.closed and not job.log.chunks:
            os.close(fd)
            return
        on_written = None
        if job.spec.report_written:

            def on_written(size: int) -> None:
                if not run.reported:
                    self._uplink.report.written.append((run.id, size))
                    self._uplink.end_of_turn()

        run.feed = InputFeed(fd, job.log, self.loop, on_written)

    def _execute(self, job: Job, argv: list[bytes], words: list[bytes] | None) -> process.Child:
        spec = job.spec
        if words is not None and (path := self.paths.find(words[0])) is not None:
            try:
                return process.spawn(path, words, job.env, spec.stdin, spec.separate_stderr)
            except OSError:
                # Not executable after all, a script without a first line: the shell knows.
                pass
        path = argv[0] if words is not None else self.paths.find(argv[0])
        return process.spawn(path or argv[0], argv, job.env, spec.stdin, spec.separate_stderr)

    def _open_stream(self, run: Run, stream: int, fd: int) -> None:
        run.streams += 1
        run.fds[stream] = fd
        self.loop.add_reader(fd, self._on_readable, run, stream, fd)

    def _on_readable(self, run: Run, stream: int, fd: int) -> None:
        if self._uplink.congested:
            self.loop.remove_reader(fd)
            self._paused[fd] = (run, stream)
            return
        data = _read(fd)
        if data:
            if not run.reported:
                self._take(run, stream, data)
            if len(data) == _READ_SIZE:
                return
            # Most commands say little, and end: the end is there as well, or soon.
            data = _read(fd)
            if data and not run.reported:
                self._take(run, stream, data)
        if data is None:
            return
        if not data:
            self._close_stream(run, stream)
            self.carry_out(run, run.handle(states.EOF))

    def _take(self, run: Run, stream: int, data: bytes) -> None:
        """Keep what a command has written, or pass it on."""
        if stream == LOG:
            self._take_log(run, data)
            return
        run.last_byte_at = self.loop.time() if run.drain_handle is not None else 0.0
        if run.job.spec.diagnose:
            run.last_words = (run.last_words + data)[-_LAST_WORDS:]
        mode = run.job.modes[stream]
        if mode == DISCARD:
            return
        buffer = run.buffers.get(stream)
        if buffer is None:
            buffer = run.buffers[stream] = StreamBuffer()
        buffer.add(data)
        if mode == STREAM:
            if block := buffer.take(final=False):
                self._uplink.output(run.id, stream, block)
            return
        self._held += len(data)
        if buffer.size >= LONG_LINE or self._held > HELD:
            before = buffer.size
            block = buffer.take(final=False)
            self._held -= before - buffer.size
            if block:
                run.passed_on.add(stream)
                self._uplink.output(run.id, stream, block)

    def _take_log(self, run: Run, data: bytes) -> None:
        """Keep what the diagnosis needs of a log; the rest are messages, as on stderr."""
        if run.log is not None and (messages := run.log.take(data)):
            if run.log.apart:
                run.last_words = (run.last_words + messages)[-_LAST_WORDS:]
                self._uplink.output(run.id, LOG, messages)
            else:
                self._take(run, STDERR if run.job.spec.separate_stderr else STDOUT, messages)

    def _take_what_is_there(self, run: Run) -> None:
        """Take what a command had written before it was told to end, as far as a pipe holds it."""
        for stream, fd in run.fds.items():
            if stream == LOG:
                continue
            if self._uplink.congested:
                break
            if data := _read(fd):
                self._take(run, stream, data)
        if run.log is not None:
            # Whole, for the verdict depends on it; a pipe holds little.
            while data := _read(run.log.fd):
                self._take_log(run, data)
            self._take_log(run, b"\n")

    def _close_stream(self, run: Run, stream: int) -> None:
        fd = run.fds.pop(stream)
        if self._paused.pop(fd, None) is None:
            self.loop.remove_reader(fd)
        os.close(fd)

    # -- ends ----------------------------------------------------------------------------------

    def on_children(self) -> None:
        """Take note of the children that have ended (SIGCHLD)."""
        for pid, status, signaled in process.reap():
            self._doomed.discard(pid)
            self._survivors.discard(pid)
            run = self._by_pid.pop(pid, None)
            if run is None:
                continue
            if run.state in (states.STOPPING, states.KILLING) and process.group_lives(pid):
                self._lingering[pid] = (run, status, signaled)
            else:
                self.carry_out(run, run.exited(status, signaled))
        for pgid, (run, status, signaled) in list(self._lingering.items()):
            if not process.group_lives(pgid):
                del self._lingering[pgid]
                self.carry_out(run, run.exited(status, signaled))

    def _on_timeout(self, run: Run) -> None:
        if run.state is states.RUNNING:
            self.carry_out(run, run.handle(states.TIMEOUT))
        elif run.state is states.DRAINING:
            # The command did end in time; only what it left behind holds its output open.
            self.carry_out(run, run.handle(states.DRAIN_OVER))

    def _on_grace_over(self, run: Run) -> None:
        if run.state is states.KILLING:
            # It cannot be killed: another user's by now, or in an uninterruptible sleep.
            self._by_pid.pop(run.pid, None)
            self._lingering.pop(run.pid, None)
        if run.state in (states.STOPPING, states.KILLING):
            self.carry_out(run, run.handle(states.GRACE_OVER))

    def _on_drain_over(self, run: Run) -> None:
        if run.state is not states.DRAINING or run.job.spec.drain is None:
            return
        until = run.last_byte_at + run.job.spec.drain
        if until > self.loop.time():
            run.drain_handle = self.loop.call_at(until, self._on_drain_over, run)
        elif any(fd in self._paused for fd in run.fds.values()):
            run.drain_handle = self.loop.call_later(run.job.spec.drain, self._on_drain_over, run)
        else:
            self.carry_out(run, run.handle(states.DRAIN_OVER))

    def carry_out(self, run: Run, effects: tuple[str, ...]) -> None:
        """Do what a transition of a client's state asks for."""
        for effect in effects:
            if effect is states.REPORT:
                self.tell(run)
            elif effect is states.RELEASE:
                self._release(run)
            elif effect is states.ARM_TIMEOUT:
                if run.job.spec.timeout is not None:
                    run.timeout_handle = self.loop.call_at(
                        run.started_at + run.job.spec.timeout, self._on_timeout, run
                    )
            elif effect is states.TERMINATE:
                if run.job.spec.tree:
                    process.terminate_tree(run.pid)
                else:
                    process.signal_group(run.pid, signal.SIGTERM)
                run.grace_handle = self.loop.call_later(
                    run.job.spec.grace, self._on_grace_over, run
                )
            elif effect is states.KILL:
                if run.job.spec.tree and run.pid in self._by_pid:
                    self._doomed.update(process.kill_tree(run.pid))
                process.signal_group(run.pid, signal.SIGKILL)
                if run.grace_handle is not None:
                    run.grace_handle.cancel()
                run.grace_handle = self.loop.call_later(_LAST_GRACE, self._on_grace_over, run)
            elif effect is states.ARM_DRAIN:
                run.last_byte_at = self.loop.time()
                if run.job.spec.drain is not None:
                    run.drain_handle = self.loop.call_later(
                        run.job.spec.drain, self._on_drain_over, run
                    )

    def tell(self, run: Run) -> None:
        """Report a client's last output and its outcome."""
        self._take_what_is_there(run)
        refs = [-1, -1, -1]
        for stream, buffer in run.buffers.items():
            gathered = run.job.modes[stream] == GATHER
            if gathered:
                self._held -= buffer.size
            block = buffer.take(final=True)
            if not block:
                continue
            if gathered and stream not in run.passed_on:
                refs[stream] = self._uplink.report.bodies.ref(block)
            else:
                self._uplink.output(run.id, stream, block)
        duration = self.loop.time() - run.started_at if run.started_at else 0.0
        self._diagnose(run)
        self._uplink.report.finished.append(
            (run.id, run.reason, run.status, refs[STDOUT], refs[STDERR], run.started_at, duration,
             run.detail)
        )  # fmt: skip
        self._uplink.end_of_turn()

    def _diagnose(self, run: Run) -> None:
        """Add to an outcome what its diagnosis needs, where one is wanted."""
        least = run.job.spec.diagnose
        if not least or run.reason != EXITED or run.status < least:
            return
        words = run.last_words.decode(errors="backslashreplace").replace(LOG_END, "\\0")
        if run.log is not None:
            notes = run.log.notes.decode(errors="backslashreplace").replace(LOG_END, "\\0")
            run.detail = f"{notes}{LOG_END}{words}"
        elif words:
            run.detail = words

    def _release(self, run: Run) -> None:
        for handle in (run.timeout_handle, run.grace_handle, run.drain_handle):
            if handle is not None:
                handle.cancel()
        for stream in list(run.fds):
            self._close_stream(run, stream)
        if run.feed is not None:
            run.feed.close()
        if run.job.running.pop(run.index, None) is not None:
            self._on_release(run)
        self._uplink.end_of_turn()
