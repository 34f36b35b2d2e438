"""The fault table: the program ends, in one way or another, while commands of it run."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from pathlib import Path

import pytest

import mpshell
from tests.faults.conftest import STORM, all_gone, marked, run_to_its_end

ROOT = str(Path(mpshell.__path__[0]).parent)
PROGRAM = """
import os, signal, sys, threading
sys.path.insert(0, {root!r})
from mpshell import EventHandler, ExecWorker, task_self

class Handler(EventHandler):
    count = 0
    def ev_pickup(self, worker, node):
        self.count += 1
        if self.count == 12:
            {end}

def children(pid):
    pid = os.getpid() if pid == "self" else pid
    return map(int, open(f"/proc/{{pid}}/task/{{pid}}/children").read().split())

task = task_self()
task.set_info("engines", {engines})
# Grandchildren that ignore TERM, and that have another parent by now.
command = "sh -c 'trap : TERM; sleep 70; sleep 71' & (sleep 74 &); trap : TERM; {more} sleep 72; sleep 73"
task.schedule(ExecWorker("n[1-20]", handler=Handler(), command=command))
task.resume()
"""
ENDS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": "os.kill(os.getpid(), signal.SIGTERM)",
    "os._exit": "os._exit(3)",
    "exit": "sys.exit(4)",
    "exception": "raise RuntimeError('x')",
    "exec": "os.execv('/bin/true', ['true'])",
    "killed, the fork server stopped": (
        "[os.kill(pid, signal.SIGSTOP) for pid in children('self')]; os.kill(os.getpid(), 9)"
    ),
    "killed, the engines stopped": (
        "[os.kill(pid, signal.SIGSTOP) for server in children('self') for pid in children(server)]; "
        "os.kill(os.getpid(), 9)"
    ),
}


#: Its exit status by that; it is killed by the others.
CODES = {"terminated": -15, "os._exit": 3, "exit": 4, "exception": 1, "exec": 0}


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_the_program_is_the_end_of_all_it_started(
    end: str, count: int, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    mark = uuid.uuid4().hex
    more = "(setsid sleep 75 &); setsid sleep 76 &"
    source = PROGRAM.format(root=ROOT, end=ENDS[end], engines=count, more=more)
    assert run_to_its_end(source, mark, output) == CODES.get(end, -9), output.read_text()
    assert all_gone(mark), marked(mark)


@pytest.mark.parametrize(
    ("end", "count"),
    [("killed", 1), ("killed", 2), ("killed", 4), ("terminated", 2), ("os._exit", 2), ("exit", 2)],
)
def test_a_fork_in_c_that_outlives_the_program(end: str, count: int, tmp_path: Path) -> None:
    """It holds all descriptors of the program, and knows nothing of them."""
    mark = uuid.uuid4().hex
    daemon, output = tmp_path / "daemon", tmp_path / "output"
    leave = (
        f"env -u MPSHELL_TEST_MARK setsid sleep 79 </dev/null >/dev/null 2>&1 & echo $! > {daemon}"
    )
    source = PROGRAM.format(
        root=ROOT, end=f"libc.fork() or libc.pause(); {ENDS[end]}", engines=count, more=""
    ).replace("task.schedule(", f"task.run({leave!r})\ntask.schedule(")
    source = "import ctypes; libc = ctypes.PyDLL(None)\n" + source
    try:
        assert run_to_its_end(source, mark, output) == CODES.get(end, -9), output.read_text()
        assert all_gone(mark, left=1), marked(mark)
        assert len(marked(mark)) == 1
        assert output.read_text() == ""
        # A process that a finished command has left on purpose is the user's, as ever.
        os.kill(int(daemon.read_text()), signal.SIGKILL)
    finally:
        for line in marked(mark):
            if sys.executable in line:
                os.kill(int(line.split()[0]), signal.SIGKILL)
    assert all_gone(mark), marked(mark)


@pytest.mark.parametrize("end", ["killed", "os._exit", "exec"])
def test_the_end_of_the_program_in_a_storm_of_forks(end: str, tmp_path: Path) -> None:
    """A fork that is under way when its process is stopped still makes a child."""
    output = tmp_path / "output"
    mark = uuid.uuid4().hex
    source = f"""
import os, signal, sys
sys.path.insert(0, {ROOT!r})
from mpshell import EventHandler, ExecWorker, task_self
class Handler(EventHandler):
    def ev_read(self, worker, node, sname, msg):
        {ENDS[end]}
task = task_self()
task.set_info("engines", 2)
task.schedule(ExecWorker("n[1-4]", handler=Handler(), command={STORM!r}))
task.resume()
"""
    assert run_to_its_end(source, mark, output) == CODES.get(end, -9), output.read_text()
    assert all_gone(mark), marked(mark)
    assert output.read_text() == ""


EXITS = {
    "Tasks that were not ended": (
        "task = Task(); task.shell('sleep 0.3; echo x'); task.resume()\nother = Task()\n", 0,
    ),
    "runs in daemon threads": (
        "begun = threading.Semaphore(0)\n"
        "class Begun(EventHandler):\n    def ev_read(self, *args):\n        begun.release()\n"
        "def run():\n"
        "    task_self().run('echo x; sleep 70', nodes='n[1-8]', remote=False, handler=Begun())\n"
        "for _ in range(3):\n    threading.Thread(target=run, daemon=True).start()\n"
        "for _ in range(24):\n    begun.acquire()\n", 0,
    ),
    "threads that ended without a word to their Task": (
        "def run():\n    task_self().run('echo x', nodes='n[1-8]', remote=False)\n"
        "for _ in range(20):\n    thread = threading.Thread(target=run); thread.start(); thread.join()\n", 0,
    ),
    "a Task whose handler exits": (
        "class Handler(EventHandler):\n    def ev_hup(self, worker, node, rc):\n        os._exit(7)\n"
        "task = Task(); task.shell('true', handler=Handler()); task.resume()\n", 7,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXITS)
def test_the_interpreter_ends_whatever_tasks_there_are(name: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    mark = uuid.uuid4().hex
    body, code = EXITS[name]
    source = f"""
import os, sys, threading, time
sys.path.insert(0, {ROOT!r})
from mpshell import EventHandler, Task, task_self
{body}"""
    assert run_to_its_end(source, mark, output) == code, output.read_text()
    assert all_gone(mark), marked(mark)
    assert output.read_text() == ""


def test_a_program_that_ends_in_the_middle_of_its_runs_of_threads(tmp_path: Path) -> None:
    output = tmp_path / "output"
    mark = uuid.uuid4().hex
    source = f"""
import os, sys, threading
sys.path.insert(0, {ROOT!r})
from mpshell import Task, ExecWorker, EventHandler
begun = threading.Semaphore(0)
class Handler(EventHandler):
    def ev_start(self, worker):
        begun.release()
for _ in range(4):
    task = Task()
    task.schedule(ExecWorker("n[1-8]", handler=Handler(), command="sleep 75"))
    task.resume()
for _ in range(4):
    begun.acquire()
os._exit(5)
"""
    assert run_to_its_end(source, mark, output) == 5, output.read_text()
    assert all_gone(mark), marked(mark)
