"""Processes between a program and its far commands are killed and stopped: one verdict a node, nothing twice.

A lost node is reported after its processes are gone, and within ten seconds; the next run is an ordinary one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import psutil
import pytest

from mpshell import EngineStartError, EventHandler, Task, Worker
from mpshell.hosts.launcher import HostsLauncher
from mpshell.hosts.packets import Way
from tests.engine.conftest import alive
from tests.hosts.conftest import OUTPOST, Chain, Ledger, local_hosts
from tests.hosts.killrows import EVERYWHERE, check
from tests.support import eventually


@pytest.mark.parametrize("fault", EVERYWHERE)
def test_one_verdict_a_node_whatever_is_hurt(fault: str, task: Task, ledger: Ledger) -> None:
    check(task, ledger, local_hosts(2, engines=1), EVERYWHERE[fault])


def test_when_all_hosts_are_lost_the_rest_is_reported(
    task: Task, ledger: Ledger, tmp_path: Path
) -> None:
    """What may have run is lost, the rest is not started, with the reason; the results so far are there."""
    once = f'mkdir {tmp_path}/once || {{ echo closed for today >&2; exit 1; }}; exec "$@"'
    task.set_info(
        "launcher", HostsLauncher([Way("gw1", ("sh", "-c", once, "sh", *OUTPOST), 60.0)], 1)
    )
    task.set_info("fanout", 4)
    worker = task.shell(
        f"{ledger.command}; sleep 0.3", nodes="n[1-60]", remote=False, handler=ledger
    )

    def hurt() -> None:
        if eventually(lambda: len(ledger.lines()) >= 12):
            os.kill(Chain(ledger.lines()[0][1]).of("outpost").pid, signal.SIGKILL)

    thread = threading.Thread(target=hurt)
    thread.start()
    task.resume()
    thread.join()
    outcomes = list(worker.outcomes())
    assert len(outcomes) == 60
    by_reason = Counter(outcome.reason for outcome in outcomes)
    assert (
        by_reason["exit"] >= 4 and 4 <= by_reason["lost"] <= 12 and by_reason["not started"] >= 30
    )
    assert {o.detail for o in outcomes if o.reason == "not started"} == {
        "no host can be used: gw1: closed for today"
    }
    assert not ledger.alive
    # A program that asks for more then has an error.
    with pytest.raises(EngineStartError, match="gw1: closed for today"):
        task.run("true", nodes="n1", remote=False)


class Killing(EventHandler):
    """Kills the engine when that can pass nothing on any more."""

    engine = 0

    def ev_read(self, worker: Worker, node: str, sname: str, msg: bytes) -> None:
        if not self.engine:
            self.engine = int(msg)
            # That all on the way is full has no sign here: nothing is read meanwhile.
            threading.Event().wait(1.5)
            os.kill(self.engine, signal.SIGKILL)
            assert eventually(lambda: not alive(self.engine))


def test_more_output_than_a_window_is_passed_on_after_the_end_of_its_engine(task: Task) -> None:
    """What waits for credit there, and then the reason; else the host would be silent for ever."""
    task.set_info("launcher", local_hosts(1, engines=1))
    task.set_info("heartbeat", None)
    worker = task.shell(
        "echo $PPID; yes 1234567890 | head -n 2000000", nodes="n1", remote=False, handler=Killing()
    )
    task.resume()
    assert [(o.reason, o.detail) for o in worker.outcomes()] == [("lost", "signal 9")]


def test_lost_nodes_run_again_where_that_is_asked_for(task: Task, ledger: Ledger) -> None:
    """One after the other: the second attempt begins when nothing of the first one is left."""
    task.set_info("launcher", local_hosts(1, engines=1))
    task.set_info("fanout", 4)
    task.set_info("retry_lost", True)
    worker = task.shell(
        f"{ledger.command}; mkdir {ledger.path}.%h || exit 9; sleep 1; rmdir {ledger.path}.%h",
        nodes="n[1-12]", remote=False,
    )  # fmt: skip

    def hurt() -> None:
        if eventually(lambda: len(ledger.lines()) >= 4):
            os.kill(Chain(ledger.lines()[0][1]).of("outpost").pid, signal.SIGKILL)

    thread = threading.Thread(target=hurt)
    thread.start()
    task.resume()
    thread.join()
    # A directory that the first attempt has left is the user's: exit 9 says that it was left, and not removed.
    assert {outcome.reason for outcome in worker.outcomes()} == {"exit"}
    assert len(ledger.lines()) > 12


PROGRAM = """
import os, sys
from mpshell import task_self
from tests.hosts.conftest import local_hosts
task = task_self()
task.set_info("launcher", local_hosts(2, engines=1))
task.set_info("fanout", 4)
task.shell(sys.argv[1], nodes="n[1-4]", remote=False)
{}
task.resume()
"""


@pytest.mark.parametrize("end", ["killed", "terminated", "killed while the switchboard is stopped"])
def test_the_end_of_the_program_is_the_end_of_all_it_started_there(
    end: str, ledger: Ledger
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(""), f"{ledger.command}; exec sleep 100"],
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
    )
    try:
        assert eventually(lambda: len(ledger.lines()) == 4)
        family = psutil.Process(process.pid).children(recursive=True)
        [board] = [p for p in family if "mpshell.hosts.switchboard" in " ".join(p.cmdline())]
        if "stopped" in end:
            board.suspend()
        process.send_signal(signal.SIGTERM if end == "terminated" else signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert eventually(lambda: not any(alive(p.pid) for p in family), 20)
    assert not any(alive(pid) for _, _, pid in ledger.lines())


def test_a_child_of_the_program_has_hosts_of_its_own(task: Task) -> None:
    task.set_info("launcher", local_hosts(1, engines=1))
    assert task.run("true", nodes="n1", remote=False).node_retcode("n1") == 0
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            from mpshell import task_cleanup, task_self

            own = task_self()
            own.set_info("launcher", local_hosts(1, engines=1))
            status = own.run("exit 7", nodes="n1", remote=False).node_retcode("n1") - 7
            task_cleanup()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert task.run("true", nodes="n1", remote=False).node_retcode("n1") == 0
