"""The process on this host that holds the lines to the others: one for all far engines of a launcher.

    launcher ── packets ──► switchboard ══ line ══ outpost on gw1 ─► engines
    coordinator ══ channel and sentinel of each engine ══╝ ╚══ line ══ outpost on gw2 ─► engines

For a coordinator it is like a fork server: it has the other end of an engine's sentinel, and ends with the
program. It is a process, not a thread of the program, so that a slow handler there costs no lease here.
"""

from __future__ import annotations

import _socket
import os
import sys
from typing import TYPE_CHECKING

from mpshell.engine.libc import signal_at_parent_end
from mpshell.engine.program import LOOK, Program
from mpshell.errors import ProtocolError
from mpshell.hosts.connector import Connector
from mpshell.hosts.host import Host
from mpshell.hosts.packets import HOST, LONGEST, Way, read_fork, read_host
from mpshell.hosts.seat import Seat
from mpshell.hosts.trunk import Trunk
from mpshell.runtime.lean import signal
from mpshell.runtime.loop import EventLoop
from mpshell.wire.channel import Channel
from mpshell.wire.control import FORK, KILL, PACKET
from mpshell.wire.credentials import Sender, receive

#: Seconds in which the programs of the lines are to end, by themselves, by a signal, and by another one.
_LEAVE = 2.5

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpshell.hosts.host import LineProgram


class Switchboard:
    """Hosts by number, and the engines on them."""

    def __init__(self, control: int, parent: int, privileges: str, loop: EventLoop) -> None:
        self._loop = loop
        self._control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=control)
        self._control.setblocking(False)
        self._program = Program(os.getppid(), privileges)
        self._hosts: dict[int, Host] = {}
        #: Programs that connect to several hosts, by their arguments.
        self._trunks: dict[tuple[object, ...], Trunk] = {}
        self._seats: dict[int, Seat] = {}
        loop.add_reader(control, self._on_packet)
        # A fork of the program in C may hold the control socket open for ever.
        loop.add_reader(os.pidfd_open(parent), loop.stop)
        if self._program.watched:
            loop.call_later(LOOK, self._look)

    def _look(self) -> None:
        """Exit if the program has dropped privileges that this process has, except during runs."""
        if not (self._seats or self._program.unchanged()):
            self._loop.stop()
        self._loop.call_later(LOOK, self._look)

    def _on_packet(self) -> None:
        try:
            data, sender, fds = receive(self._control, LONGEST, descriptors=2)
        except BlockingIOError:
            return
        if not data:
            self._loop.stop()
            return
        try:
            self._obey(data, sender, fds)
        except ProtocolError as error:
            print(f"mpshell: switchboard: {error}", file=sys.stderr)
        for fd in fds:
            os.close(fd)

    def _obey(self, data: bytes, sender: Sender, fds: list[int]) -> None:
        if len(data) < PACKET.size:
            return
        kind, number = PACKET.unpack_from(data)
        body = data[PACKET.size :]
        ours = self._program.sender
        if kind == KILL and sender.pid == ours.pid:
            if (seat := self._seats.get(number)) is not None:
                seat.fence()
        elif sender == ours and self._program.unchanged():
            if kind == HOST and number not in self._hosts:
                self._hosts[number] = Host(read_host(body), self._loop, self._dial)
            elif kind == FORK and len(fds) == 2:
                place, library = read_fork(body)
                if (host := self._hosts.get(place)) is not None:
                    channel = Channel(fds.pop(0), ours)
                    seat = Seat(number, library, channel, fds.pop(), self._loop, self._seats.pop)
                    self._seats[number] = seat
                    host.take(seat)

    def _dial(self, way: Way, on_end: Callable[[], object]) -> LineProgram:
        """Begin a line: with a program of its own, or through the one of several hosts."""
        if not way.station:
            env = {**os.environ, **dict(way.env)}
            return Connector(way.argv, env, self._loop, on_end)
        alike = way.argv, way.env, way.settings
        trunk = self._trunks.get(alike)
        if trunk is None or trunk.ended:
            trunk = self._trunks[alike] = Trunk(way, self._loop)
        return trunk.call(way, on_end)

    def close(self) -> None:
        """End all lines, and see their programs off."""
        for host in self._hosts.values():
            host.hang_up()
        patience = self._loop.call_later(_LEAVE, lambda: None)
        while any(host.has_program for host in self._hosts.values()):
            if self._loop.time() >= patience.when:
                return
            self._loop.run_once()


def main(control: int, parent: int, privileges: str = "") -> None:
    """Serve the process `parent` on the control socket at descriptor `control`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Stopped, it wakes up to find the program gone.
    signal_at_parent_end(signal.SIGCONT)
    loop = EventLoop()
    try:
        switchboard = Switchboard(control, parent, privileges, loop)
    except OSError:
        # No room for its descriptors, or nothing left to serve.
        sys.exit(1)
    loop.run_forever()
    switchboard.close()
