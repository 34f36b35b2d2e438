"""The loop of an engine, with the methods that asyncio's futures and tasks need.

AsyncSSH's connections are protocols with tasks: they need futures, tasks, calls and timers, and nothing of
asyncio's transports. So the engine keeps its own loop, with its turns and its error handling, and a node
costs a tenth less than on asyncio's (docs/decisions.md). `mpshell.connect.transport` handles sockets.
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
        """Become the running loop of this thread: objects that asyncio makes belong to it."""
        asyncio._set_running_loop(self.as_asyncio())

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> None:
        """Call it at the end of this turn; a call from there is made at the end of the next one.

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
        """Drop asyncio's report about a future whose exception was never read.

        It concerns one connection, whose protocol reports its end.
        """

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False
