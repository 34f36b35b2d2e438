"""One run in an asyncio loop: a context that ends its commands, and an iterator over their outcomes."""

from __future__ import annotations

import asyncio
import functools
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from mpshell.aio.loop import GuestLoop
from mpshell.coordinator.interrupt import Interrupts
from mpshell.errors import TaskError
from mpshell.outcome import NodeOutcome
from mpshell.task.outcomes import Arrivals
from mpshell.task.runs import Runs
from mpshell.worker.kinds import Worker

if TYPE_CHECKING:
    from mpshell.coordinator.coordinator import Coordinator

W = TypeVar("W", bound=Worker, covariant=True)

# The states of a run, in their order.
NEW: Final = "NEW"  # it has not been entered
RUNNING: Final = "RUNNING"
ENDING: Final = "ENDING"  # nothing new is started; commands that still run are ended
OVER: Final = "OVER"  # none of its commands runs

#: No more commands are started while this many outcomes wait for the iterator, until they are fewer than LOW.
_MANY, _FEW = 512, 256


class _Left(Exception):
    """The context was left before all commands had ended."""


class AsyncRun(Generic[W]):
    """A run of one command: `async with` it, `async for outcome in` it, once.

    Leaving the context in any way, also by a cancellation, ends the commands that still run, and waits until
    they have ended: SIGTERM, and SIGKILL after the info key `grace`. Another cancellation kills them at once.
    While many outcomes wait to be read no more commands are started. A run belongs to one asyncio loop and its
    thread.
    """

    def __init__(self, runs: Runs, worker: W, arrivals: Arrivals) -> None:
        #: The worker of the command, for the output of its nodes, their stdin, `withdraw()`, `abort()`.
        self.worker = worker
        self._runs = runs
        self._arrivals = arrivals
        self._state: str = NEW
        self._withheld = False
        self._error: BaseException | None = None
        self._news: asyncio.Future[None] | None = None

    # -- the context -----------------------------------------------------------------------------

    async def __aenter__(self) -> AsyncRun[W]:
        """Begin; TaskError if it was entered before, or in another thread than the one that made it."""
        if self._state is not NEW:
            raise TaskError("a run is entered once: mpshell.aio.run() makes another one")
        if not self._runs.task_thread.is_own():
            raise TaskError("a run is entered in the thread in which it was made")
        host = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = host.create_future()
        self._guest = GuestLoop(host, self._turn)
        try:
            self._coordinator: Coordinator = self._runs.open(Interrupts(), self._guest)
        except BaseException:
            self._guest.close()
            raise
        self._state = RUNNING
        self._guest.kick()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """End commands that still run. Raise an error that ended the run early, unless the body has raised."""
        if self._state is not OVER:
            self._coordinator.run.note(_Left())
            self._guest.kick()
            await self._ended()
        self._arrivals.waiting.clear()
        if kind is None:
            self._raise_error()

    async def _ended(self) -> None:
        cancelled: asyncio.CancelledError | None = None
        while not self._over.done():
            try:
                await asyncio.shield(self._over)
            except asyncio.CancelledError as error:
                cancelled = error
                if not self._over.done():
                    self._coordinator.hurry()
                    self._guest.kick()
        if cancelled is not None:
            raise cancelled

    def _raise_error(self) -> None:
        """Raise the error that has ended the run early, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    # -- the iterator ----------------------------------------------------------------------------

    def __aiter__(self) -> AsyncRun[W]:
        return self

    async def __anext__(self) -> NodeOutcome:
        """Return the next outcome, in the order of the ends; those of nodes that were not run come last."""
        if self._state is NEW:
            raise TaskError("the outcomes of a run are taken within `async with`")
        if self._news is not None:
            raise TaskError("the outcomes of a run are taken by one asyncio task at a time")
        waiting = self._arrivals.waiting
        while not waiting:
            if self._state is OVER:
                self._raise_error()
                raise StopAsyncIteration
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        outcome = waiting.popleft()
        if self._withheld and len(waiting) <= _FEW:
            self._withhold(False)
        return outcome

    def _withhold(self, withheld: bool) -> None:
        self._withheld = withheld
        if self._state is RUNNING:
            self._coordinator.withhold(withheld)

    # -- turns -----------------------------------------------------------------------------------

    def _turn(self) -> None:
        coordinator = self._coordinator
        turn = functools.partial(self._guest.run_once, True)
        try:
            if self._state is ENDING:
                turn()
            elif not coordinator.step(self._runs.task_thread.on_idle, turn):
                self._state = ENDING
                coordinator.begin_to_end()
            elif not coordinator.run.held or coordinator.run.error is not None:
                self._guest.kick()
            ended = self._state is ENDING and coordinator.has_ended
        except BaseException as error:
            coordinator.run.note(error)
            ended = True
        if ended:
            self._end(coordinator)
        elif not self._withheld and len(self._arrivals.waiting) >= _MANY:
            self._withhold(True)
        if self._news is not None and not self._news.done() and (ended or self._arrivals.waiting):
            self._news.set_result(None)

    def _end(self, coordinator: Coordinator) -> None:
        run = coordinator.run
        self._state = OVER
        try:
            coordinator.complete()
            self._runs.close(coordinator)
            self._arrivals.take_rest(self.worker)
        except BaseException as error:
            run.note(error)
        if not isinstance(run.error, _Left):
            self._error = run.error
        if not self._over.done():
            self._over.set_result(None)
