"""At the end of the program only the daemon of a finished command stays, of all sessions."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import pytest

from tests.faults.conftest import all_gone, marked, run_to_its_end
from tests.faults.test_program_ends import ROOT

#: Ways in which commands are stopped: a statement of their handler, an option of theirs, and the run.
WAYS = {
    "a timeout": ("pass", "timeout=1", "task.resume()"),
    "a timeout of the run": ("pass", "", "run(1)"),
    "an abort of the worker": ("worker.abort()", "", "task.resume()"),
    "an abort of the task": ("task_self().abort()", "", "run()"),
    "a kill of the task": ("task_self().abort(kill=True)", "", "run()"),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT)", "", "run()"),
    "an error": ("raise RuntimeError", "", "run()"),
    "an exit": ("sys.exit(0)", "", "task.resume()"),
    "a cleanup by another thread": (
        "threading.Thread(target=task_cleanup).start()", "", "run()",
    ),
    "an engine that ends idle": ("worker.abort()", "", "task.resume(); pool.shutdown(); task.run('true')"),
}  # fmt: skip

PROGRAM = """
import os, signal, sys, threading
sys.path.insert(0, {root!r})
signal.signal(signal.SIGINT, signal.default_int_handler)
from mpshell import EventHandler, ExecWorker, task_cleanup, task_self
from mpshell.launch import pool

class Stop(EventHandler):
    def ev_read(self, worker, node, sname, msg):
        {stop}

def run(timeout=None):
    try:
        task.resume(timeout)
    except BaseException as error:
        print(type(error).__name__)

task = task_self()
task.set_info("engines", {engines})
leave = "setsid sh -c 'echo $$ > {daemon}; exec sleep 70' </dev/null >/dev/null 2>&1 &"
quiet = "</dev/null >/dev/null 2>&1"
task.schedule(ExecWorker("d", handler=None, command=leave))
# By a parent that has ended; by one that has not; with the pipes of the command; without its environment.
command = (
    f"(setsid sh -c 'sleep 71; :' {{quiet}} &); setsid sleep 72 {{quiet}} & (setsid sleep 73 &);"
    f"(env -i MPSHELL_TEST_MARK=$MPSHELL_TEST_MARK setsid sleep 74 {{quiet}} &); sleep 0.3; echo go; sleep 75"
)
task.schedule(ExecWorker("n[1-3]", handler=Stop(), command=command, {options}))
{run}
"""


@pytest.mark.parametrize("engines", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_only_the_daemon_of_a_finished_command_outlives_the_program(
    way: str, engines: int, tmp_path: Path
) -> None:
    mark = uuid.uuid4().hex
    daemon, output = tmp_path / "daemon", tmp_path / "output"
    stop, options, run = WAYS[way]
    source = PROGRAM.format(
        root=ROOT, stop=stop, options=options, run=run, engines=engines, daemon=daemon
    )
    assert run_to_its_end(source, mark, output) == 0, output.read_text()
    try:
        assert all_gone(mark, left=1), marked(mark)
        [left] = marked(mark)
        assert left.split()[0] == daemon.read_text().strip()
    finally:
        for line in marked(mark):
            os.kill(int(line.split()[0]), signal.SIGKILL)
    assert all_gone(mark), marked(mark)
