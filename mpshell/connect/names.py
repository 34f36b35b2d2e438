"""Addresses of hosts, looked up beside the loop and once a run for each name."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

from mpshell.connect.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpshell.connect.loop import ConnectionLoop

    #: Family and address, as socket(7) has them.
    Address = tuple[int, tuple[object, ...]]
    Answer = list[Address] | OSError

#: Names that are looked up at once: getaddrinfo(3) blocks, for seconds where a server does not answer.
_THREADS = 4


class Names:
    """Addresses by host, port and family; the first name that is not an address starts threads."""

    def __init__(self, loop: ConnectionLoop) -> None:
        self._known: dict[tuple[str, int, int], Answer] = {}
        self._waiting: dict[tuple[str, int, int], list[Callable[[Answer], object]]] = {}
        self._threads = Threads(loop, "mpshell-names", _THREADS)

    def look_up(
        self, host: str, port: int, family: int, callback: Callable[[Answer], object]
    ) -> None:
        """Call back with the addresses of a host, at once if they are known."""
        key = host, port, family
        if (known := self._known.get(key)) is not None:
            callback(known)
            return
        if (literal := _literal(*key)) is not None:
            callback([literal])
            return
        waiting = self._waiting.setdefault(key, [])
        waiting.append(callback)
        if len(waiting) == 1:
            self._threads.submit(partial(_ask, *key), partial(self._on_answer, key))

    def forget(self) -> None:
        """Forget all addresses: the next run looks them up again."""
        self._known.clear()

    def _on_answer(
        self, key: tuple[str, int, int], found: list[Address], error: Exception | None
    ) -> None:
        answer: Answer = found
        if isinstance(error, OSError):
            answer = error
        elif error is not None:
            # A label that is empty or too long.
            answer = OSError(f"{key[0]}: {error}")
        self._known[key] = answer
        for callback in self._waiting.pop(key, ()):
            callback(answer)


def _ask(host: str, port: int, family: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    return [(item[0], item[4]) for item in found]


def _literal(host: str, port: int, family: int) -> Address | None:
    """Return a host that is an address, None if it is a name."""
    for kind in (socket.AF_INET, socket.AF_INET6):
        if family in (socket.AF_UNSPEC, kind):
            try:
                socket.inet_pton(kind, host)
            except (OSError, ValueError):
                continue
            return kind, (host, port)
    return None
