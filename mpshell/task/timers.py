"""Timers of a Task: a handler called after a delay, and again at an interval.

`Task.timer` makes them. Deadlines are on the monotonic clock and count from the call that set them. A timer
fires in the thread of its task, while the task runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mpshell.errors import EngineIllegalOperationError
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.runtime.uncopied import Uncopied

if TYPE_CHECKING:
    from typing import Any

    from mpshell.coordinator.run import Run
    from mpshell.runtime.loop import TimerHandle


def check_delays(fire: float, interval: float) -> None:
    """Raise TypeError, ValueError for an invalid delay or interval (an interval under 0 means none)."""
    for name, value in (("fire", fire), ("interval", interval)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise TypeError(f"{name} is a number of seconds, not {value!r}")
    if fire < 0:
        raise ValueError(f"a timer cannot fire in {fire} s")


def _call_here(call: Callable[[], object]) -> None:
    call()


class EngineTimer(Uncopied):
    """A timer: `eh` is its handler, whose `ev_timer(timer)` is called."""

    _instead = "Task.timer() makes another one"

    def __init__(
        self,
        fire_delay: float,
        interval: float,
        autoclose: bool,
        handler: Any,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.eh = handler
        self.fire_delay = fire_delay
        self.interval = interval
        self.autoclose = autoclose
        #: Monotonic seconds, as the loop of a run has them.
        self._clock = clock
        self._due = clock() + fire_delay
        self._bound = False
        #: Calls in the thread of the task.
        self._call: Callable[..., object] = _call_here
        self._run: Run | None = None
        self._handle: TimerHandle | None = None

    def is_valid(self) -> bool:
        """Return whether it will fire, or is firing now."""
        return self._bound

    def invalidate(self) -> None:
        """Cancel it for good, from any thread. Repeatable."""
        self._bound = False
        self._call(self._quit)

    def _quit(self) -> None:
        if self._run is not None:
            run = self._run
            self.leave()
            if not self.autoclose:
                run.unhold()

    def set_nextfire(self, fire_delay: float, interval: float = -1) -> None:
        """Fire in `fire_delay` seconds, and from then on every `interval` seconds, if that is given.

        From any thread. Raise EngineIllegalOperationError if the timer is not valid any more.
        """
        if not self._bound:
            raise EngineIllegalOperationError("this timer is not valid any more")
        check_delays(fire_delay, interval)
        self.fire_delay = fire_delay
        self.interval = interval
        self._due = self._clock() + fire_delay
        self._call(self._arm)

    # -- for the Task --

    def bind(self, call: Callable[..., object]) -> None:
        """Make it valid; `call` calls a function in the thread of the task."""
        self._bound = True
        self._call = call

    def enter(self, run: Run) -> None:
        """Take part in a run."""
        self._run = run
        if not self.autoclose:
            run.hold()
        self._arm()

    def leave(self) -> None:
        """The run is over, or the timer is."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._run = None

    def _arm(self) -> None:
        if self._run is not None and self._bound:
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._run.loop.call_at(self._due, self._fire)

    def _fire(self) -> None:
        run = self._run
        if run is None or not self._bound:
            return
        if run.after_first_start(self._fire):
            # ev_start of work that is submitted together with a timer comes before the first ev_timer.
            return
        self._handle = None
        if self.autoclose and not run.held:
            # The run ends with this turn, so the timer fires only if something new holds the run.
            if not run.stopping:
                self._arm()
            return
        due = self._due
        if self.interval > 0:
            # Count from due time to due time; skip those that are past.
            missed = max(0, int((self._clock() - due) / self.interval))
            self._due = due + (missed + 1) * self.interval
            self._arm()
        run.tell(self.eh.ev_timer, self)
        if self._handle is None:
            self.invalidate()
