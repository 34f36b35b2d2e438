"""Programs that carry a connection for the engine (ProxyCommand of ssh_config): its children beside commands.

A helper leads a session and a group of its own. It ends with its connection: its streams are closed, and it is
sent SIGHUP, as ssh(1) does; the rest of its group is killed a moment later, at the latest with the run.
In the engine's thread, called by its loop.
"""

from __future__ import annotations

import os

from mpshell.engine import process
from mpshell.runtime.lean import TYPE_CHECKING, signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpshell.engine.libc import Environment
    from mpshell.runtime.loop import EventLoop

#: Seconds between SIGHUP and SIGKILL.
_GRACE = 1.0

#: Bytes of stderr that are read in one turn.
_READ_SIZE = 4096


class Helper:
    """A running helper: `stdin` and `stdout` are the engine's ends of its pipes, and never block."""

    def __init__(
        self, helpers: Helpers, child: process.Child, on_stderr: Callable[[bytes], object]
    ) -> None:
        self._helpers = helpers
        self.pid = child.pid
        self.stdin, self.stdout, self._stderr = child.stdin, child.stdout, child.stderr
        self._on_stderr = on_stderr
        self._open = True
        os.set_blocking(self.stdin, False)
        helpers.loop.add_reader(self._stderr, self._on_readable)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._stderr, _READ_SIZE)
        except BlockingIOError:
            return
        if data:
            self._on_stderr(data)
        else:
            self._close_stderr()

    def _close_stderr(self) -> None:
        if self._stderr >= 0:
            self._helpers.loop.remove_reader(self._stderr)
            os.close(self._stderr)
            self._stderr = -1

    def end(self) -> None:
        """Close its streams, and end it; no effect if it has ended."""
        if self._open:
            self._open = False
            # If it has ended by itself, its last output has arrived by now.
            if self._stderr >= 0:
                self._on_readable()
            self._close_stderr()
            os.close(self.stdin)
            os.close(self.stdout)
            self._helpers.end(self.pid)


class Helpers:
    """The helpers of this engine."""

    def __init__(self, loop: EventLoop) -> None:
        self.loop = loop
        #: Those that are not reaped yet, and the groups of others that have members left.
        self._living: set[int] = set()
        self._groups: set[int] = set()

    def start(
        self, argv: list[bytes], env: Environment, on_stderr: Callable[[bytes], object]
    ) -> Helper:
        """Start a program by its path; OSError when the system refuses."""
        child = process.spawn(argv[0], argv, env, stdin=True, separate_stderr=True)
        self._living.add(child.pid)
        return Helper(self, child, on_stderr)

    def end(self, pid: int) -> None:
        """Have a helper end, and the rest of its group."""
        if self._signal(pid, signal.SIGHUP):
            self.loop.call_later(_GRACE, self._signal, pid, signal.SIGKILL)

    def _signal(self, pid: int, number: int) -> bool:
        """Signal the group of a helper, if anything of it is left here."""
        if pid not in self._living and not (pid in self._groups and process.group_lives(pid)):
            return False
        process.signal_group(pid, number)
        return True

    def reaped(self, pid: int) -> bool:
        """Take note of the end of a child; return whether it was a helper."""
        if pid not in self._living:
            return False
        self._living.discard(pid)
        self._groups = {other for other in (*self._groups, pid) if process.group_lives(other)}
        return True

    def kill_all(self) -> None:
        """Kill all that is left: the run is over."""
        for pid in (*self._living, *self._groups):
            self._signal(pid, signal.SIGKILL)
