"""Ctrl-C and other signals in the middle of a run: handled at a point where nothing is half done.

Python calls a signal handler wherever the main thread happens to be, and its exception, KeyboardInterrupt
for one, goes through there. During a run in the main thread handlers are here called only while the run
waits and while a handler of events runs, and else put off until then: whatever they raise, and however
quickly one Ctrl-C follows another, a run ends all that it has begun.

Made by the Task, around a whole run; used by its coordinator, in the same thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import FrameType

# Asking the module of the standard library for all handlers takes 0.3 ms, each run.
from mpshell.runtime.lean import signal

Handler = Callable[[int, FrameType | None], object]


class Interrupts:
    """A context in which signal handlers are called while it is `open`."""

    def __init__(self) -> None:
        #: Whether they are called now; to be set back by a plain assignment, which nothing can interrupt.
        self.open = False
        #: Called when one is put off.
        self.wake: Callable[[], object] | None = None
        #: The signals that were put off: a signal that comes twice meanwhile is handled once, as the kernel
        #: does it.
        self.pending: dict[int, FrameType | None] = {}
        self._handlers: dict[int, Handler] = {}
        self._left = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            try:
                self._take_over()
            except BaseException:
                # Raised by one that was not taken over yet.
                self._leave()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._leave()
        finally:
            self._deliver_all()

    def _take_over(self) -> None:
        for number in signal.valid_signals():
            handler = signal.getsignal(number)
            if type(handler) is int or handler is None:
                continue  # The default, ignored, or not Python's: nearly all, and looked at in each run.
            # That of an earlier run, which somebody has put back.
            while (
                isinstance(owner := getattr(handler, "__self__", None), Interrupts) and owner._left
            ):
                handler = owner._handler_of(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._on_signal)

    def _leave(self) -> None:
        """Install the user's own handlers again, but for those that were replaced meanwhile."""
        self.open = self._left = True
        try:
            for number, handler in self._handlers.items():
                if signal.getsignal(number) == self._on_signal:
                    signal.signal(number, handler)
        except BaseException:
            # Raised by one that is back already.
            self._leave()
            raise

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        try:
            if self.open:
                self._handler_of(number)(number, frame)
            else:
                self.pending[number] = frame
        finally:
            # Also for a request that a handler has made of the run while it waits.
            if self.wake is not None:
                self.wake()

    def _handler_of(self, number: int) -> Handler:
        # Whoever installs ours for another signal has found it in the place of Python's for Ctrl-C.
        return self._handlers.get(number, signal.default_int_handler)

    def lift(self) -> None:
        """Let them be called from now on; those that were put off are at once."""
        self.open = True
        self.deliver()

    def deliver(self) -> None:
        """Call the handlers that were put off; after one that raises the others still wait."""
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
    """The run goes on in the parent only: signals in the child are the child's."""
    for number in signal.valid_signals():
        interrupts = getattr(signal.getsignal(number), "__self__", None)
        if isinstance(interrupts, Interrupts):
            # A signal that waits is the parent's, as one that waits in Python itself is.
            interrupts.pending.clear()
            interrupts._leave()
            return


os.register_at_fork(after_in_child=_after_fork_in_child)
