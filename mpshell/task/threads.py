"""The life of a Task and its thread: how other threads speak to it, and how they wait for it.

    IDLE ── START ──► STARTING ── BEGIN ──► RUNNING ── END ──► ENDING ── STOP ──► IDLE
      └──── KILL ──► DEAD ◄── STOP ── DYING ◄── KILL ── (each of the three)

A run takes requests that are posted in RUNNING; in STARTING and ENDING it is kept for the next moment that
takes it. `TABLE` is the whole of it; a pair that the table does not hold raises. Whether a run is suspended
stands beside it: that is another thread's wish, and holds in RUNNING alone.

`condition` guards everything here. The lock is never held while code of the user's runs.
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

IDLE: Final = "IDLE"  # no run goes on
STARTING: Final = "STARTING"  # a run is taken up and takes nothing yet
RUNNING: Final = "RUNNING"  # the run takes requests that are posted
ENDING: Final = "ENDING"  # the run takes nothing any more and is not over yet
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

#: States in which a run goes on.
_IN_A_RUN = (STARTING, RUNNING, ENDING, DYING)


class Runner(Protocol):
    """The work of a Task in its thread; called there, or in another one when no run goes on."""

    def run(self, timeout: float | None, interrupts: Interrupts) -> None:
        """One run, taken up by START; it ends with `stopped`."""

    def failed(self, error: BaseException) -> None:
        """A run in a thread of the Task's own has raised."""

    def terminate(self, kill: bool, keep_results: bool = False) -> None:
        """End everything of a Task that has no run going on."""

    def abort_run(self, kill: bool) -> None:
        """End everything of a Task whose run was going on when another thread asked for it."""

    def waits(self) -> bool:
        """Return whether workers wait for the next run."""

    def renew_locks(self) -> None:
        """In the child of a fork by the Task's thread: renew locks that threads of the parent may hold."""

    def lose_thread(self) -> None:
        """In the child of a fork, that of another thread: the Task is dead here."""


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
        #: The next run that another thread has asked for: its timeout, in a tuple.
        self._asked: tuple[float | None] | None = None
        self._suspended = False
        #: How often a run was suspended.
        self._suspensions = 0
        if thread is None:
            thread = threading.Thread(target=self._main, name="mpshell-task")
        self.thread = thread

    def handle(self, event: str) -> None:
        """Take one event; InvalidTransition for one that cannot be. With `condition` held."""
        after = TABLE[self.state].get(event)
        if after is None:
            raise InvalidTransition(f"{event} of a task that is {self.state}")
        self.state = after
        self.condition.notify_all()

    # -- the run -------------------------------------------------------------------------------

    def _main(self) -> None:
        """The main function of a thread of the Task's own: run when asked, until it is killed."""
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
                    # A thread that joined the Task reads the results from before the error, as after
                    # `resume()`.
                    runner.terminate(kill=True, keep_results=True)
        runner.terminate(kill=True, keep_results=True)

    def begin(self, run: Run) -> None:
        """Take requests that are posted from now on, and those posted since the run was asked for."""
        with self.condition:
            self._run = run
            self.handle(BEGIN)
            if self._mailbox:
                run.post(self._take_mail)

    def on_idle(self) -> bool:
        """Take the last requests of other threads; False, and none is taken any more, when there are none."""
        while True:
            with self.condition:
                run = self._run
                if not self._mailbox or run is None or run.stopping:
                    self.handle(END)
                    return False
            # As from a callback: it may be held here, and Ctrl-C ends that.
            run.tell(self._take_mail)
            if run.held:
                return True

    def end(self) -> None:
        """Take nothing any more; repeatable."""
        with self.condition:
            self.handle(END)
            self._run = None

    def stopped(self) -> None:
        """The run is over; requests that came too late for it are for the next one."""
        with self.condition:
            self._take_mail()
            self._suspended = False
            self.handle(STOP)

    def kill(self) -> None:
        """The Task ends; a run that was asked for and has not begun will not, and is not waited for."""
        with self.condition:
            self.handle(KILL)
            self._asked = None

    # -- from any thread -----------------------------------------------------------------------

    def is_own(self) -> bool:
        """Return whether this is the Task's thread."""
        return threading.current_thread() is self.thread

    @property
    def in_a_run(self) -> bool:
        """Whether a run goes on, or is asked for and taken up by the Task's thread."""
        return self.state in _IN_A_RUN

    @property
    def killed(self) -> bool:
        return self.state in (DYING, DEAD)

    def check_alive(self) -> None:
        """Raise TaskError for a Task that is killed."""
        if self.killed:
            raise TaskError("this task has been killed; task_self() gives a new one")

    def in_own_thread(self, call: Callable[..., object], *args: Any) -> None:
        """Call in the Task's thread: at once there, or when no run goes on; posted to the run else."""
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
        """Let a suspended run go on, or have a thread of the Task's own make a run."""
        with self.condition:
            self.check_alive()
            if self._suspended:
                self._suspended = False
            elif self.owned and (not self.in_a_run or (self.state is ENDING and self._left_over())):
                self._asked = (timeout,)
            self.condition.notify_all()

    def _left_over(self) -> bool:
        """Return whether work is waiting that the run which ends does not take any more."""
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
        """Hold the run, unless it was held since that was asked for, when it had been held `before` times."""
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
        """Wait for the end of the current run; return at once when there is none."""
        if not self.is_own():
            with self.condition:
                self.condition.wait_for(lambda: not self.in_a_run and self._asked is None)

    def wait_for_end(self) -> None:
        """Wait until a killed Task has really ended."""
        with self.condition:
            self.condition.wait_for(lambda: not self.in_a_run)

    # -- the end of the program, and forks -----------------------------------------------------

    def end_when_idle(self) -> None:
        """The program has come to its end: a thread without a run does not hold it up."""
        with self.condition:
            self.condition.notify_all()

    def renew_locks(self) -> None:
        """In the child of a fork: some may be held by threads of the parent."""
        self.condition = renewed(self.condition)
        self._runner.renew_locks()

    def lose_thread(self) -> None:
        """In the child of a fork: the thread is the parent's, and the Task is dead here."""
        self.renew_locks()
        self.state = DEAD
        self._suspended = False
        self._run = None
        self._asked = None
        self._runner.lose_thread()
