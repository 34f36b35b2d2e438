"""The logs of an engine's clients, watched as one descriptor: after each reading all of them rest together.

ssh(1) writes a dozen lines one by one. If each of them woke the engine, this would be more than half of its CPU
time of a node over ssh (docs/decisions.md): other processes run meanwhile, and the caches are cold.
"""

from __future__ import annotations

import select

from mpshell.engine import process
from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpshell.runtime.loop import EventLoop

#: Seconds from one reading to the next: the most by which a message of ssh(1) is late.
REST = 0.1


class LogWatch:
    """An epoll of the logs alone, which the loop watches except during a rest."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], object]] = {}
        self._loop.add_reader(self._epoll.fileno(), self._on_readable)

    def open(self) -> tuple[int, bytes]:
        """Return a descriptor to read a log from, and a path at which others may write it."""
        return process.open_log()

    def add(self, fd: int, reader: Callable[[], object]) -> None:
        """Call `reader` when a log can be read, and again after a rest for as long as it can."""
        self._epoll.register(fd, select.EPOLLIN)
        self._readers[fd] = reader

    def remove(self, fd: int) -> None:
        """Watch a log no more, before it is closed."""
        del self._readers[fd]
        self._epoll.unregister(fd)

    def _on_readable(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._read()

    def _read(self) -> None:
        """Read all that can be read, and rest; without any, wait for the next line."""
        readable = self._epoll.poll(0, max(1, len(self._readers)))
        if not readable:
            self._loop.add_reader(self._epoll.fileno(), self._on_readable)
            return
        self._loop.call_later(REST, self._read)
        for fd, _ in readable:
            # A reader may have closed another client's log.
            if (reader := self._readers.get(fd)) is not None:
                reader()
