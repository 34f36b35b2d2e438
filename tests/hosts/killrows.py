"""Kills and stops of each process between a program and its far commands, and the check after each."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import psutil

from mpshell import Task
from mpshell.hosts.launcher import HostsLauncher
from tests.hosts.conftest import Chain, Lag, Ledger, switchboard
from tests.support import eventually

NODES = 80
FANOUT = 8

#: The first commands take longer than a loss may take to be reported; all others are short.
LONG = 14

Hurt = Callable[[Chain], object]


def hurt(name: str, number: int = signal.SIGKILL) -> Hurt:
    """Return an action that sends a signal to a process between the engine and this program."""
    return lambda chain: os.kill(chain.of(name).pid, number)


def hurt_way(number: int, host_of: Callable[[psutil.Process], str]) -> Hurt:
    """Return an action that sends a signal to the program that leads to the host of an engine.

    `host_of` returns the name of an outpost's host, which is an argument of that program.
    """

    def send(chain: Chain) -> None:
        host = host_of(chain.of("outpost"))
        [way] = [p for p in switchboard().children() if host in p.cmdline()]
        os.kill(way.pid, number)

    return send


def hurt_switchboard(number: int) -> Hurt:
    return lambda chain: os.kill(switchboard().pid, number)


#: The faults that exist with any way to the hosts.
EVERYWHERE: dict[str, Hurt] = {
    "engine killed": hurt("engine"),
    "engine stopped": hurt("engine", signal.SIGSTOP),
    "fork server killed": hurt("fork_server"),
    "outpost killed": hurt("outpost"),
    "outpost stopped": hurt("outpost", signal.SIGSTOP),
    "switchboard killed": hurt_switchboard(signal.SIGKILL),
    "switchboard stopped": hurt_switchboard(signal.SIGSTOP),
}


def check(task: Task, ledger: Ledger, launcher: HostsLauncher, fault: Hurt) -> None:
    """Hurt something in the middle of a run: one verdict a node, nothing twice, no lost node alive."""
    task.set_info("launcher", launcher)
    task.set_info("fanout", FANOUT)
    line = f"{ledger.command}; case %n in [0-{FANOUT - 1}]) exec sleep {LONG};; esac; sleep 0.05"
    worker = task.shell(line, nodes=f"n[1-{NODES}]", remote=False, handler=ledger)
    hurt_at: list[float] = []
    lag = Lag()

    def act() -> None:
        if eventually(lambda: len(ledger.lines()) >= FANOUT):
            hurt_at.append(time.monotonic())
            fault(Chain(ledger.lines()[0][1]))

    thread = threading.Thread(target=act)
    thread.start()
    with lag:
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
    # Slots, as many again that were handed out ahead of need, and some while slots move to other engines.
    assert 1 <= len(ledger.lost) <= 4 * FANOUT
    assert not ledger.alive
    assert ledger.lost_at - hurt_at[0] < lag.within(10)
    again = task.run("echo %h", nodes="n[1-20]", remote=False)
    assert all(outcome.ok for outcome in again.outcomes())
