"""The fork server: a clean interpreter of one thread that forks the engines and cleans up after them.

The coordinator's process execs it (`mpshell.launch.fork`), one for all its Tasks; it never runs user code.
Over a control socket it gets one-way packets with requests to fork or kill an engine.
It is the parent of every engine, and the subreaper of everything that a dead one leaves behind:

    coordinator's process ──control──► fork server ──fork──► engine ──► commands
             ◄───── sentinel of an engine: at its end when the engine and its orphans have ended

The coordinator's end shows as EOF on the control socket, or as the end of that process if another one holds a
copy of the socket; then everything is ended. Packets of other processes are ignored, and also those of that
process once it has dropped privileges that this one still holds.
"""

from __future__ import annotations

import _socket
import errno
import gc
import os
import select
import sys
import time

from mpshell.engine import process
from mpshell.engine.host import load
from mpshell.engine.libc import become_subreaper, signal_at_parent_end
from mpshell.engine.main import WILL, WILL_PIDS, run_engine
from mpshell.engine.program import LOOK, Program
from mpshell.runtime import procfs
from mpshell.runtime.lean import TYPE_CHECKING, signal
from mpshell.wire.control import FORK, KILL, LONGEST, PACKET, REFUSED, library_of
from mpshell.wire.credentials import Sender, ask_for_senders, receive

if TYPE_CHECKING:
    from mpshell.engine.host import ConnectionHost

#: Seconds that engines have to exit by themselves after the end of the coordinator.
_LEAVE = 1.0

#: Seconds at most to see killed orphans off.
_CLEAR = 2.0


class _Gone(Exception):
    """The coordinator has closed its end of the control socket, or has ended."""


class ForkServer:
    """Engines by pid, with their ids and sentinels."""

    def __init__(self, control: int, parent: int, privileges: str = "") -> None:
        self._control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=control)
        #: The coordinator's process: a fork of it in C may hold the control socket open for ever.
        self._parent = _watch(parent)
        self._program = Program(os.getppid(), privileges)
        self._engines: dict[int, tuple[int, int]] = {}
        #: Processes that cleanly ended engines have left: daemons that a command started on purpose.
        self._survivors: set[int] = set()
        #: Ours, where the wills of engines come in, and theirs, at its end when this process is gone.
        self._lifeline, self._lifeline_theirs = _socket.socketpair(
            _socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0
        )
        self._lifeline.setblocking(False)
        ask_for_senders(self._lifeline)
        self._lifeline_theirs.setblocking(False)
        self._wake_read = process.child_watch()

    def serve(self) -> None:
        """Fork and reap until the coordinator has ended, then end and reap everything."""
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        if self._parent >= 0:
            poll.register(self._parent, select.POLLIN)
        try:
            while True:
                for fd, _ in poll.poll(LOOK * 1000 if self._program.watched else None):
                    if fd == self._wake_read:
                        os.read(self._wake_read, 4096)
                        self._reap()
                    elif fd == self._parent:
                        raise _Gone
                    else:
                        self._take_packet()
                if self._has_changed():
                    self._on_changed_program()
        except _Gone:
            self._end(poll)

    def _has_changed(self) -> bool:
        """Whether the program has dropped privileges.

        A /proc of another PID namespace shows some other process under its number: no engine is forked there,
        and the reason for that has to be sent.
        """
        program = self._program
        return program.watched and not procfs.why_unusable() and not program.unchanged()

    def _on_changed_program(self) -> None:
        """Serve the current runs only."""
        if not self._engines:
            raise _Gone
        for pid in self._engines:
            # A stopped one looks at the program as well when it wakes up.
            os.kill(pid, signal.SIGCONT)

    def _take_packet(self) -> None:
        data, sender, fds = receive(self._control, LONGEST, descriptors=2)
        if not data:
            raise _Gone
        if len(data) >= PACKET.size:
            self._obey(data, sender, fds)
        # No room for them here, or not obeyed. That no end of them is held any more says that there is no
        # engine.
        for fd in fds:
            os.close(fd)

    def _obey(self, packet: bytes, sender: Sender, fds: list[int]) -> None:
        kind, engine_id = PACKET.unpack_from(packet)
        ours = self._program.sender
        if kind == FORK and len(fds) == 2 and (reason := procfs.why_unusable()):
            # Nor could the program be looked at.
            os.close(fds.pop(0))
            self._tell_end(fds.pop(), REFUSED + reason)
        elif kind == FORK and sender == ours and self._program.unchanged():
            if len(fds) == 2:
                self._fork(packet, fds.pop(0), fds.pop())
            elif not self._engines:
                # The next fork server has the limits of its own moment, which may be higher.
                raise _Gone
        elif kind == KILL and sender.pid == ours.pid:
            # Also for a program that has changed its user: it ends the earlier runs.
            for pid, (number, _) in self._engines.items():
                if number == engine_id:
                    os.kill(pid, signal.SIGKILL)

    def _fork(self, packet: bytes, channel: int, sentinel: int) -> None:
        _, engine_id = PACKET.unpack_from(packet)
        library, paths = library_of(packet)
        try:
            host = load(library, paths) if library else None
            pid = os.fork()
        except (OSError, ImportError) as error:
            os.close(channel)
            self._tell_end(
                sentinel, f"{'fork' if isinstance(error, OSError) else library}: {error}"
            )
            return
        if pid == 0:
            self._become_engine(engine_id, channel, host)
        os.close(channel)
        self._engines[pid] = (engine_id, sentinel)

    def _become_engine(self, engine_id: int, channel: int, host: ConnectionHost | None) -> None:
        signal.set_wakeup_fd(-1)
        self._control.detach()
        lifeline = self._lifeline_theirs.detach()
        low, high = sorted((channel, lifeline))
        os.closerange(3, low)
        os.closerange(low + 1, high)
        os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))
        run_engine(engine_id, channel, lifeline, self._program, host)

    def _reap(self) -> None:
        # Again after each round: clearing orphans away uses up the wake-ups of other engines' ends.
        while ended := process.reap():
            self._read_wills()
            for pid, status, signaled in ended:
                self._survivors.discard(pid)
                engine = self._engines.pop(pid, None)
                if engine is not None:
                    self._engine_ended(engine[1], status, signaled)

    def _engine_ended(self, sentinel: int, status: int, signaled: bool) -> None:
        if status or signaled:
            self._clear_orphans()
        self._tell_end(sentinel, f"{'signal' if signaled else 'status'} {status}")

    def _read_wills(self) -> None:
        """Note the processes that engines leave on purpose; each has reported them before its end."""
        while True:
            try:
                will, sender, _ = receive(self._lifeline, WILL.size * WILL_PIDS)
            except BlockingIOError:
                return
            if sender.pid in self._engines:
                self._survivors.update(pid for (pid,) in WILL.iter_unpack(will))

    def _tell_end(self, sentinel: int, text: str) -> None:
        try:
            os.write(sentinel, text.encode())
        except BrokenPipeError:
            # The coordinator is not interested any more.
            pass
        os.close(sentinel)

    def _orphans(self) -> list[int]:
        return [pid for pid in procfs.children_of(os.getpid()) if pid not in self._engines]

    def _clear_orphans(self) -> None:
        """Kill the processes that a dead engine left, until none turns up any more."""
        deadline = time.monotonic() + _CLEAR
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        while time.monotonic() < deadline:
            orphans = self._orphans()
            # In this order: whose engine has ended meanwhile is in a will by now.
            self._read_wills()
            orphans = [pid for pid in orphans if pid not in self._survivors]
            if not orphans:
                return
            process.kill(orphans)
            # Woken by the next SIGCHLD; engines that end meanwhile are seen to afterwards.
            if poll.poll(20):
                os.read(self._wake_read, 4096)
            for pid in orphans:
                self._reap_orphan(pid)

    def _reap_orphan(self, pid: int) -> None:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return

    def _end(self, poll: select.poll) -> None:
        """Cut the engines' lifelines, wait for them, then kill those that are left."""
        poll.unregister(self._control.fileno())
        self._control.close()
        if self._parent >= 0:
            poll.unregister(self._parent)
        # Most see the coordinator's end in their channel. They can still report the processes that they leave.
        self._lifeline.shutdown(_socket.SHUT_WR)
        self._await_engines(poll, _LEAVE)
        for pid in self._engines:
            os.kill(pid, signal.SIGKILL)
        # Bounded: one may hang in the kernel, whose PATH leads into a file system that does not answer.
        self._await_engines(poll, _CLEAR)
        self._clear_orphans()

    def _await_engines(self, poll: select.poll, seconds: float) -> None:
        """Reap the engines that end within that time, and clear up after them."""
        deadline = time.monotonic() + seconds
        self._reap()
        while self._engines and (left := deadline - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                os.read(self._wake_read, 4096)
            self._reap()


def _watch(parent: int) -> int:
    """Return a pidfd of the parent, -1 if it cannot be watched; OSError without room, or if it has ended."""
    ppid = os.getppid()
    if ppid == 0:
        # In another namespace of pids.
        return -1
    if ppid != parent:
        raise ProcessLookupError(errno.ESRCH, f"process {parent} has ended")
    try:
        return os.pidfd_open(ppid)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESRCH):
            raise
        # Not allowed here: the control socket has to do.
        return -1


def main(control: int, parent: int, privileges: str = "") -> None:
    """Serve the process `parent` on the control socket at descriptor `control`.

    `privileges` are those that it had as it started this one (`mpshell.runtime.privileges`).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    become_subreaper()
    # Stopped, it wakes up to find the coordinator gone.
    signal_at_parent_end(signal.SIGCONT)
    # Nothing of this is ever freed: the collector of each fork leaves its pages alone.
    gc.freeze()
    try:
        server = ForkServer(control, parent, privileges)
    except OSError:
        # No room for its descriptors, or nothing left to serve: the coordinator reports it.
        sys.exit(1)
    server.serve()
