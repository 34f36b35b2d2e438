"""Ctrl-C and other signals in the middle of a run: handled only between complete steps.

Python calls a signal handler at any line of the main thread, and an exception of the handler, for instance
KeyboardInterrupt, is raised there. During a run in the main thread, this module calls handlers only while the
run waits and while a handler of events runs, and otherwise delays them: with any exception, and with several
Ctrl-C in quick succession, a run ends everything that it has begun.

The Task makes it, around a whole run; the coordinator uses it, in the same thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import FrameType

# Getting all handlers from the module of the standard library takes 0.3 ms in each run.
from mpshell.runtime.lean import signal

#: Those that a program can handle.
_SIGNALS = tuple(signal.valid_signals())

Handler = Callable[[int, FrameType | None], object]


class Interrupts:
    """A context in which signal handlers are called while it is `open`."""

    def __init__(self) -> None:
        #: Whether they are called now; reset it by a plain assignment, which nothing can interrupt.
        self.open = False
        #: Called when one is delayed.
        self.wake: Callable[[], object] | None = None
        #: The delayed signals: a signal that arrives twice before it is handled is handled once, as in the
        #: kernel.
        self.pending: dict[int, FrameType | None] = {}
        self._handlers: dict[int, Handler] = {}
        self._left = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            try:
                self._take_over()
            except BaseException:
                # Raised by a handler that was not replaced yet.
                self._leave()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._leave()
        finally:
            self._deliver_all()

    def _take_over(self) -> None:
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if type(handler) is int or handler is None:
                continue  # The default, ignored, or not Python's: nearly all, and looked at in each run.
            # The handler of an earlier run, which other code has reinstalled.
            while (
                isinstance(owner := getattr(handler, "__self__", None), Interrupts) and owner._left
            ):
                handler = owner._handler_of(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._on_signal)

    def _leave(self) -> None:
        """Install the user's own handlers again, except for signals whose handler was replaced meanwhile."""
        self.open = self._left = True
        try:
            for number, handler in self._handlers.items():
                if signal.getsignal(number) == self._on_signal:
                    signal.signal(number, handler)
        except BaseException:
            # Raised by a handler that is installed again already.
            self._leave()
            raise

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        try:
            if self.open:
                self._handler_of(number)(number, frame)
            else:
                self.pending[number] = frame
        finally:
            # Also for a request that a handler sent to the run while it waits.
            if self.wake is not None:
                self.wake()

    def _handler_of(self, number: int) -> Handler:
        # Code that installs ours for another signal has found it in the place of Python's for Ctrl-C.
        return self._handlers.get(number, signal.default_int_handler)

    def lift(self) -> None:
        """Call handlers from now on, and the delayed ones at once."""
        self.open = True
        self.deliver()

    def deliver(self) -> None:
        """Call the delayed handlers; after one that raises the others still wait."""
        before = self.open
        while self.pending:
            number = min(self.pending)  # Python's order
            frame = self.pending.pop(number)
            try:
                # A slow one can be interrupted.
                self.open = True
                self._handler_of(number)(number, frame)
            finally:
                self.open = before

    def _deliver_all(self) -> None:
        try:
            self.deliver()
        finally:
            if self.pending:
                self._deliver_all()


def _after_fork_in_child() -> None:
    """In the child of a fork: the run goes on in the parent only, so let go of the child's signals."""
    for number in _SIGNALS:
        interrupts = getattr(signal.getsignal(number), "__self__", None)
        if isinstance(interrupts, Interrupts):
            # A delayed signal belongs to the parent, like one that is pending in Python itself.
            interrupts.pending.clear()
            interrupts._leave()
            return


os.register_at_fork(after_in_child=_after_fork_in_child)
