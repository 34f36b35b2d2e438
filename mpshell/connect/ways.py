"""The ways to a host: over TCP, through a connected jump host, by a command of the user.

    Login ── find ──► Way: the key for the limits of connections (`mpshell.engine.gate`)
    Login ── connect ──► Way: a transport for the connection

Each calls back once, at once or later, and not after `cancel`. In the thread of an engine, called by its loop.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Protocol

from mpshell.connect import failures
from mpshell.connect.stream import CommandStream, SocketStream
from mpshell.connect.transport import SshTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from mpshell.connect.failures import Failure
    from mpshell.connect.jumphosts import JumpHost, JumpHosts
    from mpshell.connect.loop import ConnectionLoop
    from mpshell.connect.names import Address, Answer, Names
    from mpshell.connect.transport import MakeTransport
    from mpshell.engine.helpers import Helper
    from mpshell.engine.libc import Environment
    from mpshell.ssh.connection import Refusal
    from mpshell.ssh.setup import Target


class Traveller(Protocol):
    """The user of a way."""

    def found(self, address: Hashable) -> object:
        """It is known where to connect to."""

    def connected(self, make_transport: MakeTransport) -> object:
        """There is a stream of bytes to the host."""

    def failed(self, failure: Failure, refusal: Refusal | None) -> object:
        """There is no way; with a `refusal` if this side refused a jump host."""

    def tell(self, text: str) -> object:
        """Something is to be shown to the user."""

    def wrote(self, data: bytes) -> object:
        """A command on the way has written to its stderr."""


class TcpWay:
    """The addresses of a name, in their order."""

    may_try_again = True

    def __init__(self, loop: ConnectionLoop, names: Names, target: Target) -> None:
        self._loop = loop
        self._names = names
        self._target = target
        self._found: list[Address] = []
        self._addresses: list[Address] = []
        self._sock: socket.socket | None = None
        self._traveller: Traveller | None = None

    def find(self, traveller: Traveller) -> None:
        self._traveller = traveller
        target = self._target
        family = target.options.family or socket.AF_UNSPEC
        self._names.look_up(target.host, target.port, family, self._on_addresses)

    def _on_addresses(self, answer: Answer) -> None:
        traveller = self._traveller
        if traveller is None:
            return
        if isinstance(answer, OSError):
            traveller.failed(failures.unknown_host(self._target, answer), None)
            return
        self._found = list(answer)
        traveller.found(self._found[0][1][:2])

    def connect(self, traveller: Traveller) -> None:
        self._traveller = traveller
        self._addresses = list(self._found)
        self._try_next(OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)))

    def _try_next(self, error: OSError) -> None:
        """Connect to the next address; `error` is how the last one has failed."""
        while self._addresses:
            family, address = self._addresses.pop(0)
            try:
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            except OSError as problem:
                error = problem
                continue
            number = sock.connect_ex(address)
            if number in (0, errno.EINPROGRESS):
                self._sock = sock
                self._loop.add_writer(sock.fileno(), self._on_connected)
                return
            sock.close()
            error = OSError(number, os.strerror(number))
        if self._traveller is not None:
            self._traveller.failed(failures.no_connection(self._target, error), None)

    def _on_connected(self) -> None:
        sock, self._sock = self._sock, None
        if sock is None or self._traveller is None:
            return
        self._loop.remove_writer(sock.fileno())
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            sock.close()
            self._try_next(OSError(number, os.strerror(number)))
            return
        stream = SocketStream(sock)
        self._traveller.connected(
            lambda endpoint, on_room: SshTransport(self._loop, stream, endpoint, on_room)
        )

    def cancel(self) -> None:
        self._traveller = None
        if self._sock is not None:
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
            self._sock = None


#: The key for the limits of connections that commands make: most have the same gateway.
_BY_COMMAND = "proxycommand"


class CommandWay:
    """The standard streams of a ProxyCommand, which the user's shell executes as for ssh(1)."""

    #: It is started only once, as by ssh(1): such a command handles its failures itself.
    may_try_again = False

    def __init__(
        self,
        loop: ConnectionLoop,
        start: Callable[[list[bytes], Environment, Callable[[bytes], object]], Helper],
        env: Environment,
        target: Target,
    ) -> None:
        self._loop = loop
        self._start = start
        self._env = env
        self._target = target

    def find(self, traveller: Traveller) -> None:
        traveller.found(_BY_COMMAND)

    def connect(self, traveller: Traveller) -> None:
        shell = self._env.variables.get(b"SHELL") or b"/bin/sh"
        line = os.fsencode(f"exec {self._target.proxy_command}")
        try:
            helper = self._start([shell, b"-c", line], self._env, traveller.wrote)
        except (OSError, ValueError) as error:
            traveller.failed(failures.no_command(os.fsdecode(shell), error), None)
            return
        stream = CommandStream(helper)
        traveller.connected(
            lambda endpoint, on_room: SshTransport(self._loop, stream, endpoint, on_room)
        )

    def cancel(self) -> None:
        """A command that was started belongs to its transport."""


class JumpWay:
    """A channel of the connection to the last of the hosts on the way."""

    may_try_again = True

    def __init__(self, jump_hosts: JumpHosts, env: Environment, target: Target) -> None:
        self._jump_hosts = jump_hosts
        self._env = env
        self._target = target
        self._host: JumpHost | None = None
        self._traveller: Traveller | None = None

    def find(self, traveller: Traveller) -> None:
        self._traveller = traveller
        self._host = self._jump_hosts.reach(self._target.jump, self._env, self)

    def ready(self) -> None:
        """The host on the way is connected."""
        if self._traveller is not None:
            target = self._target
            self._traveller.found((tuple(hop.key for hop in target.jump), target.host, target.port))

    def not_ready(self, failure: Failure, refusal: Refusal | None) -> None:
        """The host on the way cannot be connected."""
        if self._traveller is not None:
            self._host = None
            self._traveller.failed(failures.behind(failure.words, failure.reason), refusal)

    def tell(self, text: str) -> None:
        """The host on the way has a message."""
        if self._traveller is not None:
            self._traveller.tell(text)

    def wrote(self, data: bytes) -> None:
        """The command that connects the host on the way has written to its stderr."""
        if self._traveller is not None:
            self._traveller.wrote(data)

    def connect(self, traveller: Traveller) -> None:
        self._traveller = traveller
        if self._host is None or not self._host.open_channel(self._target, self):
            traveller.failed(failures.behind("", dropped=True), None)

    def channel_opened(self, make_transport: MakeTransport) -> bool:
        """There is a channel; return whether it is still wanted."""
        if self._traveller is None:
            return False
        self._traveller.connected(make_transport)
        return True

    def channel_refused(self, words: str, dropped: bool) -> None:
        """There is none: the host on the way cannot connect, or (`dropped`) is lost itself."""
        if self._traveller is not None:
            self._traveller.failed(failures.behind(words, dropped=dropped), None)

    def cancel(self) -> None:
        self._traveller = None
        host, self._host = self._host, None
        if host is not None:
            host.leave(self)
