"""The loop of an engine, with what asyncio's futures and tasks ask of a loop.

AsyncSSH's connections are protocols with tasks: they need futures, tasks, calls and timers, and nothing of
asyncio's transports. So the engine keeps its own loop, with its turns and its way of errors, and a node costs a
tenth less than on asyncio's (docs/decisions.md). Sockets are `mpshell.connect.transport`'s.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from mpshell.runtime.loop import EventLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

_T = TypeVar("_T")


class ConnectionLoop(EventLoop):
    """An EventLoop that futures and tasks of asyncio run on, in the one thread of an engine."""

    def as_asyncio(self) -> asyncio.AbstractEventLoop:
        """Return this loop as the type that asyncio names; it has the part of it that connections use."""
        return cast("asyncio.AbstractEventLoop", self)

    def enter(self) -> None:
        """Be the running loop of this thread from now on: what asyncio makes belongs to it."""
        asyncio._set_running_loop(self.as_asyncio())

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> None:
        """Call it at the end of this turn, or of the next one when said there.

        There are no context variables here, so that all callbacks have the one context of the engine.
        """
        self._ready.append((callback, args))

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self.as_asyncio())

    def create_task(
        self, coro: Coroutine[Any, Any, _T], *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[_T]:
        """Run a coroutine on this loop."""
        return asyncio.Task(coro, loop=self.as_asyncio())

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Drop what asyncio found out about a future that nobody asked.

        It is a matter of one connection, whose end is reported by its protocol.
        """

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False
