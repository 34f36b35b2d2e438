"""The Task: what a user holds. It takes workers, timers and ports, and runs them until none is left.

A Task belongs to one thread. Its runs (`resume`, `run`) and all handlers are in that thread; from any
other thread `shell`, `schedule`, `abort`, `suspend`, `timer`, `port` and the settings may be called too:
what they say is done at once when the Task stands still, and otherwise posted to its run. Nothing is
dropped on the way.

    any thread ──► mailbox ──► the Task's thread: Coordinator.run ──► handlers
                      one Condition guards the state; every wait is on it
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

from mpshell.coordinator.interrupt import Interrupts
from mpshell.coordinator.results import WorkerResults
from mpshell.defaults import Defaults
from mpshell.errors import (
    AlreadyRunningError,
    EngineAbortException,
    EngineTimeoutException,
    TaskError,
    TimeoutError,
)
from mpshell.launch.pool import engine_pool
from mpshell.runtime.patched import check_unpatched
from mpshell.runtime.uncopied import Uncopied
from mpshell.task import registry
from mpshell.task.ports import EnginePort
from mpshell.task.results import TaskResults
from mpshell.task.settings import Settings
from mpshell.task.threads import TaskThread
from mpshell.task.timers import EngineTimer, check_delays
from mpshell.task.work import TaskWork
from mpshell.worker.base import Worker, check_timeout
from mpshell.worker.dispatch import check_handler

if TYPE_CHECKING:
    from mpshell.coordinator.coordinator import Coordinator

_INSTEAD_OF_GATEWAYS = (
    "mpshell sends commands directly, over processes on this machine, instead of over gateways; "
    "set_info('fanout', n) sets how many run at once, set_info('engines', n) over how many processes"
)


class Task(Uncopied, TaskThread, TaskWork, TaskResults):
    """Workers, timers and ports of one thread, and their results.

    `Task()` has a thread of its own, which waits for `resume()`. `Task(thread=t)` and
    `Task(thread_id=i)` are *the* Task of a thread, made when it has none; UnknownThreadError when no
    living thread has that identifier (`threading.get_ident()`).
    """

    #: Files with a topology of gateways: none is read, the name is there for programs that empty it.
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
            registry.bind(task.thread, task)
            task.thread.start()
            return task
        if not isinstance(thread, threading.Thread):
            raise TypeError(f"a thread is a threading.Thread, not {thread!r}")
        known = registry.lookup(thread)
        if known is not None:
            return known
        task = super().__new__(cls)
        task._set_up(thread, defaults)
        return registry.bind(thread, task)

    def _set_up(self, thread: threading.Thread | None, defaults: Defaults | None) -> None:
        self._settings = Settings(defaults)
        self._set_up_thread(thread)
        #: Seconds given to the last `resume`, or None.
        self.timeout: float | None = None
        self._pending: list[Worker] = []
        self._timers: list[EngineTimer] = []
        self._ports: list[EnginePort] = []
        self._run_results: list[WorkerResults] = []
        self._coordinator: Coordinator | None = None
        #: Gateways in use: none ever is.
        self.gateways: dict[str, Any] = {}

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
        # Lines on their way to a handler are recorded by the setting that they were told under.
        for results in self._run_results:
            if results.live is not None and self._is_own_thread():
                results.live.record()
        self._settings.set_default(default_key, value)

    def info(self, info_key: str, def_val: Any = None) -> Any:
        """Return a value of the *info* table, or `def_val`."""
        return self._settings.info(info_key, def_val)

    def set_info(self, info_key: str, value: Any) -> None:
        """Set a value of the *info* table, from any thread; TaskSettingError for a bad one.

        A new fanout holds from the next command that ends; nothing that runs is ended for it.
        """
        self._settings.set_info(info_key, value)
        if info_key in ("fanout", "engines", "rate"):
            self._in_own_thread(self._apply_settings)

    def _apply_settings(self) -> None:
        if self._coordinator is not None:
            self._coordinator.set_engines(self.info("engines"))
            self._coordinator.set_rate(self.info("rate"))
            self._coordinator.set_fanout(self._fanout())

    def _fanout(self) -> int | None:
        fanout = self.info("fanout")
        return None if fanout == -1 else int(fanout)

    def _debug(self, line: str) -> None:
        self.info("print_debug")(self, line)

    # -- timers and ports ------------------------------------------------------------------------

    def timer(
        self, fire: float, handler: Any, interval: float = -1.0, autoclose: bool = False
    ) -> EngineTimer:
        """Make a timer that fires in `fire` seconds, then every `interval` when that is given.

        From any thread. An autoclose timer does not keep the Task running.
        """
        self._check_alive()
        check_delays(fire, interval)
        if not callable(getattr(check_handler(handler), "ev_timer", None)):
            raise TypeError(f"a timer needs a handler with ev_timer, not {handler!r}")
        timer = EngineTimer(fire, interval, autoclose, handler)
        timer.bind(self._in_own_thread)
        self._in_own_thread(self._take_part, self._timers, timer)
        return timer

    def port(self, handler: Any = None, autoclose: bool = False) -> EnginePort:
        """Make a port, which keeps the Task running until `remove_port` unless it is autoclose."""
        self._check_alive()
        port = EnginePort(
            check_handler(handler), autoclose, self.default("port_qlimit"), self.thread
        )
        self._in_own_thread(self._take_part, self._ports, port)
        return port

    def remove_port(self, port: EnginePort) -> None:
        """Close a port: who waits for its answer gets False. From any thread."""
        if not isinstance(port, EnginePort):
            raise TypeError(f"a port is expected, not {port!r}")
        self._in_own_thread(self._remove_port, port)

    def _remove_port(self, port: EnginePort) -> None:
        if port in self._ports:
            self._ports.remove(port)
        port.close()

    def _take_part(self, members: list[Any], member: EngineTimer | EnginePort) -> None:
        members.append(member)
        if self._coordinator is not None and not self._coordinator.run.stopping:
            member.enter(self._coordinator.run)

    # -- runs ----------------------------------------------------------------------------------

    def resume(self, timeout: float | None = None) -> None:
        """Run until no worker, timer or port is left that is not autoclose.

        In the Task's own thread this blocks; TimeoutError after `timeout` seconds (None or 0: never),
        AlreadyRunningError from a handler. From another thread it wakes the Task and returns.
        """
        timeout = check_timeout(timeout)
        if self._is_own_thread():
            with Interrupts() as interrupts:
                with self._state:
                    self._check_alive()
                    if self._running:
                        raise AlreadyRunningError("this task is running already")
                    self._running = True
                self._run(timeout, interrupts)
        else:
            self._wake(timeout)

    def _run(self, timeout: float | None, interrupts: Interrupts) -> None:
        """One run, `_running` being set."""
        self.timeout = timeout
        try:
            self._reset()
            pool = engine_pool()
            if any(worker._needs_engine() for worker in self._pending):
                pool.prepare()
            # Late: the fork server starts meanwhile.
            from mpshell.coordinator.coordinator import Coordinator
            from mpshell.coordinator.retry import RetryLost

            coordinator = Coordinator(
                pool,
                interrupts,
                fanout=self._fanout(),
                engines=self.info("engines"),
                records=self._records,
                rate=self.info("rate"),
                heartbeat=self.info("heartbeat"),
                retry=RetryLost() if self.info("retry_lost") else None,
            )
            try:
                self._begin(coordinator)
                coordinator.run_until_idle(timeout or None, self._on_idle)
            finally:
                self._end(coordinator)
        except EngineTimeoutException:
            raise TimeoutError(f"the run was not over after {timeout} s") from None
        except EngineAbortException as abort:
            self._terminate(abort.kill)
        finally:
            self._stopped()

    def _reset(self) -> None:
        for results in self._run_results:
            results.clear()
        self._run_results = []

    def _begin(self, coordinator: Coordinator) -> None:
        with self._state:
            self._coordinator = coordinator
            self._accepting = True
            # What was said since the run was asked for.
            if self._mailbox:
                coordinator.run.post(self._drain_mailbox)
        for port in list(self._ports):
            port.enter(coordinator.run)
        for timer in list(self._timers):
            if timer.is_valid():
                timer.enter(coordinator.run)
        # A worker that has nothing to do yet puts itself back: one round, not until none is left.
        for _ in range(len(self._pending)):
            if self._pending:
                self._start_worker(self._pending.pop(0))

    def _on_idle(self) -> bool:
        """Take what other threads said last; False, and no more is taken, when there is nothing."""
        while True:
            with self._state:
                run = None if self._coordinator is None else self._coordinator.run
                if not self._mailbox or run is None or run.stopping:
                    self._accepting = False
                    self._ending = True
                    return False
            # As from a callback: it may be held here, and Ctrl-C ends that.
            run.tell(self._drain_mailbox)
            if run.held:
                return True

    def _lose_thread(self) -> None:
        super()._lose_thread()
        for port in self._ports:
            port.lose_owner()

    def _renew_locks(self) -> None:
        super()._renew_locks()
        for port in self._ports:
            port.renew_lock()

    def _end(self, coordinator: Coordinator) -> None:
        with self._state:
            self._accepting = False
            self._coordinator = None
        # Only autoclose ones are left, unless the run came to an early end.
        for timer in self._timers:
            timer.invalidate()
        self._timers.clear()
        # Before the loop is closed: senders of other threads wake it.
        for port in self._ports:
            port.leave()
        coordinator.close()

    def abort(self, kill: bool = False) -> None:
        """End everything and clear all results; from any thread.

        From a handler it raises through the handler: what stands after it is not run. With `kill` the
        Task itself ends: `task_self()` then makes a new one. A Task with a thread of its own ends with
        either form. Repeatable.
        """
        if self._is_own_thread():
            if self._running:
                raise EngineAbortException(kill)
            self._terminate(kill)
        else:
            self._abort_from_outside(kill)

    def _abort_run(self, kill: bool) -> None:
        """Posted by another thread; the run may have come to its end meanwhile."""
        if self._coordinator is None:
            self._terminate(kill)
        else:
            raise EngineAbortException(kill)

    def _terminate(self, kill: bool, keep_results: bool = False) -> None:
        with self._state:
            self._pending.clear()
            if not keep_results:
                self._reset()
            if kill or self._owns_thread:
                ports, self._ports = self._ports, []
                timers, self._timers = self._timers, []
                self._quit = True
                # A run that was asked for and has not begun will not: nobody is to wait for it.
                self._resume = None
                registry.unbind(self)
            else:
                ports, timers = [], []
            self._state.notify_all()
        for port in ports:
            port.close()
        for timer in timers:
            timer.invalidate()
