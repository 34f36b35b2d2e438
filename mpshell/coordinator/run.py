"""The life of one run, as everything that takes part in it sees it.

A `Run` has the loop, counts the jobs, timers and ports that keep the run going, keeps the error that ends it,
and makes every call of the user's code. Streams, timers, ports, intake and verdicts know a run by this class
alone; they do not see how jobs and engines are managed (`mpshell.coordinator.coordinator`).

Everything here is for the thread of the run, `post` excepted.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mpshell.coordinator.interrupt import Interrupts
from mpshell.errors import EngineException, EngineIllegalOperationError
from mpshell.runtime.loop import EventLoop


class Run:
    """One run: its loop, its holds, its error.

    The rule for errors: an error of the user's code is *noted*, wherever the code was called. The first one
    ends the run: from then on no event is delivered and no client is started, and `_wait` raises the error
    when the loop has finished its turn, so that everything that one turn has received is recorded first.
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
        #: Nothing new is taken or started any more.
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

    def hold(self) -> None:
        """Keep the run going, for a timer, a port, a job that does not close by itself."""
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
        """Call code of the user's, and note its exception. Signal handlers are called meanwhile."""
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
        """`tell` in the run's thread, from any thread."""
        self.loop.call_soon_threadsafe(self.tell, function, *args)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Put signal handlers off: the work in this context is done wholly or not at all."""
        before, self._interrupts.open = self._interrupts.open, False
        try:
            yield
        finally:
            self._interrupts.open = before
        if before:
            self._interrupts.deliver()

    def interrupted(self) -> bool:
        """Call the signal handlers that were put off; return whether one has raised.

        An exit goes before a Ctrl-C, and that before the other errors that end the run already.
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
        """Wait as the loop does; the only place that raises a noted error."""
        # Signal handlers are called only here and in `call`, where nothing is half done. One that raises
        # (Ctrl-C, a time limit, an exit on SIGTERM) goes through whatever line the thread is at: in the middle
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
        """Take nothing new. From here on neither errors nor signals get in the way of the loop."""
        self.stopping = True
        self.loop.wait = self._poll

    def close(self) -> None:
        """Close the loop: nothing may be posted any more."""
        self._interrupts.wake = None
        self.loop.close()

    # -- forks of the user's -------------------------------------------------------------------

    def is_copy(self) -> bool:
        """Return whether this is in the child of a handler that forked: the run is the parent's."""
        return os.getpid() != self._process

    def leave_copy(self) -> None:
        """Raise, in the child of a fork that code of the user's has made."""
        if self.is_copy():
            raise self.error or EngineIllegalOperationError(
                "a run continues only in the process that began it, not in a fork of that process"
            )

    # -- the first start -----------------------------------------------------------------------

    def after_first_start(self, callback: Callable[[], object]) -> bool:
        """Call it once a client has started or a job is over; False when there is nothing to wait for."""
        waits = self._unstarted()
        if waits:
            self._until_first_start.append(callback)
        return waits

    def end_wait_for_start(self) -> None:
        """A client has started, or a job is over without: let those who wait look again."""
        if self._until_first_start:
            waiting, self._until_first_start = self._until_first_start, []
            for callback in waiting:
                self.loop.call_soon(callback)


def _urgency(error: BaseException) -> int:
    """Return 2 for an exit, 1 for a Ctrl-C, 0 for an exception that a program may catch to go on."""
    return 2 if isinstance(error, SystemExit) else int(not isinstance(error, Exception))
