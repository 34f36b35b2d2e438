"""The life of a Task and its thread: how other threads send it requests, and how they wait for it.

    IDLE ── START ──► STARTING ── BEGIN ──► RUNNING ── END ──► ENDING ── STOP ──► IDLE
      └──── KILL ──► DEAD ◄── STOP ── DYING ◄── KILL ── (each of the three)

A run takes the requests that are posted in RUNNING; in STARTING and ENDING they are kept for the next RUNNING
or the end of the run. `TABLE` has all transitions; any other raises. Suspension is not a state in this table:
another thread requests it, and it has an effect in RUNNING only.

`condition` guards everything here. The lock is never held while user code runs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import mpshell.task.registry as registry
from mpshell.coordinator.interrupt import Interrupts
from mpshell.errors import InvalidTransition, TaskError
from mpshell.runtime.forks import renewed
from mpshell.runtime.lean import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Any, Final

    from mpshell.coordinator.run import Run

IDLE: Final = "IDLE"  # there is no run
STARTING: Final = "STARTING"  # a run begins and takes no requests yet
RUNNING: Final = "RUNNING"  # the run takes requests that are posted
ENDING: Final = "ENDING"  # the run takes no more requests and is not over yet
DYING: Final = "DYING"  # the Task is killed, and its last run is not over yet
DEAD: Final = "DEAD"  # the Task is killed
STATES: Final = (IDLE, STARTING, RUNNING, ENDING, DYING, DEAD)

START: Final = "START"
BEGIN: Final = "BEGIN"
END: Final = "END"
STOP: Final = "STOP"
KILL: Final = "KILL"
EVENTS: Final = (START, BEGIN, END, STOP, KILL)

TABLE: Final[dict[str, dict[str, str]]] = {
    IDLE: {START: STARTING, KILL: DEAD},
    STARTING: {BEGIN: RUNNING, END: ENDING, STOP: IDLE, KILL: DYING},
    RUNNING: {END: ENDING, KILL: DYING},
    ENDING: {END: ENDING, STOP: IDLE, KILL: DYING},
    DYING: {END: DYING, STOP: DEAD, KILL: DYING},
    DEAD: {KILL: DEAD},
}

#: States in which there is a run.
_IN_A_RUN = (STARTING, RUNNING, ENDING, DYING)


class Runner(Protocol):
    """The work of a Task in its thread; called there, or in another thread if there is no run."""

    def run(self, timeout: float | None, interrupts: Interrupts) -> None:
        """Make one run, begun by START; it ends with `stopped`."""

    def failed(self, error: BaseException) -> None:
        """Handle an exception of a run in a thread of the Task's own."""

    def terminate(self, kill: bool, keep_results: bool = False) -> None:
        """End everything of a Task that has no run."""

    def abort_run(self, kill: bool) -> None:
        """End everything of a Task that had a run when another thread requested this."""

    def waits(self) -> bool:
        """Return whether workers wait for the next run."""

    def renew_locks(self) -> None:
        """In the child of a fork by the Task's thread: renew locks that threads of the parent may hold."""

    def lose_thread(self) -> None:
        """In the child of a fork by another thread: end the Task here."""


class TaskThread:
    """Thread, mailbox and state of a Task; waits are on `condition`."""

    def __init__(self, runner: Runner, thread: threading.Thread | None) -> None:
        self._runner = runner
        self.condition = threading.Condition(threading.RLock())
        self.state: str = IDLE
        #: Whether the thread was made for the Task, and ends with it.
        self.owned = thread is None
        self._run: Run | None = None
        self._mailbox: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        #: The next run that another thread has requested: its timeout, in a tuple.
        self._asked: tuple[float | None] | None = None
        self._suspended = False
        #: How often a run was suspended.
        self._suspensions = 0
        if thread is None:
            thread = threading.Thread(target=self._main, name="mpshell-task")
        self.thread = thread

    def handle(self, event: str) -> None:
        """Take one event; InvalidTransition for one that the table does not have. With `condition` held."""
        after = TABLE[self.state].get(event)
        if after is None:
            raise InvalidTransition(f"{event} of a task that is {self.state}")
        self.state = after
        self.condition.notify_all()

    # -- the run -------------------------------------------------------------------------------

    def _main(self) -> None:
        """The main function of a thread of the Task's own: make the requested runs, until it is killed."""
        runner = self._runner
        while True:
            with self.condition:
                self.condition.wait_for(
                    lambda: self._asked is not None or self.state is DEAD or registry.exiting()
                )
                if self.state is DEAD or self._asked is None:
                    break
                (timeout,) = self._asked
                self._asked = None
                self.handle(START)
            try:
                runner.run(timeout, Interrupts())
            except BaseException as error:
                try:
                    runner.failed(error)
                finally:
                    # A thread that joined the Task can read the results from before the error, as after
                    # `resume()`.
                    runner.terminate(kill=True, keep_results=True)
        runner.terminate(kill=True, keep_results=True)

    def begin(self, run: Run) -> None:
        """Take requests that are posted from now on, and those posted since the run was requested."""
        with self.condition:
            self._run = run
            self.handle(BEGIN)
            if self._mailbox:
                run.post(self._take_mail)

    def on_idle(self) -> bool:
        """Take the last requests of other threads; if there are none, take no more and return False."""
        while True:
            with self.condition:
                run = self._run
                if not self._mailbox or run is None or run.stopping:
                    self.handle(END)
                    return False
            # As in a callback: the run may be suspended here, and Ctrl-C ends that.
            run.tell(self._take_mail)
            if run.held:
                return True

    def end(self) -> None:
        """Take no more requests; repeatable."""
        with self.condition:
            self.handle(END)
            self._run = None

    def stopped(self) -> None:
        """End the run; requests that came too late for it are for the next one."""
        with self.condition:
            self._take_mail()
            self._suspended = False
            self.handle(STOP)

    def kill(self) -> None:
        """End the Task; a requested run that has not begun never begins, and no thread waits for it."""
        with self.condition:
            self.handle(KILL)
            self._asked = None

    # -- from any thread -----------------------------------------------------------------------

    def is_own(self) -> bool:
        """Return whether this is the Task's thread."""
        return threading.current_thread() is self.thread

    @property
    def in_a_run(self) -> bool:
        """Whether there is a run, or one was requested and the Task's thread begins it."""
        return self.state in _IN_A_RUN

    @property
    def killed(self) -> bool:
        return self.state in (DYING, DEAD)

    def check_alive(self) -> None:
        """Raise TaskError for a Task that is killed."""
        if self.killed:
            raise TaskError("this task has been killed; task_self() gives a new one")

    def in_own_thread(self, call: Callable[..., object], *args: Any) -> None:
        """Call in the Task's thread: at once there, or if there is no run; otherwise posted to the run."""
        if self.is_own():
            call(*args)
            return
        with self.condition:
            if not self.in_a_run:
                call(*args)
                return
            self._mailbox.append((call, args))
            if self.state is RUNNING and self._run is not None:
                self._run.post(self._take_mail)

    def _take_mail(self) -> None:
        while self._mailbox:
            call, args = self._mailbox.popleft()
            call(*args)

    def ask(self, timeout: float | None) -> None:
        """Continue a suspended run, or have a thread of the Task's own make a run."""
        with self.condition:
            self.check_alive()
            if self._suspended:
                self._suspended = False
            elif self.owned and (not self.in_a_run or (self.state is ENDING and self._left_over())):
                self._asked = (timeout,)
            self.condition.notify_all()

    def _left_over(self) -> bool:
        """Return whether work is waiting that came too late for the run that is ending."""
        return bool(self._mailbox) or self._runner.waits()

    def suspend(self) -> bool:
        """See `Task.suspend`."""
        if self.is_own():
            before = self._suspensions
            self._stay_suspended(before)
            return self._suspensions > before
        with self.condition:
            if self._suspended:
                return True
            run = self._run
            if self.state is not RUNNING or run is None:
                return False
            before = self._suspensions
            self._mailbox.append((self._stay_suspended, (before,)))
            run.post(self._take_mail)
            self.condition.wait_for(lambda: self._suspensions > before or self._run is not run)
            return self._suspensions > before

    def _stay_suspended(self, before: int) -> None:
        """Suspend the run, unless it was since the request, when it had been suspended `before` times."""
        with self.condition:
            if self.state is not RUNNING or self._suspensions != before:
                return
            self._suspensions += 1
            self._suspended = True
            self.condition.notify_all()
            self.condition.wait_for(lambda: not self._suspended)

    def abort(self, kill: bool) -> None:
        """End everything, from another thread."""
        with self.condition:
            if self.killed:
                return
            self._suspended = False
            self.condition.notify_all()
            if not self.in_a_run:
                self._runner.terminate(kill)
            else:
                self.in_own_thread(self._runner.abort_run, kill)

    def join(self) -> None:
        """Wait for the end of the current run; return at once if there is none."""
        if not self.is_own():
            with self.condition:
                self.condition.wait_for(lambda: not self.in_a_run and self._asked is None)

    def wait_for_end(self) -> None:
        """Wait until a killed Task has ended."""
        with self.condition:
            self.condition.wait_for(lambda: not self.in_a_run)

    # -- the end of the program, and forks -----------------------------------------------------

    def end_when_idle(self) -> None:
        """The program ends: do not let a thread without a run hold it up."""
        with self.condition:
            self.condition.notify_all()

    def renew_locks(self) -> None:
        """In the child of a fork: renew the locks, which threads of the parent may hold."""
        self.condition = renewed(self.condition)
        self._runner.renew_locks()

    def lose_thread(self) -> None:
        """In the child of a fork: end the Task here, since its thread is in the parent."""
        self.renew_locks()
        self.state = DEAD
        self._suspended = False
        self._run = None
        self._asked = None
        self._runner.lose_thread()
