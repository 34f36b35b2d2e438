"""The scripts of relay copies between nodes of a real sshd: their own logins, and an sshd of each node."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mpshell.worker import relay
from tests.relays import SOON, Head, Node, SshPlace
from tests.ssh.conftest import SshServer
from tests.support import eventually, paths_below

SIZE = 3_000_001
WAYS = [relay.SSH, relay.SSHD]


@pytest.fixture
def place(ssh_server: SshServer) -> Iterator[SshPlace]:
    names = {f"node{number}": "" for number in range(1, 10)}
    addresses = {name: ssh_server.address(name)[0] for name in names}
    place = SshPlace(ssh_server.directory, addresses, ssh_server.config)
    yield place
    for head in place.heads:
        head.abandon()
    # The server is shared with other tests; their nodes have one home.
    shutil.rmtree(ssh_server.directory / "homes")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(SIZE))
    return path


def halfway(head: Head) -> list[Node]:
    """Start a line of three nodes, of which the last has half of the file."""
    _, nodes = head.line("node1", "node2", "node3", until=SIZE // 2)
    return nodes


@pytest.mark.parametrize("way", WAYS)
def test_a_line_of_nodes(way: str, place: SshPlace, source: Path) -> None:
    head = Head(place, source, way=way)
    nodes = halfway(head)
    head.feeds[0].write(head.data[SIZE // 2 :])
    head.feeds[0].end()
    for node in nodes:
        node.wait("done")
    # In the way sshd a node serves others until the head ends it; in the other its target is served.
    [late] = head.ready("node4")
    late.pull(nodes[1], "done")
    late.wait("done")
    nodes.append(late)
    assert [node.end() for node in nodes] == [0] * 4
    assert all(head.target(node).read_bytes() == head.data for node in nodes)
    head.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["end", "client", "receive"])
def test_the_end_of_a_control_connection_leaves_nothing(
    how: str, way: str, place: SshPlace, source: Path
) -> None:
    """Neither a part nor a process, SERVE and sshd included: the head's input ends, or its ssh is killed."""
    head = Head(place, source, way=way)
    nodes = halfway(head)
    for node in nodes:
        assert node.process.stdin is not None
        if how == "end":
            node.process.stdin.close()
        elif how == "client":
            node.process.kill()
        else:
            for pid in receivers(head, node):
                os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not place.processes(), SOON), place.processes()
    assert not paths_below(place.directory / "homes", ".mpshell-*")
    head.close()


def receivers(head: Head, node: Node) -> list[int]:
    """Return the shell that receives for a node: the parent of all that runs in its directory."""
    directory = str(head.part(node).parent)
    found = {}
    for process in psutil.process_iter():
        try:
            if process.cwd() == directory:
                found[process.pid] = process.ppid()
        except (psutil.Error, OSError):
            continue
    return [pid for pid, parent in found.items() if parent not in found]


@pytest.mark.parametrize("way", WAYS)
def test_a_parent_that_is_killed_in_the_middle(way: str, place: SshPlace, source: Path) -> None:
    head = Head(place, source, way=way)
    one, two, three = halfway(head)
    for pid in receivers(head, two):
        os.kill(pid, signal.SIGKILL)
    need = three.wait("need", 1)
    assert int(need[0]) >= SIZE // 2 - 30_000 and need[1] == "cut"
    head.pull(three, one)
    head.feeds[0].write(head.data[SIZE // 2 :])
    head.feeds[0].end()
    head.check_done(one, three)
    head.close()


def test_a_login_that_is_refused(
    place: SshPlace, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True
    )
    head = Head(place, source)
    config = Path(place.ssh[2]).read_text()
    other = tmp_path / "config"
    other.write_text(config.replace(f"{place.directory}/user_key", str(tmp_path / "key")))
    pulls = ["ssh", "-F", str(other)]
    one = head.ready("node1")[0]
    with monkeypatch.context() as changed:
        changed.setattr(type(place), "pulls", property(lambda self: pulls))
        [two] = head.ready("node2")
    two.pull(one)
    need = two.wait("need", 1)
    assert need[:2] == ["0", "login"] and "Permission denied" in " ".join(need)
    head.close()


def test_an_sshd_of_a_run_serves_its_file_and_nothing_else(
    place: SshPlace, source: Path, tmp_path: Path
) -> None:
    """Another key is refused; another command than the serving of this file is not run."""
    head = Head(place, source, way=relay.SSHD)
    [one] = head.ready("node1")
    head.feed_rest(one).end()
    one.wait("done")
    user = pwd.getpwuid(os.getuid()).pw_name
    key, private = tmp_path / "run", head.keys[1].split()[2]
    key.write_text(
        "-----BEGIN OPENSSH PRIVATE KEY-----\n"
        f"{private}\n-----END OPENSSH PRIVATE KEY-----\n"
    )  # fmt: skip
    key.chmod(0o600)
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)

    def call(identity: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["ssh", "-F", "none", "-p", one.port, "-i", str(identity), "-oIdentitiesOnly=yes",
             "-oBatchMode=yes", "-oIdentityAgent=none", "-oStrictHostKeyChecking=no",
             "-oUserKnownHostsFile=/dev/null",
             f"{user}@{place.addresses['node1']}", *words],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    refused = call(other, "part", "1", str(SIZE))
    assert refused.returncode == 255 and b"Permission denied" in refused.stderr
    made = tmp_path / "made"
    for words in (["touch", str(made)], ["part", "1", f"$(touch {made})"], [f"part;touch {made}"]):
        begin = b"mpshell begin\n"
        assert call(key, *words).stdout in (b"", begin, begin + head.data)
    assert not made.exists()
    one.end()
    # It has ended with the control connection.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((place.addresses["node1"], int(one.port)), 5)
    head.close()


def free_pair() -> int:
    """Return the first of two free ports, below those that the kernel gives to other tests (ip(7))."""
    for low in random.sample(range(20_000, 32_000, 2), 100):
        try:
            with socket.create_server(("", low)), socket.create_server(("", low + 1)):
                return low
        except OSError:
            continue
    raise AssertionError("no two ports are free")


def test_ports_are_those_that_are_asked_for(place: SshPlace, source: Path) -> None:
    """Each node takes the next free port; where none is free, it reports that."""
    low = free_pair()
    with socket.create_server(("", low + 1)):
        port = low + 1
        head = Head(place, source, way=relay.SSHD, ports=f"{low}-{port}")
        [one] = head.ready("node1")
        assert int(one.port) == low
        two = head.start("node2")
        assert " ".join(two.wait("fail")).startswith("sshd cannot be started: ")
        assert two.over() == 1
        one.end()
        head.nodes.remove(two)
        head.close()
