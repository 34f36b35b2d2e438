"""Which Task belongs to which thread, for every thread of the process."""

from __future__ import annotations

import os
import threading

from mpshell.errors import UnknownThreadError
from mpshell.runtime.lean import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from typing import Any


class RegisteredThread(Protocol):
    """The part of a Task's thread (`mpshell.task.threads.TaskThread`) that the registry uses."""

    thread: threading.Thread

    def is_own(self) -> bool: ...
    def join(self) -> None: ...
    def wait_for_end(self) -> None: ...
    def end_when_idle(self) -> None: ...
    def renew_locks(self) -> None: ...
    def lose_thread(self) -> None: ...


class RegisteredTask(NamedTuple):
    """A Task and its thread; its creator gives the Task its type."""

    task: Any
    task_thread: RegisteredThread


_lock = threading.RLock()
_tasks: dict[threading.Thread, RegisteredTask] = {}
_exiting = False


def lookup(thread: threading.Thread) -> Any:
    """Return the Task of a thread, or None."""
    with _lock:
        entry = _tasks.get(thread)
        return None if entry is None else entry.task


def bind(thread: threading.Thread, task: Any, task_thread: RegisteredThread) -> Any:
    """Make `task` the Task of a thread unless it has one; return the Task of the thread."""
    with _lock:
        # A thread that ended without ending its Task would hold it for ever.
        for ended in [
            other for other in _tasks if other.ident is not None and not other.is_alive()
        ]:
            del _tasks[ended]
        return _tasks.setdefault(thread, RegisteredTask(task, task_thread)).task


def unbind(task: object) -> None:
    """Forget a Task that is killed."""
    with _lock:
        for thread in [thread for thread, entry in _tasks.items() if entry.task is task]:
            del _tasks[thread]


def entries() -> list[RegisteredTask]:
    """Return the Tasks of all threads."""
    with _lock:
        return list(_tasks.values())


def thread_of(thread_id: int) -> threading.Thread:
    """Return the living thread with an identifier (`threading.get_ident`), or raise UnknownThreadError."""
    for thread in threading.enumerate():
        if thread.ident == thread_id:
            return thread
    raise UnknownThreadError(f"no living thread has the identifier {thread_id!r}")


def exiting() -> bool:
    """Return whether the main thread has ended, and the interpreter waits for the other threads."""
    return _exiting


def _at_exit() -> None:
    global _exiting
    _exiting = True
    for entry in entries():
        entry.task_thread.end_when_idle()


def _after_fork_in_child() -> None:
    """In the child, which has only the thread that forked: let it have Tasks of its own."""
    global _lock, _exiting
    _lock = threading.RLock()
    _exiting = False
    tasks = list(_tasks.items())
    _tasks.clear()
    for thread, entry in tasks:
        if thread is threading.current_thread():
            entry.task_thread.renew_locks()
        else:
            entry.task_thread.lose_thread()


os.register_at_fork(after_in_child=_after_fork_in_child)

# Before the interpreter waits for its threads, as concurrent.futures does it: atexit comes after that. The name
# is private to CPython. Without it a program with Tasks in threads of their own that were not ended does not
# end by itself: it has to call task_cleanup().
_register = getattr(threading, "_register_atexit", None)
if _register is not None:
    _register(_at_exit)
