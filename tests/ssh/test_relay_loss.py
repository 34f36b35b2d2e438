"""Relay copies whose engine is lost, of several sources at once, and over ssh(1) in place of the library."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest

from mpshell import Task
from mpshell.worker.copy import Copy
from mpshell.worker.relay import feed
from tests.faults.conftest import engines
from tests.ssh.conftest import SshServer
from tests.ssh.relayhomes import NODES, Homes, Sources
from tests.ssh.test_asyncssh_hosts import QUANTUM_SAFE, USUAL
from tests.ssh.test_ssh_faults import write_config
from tests.trees import check_all_or_nothing


@pytest.mark.parametrize("names", [["large"], ["tree"], ["large", "tree"]], ids="+".join)
@pytest.mark.parametrize("way", ["ssh", "sshd"])
def test_a_lost_engine_leaves_nothing(
    way: str, names: list[str], relay_task: Task, homes: Homes, large: Path, tree: Path
) -> None:
    killed: list[int] = []

    def kill(worker: Any) -> None:
        if not killed:
            assert homes.left()
            killed.append(engines()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    workers = {
        name: relay_task.copy(
            large.parent / name, f"~/{name}-there", NODES, handler=Sources(kill), relay=way
        )
        for name in names
    }
    relay_task.resume()
    assert killed
    for name, worker in workers.items():
        found = {outcome.node: outcome for outcome in worker.outcomes()}
        assert set(found) == set(homes.of)
        for node, outcome in found.items():
            assert outcome.ok or outcome.reason == "lost" or outcome.detail
            check_all_or_nothing(
                homes.of[node] / f"{name}-there", large.parent / name, arrived=outcome.ok
            )
    homes.check_clean()


@pytest.mark.parametrize("way", ["ssh", "sshd"])
def test_several_sources_at_once(
    way: str, relay_task: Task, homes: Homes, large: Path, tree: Path
) -> None:
    """A file, a tree and a small file that goes flat; one node has no place for the tree, but for the files."""
    relay_task.set_info("relay_least", 4_000_000)
    (large.parent / "small").write_text("small")
    (homes.of["node3"] / "tree-there").write_text("in the way")
    handlers = {name: Sources() for name in ("large", "tree", "small")}
    workers = {
        name: relay_task.copy(
            large.parent / name, f"~/{name}-there", NODES, handler=handler, relay=way
        )
        for name, handler in handlers.items()
    }
    relay_task.resume()
    for name, worker in workers.items():
        failed = {outcome.node: outcome for outcome in worker.outcomes() if not outcome.ok}
        assert list(failed) == (["node3"] if name == "tree" else []), failed
        for node, home in homes.of.items():
            if node not in failed:
                check_all_or_nothing(home / f"{name}-there", large.parent / name, arrived=True)
    assert (homes.of["node3"] / "tree-there").read_text() == "in the way"
    from_head = [[where for _, where in handler.seen].count(None) for handler in handlers.values()]
    assert from_head[2] == 0 and all(from_head[:2])
    homes.check_clean()


#: Logs each send of the head, of which the first one fails; everything else is ssh(1).
FIRST_SEND_FAILS = """#!/bin/sh
case "$*" in *"$(cat {place}/send)"*)
    echo >>{place}/sends
    [ "$(wc -l <{place}/sends)" -gt 1 ] || {{ echo "ssh: no luck" >&2; exit 255; }} ;;
esac
exec {ssh} "$@"
"""


@pytest.mark.parametrize("transport", ["asyncssh"], indirect=True)
@pytest.mark.parametrize(
    ("config", "kex", "reason"),
    [
        ("RevokedHostKeys /dev/null", "prefer", "RevokedHostKeys /dev/null"),
        # The server's list of algorithms decides, when a connection has begun.
        (
            f"KexAlgorithms {QUANTUM_SAFE},{USUAL}",
            "require",
            f"{QUANTUM_SAFE} is needed, and AsyncSSH has only {USUAL}",
        ),
    ],
    ids=["configuration", "algorithm"],
)
def test_the_head_sends_by_ssh_where_its_engines_cannot_connect(
    config: str, kex: str, reason: str, relay_task: Task, ssh_server: SshServer, homes: Homes,
    large: Path, tmp_path: Path,
) -> None:  # fmt: skip
    """As the control connections; a send that fails is made again, and each node is counted once."""
    options = write_config(tmp_path, ssh_server, f"Host node*\n  {config}\n")
    relay_task.set_info("ssh_options", options)
    relay_task.set_info("ssh_kex", kex)
    (tmp_path / "send").write_text(feed(Copy("", "", False, False, True, False), "", 0, 0)[:500])
    program = tmp_path / "ssh"
    program.write_text(FIRST_SEND_FAILS.format(place=tmp_path, ssh=ssh_server.programs.ssh))
    program.chmod(0o755)
    relay_task.set_info("ssh_path", str(program))
    worker = relay_task.copy(large, "~/target", NODES, relay=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        relay_task.resume()
    assert [str(warning.message) for warning in caught] == [
        f"6 nodes over ssh(1) in place of asyncssh: {reason}"
    ]
    assert [outcome for outcome in worker.outcomes() if not outcome.ok] == []
    for home in homes.of.values():
        assert (home / "target").read_bytes() == large.read_bytes()
    assert (tmp_path / "sends").read_text().count("\n") >= 2
    homes.check_clean()
