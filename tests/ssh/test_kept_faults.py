"""Connections that stay, and what goes wrong with them: at most once holds, and nothing is left."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import psutil
import pytest

from mpshell import EventHandler, Task, task_cleanup
from tests.ssh.conftest import SshServer
from tests.ssh.keeping import WHICH, alive, connections, engines, outcomes, servers, sockets
from tests.ssh.test_asyncssh_cuts import Fault, proxy
from tests.ssh.test_ssh_faults import write_config
from tests.support import descriptors, eventually

pytestmark = [
    pytest.mark.needs("ssh", "sshd"),
    pytest.mark.parametrize("transport", ["asyncssh"], indirect=True),
]


#: A thousand of them take minutes (scripts/stress).
RUNS = int(os.environ.get("MPSHELL_TEST_RUNS", "60"))


@pytest.fixture
def task(ssh_task: Task) -> Task:
    ssh_task.set_info("ssh_keep", 600)
    return ssh_task


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Give a file in which each command notes that it runs."""
    return tmp_path / "ledger"


def runs(ledger: Path) -> Counter[str]:
    return Counter(ledger.read_text().split()) if ledger.exists() else Counter()


# -- connections that are dead -------------------------------------------------------------------------


def test_one_that_its_server_has_closed_is_replaced(task: Task, ledger: Path) -> None:
    first = connections(task, "node[1-6]")
    for server in servers(first)[:3]:
        os.kill(server, signal.SIGKILL)
    assert eventually(lambda: sockets() == 3), "an idle engine notices it at its descriptor"
    second = connections(task, "node[1-6]", f"echo %h >> {ledger}; {WHICH}")
    assert len(set(first.values()) & set(second.values())) == 3
    assert sum(runs(ledger).values()) == 6


def test_one_that_dies_at_this_moment_is_replaced(task: Task, ledger: Path) -> None:
    """Noticed by the engine or not: nothing is asked of a server before a channel is open."""
    for _ in range(10):
        first = connections(task, "node[1-4]")
        for server in servers(first):
            os.kill(server, signal.SIGKILL)
        connections(task, "node[1-4]", f"echo x >> {ledger}")
    assert runs(ledger) == {"x": 40}


def test_one_that_does_not_answer_is_given_up_and_replaced(task: Task, ledger: Path) -> None:
    first = connections(task, "node[1-4]")
    stopped = servers(first)[:2]
    task.set_info("connect_timeout", 60)
    try:
        for server in stopped:
            os.kill(server, signal.SIGSTOP)
        second = connections(task, "node[1-4]", f"echo x >> {ledger}; {WHICH}")
    finally:
        for server in stopped:
            os.kill(server, signal.SIGCONT)
    assert len(set(first.values()) & set(second.values())) == 2
    # What was asked of them when they go on is nothing: their client has left.
    assert eventually(lambda: not alive(stopped))
    assert runs(ledger) == {"x": 4}


def test_a_node_that_is_gone_is_unreachable_within_the_time_to_connect(
    task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    with proxy(ssh_server, [lambda: lambda data, before: data]) as text:
        task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        task.set_info("connect_timeout", 0)
        connections(task, "bad1")
    found = outcomes(task, "bad1")["bad1"]
    assert (found.reason, found.attempt) == ("unreachable", 1)


class Trap:
    """A fault that lets all pass until it is set, then so many pieces of the server's, and then cuts."""

    def __init__(self) -> None:
        self.left: int | None = None

    def __call__(self) -> Fault:
        return self.apply

    def apply(self, data: bytes, before: int) -> bytes | None:
        if self.left is None:
            return data
        self.left -= 1
        return data if self.left >= 0 else None


@pytest.mark.parametrize("pieces", range(5))
def test_a_connection_that_is_cut_while_it_is_used_again(
    task: Task, ssh_server: SshServer, tmp_path: Path, ledger: Path, pieces: int
) -> None:
    """Before the channel is open nothing has run, and it does over a new one; after that it may have: lost."""
    trap = Trap()
    with proxy(ssh_server, [trap]) as text:
        task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        task.set_info("connect_timeout", 0)
        connections(task, "bad1")
        trap.left = pieces
        worker = task.shell(f"echo x >> {ledger}; sleep 0.3; echo said", nodes="bad1")

        class Opening(EventHandler):
            def ev_timer(self, timer: object) -> None:
                trap.left = None

        # New connections pass, once the cut one was ended.
        task.timer(0.2, handler=Opening())
        task.resume()
        [outcome] = worker.outcomes()
        said = worker.read("bad1")
        assert outcome.attempt == 1
        task_cleanup()
    assert outcome.reason in ("exit", "lost", "unreachable")
    assert runs(ledger)["x"] <= 1
    if outcome.ok:
        assert runs(ledger)["x"] == 1 and said == b"said"
    if not pieces:
        assert outcome.reason != "lost", "no channel was open"


def test_what_may_have_run_is_lost_and_not_run_again(task: Task, ledger: Path) -> None:
    connections(task, "node[1-4]")
    found = outcomes(task, "node[1-4]", f"echo x >> {ledger}; kill -9 $PPID; sleep 60")
    assert {(outcome.reason, outcome.attempt) for outcome in found.values()} == {("lost", 1)}
    assert runs(ledger) == {"x": 4}


# -- processes that die --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["killed", "stopped"])
def test_an_engine_with_two_hundred_open_connections(task: Task, ledger: Path, what: str) -> None:
    """Its nodes are lost, once each, and its connections are closed; what was not announced runs elsewhere."""
    first = connections(task, "node[1-200]")
    assert sockets() == 200
    task.set_info("fanout", 200)
    task.set_info("heartbeat", 1)
    [victim, _] = engines()
    theirs = {(str(c.laddr[1]), c.raddr[0]) for c in victim.net_connections("tcp")}

    class Hurting(EventHandler):
        done = threading.Event()

        def ev_read(self, *args: object) -> None:
            if not self.done.is_set():
                self.done.set()
                victim.send_signal(signal.SIGKILL if what == "killed" else signal.SIGSTOP)

    found = outcomes(
        task, "node[1-200]", f"echo x$SSH_CONNECTION >> {ledger}; echo begun; sleep 1", handler=Hurting()
    )  # fmt: skip
    reasons = Counter(outcome.reason for outcome in found.values())
    assert set(reasons) == {"exit", "lost"} and sum(reasons.values()) == 200
    assert sum(runs_of(ledger).values()) <= 200
    assert not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE
    gone = {node: text for node, text in first.items() if tuple(text.split()[1:3]) in theirs}
    assert len(gone) == len(theirs)
    assert eventually(lambda: not alive(servers(gone)))
    connections(task, "node[1-200]")


def runs_of(ledger: Path) -> Counter[str]:
    return Counter(line for line in ledger.read_text().splitlines() if line.startswith("x"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_idle_engine_that_is_hurt_costs_no_node(task: Task, number: int) -> None:
    task.set_info("heartbeat", 1)
    first = connections(task, "node[1-20]")
    [victim, _] = engines()
    victim.send_signal(number)
    if number == signal.SIGKILL:
        assert eventually(lambda: len(engines()) == 1)
        second = connections(task, "node[1-20]")
        assert 0 < len(set(first.values()) & set(second.values())) < 20
    else:
        # It has announced nothing: its nodes run elsewhere.
        connections(task, "node[1-20]")
    assert len(connections(task, "node[1-20]")) == 20


# -- limits --------------------------------------------------------------------------------------------


@pytest.mark.timeout(1200)
def test_many_runs_leave_nothing(task: Task) -> None:
    """Neither descriptors nor memory nor processes grow, whatever becomes of the connections."""

    def one_round(number: int) -> None:
        connections(task, "node[1-6]")
        if number % 7 == 3:
            outcomes(task, "node[1-2]", "sleep 60", timeout=0.3)
        if number % 7 == 5:
            task.set_info("ssh_options", f"{options} -o ServerAliveInterval={60 + number % 2}")

    options = task.info("ssh_options")
    for number in range(15):
        one_round(number)
    before = len(descriptors())
    memory = sum(engine.memory_full_info().uss for engine in engines())
    for number in range(RUNS):
        one_round(number)
    assert len(descriptors()) == before
    assert sockets() <= 6 * 3
    assert sum(engine.num_fds() for engine in engines()) <= 2 * 20 + sockets()
    grown = sum(engine.memory_full_info().uss for engine in engines()) - memory
    # That much waits for the collector of cycles.
    assert grown < 40_000_000
    assert len(engines()) == 2


def test_the_memory_of_a_connection(task: Task) -> None:
    """60 KB are asked for, on an engine of its own; the bound is far off."""
    task.set_info("engines", 1)
    connections(task, "node[1-20]")
    [engine] = engines()
    before, first = engine.memory_full_info().uss, sockets()
    connections(task, "node[21-180]")
    grown = engine.memory_full_info().uss - before
    assert sockets() - first == 160
    assert grown / 160 < 150_000
