"""How a command gets a connection, an open one of an earlier command or a new one, and gives it back.

    SEEKING ─► TRYING ─► HAVING ─► LEFT
       │          │         ▲
       ├──────────┴─(anew)──┤
       └────────────────────┘

TRYING is a connection of the pool over which no channel is open yet. If none can be opened nothing has run:
the connection broke unnoticed, or its server accepts no more sessions over it, and a new one is made. In the
thread of an engine, called by its loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from mpshell.connect import login, pool
from mpshell.ssh.connection import HOSTKEY, KEX

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpshell.connect.failures import Failure
    from mpshell.connect.login import Login, Watcher
    from mpshell.connect.loop import ConnectionLoop
    from mpshell.connect.pool import ConnectionPool, PooledConnection
    from mpshell.engine.libc import Environment
    from mpshell.runtime.loop import TimerHandle
    from mpshell.ssh.connection import Connection, Refusal
    from mpshell.ssh.setup import Setup, Target
    from mpshell.wire.connect import Connect

SEEKING: Final = "SEEKING"
TRYING: Final = "TRYING"
HAVING: Final = "HAVING"
LEFT: Final = "LEFT"

#: The most seconds that a server has to open a channel over an earlier connection. A host that is down does not
#: answer at all; a new connection shows whether it is down.
_PATIENCE = 5.0


class Means(Protocol):
    """The state that the accesses of an engine share."""

    loop: ConnectionLoop
    pool: ConnectionPool

    def make_login(self, target: Target, env: Environment, watcher: Watcher) -> Login:
        """Return the way to a connection to a target."""


class Seeker(Protocol):
    """The user of a connection."""

    def connected(self, connection: Connection) -> object:
        """There is one: a channel can be opened over it."""

    def made(self, connection: Connection) -> object:
        """A new one has been made; `connected` follows."""

    def disconnected(self) -> object:
        """The one that there was is given up before a channel was open; another one is made."""

    def banner(self, text: str) -> object:
        """A server shows a message before the login."""

    def wrote(self, data: bytes) -> object:
        """A command that makes the connection has written to its stderr."""

    def not_connected(self, failure: Failure) -> object:
        """There is none, and nothing has run."""

    def not_wanted(self, reason: str) -> object:
        """This side has given up before the login: let ssh(1) connect."""


class _NoSeeker:
    """Wants nothing any more."""

    def connected(self, connection: Connection) -> None:
        """It wants no channel."""

    def made(self, connection: Connection) -> None:
        """It wants no connection."""

    def disconnected(self) -> None:
        """It had none."""

    def banner(self, text: str) -> None:
        """It shows none."""

    def wrote(self, data: bytes) -> None:
        """It shows nothing."""

    def not_connected(self, failure: Failure) -> None:
        """It has an end."""

    def not_wanted(self, reason: str) -> None:
        """It has an end."""


_NOBODY: Final = _NoSeeker()


class Access:
    """The access of one command to its node; the connection stays for a while after it, as its job asks."""

    def __init__(
        self, means: Means, setup: Setup, target: Target, node: str, env: Environment,
        connect: Connect | None, seeker: Seeker,
    ) -> None:  # fmt: skip
        self._means = means
        self._setup = setup
        self._node = node
        self._env = env
        # The keys of jump hosts would have to be checked again too.
        stays = connect is not None and not target.jump and target.proxy_command is None
        self._keep = connect.keep if connect is not None and stays else 0.0
        self._with_password = connect is not None and connect.keep_password
        self._seeker = seeker
        self.state: str = SEEKING
        #: The way to its connection: another one with each try.
        self.login = self._new_login(target)
        #: The place of its connection in the pool, for one that may stay.
        self._pooled: PooledConnection | None = None
        self._patience: TimerHandle | None = None

    def _new_login(self, target: Target) -> Login:
        return self._means.make_login(target, self._env, self)

    # -- the connection ----------------------------------------------------------------------------

    @property
    def target(self) -> Target:
        return self.login.target

    @property
    def connection(self) -> Connection | None:
        return self.login.connection

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that is logged in."""
        return self.login.state is login.OPEN

    def call_when_sent(self, callback: Callable[[], object]) -> None:
        """Call back each time when all that was written has been sent."""
        self.login.on_room = callback

    @property
    def pending(self) -> int:
        """Bytes that wait to be sent."""
        transport = self.login.transport
        return 0 if transport is None else transport.pending

    # -- the way -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take an earlier connection, or make one."""
        if self._keep and self._means.pool.has(self.target.alike):
            self.target.identities.when_read(self._take_open)
        else:
            self.login.begin()

    def _take_open(self) -> None:
        if self.state is not SEEKING:
            return
        target = self.target
        found = self._means.pool.lend(
            target.alike,
            self._keep,
            lambda before: before.pass_to(self, target, self._with_password),
        )
        if found is None or (connection := found.login.connection) is None:
            self.login.begin()
            return
        self.state = TRYING
        self._pooled, self.login = found, found.login
        limit = min(_PATIENCE, target.connect_timeout / 2 or _PATIENCE)
        self._patience = self._means.loop.call_later(limit, self.try_anew, limit)
        self._seeker.connected(connection)

    def try_anew(self, spent: float = 0.0) -> bool:
        """Make a new connection if an earlier one opened no channel; False for any other one.

        `spent` seconds of the time to connect are over.
        """
        if self.state is not TRYING:
            return False
        before = self.login
        self._give_back(pool.SIGNAL)
        before.abort()
        self.state = SEEKING
        self._seeker.disconnected()
        self.login = self._new_login(before.target)
        self.login.spend(spent)
        self.login.begin()
        return True

    def channel_opened(self) -> None:
        """A channel is open: the command may run from now on."""
        self.state = HAVING
        self._stop_patience()

    def opened(self) -> None:
        connection = self.login.connection
        if connection is None:
            return
        self.state = HAVING
        if self._keep and connection.may_stay(self._with_password):
            self._pooled = self._means.pool.add(self.target.alike, self.login, self._keep)
        self._seeker.made(connection)
        self._seeker.connected(connection)

    def not_opened(self, failure: Failure, refusal: Refusal | None) -> None:
        if refusal is None or refusal.reason == HOSTKEY:
            self._seeker.not_connected(failure)
        elif refusal.reason == KEX:
            self._seeker.not_wanted(refusal.detail)
        else:
            self._means.loop.create_task(self._settle(failure, refusal))

    def banner(self, text: str) -> None:
        self._seeker.banner(text)

    def wrote(self, data: bytes) -> None:
        self._seeker.wrote(data)

    async def _settle(self, failure: Failure, refusal: Refusal) -> None:
        """Look through large files of host keys for a key, and connect again if it is right after all."""
        refused = refusal.target or self.target
        target = await self._setup.settle(self._node, refused, refusal.blob)
        if self.state is not SEEKING:
            return
        if target is None:
            self._seeker.not_connected(failure)
        else:
            self.login = self._new_login(target)
            self.login.begin()

    # -- the end -----------------------------------------------------------------------------------

    def signalled(self) -> None:
        """The command was signalled, or given up: over this connection none is run any more."""
        if self._pooled is not None:
            self._means.pool.handle(self._pooled, pool.SIGNAL)

    def ended(self) -> None:
        """The server has reported the end of the command, and closed its channel."""
        if self._pooled is not None:
            self._means.pool.handle(self._pooled, pool.END)

    def leave(self) -> None:
        """Give the connection back to the pool, or close it as the protocol has it."""
        self.state = LEFT
        # The two know each other, and an engine looks for cycles rarely.
        self._seeker = _NOBODY
        if self._pooled is None:
            self.login.close()
        else:
            self._give_back(pool.RETURN)

    def abort(self) -> None:
        """Close all that is open."""
        self.state = LEFT
        self._give_back(pool.SIGNAL)
        self.login.abort()

    def _give_back(self, event: str) -> None:
        pooled, self._pooled = self._pooled, None
        self._stop_patience()
        if pooled is not None:
            self.login.rest()
            self._means.pool.handle(pooled, event)
            self._means.pool.handle(pooled, pool.RETURN)

    def _stop_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
