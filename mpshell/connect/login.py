"""The way to a connection that is logged in: name, address, TCP, key exchange, authentication.

    LOOKING_UP ─► CONNECTING ─► SHAKING_HANDS ─► OPEN ─► CLOSED
         └────────────┴──────────────┴──► FAILED

It is watched by one object, which hears `opened` or `not_opened` once, and nothing after `abort`. What has
failed before OPEN has run nothing. In the thread of an engine, called by its loop.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Final, Protocol

import asyncssh

from mpshell.connect import failures
from mpshell.connect.transport import SshTransport
from mpshell.ssh.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpshell.connect.failures import Failure
    from mpshell.connect.loop import ConnectionLoop
    from mpshell.connect.names import Address, Answer, Names
    from mpshell.runtime.loop import TimerHandle
    from mpshell.ssh.connection import Refusal
    from mpshell.ssh.setup import Target

LOOKING_UP: Final = "LOOKING_UP"
CONNECTING: Final = "CONNECTING"
SHAKING_HANDS: Final = "SHAKING_HANDS"
OPEN: Final = "OPEN"
FAILED: Final = "FAILED"
CLOSED: Final = "CLOSED"


class Watcher(Protocol):
    """What hears of a login."""

    def opened(self) -> object:
        """The connection is open, and logged in."""

    def banner(self, text: str) -> object:
        """A server shows a message before the login."""

    def not_opened(self, failure: Failure, refusal: Refusal | None) -> object:
        """There is none; with a `refusal` where it was this side that did not want it."""


class Login:
    """One try to connect to a target."""

    def __init__(
        self, loop: ConnectionLoop, names: Names, target: Target, watcher: Watcher
    ) -> None:
        self._loop = loop
        self._names = names
        self.target = target
        self._watcher = watcher
        self.state: str = LOOKING_UP
        self._addresses: list[Address] = []
        self._sock: socket.socket | None = None
        self.connection: Connection | None = None
        self.transport: SshTransport | None = None
        #: Called when all that was written to the connection has been sent.
        self.on_room: Callable[[], object] | None = None
        self._deadline: TimerHandle | None = None

    def begin(self) -> None:
        """Look the address up, and connect."""
        if limit := self.target.connect_timeout:
            self._deadline = self._loop.call_later(limit, self._on_deadline)
        target = self.target
        family = target.options.family or socket.AF_UNSPEC
        self._names.look_up(target.host, target.port, family, self._on_addresses)

    # -- TCP -------------------------------------------------------------------------------------

    def _on_addresses(self, answer: Answer) -> None:
        if self.state is not LOOKING_UP:
            return
        if isinstance(answer, OSError):
            self._fail(failures.unknown_host(self.target, answer))
            return
        self.state = CONNECTING
        self._addresses = list(answer)
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
        self._fail(failures.no_connection(self.target, error))

    def _on_connected(self) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._loop.remove_writer(sock.fileno())
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            sock.close()
            self._try_next(OSError(number, os.strerror(number)))
            return
        self.state = SHAKING_HANDS
        # Shared by all targets that differ in nothing else; AsyncSSH reads this here and never again.
        self.target.options.protocol_factory = lambda: _Client(self)
        self.connection = Connection(self._loop, self.target)  # type: ignore[arg-type]
        self.transport = SshTransport(self._loop, sock, self.connection, self._on_room)

    def _on_room(self) -> None:
        if self.on_room is not None:
            self.on_room()

    # -- what the protocol reports -----------------------------------------------------------------

    def banner(self, text: str) -> None:
        """The server has a message."""
        if self.state is SHAKING_HANDS:
            self._watcher.banner(text)

    def logged_in(self) -> None:
        """The server has let us in."""
        if self.state is SHAKING_HANDS and self.connection is not None:
            self._end_deadline()
            self.connection.logged_in()
            self.state = OPEN
            self._watcher.opened()

    def lost(self, error: Exception | None) -> None:
        """The connection is closed, by this side, by the other or by an error."""
        if self.state is SHAKING_HANDS:
            notes = "" if self.connection is None else self.connection.auth_notes
            self._fail(failures.not_logged_in(self.target, error, self._has_ciphers(), notes))
        elif self.state is OPEN:
            self.state = CLOSED

    def _has_ciphers(self) -> bool:
        """Return whether the key exchange is over."""
        connection = self.connection
        return connection is not None and bool(connection.get_extra_info("recv_cipher"))

    def _on_deadline(self) -> None:
        self._deadline = None
        # As ssh(1), whose limit is over with the key exchange.
        if not self._has_ciphers():
            self._fail(failures.too_late(self.target, self.state is SHAKING_HANDS))

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # -- ends ------------------------------------------------------------------------------------

    def _fail(self, failure: Failure) -> None:
        refusal = None if self.connection is None else self.connection.refusal
        self._release(FAILED)
        self._watcher.not_opened(failure, refusal)

    def abort(self) -> None:
        """Close all that is open, and report nothing any more."""
        self._release(CLOSED)

    def close(self) -> None:
        """Close an open connection as the protocol has it."""
        if self.state is OPEN and self.connection is not None:
            self.connection.close()
        self._release(CLOSED)

    def _release(self, state: str) -> None:
        self.state = state
        self._end_deadline()
        self.on_room = None
        if self._sock is not None:
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
            self._sock = None
        if self.connection is not None:
            self.connection.abort()
        if self.transport is not None:
            self.transport.abort()
        # They know each other, and an engine looks for cycles rarely.
        self.connection = self.transport = None


class _Client(asyncssh.SSHClient):
    """What AsyncSSH asks and reports about one connection."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def connection_lost(self, exc: Exception | None) -> None:
        self._login.lost(exc)

    def auth_banner_received(self, msg: str, lang: str) -> None:
        self._login.banner(msg)

    def auth_completed(self) -> None:
        self._login.logged_in()
