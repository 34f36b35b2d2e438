"""Engines that hang in the kernel: between vfork and exec, when the command's file does not answer.

The file system that hangs is a lease here (fcntl(2), F_SETLEASE): open(2) of the file waits in the kernel
until its holder lets go, and exec opens it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mpshell import ExecWorker, Task, task_cleanup, task_self, task_terminate
from tests.faults.conftest import Observer, engines, fork_servers, hurt, later, running
from tests.support import eventually, is_engine


class Lease:
    """A program that cannot be executed while the lease is held."""

    def __init__(self, path: Path) -> None:
        shutil.copy("/bin/true", path)
        self.path = path
        self._before = signal.signal(signal.SIGIO, lambda number, frame: None)
        self._fd = os.open(path, os.O_RDWR)
        fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)

    def let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            signal.signal(signal.SIGIO, self._before)


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[Lease]:
    held = Lease(tmp_path / "hangs")
    yield held
    held.let_go()


def in_exec(engine: psutil.Process) -> bool:
    """Return whether a child of an engine is on its way to an exec."""
    with contextlib.suppress(psutil.Error):
        return any(is_engine(child) for child in engine.children())
    return False


def when_stuck(action: Callable[[], object]) -> Callable[[], None]:
    def act() -> None:
        assert eventually(lambda: any(in_exec(engine) for engine in engines()))
        action()

    return act


STUCK = {
    "the engine alone": lambda: None,
    "its fork server dies": lambda: hurt(fork_servers()),
    "its fork server is stopped": lambda: hurt(fork_servers(), signal.SIGSTOP),
}


@pytest.fixture
def task() -> Iterator[Task]:
    """Give a Task with one engine for all commands."""
    task_terminate()
    task = task_self()
    task.set_info("engines", 1)
    yield task
    task_cleanup()


@pytest.mark.parametrize(
    ("fault", "heartbeat"),
    [
        ("the engine alone", 2),
        ("its fork server dies", 2),
        ("its fork server dies", None),
        ("its fork server is stopped", 2),
    ],
)
def test_an_exec_that_hangs_ends_no_run(
    fault: str, heartbeat: float | None, lease: Lease, task: Task
) -> None:
    """Without a heartbeat the death of the fork server is the sign."""
    task.set_info("heartbeat", heartbeat)
    beside = ExecWorker("m1", handler=Observer(), command=f"sleep 71; : {lease.path}")
    worker = ExecWorker("n1", handler=Observer(), command=str(lease.path))
    task.schedule(beside)
    task.schedule(worker)
    thread = later(when_stuck(STUCK[fault]))
    task.resume()
    thread.join()
    for one in (worker, beside):
        [outcome] = one.outcomes()
        assert (outcome.reason, outcome.returncode) == ("lost", 255)
        assert outcome.detail
    assert not running(lease.path)
    lease.let_go()
    task.run("echo next", nodes="n[1-4]", remote=False)
    assert task.max_retcode() == 0
