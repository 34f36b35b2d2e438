"""The Task, the object that a user holds. It takes workers, timers and ports, and runs them until none is left.

A Task belongs to one thread. Its runs (`resume`, `run`) and all handlers are in that thread; from any
other thread `shell`, `schedule`, `abort`, `suspend`, `timer`, `port` and the settings may be called too:
their requests are carried out at once if the Task is idle, and otherwise posted to its run. No request is
lost.

    any thread ──► mailbox ──► the Task's thread: Coordinator.run ──► handlers
                      one Condition guards the state; every wait is on it
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType

import mpshell.task.registry as registry
from mpshell.defaults import Defaults
from mpshell.errors import TaskError
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.runtime.patched import check_unpatched
from mpshell.runtime.uncopied import SharedParts
from mpshell.task.ports import EnginePort
from mpshell.task.results import ResultsAccess
from mpshell.task.runs import Runs
from mpshell.task.settings import Settings
from mpshell.task.timers import EngineTimer, check_delays
from mpshell.task.work import WorkAccess
from mpshell.worker.dispatch import check_handler

if TYPE_CHECKING:
    from typing import Any, ClassVar

ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], object]

_INSTEAD_OF_GATEWAYS = (
    "mpshell sends commands directly, over processes on this machine, instead of over gateways; "
    "set_info('fanout', n) sets how many run at once, set_info('engines', n) over how many processes"
)


class Task(SharedParts, WorkAccess, ResultsAccess):
    """Workers, timers and ports of one thread, and their results.

    `Task()` has a thread of its own, which waits for `resume()`. `Task(thread=t)` and
    `Task(thread_id=i)` are *the* Task of a thread, made if it has none; UnknownThreadError if no
    living thread has that identifier (`threading.get_ident()`).
    """

    #: Files with a topology of gateways: none is read; the name exists for programs that empty it.
    TOPOLOGY_CONFIGS: ClassVar[list[str]] = []

    _instead = (
        "another thread or process has its own from task_self(), and can be given names and results"
    )

    def __new__(
        cls,
        thread: threading.Thread | None = None,
        defaults: Defaults | None = None,
        *,
        thread_id: int | None = None,
    ) -> Task:
        check_unpatched()
        if thread_id is not None:
            thread = registry.thread_of(thread_id)
        if thread is None:
            task = super().__new__(cls)
            task._set_up(None, defaults)
            registry.bind(task.thread, task, task._runs.task_thread)
            task.thread.start()
            return task
        if not isinstance(thread, threading.Thread):
            raise TypeError(f"a thread is a threading.Thread, not {thread!r}")
        known: Task | None = registry.lookup(thread)
        if known is not None:
            return known
        task = super().__new__(cls)
        task._set_up(thread, defaults)
        bound: Task = registry.bind(thread, task, task._runs.task_thread)
        return bound

    def _set_up(self, thread: threading.Thread | None, defaults: Defaults | None) -> None:
        self._settings = Settings(defaults)
        self._excepthook: ExceptHook = self.default_excepthook
        self._runs = Runs(self, self._settings, thread, self._on_failure)
        self._results = self._runs.results
        #: The thread that this Task belongs to.
        self.thread = self._runs.task_thread.thread
        #: Gateways in use: always empty.
        self.gateways: dict[str, Any] = {}

    @classmethod
    def beside(cls) -> tuple[Task, Runs]:
        """Return a second Task of the calling thread, beside that of `task_self()`, and the part that runs it.

        For `mpshell.aio`: neither `task_wait` nor another thread sees it.
        """
        check_unpatched()
        task = super().__new__(cls)
        task._set_up(threading.current_thread(), None)
        return task, task._runs

    # -- gateways ------------------------------------------------------------------------------

    @property
    def topology(self) -> None:
        """The topology of gateways: None, there is none. TaskError for setting another."""
        return None

    @topology.setter
    def topology(self, topology: object) -> None:
        if topology is not None:
            raise TaskError(f"no topology {topology!r} can be used: {_INSTEAD_OF_GATEWAYS}")

    def load_topology(self, topology_file: str) -> None:
        """Raise TaskError: commands go out directly, and are not sent over gateways."""
        raise TaskError(f"topology {topology_file!r} is not loaded: {_INSTEAD_OF_GATEWAYS}")

    # -- settings ------------------------------------------------------------------------------

    def default(self, default_key: str, def_val: Any = None) -> Any:
        """Return a value of the *default* table, or `def_val`."""
        return self._settings.default(default_key, def_val)

    def set_default(self, default_key: str, value: Any) -> None:
        """Set a value of the *default* table, from any thread.

        Raise ImportError for the name of an unknown transport, TaskSettingError for a bad value.
        """
        # Lines on their way to a handler are recorded by the setting at the time of their event.
        if self._runs.task_thread.is_own():
            self._results.record_live()
        self._settings.set_default(default_key, value)

    def info(self, info_key: str, def_val: Any = None) -> Any:
        """Return a value of the *info* table, or `def_val`."""
        return self._settings.info(info_key, def_val)

    def set_info(self, info_key: str, value: Any) -> None:
        """Set a value of the *info* table, from any thread; TaskSettingError for a bad one.

        A new fanout applies from the next command that ends; no running command is ended for it.
        """
        self._settings.set_info(info_key, value)
        if info_key in ("fanout", "engines", "rate"):
            self._runs.task_thread.in_own_thread(self._runs.apply_settings)

    def engines_for(self, commands: int) -> int:
        """Return how many engine processes run `count` commands: info `engines`, or one for each 8 of them."""
        return self._runs.engines_for(commands)

    # -- timers and ports ------------------------------------------------------------------------

    def timer(
        self, fire: float, handler: Any, interval: float = -1.0, autoclose: bool = False
    ) -> EngineTimer:
        """Make a timer that fires in `fire` seconds, then every `interval` seconds if that is given.

        From any thread. An autoclose timer does not keep the Task running.
        """
        self._runs.task_thread.check_alive()
        check_delays(fire, interval)
        if not callable(getattr(check_handler(handler), "ev_timer", None)):
            raise TypeError(f"a timer needs a handler with ev_timer, not {handler!r}")
        timer = EngineTimer(fire, interval, autoclose, handler)
        self._runs.add_timer(timer)
        return timer

    def port(self, handler: Any = None, autoclose: bool = False) -> EnginePort:
        """Make a port, which keeps the Task running until `remove_port` unless it is autoclose."""
        self._runs.task_thread.check_alive()
        port = EnginePort(
            check_handler(handler), autoclose, self.default("port_qlimit"), self.thread
        )
        self._runs.add_port(port)
        return port

    def remove_port(self, port: EnginePort) -> None:
        """Close a port: senders that wait for its answer get False. From any thread."""
        if not isinstance(port, EnginePort):
            raise TypeError(f"a port is expected, not {port!r}")
        self._runs.task_thread.in_own_thread(self._runs.remove_port, port)

    # -- runs ----------------------------------------------------------------------------------

    @property
    def timeout(self) -> float | None:
        """Seconds given to the last `resume`, or None."""
        return self._runs.timeout

    @property
    def journal_failure(self) -> str | None:
        """The reason why the journal of the last run (info key `journal`) is incomplete; None if it is not."""
        return self._runs.journal_failure

    def suspend(self) -> bool:
        """Suspend the run until another thread calls `resume()`: commands go on, no handler is called.

        The timeout of the run stands still too. Wait until the run is suspended and return True; False if
        there is no run. In a handler of the run itself it returns when the run continues.
        """
        return self._runs.task_thread.suspend()

    def join(self) -> None:
        """Wait for the end of the current run; return at once if there is none."""
        self._runs.task_thread.join()

    def running(self) -> bool | None:
        """Return whether there is a run, suspended or not; None for a killed Task."""
        return None if self._runs.task_thread.killed else self._runs.task_thread.in_a_run

    @classmethod
    def wait(cls, from_thread: threading.Thread) -> None:
        """Wait for the runs of the Tasks of all threads except `from_thread`."""
        check_unpatched()
        if not isinstance(from_thread, threading.Thread):
            raise TypeError(f"a thread is a threading.Thread, not {from_thread!r}")
        for entry in registry.entries():
            if entry.task_thread.thread is not from_thread:
                entry.task_thread.join()

    def abort(self, kill: bool = False) -> None:
        """End everything and clear all results; from any thread.

        In a handler it raises through the handler: code after it is not run. With `kill` the
        Task itself ends: `task_self()` then makes a new one. A Task with a thread of its own ends with
        or without `kill`. Repeatable.
        """
        self._runs.abort(kill)

    # -- errors in a thread of its own -----------------------------------------------------------

    @property
    def excepthook(self) -> ExceptHook:
        """Called with (type, value, traceback) for the exception of a handler in a thread that the Task made.

        Set on the Task of another thread it becomes `sys.excepthook`, as in ClusterShell.
        """
        return self._excepthook

    @excepthook.setter
    def excepthook(self, hook: ExceptHook) -> None:
        if not callable(hook):
            raise TypeError(f"an excepthook is a function, not {hook!r}")
        self._excepthook = hook
        if not self._runs.task_thread.owned:
            # An exception there goes through `resume()`, and ends at Python's own hook.
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

    def _on_failure(self, error: BaseException) -> None:
        self._excepthook(type(error), error, error.__traceback__)
