"""The fault table: a program closes descriptors that are not its own, or puts others in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

import mpshell
from tests.support import run_script

ROOT = str(Path(mpshell.__path__[0]).parent)

PROGRAM = f"""
import os, select, socket, sys, tempfile, threading, time
sys.path.insert(0, {ROOT!r})
from mpshell import EngineException, EventHandler, ExecWorker, Task, task_cleanup, task_self
from mpshell.launch import pool
[way] = sys.argv[1:]

def run(task=None):
    task = task or task_self()
    task.run("echo %h", nodes="n[1-20]", remote=False)
    assert task.max_retcode() == 0
    return sum(len(nodes) for _, nodes in task.iter_buffers())

# What the program has by itself, and nothing may touch: the lowest numbers that are free, of every kind.
def take(count=60):
    taken = {{}}
    makers = [
        lambda: os.open(os.devnull, os.O_RDWR), lambda: os.eventfd(0), select.epoll, socket.socketpair,
        os.pipe, lambda: os.pidfd_open(os.getpid()), lambda: tempfile.TemporaryFile(),
    ]
    while len(taken) < count:
        made = makers[len(taken) % len(makers)]()
        for one in made if isinstance(made, tuple) else (made,):
            fd = one if isinstance(one, int) else one.fileno()
            taken[fd] = (one, what(fd))
    return taken

def what(fd):
    return os.readlink(f"/proc/self/fd/{{fd}}"), os.fstat(fd)[:3]

def check(taken):
    for fd, (_, before) in taken.items():
        assert what(fd) == before, (fd, before)
    files = [fd for fd, (one, _) in taken.items() if hasattr(one, "fileno")]
    ready = select.poll()
    for fd, (one, _) in taken.items():
        if not isinstance(one, select.epoll):
            ready.register(fd, select.POLLIN)
    # Nothing was written to any: no socket, pipe or eventfd has something to read.
    full = [fd for fd, _ in ready.poll(0) if what(fd)[0].startswith(("socket", "pipe", "anon_inode:[eventfd"))]
    assert not full, [(fd, what(fd)) for fd in full]
    assert all(os.fstat(fd).st_size == 0 for fd in taken if what(fd)[0].startswith("/tmp"))

def ours():
    # The numbers of what leads to the engines, by what it is.
    [server] = pool.engine_pool()._launcher._servers.values()
    handles = pool.engine_pool()._idle
    found = {{"control": server.outbox._descriptor.fd, "pidfd": server._pidfd.fd}}
    for n, handle in enumerate(handles):
        found[f"channel {{n}}"], found[f"sentinel {{n}}"] = handle.channel.fileno(), handle._sentinel.fd
    return found
"""


def script(source: str, way: str = "") -> str:
    """Run a program; return its output."""
    done = run_script(PROGRAM + source, args=[way])
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("way", ["taken", "free"])
def test_all_descriptors_are_closed_between_two_runs(way: str) -> None:
    """A naive daemon. The next run is an ordinary one, nothing of the program's is touched, nothing is left."""
    source = """
print(run())
os.closerange(3, 4096)
taken = take() if way == "taken" else {}
print(run(), run())
check(taken)
task_cleanup()
pool.shutdown()
check(taken)
import psutil
print(psutil.Process().children())
"""
    assert script(source, way) == "20\n20 20\n[]\n"


def test_what_the_program_has_at_its_end_is_left_alone() -> None:
    """The end of the interpreter does not close descriptors that others have under these numbers by then."""
    source = """
import atexit
taken = {}
atexit._clear()
atexit.register(lambda: (check(taken), print("checked")))
atexit.register(pool.shutdown)
print(run())
os.closerange(3, 4096)
taken.update(take())
"""
    assert script(source) == "20\nchecked\n"


@pytest.mark.parametrize("way", ["close", "dup2"])
def test_one_of_the_descriptors_is_closed_or_replaced(way: str) -> None:
    source = """
print(run())
for name in list(ours()):
    run()
    fd = ours().get(name)
    if fd is None:
        continue
    other = os.open(os.devnull, os.O_RDWR)
    os.close(fd) if way == "close" else os.dup2(other, fd)
    before = what(fd) if way == "dup2" else None
    assert run() == 20, name
    assert run() == 20, name
    pool.shutdown()
    assert before is None or what(fd) == before, name
    if way == "dup2":
        os.close(fd)
    os.close(other)
print("end")
"""
    assert script(source, way) == "20\nend\n"


def test_a_daemon_that_forks_twice() -> None:
    source = """
print(run(), flush=True)
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        keep = os.dup2(write, 2)
        os.closerange(3, 4096)
        taken = take()
        results = run(), run()
        check(taken)
        pool.shutdown()
        check(taken)
        os.write(2, str(results).encode())
    os._exit(0)
os.close(write)
print(os.read(read, 100).decode(), run())
"""
    assert script(source) == "20\n(20, 20) 20\n"


@pytest.mark.parametrize("way", ["handler", "thread"])
def test_all_descriptors_are_closed_in_a_run(way: str) -> None:
    """That run ends with a clear error and a verdict for each node; the next one is an ordinary one."""
    source = """
taken = {}
class Close(EventHandler):
    hups = 0
    def ev_hup(self, worker, node, rc):
        self.hups += 1
        if way == "handler" and self.hups == 3:
            close()
def close():
    os.closerange(3, 4096)
    taken.update(take())
task = task_self()
task.set_info("heartbeat", 1.0)
run()
if way == "thread":
    threading.Timer(1.0, close).start()
command = "true" if way == "handler" else "sleep 4"
worker = ExecWorker("n[1-40]", handler=Close(), command=command)
task.schedule(worker)
try:
    task.resume()
except EngineException as error:
    print(error)
print(len(list(worker.outcomes())))
check(taken)
print(run())
check(taken)
pool.shutdown()
check(taken)
"""
    assert (
        script(source, way) == "the program has closed descriptors of a run in progress\n40\n20\n"
    )
