"""Limits the logins in progress: over all servers, and for each address that drops some.

sshd drops connections at random while too many are not logged in yet (sshd_config(5), MaxStartups). So to an
address that has dropped one, half as many are made at once, and each that succeeds raises that a little.
Drops of connections that were begun before the limit was halved do not halve it again: a server drops many at
once.

If an address drops the only connection in progress it has another reason, which it does not report: since
OpenSSH 9.8 sshd refuses all connections from a source with too many failed logins (PerSourcePenalties, for 15
seconds and more), with the same message as for MaxStartups. Then pauses get longer. Pure except the loop's
clock.
"""

from __future__ import annotations

from _random import Random
from collections import deque

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from mpshell.runtime.loop import EventLoop, TimerHandle

#: The limit of logins in progress if no other one is set.
UNLIMITED = 1 << 30

#: Seconds until a dropped connection is tried again, at least and at most.
SOONEST, LATEST = 0.2, 3.0

#: How many times as long these are at most.
LONGER = 4

#: Seconds for all tries together where there is no limit for one: as long a client that does not log in takes
#: one of sshd's places (sshd_config(5), LoginGraceTime).
LONGEST = 120.0


class _Address:
    """The connections to one address that are in the making."""

    __slots__ = ("halvings", "lonely", "making", "most")

    def __init__(self) -> None:
        self.making = 0
        self.most = float(UNLIMITED)
        self.halvings = 0
        #: Drops in a row of the only one that was in the making.
        self.lonely = 0


class Gate:
    """Lets connections begin, in the order in which they come, as far as the limits allow."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._most = UNLIMITED
        #: Seconds between two beginnings.
        self._interval = 0.0
        self._next_at = 0.0
        self._making = 0
        self._addresses: dict[Hashable, _Address] = {}
        self._waiting: deque[tuple[Hashable, Callable[[int], object]]] = deque()
        self._timer: TimerHandle | None = None
        # Without `random`, whose import costs an engine milliseconds; seeded in this process.
        self._random = Random()

    def set_limits(self, most: int, rate: float | None) -> None:
        """Have no more than `most` in the making, and no more than `rate` begin in a second."""
        self._most = most
        self._interval = 1 / rate if rate else 0.0
        self._open()

    def enter(self, address: Hashable, begin: Callable[[int], object]) -> None:
        """Call `begin` when a connection to that address may be made; `leave` follows, with its argument."""
        self._waiting.append((address, begin))
        self._open()

    def withdraw(self, begin: Callable[[int], object]) -> None:
        """Remove a waiting one; no effect if it does not wait."""
        self._waiting = deque(entry for entry in self._waiting if entry[1] != begin)

    def join(self, address: Hashable) -> int:
        """Count a connection that is in the making already; `leave` follows, with the value returned."""
        its = self._address(address)
        its.making += 1
        self._making += 1
        return its.halvings

    def leave(self, address: Hashable, begun: int, dropped: bool) -> None:
        """A connection is made, or has failed; `dropped`: the server has ended it unheard."""
        its = self._addresses[address]
        if dropped and begun == its.halvings:
            its.lonely = its.lonely + 1 if its.making == 1 else 0
            its.halvings += 1
            its.most = max(1.0, min(its.most, its.making) / 2)
        elif not dropped and its.most < UNLIMITED:
            its.lonely = 0
            its.most += 1 / its.most
        its.making -= 1
        self._making -= 1
        if not its.making and its.most >= UNLIMITED:
            del self._addresses[address]
        self._open()

    def pause(self, address: Hashable) -> float:
        """Return the seconds until another try there: no two clients come back together."""
        its = self._addresses.get(address)
        longer = 1 if its is None or not its.lonely else 1 << min(its.lonely - 1, 8)
        return (SOONEST + (LATEST - SOONEST) * self._random.random()) * min(longer, LONGER)

    def forget(self) -> None:
        """Forget the drops of servers: the run is over."""
        self._addresses = {key: its for key, its in self._addresses.items() if its.making}
        for its in self._addresses.values():
            its.most = float(UNLIMITED)
            its.lonely = 0

    def _address(self, address: Hashable) -> _Address:
        its = self._addresses.get(address)
        if its is None:
            its = self._addresses[address] = _Address()
        return its

    def _open(self) -> None:
        """Let those begin that may."""
        passed: list[tuple[Hashable, Callable[[int], object]]] = []
        while self._waiting and self._making < self._most and self._is_time():
            address, begin = entry = self._waiting.popleft()
            its = self._address(address)
            if its.making >= int(its.most):
                passed.append(entry)
                continue
            its.making += 1
            self._making += 1
            if self._interval:
                self._count_start()
            # Not at once: it may fail at once, and leave.
            self._loop.call_soon(begin, its.halvings)
        self._waiting.extendleft(reversed(passed))

    def _count_start(self) -> None:
        """Note when the rate allows the next one; a late turn makes up for the time that it has missed."""
        now = self._loop.time()
        behind = now - self._next_at < self._interval
        self._next_at = (self._next_at if behind else now) + self._interval

    def _is_time(self) -> bool:
        """Return whether the rate allows one more now; if not, go on when it does."""
        if not self._interval or self._loop.time() >= self._next_at:
            return True
        if self._timer is None:
            self._timer = self._loop.call_at(self._next_at, self._on_time)
        return False

    def _on_time(self) -> None:
        self._timer = None
        self._open()
