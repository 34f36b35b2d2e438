"""The Task and its threads: whose it is, how others speak to it, how they wait for it. Part of `Task`.

`_state` guards everything here. The lock is never held while code of the user's runs.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mpshell.coordinator.interrupt import Interrupts
from mpshell.errors import TaskError
from mpshell.runtime.forks import renewed
from mpshell.runtime.patched import check_unpatched
from mpshell.task import registry

if TYPE_CHECKING:
    from mpshell.coordinator.coordinator import Coordinator
    from mpshell.task.task import Task
    from mpshell.worker.base import Worker

ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], object]


class TaskThread:
    """Thread, mailbox and life of a Task."""

    thread: threading.Thread
    _coordinator: Coordinator | None
    _pending: list[Worker]

    def _set_up_thread(self, thread: threading.Thread | None) -> None:
        self._state = threading.Condition(threading.RLock())
        self._owns_thread = thread is None
        self._mailbox: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        #: A run is going on, or asked for and taken by the Task's thread.
        self._running = False
        #: The run takes what is posted.
        self._accepting = False
        #: The run takes nothing any more, and is not over yet.
        self._ending = False
        self._suspended = False
        #: How often it was suspended.
        self._suspensions = 0
        self._quit = False
        self._resume: tuple[float | None] | None = None
        self._excepthook: ExceptHook = self.default_excepthook
        if thread is None:
            thread = threading.Thread(target=self._thread_main, name="mpshell-task")
        #: The thread that this Task belongs to.
        self.thread = thread

    # -- implemented by Task --

    def _run(self, timeout: float | None, interrupts: Interrupts) -> None:
        raise TaskError("a Task has to say how it runs")

    def _terminate(self, kill: bool, keep_results: bool = False) -> None:
        raise TaskError("a Task has to say how it ends")

    def _abort_run(self, kill: bool) -> None:
        raise TaskError("a Task has to say how it ends")

    # -- a thread of its own -------------------------------------------------------------------

    def _thread_main(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(
                    lambda: self._resume is not None or self._quit or registry.exiting()
                )
                if self._quit or self._resume is None:
                    break
                (timeout,) = self._resume
                self._resume = None
                self._running = True
            try:
                self._run(timeout, Interrupts())
            except BaseException as error:
                try:
                    self._excepthook(type(error), error, error.__traceback__)
                finally:
                    # Who joined it reads what came before the error, as after one in `resume()`.
                    self._terminate(kill=True, keep_results=True)
        self._terminate(kill=True, keep_results=True)

    def _end_when_idle(self) -> None:
        """The program has come to its end: a thread without a run does not hold it up."""
        with self._state:
            self._state.notify_all()

    def _lose_thread(self) -> None:
        """In the child of a fork: the thread is the parent's."""
        self._renew_locks()
        self._quit = True
        self._running = self._suspended = self._accepting = self._ending = False
        self._coordinator = None
        self._resume = None

    def _renew_locks(self) -> None:
        """In the child of a fork: some may be held by threads of the parent."""
        self._state = renewed(self._state)

    def _stopped(self) -> None:
        """The run is over; what was said too late for it is for the next one."""
        with self._state:
            self._drain_mailbox()
            self._ending = False
            self._running = False
            self._suspended = False
            self._state.notify_all()

    @property
    def excepthook(self) -> ExceptHook:
        """Called with (type, value, traceback) for what a handler raises in a thread that the Task made.

        Set on the Task of another thread it becomes `sys.excepthook`, as in ClusterShell.
        """
        return self._excepthook

    @excepthook.setter
    def excepthook(self, hook: ExceptHook) -> None:
        if not callable(hook):
            raise TypeError(f"an excepthook is a function, not {hook!r}")
        self._excepthook = hook
        if not self._owns_thread:
            # What is raised there goes through `resume()`, and ends at Python's own hook.
            sys.excepthook = hook

    def default_excepthook(
        self, exc_type: type[BaseException], exc_value: BaseException, tb: TracebackType | None
    ) -> None:
        """Print the traceback to stderr, if there is one, as for any thread."""
        if sys.stderr is None:
            return
        print(f"Exception in thread {self.thread}:", file=sys.stderr)
        import traceback

        traceback.print_exception(exc_type, exc_value, tb, file=sys.stderr)

    # -- from other threads --------------------------------------------------------------------

    def _is_own_thread(self) -> bool:
        return threading.current_thread() is self.thread

    def _check_alive(self) -> None:
        if self._quit:
            raise TaskError("this task has been killed; task_self() gives a new one")

    def _in_own_thread(self, call: Callable[..., object], *args: Any) -> None:
        """Call in the Task's thread: at once there, or when no run goes on; posted to the run else."""
        if self._is_own_thread():
            call(*args)
            return
        with self._state:
            if self._accepting and self._coordinator is not None:
                self._mailbox.append((call, args))
                self._coordinator.run.post(self._drain_mailbox)
            elif self._running:
                self._mailbox.append((call, args))
            else:
                call(*args)

    def _drain_mailbox(self) -> None:
        while self._mailbox:
            call, args = self._mailbox.popleft()
            call(*args)

    def _wake(self, timeout: float | None) -> None:
        with self._state:
            self._check_alive()
            if self._suspended:
                self._suspended = False
            elif self._owns_thread and (not self._running or (self._ending and self._left_over())):
                self._resume = (timeout,)
            self._state.notify_all()

    def _left_over(self) -> bool:
        """Return whether work is waiting that the run which ends does not take any more."""
        return bool(self._pending or self._mailbox)

    def suspend(self) -> bool:
        """Hold the run until another thread calls `resume()`: commands go on, handlers don't.

        Nor does the timeout of the run. Wait until it is held and return True; False when no run
        goes on. In a handler of the run itself it returns when the run goes on again.
        """
        if self._is_own_thread():
            before = self._suspensions
            self._hold(before)
            return self._suspensions > before
        with self._state:
            if self._suspended:
                return True
            if not self._accepting or self._coordinator is None:
                return False
            coordinator = self._coordinator
            before = self._suspensions
            self._mailbox.append((self._hold, (before,)))
            coordinator.run.post(self._drain_mailbox)
            self._state.wait_for(
                lambda: self._suspensions > before or self._coordinator is not coordinator
            )
            return self._suspensions > before

    def _hold(self, before: int) -> None:
        """Hold the run, unless it was held since that was asked for, when it had been held `before` times."""
        with self._state:
            if not self._accepting or self._suspensions != before:
                return
            self._suspensions += 1
            self._suspended = True
            self._state.notify_all()
            self._state.wait_for(lambda: not self._suspended)

    def _abort_from_outside(self, kill: bool) -> None:
        with self._state:
            if self._quit:
                return
            self._suspended = False
            self._state.notify_all()
            if not self._running:
                self._terminate(kill)
            else:
                self._in_own_thread(self._abort_run, kill)

    def join(self) -> None:
        """Wait for the end of the current run; return at once when there is none."""
        if not self._is_own_thread():
            with self._state:
                self._state.wait_for(lambda: not self._running and self._resume is None)

    def _wait_for_end(self) -> None:
        """Wait until a killed Task has really ended."""
        with self._state:
            self._state.wait_for(lambda: not self._running)

    def running(self) -> bool | None:
        """Return whether a run goes on (a suspended one does); None for a killed Task."""
        return None if self._quit else self._running

    @classmethod
    def wait(cls, from_thread: threading.Thread) -> None:
        """Wait for the runs of the Tasks of all threads but `from_thread`."""
        check_unpatched()
        if not isinstance(from_thread, threading.Thread):
            raise TypeError(f"a thread is a threading.Thread, not {from_thread!r}")
        tasks: list[Task] = registry.all_tasks()
        for task in tasks:
            if task.thread is not from_thread:
                task.join()
