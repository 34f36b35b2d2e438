"""The connection pool of an engine: connections that stay open after a command, for the next one to their node.

    add ─► LENT ── END ──► ENDED ── RETURN ──► IDLE ── LEND ──► LENT ...
             │ SIGNAL        │                   │ REMOVE, LOSE
             └──► SPOILED ◄──┘                   └──► CLOSED ◄── RETURN, LOSE ── SPOILED, LENT

| state | LEND | SIGNAL | END | RETURN | LOSE | REMOVE |
|---|---|---|---|---|---|---|
| LENT | - | SPOILED | ENDED | CLOSED | CLOSED | SPOILED |
| ENDED | - | SPOILED | - | IDLE | CLOSED | SPOILED |
| SPOILED | - | - | - | CLOSED | CLOSED | - |
| IDLE | LENT | - | - | - | CLOSED | CLOSED |
| CLOSED | - | - | - | - | - | - |

So a connection stays open only if its server has reported the end of the command, and the command was not
signalled: over any other one something may still run. Equivalent connections have an equal key; the caller
decides which of them may serve a command. Pure except the loop's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mpshell.runtime.states import Stated

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from mpshell.connect.login import Login
    from mpshell.runtime.loop import EventLoop, TimerHandle

LENT: Final = "LENT"  # a command runs over it, or is about to
ENDED: Final = "ENDED"  # its command has ended as a command should
SPOILED: Final = "SPOILED"  # it is closed when its client is released
IDLE: Final = "IDLE"  # it waits for the next command, or for the end of its time
CLOSED: Final = "CLOSED"
STATES: Final = (LENT, ENDED, SPOILED, IDLE, CLOSED)

LEND: Final = "LEND"  # a command is to run over it
SIGNAL: Final = "SIGNAL"  # its command was signalled, or given up
END: Final = "END"  # its server has reported the end of the command, and closed the channel
RETURN: Final = "RETURN"  # the client of its command is released
LOSE: Final = "LOSE"  # it was closed by the other side, or has failed
REMOVE: Final = "REMOVE"  # it is not wanted any more
EVENTS: Final = (LEND, SIGNAL, END, RETURN, LOSE, REMOVE)

TABLE: Final[dict[str, dict[str, str]]] = {
    LENT: {SIGNAL: SPOILED, END: ENDED, RETURN: CLOSED, LOSE: CLOSED, REMOVE: SPOILED},
    ENDED: {SIGNAL: SPOILED, RETURN: IDLE, LOSE: CLOSED, REMOVE: SPOILED},
    SPOILED: {RETURN: CLOSED, LOSE: CLOSED},
    IDLE: {LEND: LENT, LOSE: CLOSED, REMOVE: CLOSED},
    CLOSED: {},
}


class PooledConnection(Stated):
    """A connection of the pool; an event that a state does not name does not change it."""

    table = TABLE
    __slots__ = ("key", "login", "seconds", "timer")

    def __init__(self, key: Hashable, login: Login, seconds: float) -> None:
        self.state: str = LENT
        self.key = key
        self.login = login
        #: Seconds that it waits for another command.
        self.seconds = seconds
        self.timer: TimerHandle | None = None


class ConnectionPool:
    """The connections that stay; `room` returns how many of a number there are descriptors for."""

    def __init__(self, loop: EventLoop, room: Callable[[int], int]) -> None:
        self._loop = loop
        self._room = room
        #: Those that are idle, the one that was used longest ago first; and by key, in the same order.
        self._idle: dict[PooledConnection, None] = {}
        self._by_key: dict[Hashable, list[PooledConnection]] = {}

    def __len__(self) -> int:
        """Return how many are idle."""
        return len(self._idle)

    def has(self, key: Hashable) -> bool:
        """Return whether one with that key is idle."""
        return key in self._by_key

    def add(self, key: Hashable, login: Login, seconds: float) -> PooledConnection:
        """Take a new connection, over which a command is about to run."""
        pooled = PooledConnection(key, login, seconds)
        login.on_lost = lambda: self.handle(pooled, LOSE)
        return pooled

    def lend(
        self, key: Hashable, seconds: float, serves: Callable[[Login], bool]
    ) -> PooledConnection | None:
        """Return an idle connection that serves a command, None without one; those that do not are closed."""
        while alike := self._by_key.get(key):
            pooled = alike[-1]
            if serves(pooled.login):
                self.handle(pooled, LEND)
                pooled.seconds = seconds
                return pooled
            self.handle(pooled, REMOVE)
        return None

    def make_room(self) -> bool:
        """Close the connection that was used longest ago; return whether there was one."""
        oldest = next(iter(self._idle), None)
        if oldest is not None:
            self.handle(oldest, REMOVE)
        return oldest is not None

    def close(self) -> None:
        """Close all that are idle."""
        while self.make_room():
            continue

    def handle(self, pooled: PooledConnection, event: str) -> None:
        """Take an event, and carry out its effects."""
        before = pooled.state
        if not pooled.handle(event):
            return
        if before is IDLE:
            self._take_out(pooled)
        if pooled.state is IDLE:
            self._put_in(pooled)
        elif pooled.state is CLOSED:
            pooled.login.on_lost = None
            # Not at once: a connection that is lost is in the middle of its end.
            self._loop.call_soon(pooled.login.close)

    def _put_in(self, pooled: PooledConnection) -> None:
        self._idle[pooled] = None
        self._by_key.setdefault(pooled.key, []).append(pooled)
        pooled.timer = self._loop.call_later(pooled.seconds, self.handle, pooled, REMOVE)
        most = self._room(len(self._idle))
        while len(self._idle) > most:
            self.make_room()

    def _take_out(self, pooled: PooledConnection) -> None:
        del self._idle[pooled]
        alike = self._by_key[pooled.key]
        alike.remove(pooled)
        if not alike:
            del self._by_key[pooled.key]
        if pooled.timer is not None:
            pooled.timer.cancel()
            pooled.timer = None
