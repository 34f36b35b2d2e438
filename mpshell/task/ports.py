"""Ports of a Task: messages from other threads to a handler in the task's thread.

Made by `Task.port`. `msg` and `msg_send` are for any thread, everything else for the task's own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from mpshell.errors import EngineIllegalOperationError
from mpshell.runtime.forks import renewed
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.runtime.states import Stated
from mpshell.runtime.uncopied import Uncopied

if TYPE_CHECKING:
    from typing import Any, Final

    from mpshell.coordinator.run import Run

# The states of a port. Messages are taken in RUNNING; before that they wait.
NEW: Final = "NEW"  # it was in no run yet
RUNNING: Final = "RUNNING"  # it takes part in a run
WAITING: Final = "WAITING"  # its run is over, and it takes part in the next one
CLOSED: Final = "CLOSED"  # it takes no message any more
STATES: Final = (NEW, RUNNING, WAITING, CLOSED)

ENTER: Final = "ENTER"
LEAVE: Final = "LEAVE"
CLOSE: Final = "CLOSE"
EVENTS: Final = (ENTER, LEAVE, CLOSE)

#: An event that a state does not name does not change a port.
TABLE: Final[dict[str, dict[str, str]]] = {
    NEW: {ENTER: RUNNING, CLOSE: CLOSED},
    RUNNING: {LEAVE: WAITING, CLOSE: CLOSED},
    WAITING: {ENTER: RUNNING, CLOSE: CLOSED},
    CLOSED: {},
}


class _Letter:
    """A message, and its state: None while it waits, True if taken, False if refused."""

    __slots__ = ("content", "taken")

    def __init__(self, content: Any) -> None:
        self.content = content
        self.taken: bool | None = None


class EnginePort(Uncopied, Stated):
    """A port: `eh` is its handler, whose `ev_msg(port, msg)` is called."""

    table = TABLE

    _instead = "threads share the one port, another task makes its own"

    def __init__(self, handler: Any, autoclose: bool, limit: int, owner: threading.Thread) -> None:
        self.eh = handler
        self.autoclose = autoclose
        self._limit = limit
        #: The thread that takes the messages.
        self._owner = owner
        self._letters: deque[_Letter] = deque()
        self._changed = threading.Condition()
        #: Changed under the lock.
        self.state: str = NEW
        #: The run that it takes part in, in RUNNING.
        self._run: Run | None = None

    def msg(self, send_msg: Any, send_once: bool = False) -> bool:
        """Send a message and wait until the port's owner takes it; False when the port is closed.

        It also waits while the queue is full. With `send_once` it does not wait for the message to be
        taken. `ev_msg` may not have been called yet when this returns. In the owner's own thread the wait
        would never end: EngineIllegalOperationError.
        """
        letter = _Letter(send_msg)
        is_owner = threading.current_thread() is self._owner
        with self._changed:
            if is_owner and not (send_once or self.state is CLOSED):
                raise EngineIllegalOperationError(
                    f"a task cannot wait for its own port to take {send_msg!r}: send it with msg_send()"
                )
            self._changed.wait_for(
                lambda: self.state is CLOSED or is_owner or len(self._letters) < self._limit
            )
            if self.state is CLOSED:
                return False
            self._letters.append(letter)
            self._notify()
            if send_once:
                return True
            self._changed.wait_for(lambda: letter.taken is not None)
            return bool(letter.taken)

    def msg_send(self, send_msg: Any) -> bool:
        """Send a message without waiting for it to be taken; False when the port is closed."""
        return self.msg(send_msg, send_once=True)

    def _notify(self) -> None:
        if self._run is not None:
            self._run.post(self._deliver)

    # -- for the Task --

    def enter(self, run: Run) -> None:
        """Take part in a run; messages sent before are delivered now."""
        with self._changed:
            first = self.state is NEW
            if not self.handle(ENTER):
                return
            self._run = run
            if not self.autoclose:
                run.hold()
            if self._letters:
                run.loop.call_soon(run.tell, self._deliver)
        starting: Callable[..., object] | None = getattr(self.eh, "ev_port_start", None)
        if first and starting is not None:
            run.tell(starting, self)

    def leave(self) -> None:
        """The run is over; messages wait for the next."""
        with self._changed:
            self.handle(LEAVE)
            self._run = None

    def close(self) -> None:
        """Refuse all messages from now on, including those that wait."""
        with self._changed:
            self.handle(CLOSE)
            run, self._run = self._run, None
            for letter in self._letters:
                letter.taken = False
            self._letters.clear()
            self._changed.notify_all()
        if run is not None and not self.autoclose:
            run.unhold()

    def renew_lock(self) -> None:
        """In the child of a fork: renew the lock, which a thread of the parent may hold."""
        self._changed = renewed(self._changed)

    def lose_owner(self) -> None:
        """In the child of a fork: close it, since its owner is in the parent and takes no message here."""
        self.handle(CLOSE)
        self._run = None
        self._letters.clear()

    def _deliver(self) -> None:
        while self._run is not None:
            with self._changed:
                if not self._letters:
                    return
                letter = self._letters.popleft()
                letter.taken = True
                self._changed.notify_all()
            if (handle := getattr(self.eh, "ev_msg", None)) is not None:
                handle(self, letter.content)
