"""The way to a connection that is logged in: address, stream of bytes, key exchange, authentication.

    LOOKING_UP ─► WAITING ─► CONNECTING ─► SHAKING_HANDS ─► OPEN ─► CLOSED
         │           ▲           │               │ dropped
         │           └─── (a pause) ◄────────────┤
         └───────────────────────┴───────────────┴──► FAILED

If a server ends a connection before the key exchange is over, nothing has run, and it may have too many
connections (sshd's MaxStartups): they are retried until the time to connect is over. That time runs while a
connection is made and in the pauses, not while it waits for its turn (`mpshell.engine.gate`).
`mpshell.connect.ways` decides whether the bytes go over TCP or a jump host.

One object watches it: `opened` or `not_opened` of that is called once, and nothing after `abort`. After a
failure before OPEN nothing has run. An open connection may pass to another watcher (`pass_to`), like those of
the connection pool. In the thread of an engine, called by its loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import asyncssh

from mpshell.connect import failures
from mpshell.engine.gate import LONGEST
from mpshell.ssh.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from mpshell.connect.failures import Failure
    from mpshell.connect.loop import ConnectionLoop
    from mpshell.connect.transport import LowerTransport, MakeTransport
    from mpshell.engine.gate import Gate
    from mpshell.runtime.loop import TimerHandle
    from mpshell.ssh.connection import Refusal
    from mpshell.ssh.setup import Target

LOOKING_UP: Final = "LOOKING_UP"
WAITING: Final = "WAITING"
PAUSING: Final = "PAUSING"
CONNECTING: Final = "CONNECTING"
SHAKING_HANDS: Final = "SHAKING_HANDS"
OPEN: Final = "OPEN"
FAILED: Final = "FAILED"
CLOSED: Final = "CLOSED"


class Watcher(Protocol):
    """The receiver of the events of a login."""

    def opened(self) -> object:
        """The connection is open, and logged in."""

    def banner(self, text: str) -> object:
        """A server shows a message before the login."""

    def wrote(self, data: bytes) -> object:
        """A command that makes the connection has written to its stderr."""

    def not_opened(self, failure: Failure, refusal: Refusal | None) -> object:
        """There is no connection; with a `refusal` if this side refused it."""


class Route(Protocol):
    """Where the bytes of a connection go over (`mpshell.connect.ways`).

    `find` and `connect` are answered once, at once or later, and not after `cancel`.
    """

    #: Whether a server that drops the connection is tried again.
    may_try_again: bool

    def find(self, traveller: Login) -> None:
        """Find out where to connect to: `found` or `failed` follows."""

    def connect(self, traveller: Login) -> None:
        """Connect: `connected` or `failed` follows."""

    def cancel(self) -> None:
        """Give up the current step; an existing transport stays."""


class _Nobody:
    """Watches a login that is at rest."""

    def opened(self) -> None:
        """It was open before."""

    def banner(self, text: str) -> None:
        """None comes after a login."""

    def wrote(self, data: bytes) -> None:
        """No command makes it."""

    def not_opened(self, failure: Failure, refusal: Refusal | None) -> None:
        """It was open before."""


_NOBODY: Final = _Nobody()


class Login:
    """One try to connect to a target."""

    def __init__(
        self, loop: ConnectionLoop, way: Route, gate: Gate, target: Target, watcher: Watcher
    ) -> None:
        self._loop = loop
        self._way = way
        self._gate = gate
        self.target = target
        self._watcher = watcher
        self.state: str = LOOKING_UP
        #: The key of the gate's limits, and whether the gate has let this one in.
        self._address: Hashable = None
        self._entered = False
        self._begun = 0
        #: Seconds to connect that are left, None for no limit; and why the last try has failed.
        self._left: float | None = target.connect_timeout or None
        self._since = 0.0
        self._failure: Failure | None = None
        self._pause: TimerHandle | None = None
        self.connection: Connection | None = None
        self.transport: LowerTransport | None = None
        #: Called when the other side has closed the open connection, or it has failed.
        self.on_lost: Callable[[], object] | None = None
        #: Called when all that was written to the connection has been sent.
        self.on_room: Callable[[], object] | None = None
        self._deadline: TimerHandle | None = None

    def begin(self) -> None:
        """Find the way, and connect."""
        self._start_clock()
        self._way.find(self)

    def spend(self, seconds: float) -> None:
        """Subtract the time of another try from the time to connect; at least half of it is left."""
        if self._left is not None:
            self._left = max(self._left / 2, self._left - seconds)

    def pass_to(self, watcher: Watcher, target: Target, with_password: bool) -> bool:
        """Have an open connection serve another watcher; False if a new one to `target` may not be the same.

        `with_password`: one that a password has opened may be.
        """
        connection = self.connection
        if self.state is not OPEN or not (connection and connection.serves(target, with_password)):
            return False
        self.target = target
        self._watcher = watcher
        return True

    def open_connection(self) -> Connection:
        """Return the connection; asyncssh.ConnectionLost if it has ended."""
        if self.connection is None:
            raise asyncssh.ConnectionLost("the connection is closed")
        return self.connection

    def rest(self) -> None:
        """Drop the watcher and all references to it, until the connection is passed to the next one."""
        self._watcher = _NOBODY
        self.on_room = None
        if self.connection is not None:
            self.connection.rest()
            self.target = self.connection.target

    # -- turns -----------------------------------------------------------------------------------

    def found(self, address: Hashable) -> None:
        """It is known where to connect to: wait until a connection may be made."""
        self._address = address
        self.state = WAITING
        self._stop_clock()
        self._gate.enter(address, self._on_turn)

    def _on_turn(self, begun: int) -> None:
        if self.state is not WAITING:
            # It was called off after it had been let in.
            self._gate.leave(self._address, begun, dropped=False)
            return
        self._entered, self._begun = True, begun
        self._start_clock()
        self.state = CONNECTING
        self._way.connect(self)

    def connected(self, make_transport: MakeTransport) -> None:
        """There is a stream of bytes to the server."""
        self.state = SHAKING_HANDS
        # Shared by all targets that differ in nothing else; AsyncSSH reads this here and never again.
        self.target.options.protocol_factory = lambda: _Client(self)
        self.connection = Connection(self._loop.as_asyncio(), self.target)
        self.transport = make_transport(self.connection, self._on_room)

    def failed(self, failure: Failure, refusal: Refusal | None) -> None:
        """The server cannot be reached."""
        if failure.dropped:
            self._try_again(failure)
        else:
            self._fail(failure, refusal)

    def tell(self, text: str) -> None:
        """A host on the way has a message."""
        self._watcher.banner(text)

    def wrote(self, data: bytes) -> None:
        """A command on the way has written to its stderr."""
        self._watcher.wrote(data)

    def _on_room(self) -> None:
        if self.on_room is not None:
            self.on_room()

    def _leave_gate(self, dropped: bool = False) -> None:
        entered, self._entered = self._entered, False
        if entered:
            self._gate.leave(self._address, self._begun, dropped)

    def _try_again(self, failure: Failure) -> None:
        """The server has dropped the connection: make another one a little later."""
        self._failure = failure
        self._close_connection()
        self._leave_gate(dropped=True)
        self.state = PAUSING
        if self._left is None:
            self._left = LONGEST
            self._start_clock()
        self._pause = self._loop.call_later(self._gate.pause(self._address), self._on_pause_over)

    def _on_pause_over(self) -> None:
        self._pause = None
        self.state = LOOKING_UP
        self._way.find(self)

    def _start_clock(self) -> None:
        self._since = self._loop.time()
        if self._left is not None:
            self._deadline = self._loop.call_later(self._left, self._on_deadline)

    def _stop_clock(self) -> None:
        if self._deadline is not None and self._left is not None:
            self._deadline.cancel()
            self._deadline = None
            self._left = max(0.0, self._left - (self._loop.time() - self._since))

    # -- reports of the protocol -------------------------------------------------------------------

    def banner(self, text: str) -> None:
        """The server has a message."""
        if self.state is SHAKING_HANDS:
            self._watcher.banner(text)

    def logged_in(self) -> None:
        """The server has let us in."""
        if self.state is SHAKING_HANDS and self.connection is not None:
            self._stop_clock()
            self._leave_gate()
            self.connection.logged_in()
            self.state = OPEN
            self._watcher.opened()

    def lost(self, error: Exception | None) -> None:
        """The connection is closed, by this side, by the other or by an error."""
        if self.state is SHAKING_HANDS:
            notes = "" if self.connection is None else self.connection.auth_notes
            failure = failures.not_logged_in(self.target, error, self._has_ciphers(), notes)
            if failure.dropped and self._way.may_try_again:
                self._try_again(failure)
            else:
                self._fail(failure._replace(dropped=False))
        elif self.state is OPEN:
            self.state = CLOSED
            if self.on_lost is not None:
                self.on_lost()

    def _has_ciphers(self) -> bool:
        """Return whether the key exchange is over."""
        connection = self.connection
        return connection is not None and bool(connection.get_extra_info("recv_cipher"))

    def _on_deadline(self) -> None:
        self._deadline = None
        # As with ssh(1), whose limit ends with the key exchange.
        if not self._has_ciphers():
            late = failures.too_late(self.target, self.state is SHAKING_HANDS)
            self._fail(self._failure or late)

    # -- ends ------------------------------------------------------------------------------------

    def _fail(self, failure: Failure, refusal: Refusal | None = None) -> None:
        if self.connection is not None:
            refusal = self.connection.refusal
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
        if self.state is WAITING:
            self._gate.withdraw(self._on_turn)
        self.state = state
        self._stop_clock()
        self._leave_gate()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self.on_room = None
        self._close_connection()

    def _close_connection(self) -> None:
        self._way.cancel()
        if self.connection is not None:
            self.connection.abort()
        if self.transport is not None:
            self.transport.abort()
        # They know each other, and an engine looks for cycles rarely.
        self.connection = self.transport = None


class _Client(asyncssh.SSHClient):
    """The questions and reports of AsyncSSH about one connection."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def connection_lost(self, exc: Exception | None) -> None:
        self._login.lost(exc)

    def auth_banner_received(self, msg: str, lang: str) -> None:
        self._login.banner(msg)

    def auth_completed(self) -> None:
        self._login.logged_in()
