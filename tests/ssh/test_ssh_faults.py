"""The fault table over ssh: each way of not getting there is told apart, and the others are done."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mpshell import EventHandler, NodeOutcome, Task
from tests.ssh.conftest import SshServer


def outcomes(
    task: Task, nodes: str, command: str = "exit 3", **options: object
) -> dict[str, NodeOutcome]:
    worker = task.run(command, nodes=nodes, **options)
    found = {outcome.node: outcome for outcome in worker.outcomes()}
    assert set(found) == set(worker.nodes)
    return found


def write_config(path: Path, server: SshServer, text: str) -> str:
    """Return ssh options with `text` in front of the server's configuration."""
    config = path / "config"
    config.write_text(text + Path(server.config).read_text())
    return f"-F {config}"


@contextmanager
def dead_end(accepts: bool) -> Iterator[int]:
    """Give a port that swallows connections, or that closes them before a word is said."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=16 if accepts else 0)
    port = listener.getsockname()[1]
    fillers = []

    def close_all() -> None:
        while True:
            try:
                listener.accept()[0].close()
            except OSError:
                return

    thread = threading.Thread(target=close_all)
    if accepts:
        thread.start()
    else:
        # A full queue: the kernel drops what comes next, as a blackhole does.
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
    try:
        yield port
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for filler in fillers:
            filler.close()
        if accepts:
            thread.join()


GOOD = "node[1-3]"


def check_good(task: Task, found: dict[str, NodeOutcome]) -> None:
    """The others are done, and the next job of the same Task is an ordinary one."""
    for node in ("node1", "node2", "node3"):
        assert (found[node].reason, found[node].returncode) == ("exit", 3)
        assert not found[node].ok
    assert task.run("exit 4", nodes="node2").node_retcode("node2") == 4


def test_unknown_and_refused(ssh_task: Task) -> None:
    found = outcomes(ssh_task, f"{GOOD},no-such-host.invalid,127.0.0.1")
    for node in ("no-such-host.invalid", "127.0.0.1"):
        assert (found[node].reason, found[node].returncode) == ("unreachable", 255)
        assert found[node].detail
    check_good(ssh_task, found)


@pytest.mark.parametrize("accepts", [True, False], ids=["dropped before the banner", "blackhole"])
def test_dead_ends(accepts: bool, ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    with dead_end(accepts) as port:
        text = f"Host dead\n  HostName 127.0.0.1\n  Port {port}\n"
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        ssh_task.set_info("connect_timeout", 2)
        found = outcomes(ssh_task, f"dead,{GOOD}")
    assert (found["dead"].reason, found["dead"].returncode) == ("unreachable", 255)
    check_good(ssh_task, found)


def test_a_wrong_host_key(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "other"], cwd=tmp_path, check=True
    )
    key = (tmp_path / "other.pub").read_text()
    (tmp_path / "hosts").write_text(f"mpshell-node {key}")
    text = f"Host node9\n  UserKnownHostsFile {tmp_path}/hosts\n"
    ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
    found = outcomes(ssh_task, f"node9,{GOOD}")
    assert (found["node9"].reason, found["node9"].returncode) == ("hostkey", 255)
    check_good(ssh_task, found)


def test_no_permission(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    text = "Host node9\n  User nobody\n"
    ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
    found = outcomes(ssh_task, f"node9,{GOOD}")
    assert (found["node9"].reason, found["node9"].returncode) == ("auth", 255)
    check_good(ssh_task, found)


def test_cut_in_the_middle(ssh_task: Task) -> None:
    cut = (
        'case "$SSH_CONNECTION" in *" 127.100.0.6 "*)'
        " echo begun; sleep 0.5; kill -9 $PPID; sleep 9;; esac; exit 3"
    )
    found = outcomes(ssh_task, f"node5,{GOOD}", cut)
    assert (found["node5"].reason, found["node5"].returncode) == ("lost", 255)
    assert (ssh_task.node_buffer("node5") or b"").startswith(b"begun")
    check_good(ssh_task, found)


def test_the_command_s_own_255_is_an_exit(ssh_task: Task) -> None:
    found = outcomes(ssh_task, "node1", "exit 255")
    assert (found["node1"].reason, found["node1"].returncode) == ("exit", 255)


def test_timeouts_and_signals_are_told_apart(ssh_task: Task) -> None:
    found = outcomes(ssh_task, "node1", "sleep 60", timeout=1)
    assert (found["node1"].reason, found["node1"].timed_out) == ("timeout", True)
    assert found["node1"].returncode is None
    assert found["node1"].duration >= 1

    def kill(handler: object, timer: object) -> None:
        """Of the client on this machine; a signal of the remote command is a 255 of ssh's."""
        [client] = [
            child
            for child in psutil.Process().children(recursive=True)
            if child.name() == "ssh" and "sleep 61" in child.cmdline()
        ]
        client.kill()

    ssh_task.timer(1, handler=type("H", (EventHandler,), {"ev_timer": kill})())
    found = outcomes(ssh_task, "node1", "sleep 61")
    assert (found["node1"].reason, found["node1"].signal) == ("signal", 9)
    assert found["node1"].returncode == 137


def test_a_success_is_ok(ssh_task: Task) -> None:
    [outcome] = outcomes(ssh_task, "node1", "true").values()
    assert outcome.ok
    assert outcome.started_at is not None
    assert list(ssh_task.outcomes()) == [outcome]


def test_a_master_that_stays_holds_up_nothing(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """ControlPersist leaves a background ssh that keeps stderr open."""
    options = (
        f"-F {tmp_path}/config -oControlMaster=auto -oControlPersist=60 -oControlPath={tmp_path}/m"
    )
    config = Path(server_config := ssh_server.config).read_text()
    assert server_config
    text = "\n".join(line for line in config.splitlines() if "Control" not in line)
    (tmp_path / "config").write_text(text)
    ssh_task.set_info("ssh_options", options)
    ssh_task.set_info("drain", 0.5)
    try:
        began = time.monotonic()
        worker = ssh_task.run("echo out", nodes="node1", stderr=True)
        assert time.monotonic() - began < 40, "the master would stay for a minute"
        assert worker.read("node1") == b"out"
        assert worker.node_retcode("node1") == 0
        assert (tmp_path / "m").exists()
    finally:
        subprocess.run(
            ["ssh", *options.split(), "-O", "exit", "node1"], capture_output=True, check=False
        )
    for child in psutil.Process().children(recursive=True):
        assert "ControlPersist" not in " ".join(child.cmdline()) or child.pid == os.getpid()
