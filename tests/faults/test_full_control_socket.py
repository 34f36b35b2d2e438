"""The fault table: more engines are asked for at once than the fork server has room for."""

from __future__ import annotations

from pathlib import Path

import pytest

import mpshell
from tests.support import run_script

ROOT = str(Path(mpshell.__path__[0]).parent)

PROGRAM = f"""
import os, resource, signal, sys, threading, time
sys.path.insert(0, {ROOT!r})
from mpshell import EngineStartError, task_self, task_terminate
from mpshell.launch import outbox, pool
from tests.support import eventually
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
threading.stack_size(256 << 10)
count = int(sys.argv[1])
task_self().run("true")
[server] = pool.engine_pool()._launcher._servers.values()
"""

THREADS = """
began = threading.Barrier(count + 1)
answers = []
def run(number):
    began.wait()
    try:
        answers.append(task_self().run(f"echo {number}").read().decode())
    except EngineStartError as error:
        answers.append(str(error))
    task_terminate()
threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
for thread in threads:
    thread.start()
pool.shutdown()
task_self().run("true")
[server] = pool.engine_pool()._launcher._servers.values()
STOP
began.wait()
for thread in threads:
    thread.join()
errors = [text for text in answers if not text.isdigit()]
print(len(answers), len(set(answers)), errors[:3])
print(eventually(lambda: not any(t.name == "mpshell-outbox" for t in threading.enumerate())))
"""


def script(source: str, count: int, timeout: float = 60) -> str:
    done = run_script(PROGRAM + source, args=[str(count)], timeout=timeout)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "stop", ["", "os.kill(server.pid, signal.SIGSTOP)"], ids=["busy", "stopped"]
)
def test_a_thousand_threads_begin_a_run_at_once(stop: str) -> None:
    answers = script(THREADS.replace("STOP", stop), 1000, timeout=580)
    assert answers == "1000 1000 []\nTrue\n"


def test_a_fork_server_that_takes_nothing_is_replaced() -> None:
    """It stays stopped, as if it were stopped again after each wake-up; the wait is bounded."""
    source = """
outbox._PATIENCE = 2.0
server._signal = lambda number: number == signal.SIGKILL and os.kill(server.pid, number) is None
os.kill(server.pid, signal.SIGSTOP)
kills = 0
while not server.outbox._waiting:
    pool.engine_pool()._launcher._fence(server, 10**6)
    kills += 1
print(kills > 10)
task_self().set_info("engines", 2)
before = time.monotonic()
task_self().run("echo %h", nodes="n[1-30]", remote=False)
print(task_self().max_retcode(), time.monotonic() - before < 40)
print([s is server for s in pool.engine_pool()._launcher._servers.values()])
"""
    assert script(source, 0) == "True\n0 True\n[False]\n"


def test_what_is_asked_for_without_room_can_be_taken_back() -> None:
    """It is dropped, with its descriptors: an engine that a run has given up is not started later."""
    source = """
os.kill(server.pid, signal.SIGSTOP)
server._signal = lambda number: False
launcher = pool.engine_pool()._launcher
descriptors = len(os.listdir("/proc/self/fd"))
handles = []
while not server.outbox._waiting:
    handles.append(launcher.start())
last = handles.pop()
print(len(handles) > 10, last.patience, handles[0].patience < 60)
last.fence()
print(last.patience < 60, last.ended())
last.close()
for handle in handles:
    handle.close()
del server._signal
server.go_on()
print(eventually(lambda: len(os.listdir("/proc/self/fd")) == descriptors))
"""
    assert script(source, 0) == "True inf True\nTrue True\nTrue\n"
