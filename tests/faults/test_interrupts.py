"""The fault table: Ctrl-C at any moment, also twice in quick succession."""

from __future__ import annotations

import os
import pty
import random
import select
import sys
import time
import uuid
from pathlib import Path

import pytest

import mpshell
from tests.faults.conftest import all_gone, marked

ROOT = str(Path(mpshell.__path__[0]).parent)

#: Runs until it reads "ready" from its terminal; each Ctrl-C ends a run, or comes between two.
PROGRAM = f"""
import os, signal, sys, time
sys.path.insert(0, {ROOT!r})
from mpshell import EventHandler, ExecWorker, task_self
class Handler(EventHandler):
    closed = 0
    def ev_read(self, worker, node, sname, msg):
        pass
    def ev_close(self, worker, timedout):
        self.closed += 1
task = task_self()
task.set_info("engines", int(sys.argv[1]))
task.set_info("grace", 0.2)
end, interrupted = time.monotonic() + 3, 0
def sweep():
    global interrupted, announced
    if not announced:
        # In here a Ctrl-C is caught already, and the first may come before print() returns.
        announced = True
        print("go", flush=True)
    handler = Handler()
    task.schedule(ExecWorker("n[1-30]", handler=handler, command="echo %h; sleep 0.0%n"))
    try:
        task.resume()
    except KeyboardInterrupt:
        interrupted += 1
        assert not task.running()
        raise
    finally:
        assert handler.closed <= 1
def sweep_on(level):
    # One Ctrl-C may come while the one before is dealt with: there is always a level above.
    while time.monotonic() < end:
        try:
            sweep_on(level - 1) if level else sweep()
        except KeyboardInterrupt:
            pass
announced = False
sweep_on(8)
signal.signal(signal.SIGINT, signal.SIG_IGN)
worker = ExecWorker("m[1-30]", command="echo %h")
task.schedule(worker)
task.resume()
assert len([code for node, code in worker.iter_node_retcodes() if code == 0]) == 30
print("fine", interrupted > 0, len(os.listdir("/proc/self/fd")) < 20, flush=True)
"""


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ctrl_c_at_any_moment_and_twice(count: int) -> None:
    mark = uuid.uuid4().hex
    moments = random.Random(count)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["MPSHELL_TEST_MARK"] = mark
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM, str(count)])
    text = b""
    while True:
        ready, _, _ = select.select([terminal], [], [], moments.choice([0.02, 0.1, 0.3]))
        if ready:
            try:
                text += os.read(terminal, 4096)
            except OSError:
                break
        elif b"go" in text:
            for _ in range(moments.choice([1, 2, 2, 3])):
                os.write(terminal, b"\x03")
                # The delay is under test: the next one comes while the effects of the one before are under way.
                time.sleep(moments.random() * 0.002)
    os.close(terminal)
    # The terminal's echo of the key may come in the middle of a word.
    text = text.replace(b"^C", b"")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text
    assert b"fine True True" in text
    assert b"Traceback" not in text
    assert all_gone(mark), marked(mark)
