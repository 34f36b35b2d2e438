"""The fault table: the user's program forks while a Task exists or runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

import mpshell
from mpshell import (
    EngineIllegalOperationError,
    EnginePort,
    EventHandler,
    Task,
    TaskError,
    task_self,
)
from tests.faults.conftest import Observer, Sweep, all_gone, engines, hurt, marked

ROOT = str(Path(mpshell.__path__[0]).parent)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_of_the_program_has_a_task_of_its_own(method: str) -> None:
    source = f"""
import sys
sys.path.insert(0, {ROOT!r})
import multiprocessing, os
from mpshell import ExecWorker, EventHandler, task_self

def sweep(count):
    task = task_self()
    task.set_default("distant_workername", "exec")
    worker = task.run("echo %h", nodes=f"n[1-{{count}}]")
    return len(list(worker.iter_buffers()))

class Handler(EventHandler):
    found = None
    def ev_start(self, worker):
        context = multiprocessing.get_context({method!r})
        with context.Pool(2) as pool:
            self.found = pool.map(sweep, [10, 20, 30])

if __name__ == "__main__":
    assert sweep(20) == 20
    task, handler = task_self(), Handler()
    task.run("sleep 0.3; echo %h", nodes="m[1-40]", handler=handler)
    assert handler.found == [10, 20, 30], handler.found
    assert len(list(task.iter_buffers())) == 40
    pid = os.fork()
    if pid == 0:
        os._exit(sweep(15))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 15
    assert sweep(25) == 25
    print("fine")
"""
    mark = uuid.uuid4().hex
    env = {**os.environ, "MPSHELL_TEST_MARK": mark}
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"mpshell-fork-{mark}.py"
    path.write_text(source)
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", str(path)],
            env=env, timeout=60, capture_output=True, text=True,
        )  # fmt: skip
    finally:
        path.unlink()
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
    assert all_gone(mark), marked(mark)


def test_a_fork_in_a_run_leaves_the_parent_alone(task: Task, ledger: Path) -> None:
    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    sweep = Sweep(task, ledger, 30, Observer(dict.fromkeys((3, 20), fork)))
    sweep.run()
    sweep.check(at_most_lost=0)


@pytest.mark.parametrize("leaves", ["by return", "by an error", "by exit"])
def test_a_child_that_leaves_a_handler_does_not_touch_the_run(
    leaves: str, task: Task, ledger: Path
) -> None:
    """The child comes out of `resume()` with an error, and the run goes on in the parent alone."""
    codes: list[int] = []
    errors = {"by an error": RuntimeError, "by exit": SystemExit}

    def fork() -> None:
        pid = os.fork()
        if pid:
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        elif leaves in errors:
            raise errors[leaves]

    sweep = Sweep(task, ledger, 30, Observer(dict.fromkeys((3, 20), fork)))
    parent = os.getpid()
    try:
        sweep.run()
    except BaseException as error:
        if os.getpid() != parent:
            expected = errors.get(leaves, EngineIllegalOperationError)
            os._exit(5 if type(error) is expected else 6)
        raise
    finally:
        if os.getpid() != parent:
            os._exit(7)
    assert codes == [5, 5]
    sweep.check(at_most_lost=0)


def in_a_child_of_its_program(thread_task: Task, port: EnginePort) -> int:
    """Use a Task with a thread of the parent's; return 2 when it is dead, and another one works."""
    thread_task.join()
    if thread_task.suspend() or port.msg("x") or port.msg_send("x"):
        return 5
    try:
        thread_task.shell("true")
    except TaskError:
        works = task_self().run("echo x").read() == b"x"
        return 2 if works and thread_task.running() is None else 3
    return 4


def test_a_task_with_a_thread_of_the_parent_s_is_dead_in_the_child() -> None:
    """Also when the fork comes while that thread works on it, and maybe holds its lock."""
    codes = []
    thread_task = Task()
    try:
        port = thread_task.port(EventHandler(), autoclose=True)
        for n in range(20):
            thread_task.shell(f"echo {n}", key=n)
            thread_task.resume()
            pid = os.fork()
            if pid == 0:
                signal.alarm(60)
                code = 1
                try:
                    code = in_a_child_of_its_program(thread_task, port)
                finally:
                    os._exit(code)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            thread_task.join()
            assert thread_task.key_buffer(n) == b"%d" % n
    finally:
        thread_task.abort(kill=True)
        thread_task.thread.join()
    assert codes == [2] * 20


def test_forks_of_another_thread_hold_nothing_of_an_engine(task: Task, ledger: Path) -> None:
    """A child that lives on has no copy of an end of a pipe that shows a death by its closing."""
    children: list[int] = []
    done = threading.Event()

    def fork_on() -> None:
        while not done.wait(0.005):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)

    thread = threading.Thread(target=fork_on)
    thread.start()
    try:
        task.set_info("fanout", 4)
        for n in range(5):
            kill: dict[int, Callable[[], object]] = dict.fromkeys((3, 9), lambda: hurt(engines()))
            sweep = Sweep(task, ledger.with_suffix(f".{n}"), 20, Observer(kill), "echo out")
            sweep.run()
            sweep.check(at_most_lost=8)
    finally:
        done.set()
        thread.join()
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_busy_threads_hold_no_lock_in_an_engine() -> None:
    """Engines are forked by a process of one thread: locks held by threads of this one do not matter."""
    source = f"""
import sys
sys.path.insert(0, {ROOT!r})
import logging, threading
from mpshell import task_self
from mpshell.launch.pool import shutdown
logging.basicConfig(stream=open("/dev/null", "w"))
done = threading.Event()
def log():
    while not done.is_set():
        logging.warning("x")
threads = [threading.Thread(target=log) for _ in range(8)]
for thread in threads:
    thread.start()
task = task_self()
try:
    for n in range(200):
        assert task.run(f"echo {{n}}").read() == b"%d" % n
        if n % 20 == 0:
            shutdown()
finally:
    done.set()
print("fine")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], timeout=100, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")
