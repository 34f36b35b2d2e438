"""Calls that block, made beside the loop of an engine: by threads that the first of them start."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mpshell.connect.loop import ConnectionLoop

    _Work = tuple[Callable[[], Any], Callable[[Any, Exception | None], object]]


class Threads:
    """A limited number of threads, which take calls in order; they end with the process."""

    def __init__(self, loop: ConnectionLoop, name: str, most: int) -> None:
        self._loop = loop
        self._name = name
        self._most = most
        self._work: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._threads = 0
        #: Calls that have not returned.
        self._pending = 0

    def submit(
        self, function: Callable[[], Any], done: Callable[[Any, Exception | None], object]
    ) -> None:
        """Call a function in a thread, and `done` in the loop with its result or its error."""
        self._pending += 1
        self._work.put((function, done))
        if self._threads < min(self._most, self._pending):
            self._threads += 1
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()

    def call(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Call a function in a thread, and return a future of its result."""
        future = self._loop.create_future()

        def done(result: Any, error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.submit(lambda: function(*args), done)
        return future

    def _serve(self) -> None:
        while True:
            function, done = self._work.get()
            result: Any = None
            failure: Exception | None = None
            try:
                result = function()
            # Any exception: pass it to the caller, which would wait for ever.
            except Exception as error:
                failure = error
            self._loop.call_soon_threadsafe(self._on_end, done, result, failure)

    def _on_end(
        self, done: Callable[[Any, Exception | None], object], result: Any, error: Exception | None
    ) -> None:
        self._pending -= 1
        done(result, error)
