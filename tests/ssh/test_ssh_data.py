"""Much data over ssh, with both transports: floods, slow readers, long lines, new keys in the middle.

The promises are those of tests/faults/test_data.py, which local commands test with more data. The bounds
here are those of windows and buffers, and all of them are full after a few megabytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mpshell import EventHandler, Task
from tests.faults.test_data import MB, Counter, peak_memory
from tests.ssh.conftest import SshServer
from tests.ssh.servers import another_sshd
from tests.ssh.test_ssh_faults import write_config

pytestmark = [pytest.mark.needs("ssh", "sshd"), pytest.mark.timeout(400)]

#: Of each of 16 nodes; the whole 200 MB take minutes, most of them for the encryption.
FLOOD = int(os.environ.get("MPSHELL_TEST_FLOOD", "40000000"))


def test_a_flood_with_a_slow_handler_stays_small(ssh_task: Task) -> None:
    """Measured with the engines: unread data waits in the windows of the channels."""
    ssh_task.set_default("stdout_msgtree", False)
    counter = Counter(16 * FLOOD)
    with peak_memory() as growth:
        command = f"yes {'x' * 9999} | head -c {FLOOD}"
        worker = ssh_task.run(command, nodes="node[1-16]", handler=counter)
    assert [outcome.ok for outcome in worker.outcomes()] == [True] * 16
    assert counter.bytes == 16 * FLOOD
    # Once a sixth of the data was kept, a window more by each pause: this bound is below that.
    assert growth[0] < 100 * MB


def test_a_flood_that_nobody_wants_takes_no_memory(ssh_task: Task) -> None:
    ssh_task.set_default("stdout_msgtree", False)
    with peak_memory() as growth:
        worker = ssh_task.run("head -c 20000000 /dev/zero", nodes="node[1-8]")
    assert [outcome.ok for outcome in worker.outcomes()] == [True] * 8
    assert growth[0] < 100 * MB


def test_one_long_line(ssh_task: Task) -> None:
    got: list[bytes] = []

    class Reader(EventHandler):
        def ev_read(self, worker: object, node: str, sname: str, msg: bytes) -> None:
            got.append(msg)

    ssh_task.set_default("stdout_msgtree", False)
    with peak_memory() as growth:
        ssh_task.run(f"head -c {64 * MB} /dev/zero | tr '\\0' y", nodes="node1", handler=Reader())
    assert [len(line) for line in got] == [64 * MB]
    assert got[0] == b"y" * (64 * MB)
    assert growth[0] < 300 * MB


#: A node is recognized by its address: the second one is node1's.
BY_NODE = (
    'case "$SSH_CONNECTION" in *" 127.100.0.2 "*) exit 5;; *" 127.100.0.3 "*) head -c 100 | wc -c;;'
    ' *" 127.100.0.4 "*) {{ {slow}; }} | sha256sum;; *) wc -c;; esac'
)


def test_much_for_nodes_that_do_not_read(ssh_task: Task) -> None:
    """64 MiB for one that ends, one that reads a little, one that reads late and slowly, and others."""
    data = os.urandom(64 * MB)
    slow = "i=0; while [ $i -lt 10 ]; do head -c 100000; i=$((i+1)); sleep 0.05; done; sleep 1; cat"
    worker = ssh_task.shell(BY_NODE.format(slow=slow), nodes="node[1-5]")
    with peak_memory() as growth:
        worker.write(data)
        worker.set_write_eof()
        ssh_task.resume()
    assert dict(worker.iter_node_retcodes()) == {"node1": 5, **{f"node{n}": 0 for n in range(2, 6)}}
    assert worker.node_buffer("node2") == b"100"
    assert worker.node_buffer("node3") == b"%s  -" % hashlib.sha256(data).hexdigest().encode()
    assert {worker.node_buffer(f"node{n}") for n in (4, 5)} == {b"%d" % len(data)}
    # One copy here, one in each of two engines, and the data on its way.
    assert growth[0] < 4 * 64 * MB + 100 * MB


def test_both_directions_full_at_once(ssh_task: Task) -> None:
    text = b"".join(b"%0100d\n" % number for number in range(50_000))
    workers = [ssh_task.shell("cat", nodes=nodes) for nodes in ("node[1-3]", "node[4-6]")]
    for worker in workers:
        worker.write(text)
        worker.set_write_eof()
    ssh_task.resume()
    for worker in workers:
        assert [(bytes(body), len(nodes)) for body, nodes in worker.iter_buffers()] == [
            (text[:-1], 3)
        ]


class Digest(EventHandler):
    """Counts and digests the lines that it reads."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.lines = 0

    def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
        self.lines += 1
        self.digest.update(msg + b"\n")


@contextmanager
def new_keys(side: str, server: SshServer, path: Path) -> Iterator[str]:
    """Give options with which one side exchanges keys anew each megabyte (RFC 4253, 9)."""
    if side == "the client":
        yield write_config(path, server, "RekeyLimit 1M\n")
    else:
        with another_sshd(server, path, "RekeyLimit 1M\n") as port:
            text = f"Host node*\n  HostName 127.0.0.1\n  Port {port}\n"
            yield write_config(path, server, text)


@pytest.mark.parametrize("side", ["the client", "the server"])
def test_new_keys_in_the_middle(
    side: str, ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """Of much output, of much input, and of both at once."""
    text = b"".join(b"%0100d\n" % number for number in range(60_000))
    digest = hashlib.sha256(text).hexdigest().encode()
    with new_keys(side, ssh_server, tmp_path) as options:
        ssh_task.set_info("ssh_options", options)
        received = Digest()
        out = ssh_task.shell("seq -f '%0100.0f' 0 59999", nodes="node1", handler=received)
        there = ssh_task.shell("sha256sum", nodes="node2")
        both = ssh_task.shell("cat", nodes="node3")
        for worker in (there, both):
            worker.write(text)
            worker.set_write_eof()
        ssh_task.resume()
    assert [o.ok for worker in (out, there, both) for o in worker.outcomes()] == [True] * 3
    assert received.lines == 60_000 and received.digest.hexdigest().encode() == digest
    assert (there.node_buffer("node2") or b"").split()[0] == digest
    assert both.node_buffer("node3") == text[:-1]


@pytest.mark.parametrize("transport", ["ssh"], indirect=True)
def test_both_transports_have_the_same_results_on_200_nodes(ssh_task: Task) -> None:
    """Outputs, return codes and reasons, node by node."""
    command = "set -- $SSH_CONNECTION; echo $3; echo error of $3 >&2; exit $((${3##*.} % 7))"
    found = []
    for name in ("ssh", "asyncssh"):
        ssh_task.set_default("distant_workername", name)
        worker = ssh_task.run(command, nodes="node[1-200]", stderr=True)
        found.append(
            {
                outcome.node: (
                    outcome.reason,
                    outcome.returncode,
                    worker.node_buffer(outcome.node),
                    worker.node_error(outcome.node),
                )
                for outcome in worker.outcomes()
            }
        )
    assert len(found[0]) == 200 and found[0] == found[1]
    assert len({output for _, _, output, _ in found[0].values()}) == 200
