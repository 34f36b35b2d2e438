"""The loop of a run as a guest of an asyncio loop: one descriptor and one deadline of that.

    asyncio: readable(epoll), call_later, call_soon ──► a turn that never waits ──► its next deadline

An epoll descriptor can itself be watched: it is readable when one of its descriptors is ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mpshell.runtime.loop import EventLoop, TimerHandle


class GuestLoop(EventLoop):
    """An EventLoop whose turns `turn` makes; an asyncio loop calls it when there is something to do."""

    def __init__(self, host: asyncio.AbstractEventLoop, turn: Callable[[], object]) -> None:
        super().__init__()
        self._host = host
        self._turn = turn
        self._timer: asyncio.TimerHandle | None = None
        self._kicked: asyncio.Handle | None = None
        self._in_turn = False
        self._closed = False
        host.add_reader(self._epoll.fileno(), self._make_turn)

    def kick(self) -> None:
        """Schedule a turn soon."""
        if self._kicked is None and not self._closed:
            self._kicked = self._host.call_soon(self._on_kick)

    def _on_kick(self) -> None:
        self._kicked = None
        self._make_turn()

    def _make_turn(self) -> None:
        self._in_turn = True
        try:
            self._turn()
        finally:
            self._in_turn = False
            if not self._closed:
                self._plan()

    def _plan(self) -> None:
        """Schedule the next turn when it is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ready:
            self.kick()
        elif (seconds := self._until_next_deadline()) >= 0:
            self._timer = self._host.call_later(seconds, self._make_turn)

    # Calls that the caller's own code schedules between two turns must be noticed.

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        super().call_soon(callback, *args)
        if not self._in_turn:
            self.kick()

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> TimerHandle:
        handle = super().call_at(when, callback, *args)
        if not self._in_turn:
            self.kick()
        return handle

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for handle in (self._timer, self._kicked):
            if handle is not None:
                handle.cancel()
        self._host.remove_reader(self._epoll.fileno())
        super().close()
