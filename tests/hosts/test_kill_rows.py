"""Processes between a program and its far commands are killed and stopped: one verdict a node, nothing twice.

A lost node is reported after its processes are gone, and within ten seconds; the next run is an ordinary one.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from mpshell import Task
from tests.hosts.conftest import Chain, Ledger, local_hosts, switchboard
from tests.support import eventually

NODES = 80
FANOUT = 8

#: The first commands take longer than a loss may take to be reported; all others are short.
LONG = 14


def kill(name: str, number: int = signal.SIGKILL) -> Callable[[Chain], object]:
    return lambda chain: os.kill(chain.of(name).pid, number)


def kill_switchboard(chain: Chain) -> None:
    os.kill(switchboard().pid, signal.SIGKILL)


def stop_switchboard(chain: Chain) -> None:
    os.kill(switchboard().pid, signal.SIGSTOP)


#: What is hurt, and how; whether all that was announced is lost, or of one host only.
FAULTS: dict[str, Callable[[Chain], object]] = {
    "engine killed": kill("engine"),
    "engine stopped": kill("engine", signal.SIGSTOP),
    "fork server killed": kill("fork_server"),
    "outpost killed": kill("outpost"),
    "outpost stopped": kill("outpost", signal.SIGSTOP),
    "switchboard killed": kill_switchboard,
    "switchboard stopped": stop_switchboard,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_verdict_a_node_whatever_is_hurt(fault: str, task: Task, ledger: Ledger) -> None:
    task.set_info("launcher", local_hosts(2, engines=1))
    task.set_info("fanout", FANOUT)
    line = f"{ledger.command}; case %n in [0-{FANOUT - 1}]) exec sleep {LONG};; esac; sleep 0.05"
    worker = task.shell(line, nodes=f"n[1-{NODES}]", remote=False, handler=ledger)
    hurt_at: list[float] = []

    def hurt() -> None:
        assert eventually(lambda: len(ledger.lines()) >= FANOUT)
        chain = Chain(ledger.lines()[0][1])
        hurt_at.append(time.monotonic())
        FAULTS[fault](chain)

    thread = threading.Thread(target=hurt)
    thread.start()
    task.resume()
    thread.join()
    outcomes = {outcome.node: outcome for outcome in worker.outcomes()}
    assert len(outcomes) == NODES
    ran = Counter(node for node, _, _ in ledger.lines())
    assert max(ran.values()) == 1, "at most once"
    ok = {node for node, outcome in outcomes.items() if outcome.ok}
    assert ok <= ran.keys()
    assert {o.reason for o in outcomes.values()} == {"exit", "lost"}
    assert set(outcomes) == ok | ledger.lost
    # Slots, and as many again that were handed out ahead of need.
    assert 1 <= len(ledger.lost) <= 2 * FANOUT
    assert not ledger.alive
    assert ledger.lost_at - hurt_at[0] < 25, "ten seconds, and a machine that is busy"
    again = task.run("echo %h", nodes="n[1-20]", remote=False)
    assert all(outcome.ok for outcome in again.outcomes())
