"""Whether the threads and waits of this process are those of the system: gevent and eventlet replace them."""

from __future__ import annotations

import _thread
import select
import types

from mpshell.errors import TaskError


def check_unpatched() -> None:
    """Raise TaskError in a process whose threads or waits are replaced by green ones.

    A run waits in epoll, which blocks all green threads, and a Task is bound to a thread of the system.
    """
    green = not isinstance(_thread.start_new_thread, types.BuiltinFunctionType)
    if green or not hasattr(select, "epoll"):
        replaced = _thread.start_new_thread.__module__ if green else "select without epoll"
        raise TaskError(
            f"threads or waits of this process are monkey-patched ({replaced}): a Task needs those of"
            " the system. Leave them out, as by gevent.monkey.patch_all(thread=False, select=False), or run"
            " mpshell in a process of its own"
        )
