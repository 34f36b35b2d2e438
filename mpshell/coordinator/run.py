"""The life of one run, for everything that takes part in it.

A `Run` has the loop, counts the jobs, timers and ports that keep the run going, keeps the error that ends it,
and makes every call of user code. Streams, timers, ports, intake and verdicts use a run only through this
class; they do not see how jobs and engines are managed (`mpshell.coordinator.coordinator`).

Everything here is for the thread of the run, except `post`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mpshell.coordinator.interrupt import Interrupts
from mpshell.errors import EngineException, EngineIllegalOperationError
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.runtime.loop import EventLoop

if TYPE_CHECKING:
    from typing import Any


class Run:
    """One run: its loop, its holds, its error.

    The rule for errors: an error of user code is *noted* at each of its calls. The first one
    ends the run: from then on no event is delivered and no client is started, and `_wait` raises the error
    after the loop has finished its turn, so that everything that the turn has received is recorded first.
    """

    def __init__(
        self,
        loop: EventLoop,
        interrupts: Interrupts,
        unstarted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.loop = loop
        #: Whether there are jobs, and none of them has started a client.
        self._unstarted = unstarted
        #: The error that ends the run.
        self.error: BaseException | None = None
        #: Whether nothing new is taken or started any more.
        self.stopping = False
        self._process = os.getpid()
        self._interrupts = interrupts
        self._holds = 0
        self._until_first_start: list[Callable[[], object]] = []
        self._poll = loop.wait
        loop.wait = self._wait
        interrupts.wake = loop.wake

    # -- how long it goes on -------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """Whether anything keeps the run going."""
        return self._holds > 0

    @property
    def seems_over(self) -> bool:
        """Whether the run ends with this turn of the loop, unless another thread has something new for it.

        If it goes on, a call of `loop.call_soon` is made without a wait before it.
        """
        return self._holds == 0 and not self.stopping

    def hold(self) -> None:
        """Keep the run going, for a timer, a port or a job that is not autoclose."""
        self._holds += 1

    def unhold(self) -> None:
        self._holds -= 1
        if not self._holds:
            self.loop.stop()

    def note(self, error: BaseException) -> None:
        """Keep the first error: it ends the run, and with it the events."""
        if self.error is None:
            self.error = error
            self.stopping = True

    # -- calls of the user's code --------------------------------------------------------------

    def tell(self, event: Callable[..., object], *args: Any) -> None:
        """Deliver an event: `call`, unless the run is ending, or a signal handler ends it now."""
        if not (self.stopping or (self._interrupts.pending and self.interrupted())):
            self.call(event, *args)

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call user code, and note its exception. Signal handlers are called during that."""
        before = self._interrupts.open
        try:
            try:
                self._interrupts.open = True
                function(*args)
            finally:
                self._interrupts.open = before
        except BaseException as error:
            self.note(error)
        self.leave_copy()

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Call `tell` in the run's thread, from any thread."""
        self.loop.call_soon_threadsafe(self.tell, function, *args)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Delay signal handlers: the work in this context is done completely or not at all."""
        before, self._interrupts.open = self._interrupts.open, False
        try:
            yield
        finally:
            self._interrupts.open = before
        if before:
            self._interrupts.deliver()

    def interrupted(self) -> bool:
        """Call the delayed signal handlers; return whether one has raised.

        An exit takes precedence over a Ctrl-C, and that over the other errors that end the run already.
        """
        try:
            self._interrupts.deliver()
        except BaseException as error:
            before = self.error
            if before is not None and _urgency(error) > _urgency(before):
                self.error = None
                if error.__context__ is None and before.__context__ is not error:
                    error.__context__ = before
            self.note(error)
            self.leave_copy()
            return True
        self.leave_copy()
        return False

    # -- the wait of the loop ------------------------------------------------------------------

    def _wait(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """Wait for the loop; the only place that raises a noted error."""
        # Signal handlers are called only here and in `call`, between complete steps. An exception of one
        # (Ctrl-C, a time limit, an exit on SIGTERM) is raised at the present line of the thread: in the middle
        # of a frame it would leave nodes without a verdict.
        if self.error is not None:
            raise self.error
        if not self.loop.intact():
            raise EngineException("the program has closed descriptors of a run in progress")
        try:
            self._interrupts.lift()
            found = self._poll(timeout, most)
        finally:
            self._interrupts.open = False
        self.leave_copy()
        return found

    def begin_to_end(self) -> None:
        """Take nothing new. From here on neither errors nor signals interrupt the loop."""
        self.stopping = True
        self.loop.wait = self._poll

    def close(self) -> None:
        """Close the loop: nothing may be posted any more."""
        self._interrupts.wake = None
        self.loop.close()

    # -- forks of user code ---------------------------------------------------------------------

    def is_copy(self) -> bool:
        """Return whether this is the child of a handler that forked: the run belongs to the parent."""
        return os.getpid() != self._process

    def leave_copy(self) -> None:
        """Raise, in the child of a fork that user code has made."""
        if os.getpid() != self._process:
            raise self.error or EngineIllegalOperationError(
                "a run continues only in the process that began it, not in a fork of that process"
            )

    # -- the first start -----------------------------------------------------------------------

    def after_first_start(self, callback: Callable[[], object]) -> bool:
        """Call it once a client has started or a job is over; False if there is nothing to wait for."""
        waits = self._unstarted()
        if waits:
            self._until_first_start.append(callback)
        return waits

    def end_wait_for_start(self) -> None:
        """A client has started, or a job is over without one: make the calls that wait for this."""
        if self._until_first_start:
            waiting, self._until_first_start = self._until_first_start, []
            for callback in waiting:
                self.loop.call_soon(callback)


def _urgency(error: BaseException) -> int:
    """Return 2 for an exit, 1 for a Ctrl-C, 0 for an exception after which a program may go on."""
    return 2 if isinstance(error, SystemExit) else int(not isinstance(error, Exception))
