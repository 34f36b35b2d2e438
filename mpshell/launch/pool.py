"""Engines of this process that stay warm between runs, leased to one run at a time.

One pool serves every Task of the process: any thread leases and gives back. After a fork the child has
a new pool, and does not use the parent's engines.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable

from mpshell.launch.fork import ForkLauncher
from mpshell.launch.link import Launcher
from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from mpshell.launch.link import Link
    from mpshell.wire.messages import Configure

#: The number of commands for which one more engine is leased, if the number of engines is not set.
_COMMANDS_AN_ENGINE = 8


def _alike(link: Link) -> int:
    """Give all engines the same rank."""
    return 0


def default_engines(commands: int, cpus: int) -> int:
    """Return the number of engines for `commands` commands."""
    return min(cpus, -(-commands // _COMMANDS_AN_ENGINE))


class EnginePool:
    """Idle engines of one launcher, of each library at most one per processor."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._lock = threading.RLock()
        self._idle: list[Link] = []
        self._leased: set[Link] = set()

    def prepare(self) -> None:
        """Prepare the next `lease`, without waiting."""
        with self._lock:
            if not self._idle:
                self._launcher.prepare()

    def engines_for(self, commands: int, wanted: int | None) -> int:
        """Return how many engines run a number of commands: `wanted`, or a number for the amount of work."""
        if wanted is not None:
            return wanted
        return default_engines(commands, self._launcher.capacity())

    def surroundings(self) -> Configure:
        """Return the working directory, mask and environment of commands now."""
        return self._launcher.surroundings()

    def warm(self, library: str) -> list[Link]:
        """Return the engines of a library that are idle now."""
        with self._lock:
            return [link for link in self._idle if link.ssh_library == library]

    def lease(self, library: str = "", rank: Callable[[Link], int] = _alike) -> Link:
        """Return an engine for one run, one that hosts connections of a `library`: a warm one, or a new one.

        Of the warm ones it is the one with the highest `rank`. EngineStartError if no engine is available.
        """
        with self._lock:
            now = self._launcher.credentials()
            while (link := self._idle_of(library, rank)) is not None:
                if link.credentials == now and not link.ended():
                    break
                link.close()
            else:
                link = self._launcher.start(library)
            self._leased.add(link)
        self._tidy()
        return link

    def _idle_of(self, library: str, rank: Callable[[Link], int]) -> Link | None:
        """Take the warm engine of a library with the highest rank; of equal ones, the one given back last."""
        alike = self.warm(library)
        if not alike:
            return None
        link = max(reversed(alike), key=rank)
        self._idle.remove(link)
        return link

    def give_back(self, link: Link) -> None:
        """Take back an engine that is drained and detached."""
        with self._lock:
            self._leased.discard(link)
            alike = sum(other.ssh_library == link.ssh_library for other in self._idle)
            fits = not link.gone and (not alike or alike < self._launcher.capacity())
            if fits and self._launcher.may_keep(link.credentials):
                self._idle.append(link)
                return
        link.close()
        self._tidy()

    def discard(self, link: Link) -> None:
        """Take back an engine that cannot be used any more."""
        with self._lock:
            self._leased.discard(link)
        link.close()
        self._tidy()

    def _tidy(self) -> None:
        """End the servers of engines with other credentials, once no such engine is in use."""
        with self._lock:
            used = {other.credentials for other in (*self._leased, *self._idle)}
            unused = self._launcher.part_with(used)
        for server in unused:
            server.close()

    def close(self) -> None:
        """End every engine that is idle, and the fork server unless one is leased."""
        with self._lock:
            idle, self._idle = self._idle, []
            leased = bool(self._leased)
        for link in idle:
            link.close()
        if not leased:
            self._launcher.close()

    def before_fork(self) -> None:
        """Block leases and starts until `after_fork`, so that no descriptor is half handed over."""
        self._lock.acquire()
        self._launcher.lock.acquire()

    def after_fork(self) -> None:
        self._launcher.lock.release()
        self._lock.release()

    def forget(self) -> None:
        """In the child of a fork: close the copies of the parent's descriptors."""
        for link in (*self._idle, *self._leased):
            link.close()
        self._launcher.forget()


# Reentrant: a signal handler that forks may hold them already.
_lock = threading.RLock()
#: The pools of this process by launcher; None: that of the local engines.
_pools: dict[Launcher | None, EnginePool] = {}


def engine_pool(launcher: Launcher | None = None) -> EnginePool:
    """Return the pool of a launcher in this process; by default that of the local engines."""
    with _lock:
        pool = _pools.get(launcher)
        if pool is None:
            pool = _pools[launcher] = EnginePool(launcher or ForkLauncher())
        return pool


def shutdown() -> None:
    """End the warm engines and their servers now; the next run starts new ones."""
    with _lock:
        pools = list(_pools.values())
    for pool in pools:
        pool.close()


def _before_fork() -> None:
    """A fork during another thread's `lease` would copy descriptors that are never closed in the child."""
    _lock.acquire()
    for pool in _pools.values():
        pool.before_fork()


def _after_fork_in_parent() -> None:
    for pool in _pools.values():
        pool.after_fork()
    _lock.release()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    pools = list(_pools.values())
    _pools.clear()
    for pool in pools:
        pool.forget()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
atexit.register(shutdown)
