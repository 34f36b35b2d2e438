"""Servers that break the protocol after the login end their own node, once, and never an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpshell import Task
from tests.faults.test_data import MB, peak_memory
from tests.ssh.conftest import SshServer
from tests.ssh.hostile import BANNERS, WAYS, hostile_server
from tests.ssh.test_asyncssh_cuts import FAILED
from tests.ssh.test_ssh_faults import write_config

pytestmark = [
    pytest.mark.needs("ssh", "sshd"),
    #: What OpenSSH's client makes of it is OpenSSH's.
    pytest.mark.parametrize("transport", ["asyncssh"], indirect=True),
]

#: After these the command has ended with success by the server's own word: RFC 4254 allows them, or has a
#: client answer or ignore them.
HARMLESS = {"channels_to_the_client", "global_requests", "chatter"}


def test_any_message_ends_one_node(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    """All ways at once in one engine, beside nodes that are as they should be."""
    with hostile_server() as port:
        text = "".join(
            f"Host {way}\n  HostName 127.0.0.1\n  Port {port}\n  User {way}\n"
            "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel INFO\n"
            for way in (*WAYS, *BANNERS)
        )
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        ssh_task.set_info("engines", 1)
        ssh_task.set_info("fanout", 32)
        with peak_memory() as growth:
            worker = ssh_task.run("echo here", nodes=[*WAYS, *BANNERS, "node[1-4]"], timeout=15)
    ended = list(worker.outcomes())
    found = {outcome.node: outcome for outcome in ended}
    assert len(ended) == len(found) == len(WAYS) + len(BANNERS) + 4
    assert len({outcome.engine for outcome in ended}) == 1
    assert all(found[f"node{number}"].ok for number in range(1, 5))
    for way in (*HARMLESS, BANNERS[0]):
        assert found[way].ok and (worker.node_buffer(way) or b"").endswith(b"here"), way
    assert len(worker.node_buffer(BANNERS[0]) or b"") > 20 * 100_000
    # A login has no limit of its own, as with ssh(1).
    assert found[BANNERS[1]].reason == "timeout"
    # Success needs the server's report that the command has ended so.
    for way in ("no_status", "short_status", "disconnect", "key_exchange_of_garbage"):
        assert found[way].reason in FAILED, (way, found[way])
    for way in ("signal_unknown", "signal_no_text", "large_status"):
        assert not found[way].ok, (way, found[way])
    assert {outcome.reason for outcome in ended} <= FAILED | {"exit", "signal", "timeout"}
    assert growth[0] < 200 * MB
    assert ssh_task.run("exit 4", nodes="node2").node_retcode("node2") == 4
