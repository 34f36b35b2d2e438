"""Ctrl-C in the middle of a run: at a point where nothing is half done.

Python raises KeyboardInterrupt wherever the main thread happens to be. During a run in the main thread
it is here raised only while the run waits and while a handler of the user's runs, and else put off until
then: however quickly one Ctrl-C follows another, what a run has begun it ends. A SIGINT handler that is not
Python's default stays as it is.

Made by the Task, around a whole run; used by its coordinator, in the same thread.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType


class Interrupts:
    """A context in which Ctrl-C raises while it is `open`."""

    def __init__(self) -> None:
        #: Whether it raises now; to be set back by a plain assignment, which nothing can interrupt.
        self.open = False
        #: Called when one is put off.
        self.wake: Callable[[], object] | None = None
        self._pending = False
        self._installed = False

    def __enter__(self) -> "Interrupts":
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._installed = True
            signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._installed and signal.getsignal(signal.SIGINT) == self._on_signal:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._installed = False
        if self.take():
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.open:
            raise KeyboardInterrupt
        self._pending = True
        if self.wake is not None:
            self.wake()

    def lift(self) -> None:
        """Let it raise from now on; what was put off does at once."""
        self.open = True
        if self.take():
            raise KeyboardInterrupt

    def take(self) -> bool:
        """Return whether a Ctrl-C was put off, and forget it."""
        pending, self._pending = self._pending, False
        return pending


def _after_fork_in_child() -> None:
    """The run goes on in the parent only: Ctrl-C in the child is the child's."""
    if isinstance(getattr(signal.getsignal(signal.SIGINT), "__self__", None), Interrupts):
        signal.signal(signal.SIGINT, signal.default_int_handler)


os.register_at_fork(after_in_child=_after_fork_in_child)
