"""A link to a host is cut, both ways and each way alone, for good and for a while."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from mpshell import Task
from mpshell.hosts import lease
from tests.engine.conftest import alive
from tests.hosts.conftest import Lag, Ledger
from tests.hosts.namespaces import Link, link_to_a_gateway
from tests.ssh.conftest import SshServer, ssh_server
from tests.support import eventually

__all__ = ["ssh_server"]

pytestmark = pytest.mark.needs("root", "ip")

FANOUT = 4


@pytest.fixture
def link(ssh_server: SshServer) -> Iterator[Link]:
    with link_to_a_gateway(ssh_server) as link:
        yield link


def run_with_a_cut(
    task: Task, ledger: Ledger, link: Link, ways: tuple[str, ...], seconds: float, length: int
) -> tuple[list[str], float]:
    """Cut a link for a while in the middle of a run; return the reasons and when the first loss came."""
    task.set_info("launcher", link.launcher())
    task.set_info("fanout", FANOUT)
    worker = task.shell(
        f"{ledger.command}; exec sleep {length}",
        nodes=f"n[1-{FANOUT}]",
        remote=False,
        handler=ledger,
    )
    cut_at: list[float] = []
    lag = Lag()

    def cut() -> None:
        if eventually(lambda: len(ledger.lines()) == FANOUT):
            cut_at.append(time.monotonic())
            link.cut(ways)
            threading.Event().wait(seconds)
            link.heal()

    thread = threading.Thread(target=cut)
    thread.start()
    with lag:
        task.resume()
    thread.join()
    assert max(Counter(node for node, _, _ in ledger.lines()).values()) == 1
    assert not ledger.alive
    after = ledger.lost_at - cut_at[0]
    assert after < lag.within(10)
    return [outcome.reason for outcome in worker.outcomes()], after


@pytest.mark.parametrize("ways", [("up", "down"), ("up",), ("down",)], ids="-".join)
def test_a_host_that_is_cut_off_is_lost_after_its_commands_are_gone(
    ways: tuple[str, ...], task: Task, ledger: Ledger, link: Link
) -> None:
    reasons, after = run_with_a_cut(task, ledger, link, ways, 14, 30)
    assert reasons == ["lost"] * FANOUT
    assert after > lease.LEASE - lease.BEAT
    assert not any(alive(pid) for _, _, pid in ledger.lines())


def test_a_cut_that_heals_in_time_costs_nothing(task: Task, ledger: Ledger, link: Link) -> None:
    reasons, _ = run_with_a_cut(task, ledger, link, ("up", "down"), 2.5, 5)
    assert reasons == ["exit"] * FANOUT


def test_a_cut_that_heals_after_the_lease_makes_the_loss_certain(
    task: Task, ledger: Ledger, link: Link
) -> None:
    """The outpost has ended the commands, and reports it: each loss is reported with the end of its engine."""
    reasons, _ = run_with_a_cut(task, ledger, link, ("up", "down"), 6.5, 30)
    assert reasons == ["lost"] * FANOUT
    assert not any(alive(pid) for _, _, pid in ledger.lines())
    again = task.run("echo %h", nodes="n1", remote=False)
    assert again.node_buffer("n1") == b"n1"
