"""Locks in the child of a fork: those that a thread of the parent holds are never let go there."""

from __future__ import annotations

import os
import signal
import threading

from mpshell import Task
from mpshell.runtime.forks import renewed


def test_one_that_is_free_or_our_own_stays() -> None:
    condition = threading.Condition()
    assert renewed(condition) is condition
    with condition:
        assert renewed(condition) is condition


def test_the_own_task_of_a_fork_has_a_lock_that_can_be_taken() -> None:
    task = Task(thread=threading.current_thread())
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with task._runs.task_thread.condition:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    pid = os.fork()
    if pid == 0:
        # Where the lock cannot be taken, this ends the child.
        signal.alarm(30)
        task.join()
        with task._runs.task_thread.condition:
            os._exit(5)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    finally:
        done.set()
        thread.join()
        task.abort(kill=True)
