"""The fault table over ssh: each way of not getting there has its own reason, and the others are done."""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpshell import EventHandler, NodeOutcome, Task
from tests.faults.conftest import Observer
from tests.ssh.conftest import SshServer, each_ssh_server
from tests.ssh.servers import running_sshd
from tests.support import commands, eventually
from tests.system.recorder import until

#: All of it with OpenSSH 9 and 10, on both sides.
ssh_server = each_ssh_server


def outcomes(
    task: Task,
    nodes: str,
    command: str = "exit 3",
    observer: Observer | None = None,
    **options: Any,
) -> dict[str, NodeOutcome]:
    observer = observer or Observer()
    worker = task.run(command, nodes=nodes, handler=observer, **options)
    ended = list(worker.outcomes())
    found = {outcome.node: outcome for outcome in ended}
    assert set(found) == set(worker.nodes) and len(ended) == len(found)
    assert observer.hups == {o.node: [o.returncode] for o in ended if not o.timed_out}
    assert observer.closes == [any(outcome.timed_out for outcome in ended)]
    return found


def write_config(path: Path, server: SshServer, text: str) -> str:
    """Return ssh options with `text` in front of the server's configuration."""
    config = path / "config"
    config.write_text(text + Path(server.config).read_text())
    return f"-F {config}"


@contextmanager
def dead_end(accepts: bool) -> Iterator[int]:
    """Give a port that swallows connections, or that closes them before any data."""
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
        # A full queue: the kernel drops further connections, as a blackhole does.
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
        # The others have to get in within that time.
        ssh_task.set_info("connect_timeout", 10)
        found = outcomes(ssh_task, f"dead,{GOOD}")
    assert (found["dead"].reason, found["dead"].returncode) == ("unreachable", 255)
    check_good(ssh_task, found)


@contextmanager
def full_sshd(server: SshServer, path: Path) -> Iterator[int]:
    """Give the port of a real sshd that has as many log-ins under way as it takes (MaxStartups): one."""
    keys = f"AuthorizedKeysFile {server.directory}/authorized_keys\n"
    text = f"{keys}MaxStartups 1\nLoginGraceTime 120\n"
    with socket.socket() as holder:

        def holds(port: int) -> bool:
            return holder.connect_ex(("127.0.0.1", port)) == 0

        with running_sshd(server, path, text, ready=holds) as port:
            assert holder.recv(100).startswith(b"SSH-2.0")
            yield port


def test_dropped_by_max_startups(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    with full_sshd(ssh_server, tmp_path) as port:
        text = f"Host full*\n  HostName 127.0.0.1\n  Port {port}\n"
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        ssh_task.set_info("connect_timeout", 10)  # for all tries together
        found = outcomes(ssh_task, f"full[1-9],{GOOD}")
    for n in range(1, 10):
        dropped = found[f"full{n}"]
        assert (dropped.reason, dropped.returncode) == ("unreachable", 255)
        assert dropped.detail
    check_good(ssh_task, found)


def field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


@contextmanager
def refusing_agent(path: Path, public_key: str) -> Iterator[Path]:
    """Give the socket of an agent that has a key and signs nothing, as one under too much load does."""
    blob = base64.b64decode(public_key.split()[1])
    answers = {11: b"\x0c" + (1).to_bytes(4, "big") + field(blob) + field(b"key")}

    class Agent(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.read(4):
                request = self.rfile.read(int.from_bytes(head, "big"))
                self.wfile.write(field(answers.get(request[0], b"\x05")))

    with socketserver.ThreadingUnixStreamServer(str(path), Agent) as agent:
        thread = threading.Thread(target=agent.serve_forever)
        thread.start()
        yield path
        agent.shutdown()
        thread.join()


def test_an_agent_that_refuses(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    public_key = (ssh_server.directory / "user_key.pub").read_text()
    (tmp_path / "key.pub").write_text(public_key)
    with refusing_agent(tmp_path / "agent", public_key) as agent:
        # Key files add up, so node9 must not see the one that all have.
        key = f"  IdentityFile {ssh_server.directory}/user_key\n"
        text = f"Host node9\n  IdentityAgent {agent}\n  IdentityFile {tmp_path}/key.pub\nHost * !node9\n{key}"
        options = write_config(tmp_path, ssh_server, text)
        config = tmp_path / "config"
        config.write_text(text + config.read_text().removeprefix(text).replace(key.lstrip(), "", 1))
        ssh_task.set_info("ssh_options", options)
        found = outcomes(ssh_task, f"node9,{GOOD}")
    assert (found["node9"].reason, found["node9"].returncode) == ("auth", 255)
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


def test_cut_in_the_middle(ssh_task: Task, tmp_path: Path) -> None:
    class Reader(Observer):
        def ev_read(self, *args: object) -> None:
            (tmp_path / "received").touch()

    cut = (
        'case "$SSH_CONNECTION" in *" 127.100.0.6 "*)'
        f" echo begun; {until(tmp_path / 'received')}; kill -9 $PPID; sleep 9;; esac; exit 3"
    )
    found = outcomes(ssh_task, f"node5,{GOOD}", cut, Reader())
    assert (found["node5"].reason, found["node5"].returncode) == ("lost", 255)
    assert (ssh_task.node_buffer("node5") or b"").startswith(b"begun")
    check_good(ssh_task, found)


def test_the_command_s_own_255_is_an_exit(ssh_task: Task) -> None:
    found = outcomes(ssh_task, "node1", "exit 255")
    assert (found["node1"].reason, found["node1"].returncode) == ("exit", 255)


def test_timeouts_and_signals_are_told_apart(ssh_task: Task, transport: str) -> None:
    found = outcomes(ssh_task, "node1", "sleep 60", timeout=1)
    assert (found["node1"].reason, found["node1"].timed_out) == ("timeout", True)
    assert found["node1"].returncode is None
    assert found["node1"].duration >= 1

    def kill(handler: object, timer: object) -> None:
        """Kill the ssh(1) on this machine; of a remote command it makes a 255, and `asyncssh` a signal."""
        found: list[psutil.Process] = []

        def runs() -> bool:
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if child.cmdline()[-1:] == ["sleep 61"] and child.name() != "sh":
                        found.append(child)
            return bool(found)

        assert eventually(runs)
        found[0].kill()

    command = "kill -9 $$"
    if transport == "ssh":
        command = "sleep 61"
        ssh_task.timer(1, handler=type("H", (EventHandler,), {"ev_timer": kill})())
    found = outcomes(ssh_task, "node1", command)
    assert (found["node1"].reason, found["node1"].signal) == ("signal", 9)
    assert found["node1"].returncode == 137


def test_a_success_is_ok(ssh_task: Task) -> None:
    [outcome] = outcomes(ssh_task, "node1", "true").values()
    assert outcome.ok
    assert outcome.started_at is not None
    assert list(ssh_task.outcomes()) == [outcome]


@pytest.mark.parametrize("transport", ["ssh"], indirect=True)  # the other one makes no masters
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
            [ssh_server.programs.ssh, *options.split(), "-O", "exit", "node1"],
            capture_output=True,
            check=False,
        )
    # The master answers before it ends.
    assert eventually(lambda: not [line for line in commands() if "ControlPersist" in line])
