"""A program that connects to several hosts, and one line through it.

    switchboard ── control: the other end of a line, and where it leads ──► program (the bridge to dask)
                ══ the line of each host: a socket ══════════════════════►
                ◄── control: a line has ended, and why

A host uses a line of it like a program of its own (`mpshell.hosts.connector`).
"""

from __future__ import annotations

import _socket
import json
import os
import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from mpshell.hosts.connector import Connector
from mpshell.wire.credentials import send_with

if TYPE_CHECKING:
    from mpshell.hosts.packets import Way
    from mpshell.runtime.loop import EventLoop

#: Of the switchboard: what the program needs for all lines; a line, whose end goes with it; the end of one.
SETTINGS, CALL, LEAVE = b"S", b"C", b"L"
#: Of the program: a line has ended.
ENDED = b"E"
#: Kind and number of a line.
HEAD = struct.Struct("!cI")

#: Bytes of a packet, at most.
LONGEST = 1 << 16

#: Seconds until a program that has not ended a line is ended itself.
_GRACE = 3.0


class Branch:
    """One line through a trunk, from its start until the program has ended it; `on_end` is called then."""

    def __init__(self, trunk: Trunk, number: int, fd: int, on_end: Callable[[], object]) -> None:
        self._trunk = trunk
        self._number = number
        self._on_end = on_end
        self._why = ""
        self.fd = fd
        self.ended = False

    @property
    def last_words(self) -> str:
        """Why it has ended, as far as that is known."""
        return self._why or self._trunk.last_words

    def end(self) -> None:
        """Have it ended; its program ends when that does not happen."""
        self._trunk.leave(self)

    def over(self, why: str) -> None:
        """Take note that it has ended."""
        self._why = why
        self.ended = True
        self._on_end()


class Trunk:
    """A program that leads to several hosts; OSError when it cannot be started."""

    def __init__(self, way: Way, loop: EventLoop) -> None:
        self._loop = loop
        env = {**os.environ, **dict(way.env)}
        self._program = Connector(way.argv, env, loop, self._on_program_end, _socket.SOCK_SEQPACKET)
        self._control = _socket.socket(
            _socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=self._program.fd
        )
        self._control.setblocking(False)
        self._branches: dict[int, Branch] = {}
        self._next = 0
        #: Packets that there was no room for yet, with the descriptor that goes with each.
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        loop.add_reader(self._program.fd, self._on_packet)
        self._send(HEAD.pack(SETTINGS, 0) + way.settings.encode())

    @property
    def ended(self) -> bool:
        """Whether its program has ended."""
        return self._program.ended

    @property
    def last_words(self) -> str:
        """The last line that its program has written to its stderr."""
        return self._program.last_words

    def call(self, way: Way, on_end: Callable[[], object]) -> Branch:
        """Begin a line to a host."""
        self._next += 1
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM, 0)
        branch = self._branches[self._next] = Branch(self, self._next, ours.detach(), on_end)
        where = json.dumps(way.station).encode()
        self._send(HEAD.pack(CALL, self._next) + where, [theirs.detach()])
        return branch

    def leave(self, branch: Branch) -> None:
        """Have a line ended."""
        number = branch._number
        if number in self._branches:
            self._send(HEAD.pack(LEAVE, number))
            self._loop.call_later(_GRACE, self._insist, number)

    def _insist(self, number: int) -> None:
        if number in self._branches:
            self._program.end()

    # -- the control socket --------------------------------------------------------------------

    def _send(self, packet: bytes, fds: list[int] | None = None) -> None:
        self._waiting.append((packet, fds or []))
        self._flush()

    def _flush(self) -> None:
        while self._waiting and not self.ended:
            packet, fds = self._waiting[0]
            try:
                send_with(self._control, memoryview(packet), fds)
            except BlockingIOError:
                self._loop.add_writer(self._control.fileno(), self._flush)
                return
            except OSError:
                return  # it is at its end, which the end of its process shows
            self._waiting.popleft()
            for fd in fds:
                os.close(fd)
        self._loop.remove_writer(self._control.fileno())

    def _on_packet(self) -> bool:
        """Take one packet; return whether there was one."""
        try:
            data = self._control.recv(LONGEST)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if len(data) < HEAD.size:
            self._loop.remove_reader(self._control.fileno())
            return False
        kind, number = HEAD.unpack_from(data)
        if kind == ENDED and (branch := self._branches.pop(number, None)) is not None:
            branch.over(data[HEAD.size :].decode(errors="replace"))
        return True

    def _on_program_end(self) -> None:
        while self._on_packet():
            pass  # all that it has reported before its end
        self._loop.remove_reader(self._control.fileno())
        self._loop.remove_writer(self._control.fileno())
        self._control.close()
        for _, fds in self._waiting:
            for fd in fds:
                os.close(fd)
        self._waiting.clear()
        branches, self._branches = self._branches, {}
        for branch in branches.values():
            branch.over("")
