"""Fixtures of the black-box suite beside those of the whole suite (`task`, `engines`)."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mpshell import ExecWorker, Task, task_cleanup, task_self, task_terminate
from tests.system.recorder import Marks, alive, kill_all, read_pids, within


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Fail a test that only ended because a command did (they sleep for a minute at most)."""
    with within(50):
        yield


@pytest.fixture
def solo_task() -> Iterator[Task]:
    """Give a fresh Task of the main thread with two engines, for tests that are not about sharding."""
    task_terminate()
    task = task_self()
    task.set_info("engines", 2)
    yield task
    task_cleanup()


def sweeper(task: Task) -> Callable[..., ExecWorker]:
    """Return a function that runs a command on nodes with the local transport, to its end."""

    def run(nodes: Any, command: str, **options: Any) -> ExecWorker:
        fanout = options.pop("own_fanout", ...)
        worker = ExecWorker(nodes, options.pop("handler", None), command=command, **options)
        if fanout is not ...:
            worker._fanout = fanout
        task.schedule(worker)
        task.resume()
        return worker

    return run


@pytest.fixture
def sweep(task: Task) -> Callable[..., ExecWorker]:
    """Give the function to run a command on nodes, for every number of engines."""
    return sweeper(task)


@pytest.fixture
def solo_sweep(solo_task: Task) -> Callable[..., ExecWorker]:
    """Give the function to run a command on nodes, for tests that are not about sharding."""
    return sweeper(solo_task)


@pytest.fixture
def thread_task() -> Iterator[Task]:
    """Give a Task that owns a thread; it is ended with its thread after the test."""
    task_terminate()
    task = Task()
    task.set_info("engines", 2)
    thread = task.thread
    yield task
    task_cleanup()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path / "marks")


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    """Give a file for process ids; those still alive are killed after the test."""
    path = tmp_path / "pids"
    yield path
    kill_all(pid for pid in read_pids(path) if alive(pid))


@pytest.fixture
def in_thread() -> Iterator[Callable[..., threading.Thread]]:
    """Give a function that starts a thread; all of them are joined after the test."""
    threads: list[threading.Thread] = []

    def start(function: Callable[..., object], *args: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=args)
        threads.append(thread)
        thread.start()
        return thread

    yield start
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def cwd_kept() -> Iterator[None]:
    """Restore the working directory, the environment and the umask after the test."""
    cwd, environ, umask = os.getcwd(), dict(os.environ), os.umask(0o022)
    os.umask(umask)
    yield
    os.chdir(cwd)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environ)


@pytest.fixture
def pipes() -> Iterator[Any]:
    """Give a function that makes pipes; ends that the test leaves open are closed."""
    made: list[tuple[int, int]] = []

    def make() -> tuple[int, int]:
        pair = os.pipe()
        made.extend((fd, os.fstat(fd).st_ino) for fd in pair)
        return pair

    yield make
    for fd, inode in made:
        # A worker that closed it has made room for another descriptor of that number.
        with contextlib.suppress(OSError):
            if os.fstat(fd).st_ino == inode:
                os.close(fd)
