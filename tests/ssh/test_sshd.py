"""The private server that other tests rest on."""

from __future__ import annotations

import json
import os
import pwd
import resource
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.ssh.conftest import SshServer, call_script
from tests.support import eventually

pytestmark = pytest.mark.needs("ssh", "sshd")


def ssh(config: str, node: str, command: str) -> str:
    done = subprocess.run(
        ["ssh", "-F", config, node, command],
        capture_output=True, text=True, timeout=30, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout.strip()


def test_each_node_has_an_address_of_its_own(ssh_server: SshServer) -> None:
    addresses = {
        ssh(ssh_server.config, node, "echo $SSH_CONNECTION").split()[2]
        for node in ("node1", "node2", "node200")
    }
    assert len(addresses) == 3
    assert all(address.startswith("127.") for address in addresses)


def test_no_start_up_file_is_read(ssh_server: SshServer) -> None:
    assert ssh(ssh_server.config, "node1", "ls -A $HOME") == ""
    assert Path(ssh(ssh_server.config, "node1", "echo $HOME")) == ssh_server.directory / "home"


def test_it_listens_on_loopback_only_and_leaves_nothing(tmp_path: Path) -> None:
    assert call_script("start", tmp_path, "--nodes", "3", "--lifetime", "60").returncode == 0
    status = call_script("status", tmp_path)
    pid = int(status.stdout.split()[-1])
    listening = [c.laddr.ip for c in psutil.Process(pid).net_connections("tcp")]
    assert len(listening) == 3
    assert all(address.startswith("127.") for address in listening)
    config = str(tmp_path / "ssh_config")
    assert ssh(config, "node3", "sleep 100 >/dev/null 2>&1 & echo $!").isdigit()
    family = [process.pid for process in psutil.Process(pid).children(recursive=True)]
    assert family
    assert call_script("stop", tmp_path).returncode == 0
    assert eventually(lambda: not any(psutil.pid_exists(member) for member in [pid, *family]))
    assert call_script("status", tmp_path).returncode == 1


def test_commands_are_run_by_sh_as_they_are(ssh_server: SshServer) -> None:
    printed = ssh(
        ssh_server.config, "node1", "printf '%s|' \"$0\" 'a  b' '$x \"q\"' \"$(echo 1; echo 2)\""
    )
    assert printed == '/bin/sh|a  b|$x "q"|1\n2|'
    assert ssh(ssh_server.config, "node1", "echo ${SSH_ORIGINAL_COMMAND-unset}") == "unset"


def test_on_request_commands_are_run_by_the_user_s_shell(tmp_path: Path) -> None:
    shell = Path(pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh").name
    started = call_script("start", tmp_path, "--nodes", "2", "--lifetime", "60", "--login-shell")
    assert started.returncode == 0, started.stderr
    config = str(tmp_path / "ssh_config")
    # sshd names the shell so in its first argument.
    assert ssh(config, "node2", "echo $0") == shell
    assert Path(ssh(config, "node2", "echo $HOME")) == tmp_path / "home"
    assert call_script("stop", tmp_path).returncode == 0


def test_many_nodes_with_few_descriptors(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        started = call_script("start", tmp_path, "--nodes", "1000", "--lifetime", "60")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert started.returncode == 0, started.stderr
    assert ssh(str(tmp_path / "ssh_config"), "node1000", "echo here") == "here"
    assert call_script("stop", tmp_path).returncode == 0


def test_more_connections_than_it_serves_wait_without_work(tmp_path: Path) -> None:
    assert call_script("start", tmp_path, "--nodes", "2", "--lifetime", "60").returncode == 0
    state = json.loads((tmp_path / "state").read_text())
    server = psutil.Process(state["pid"])
    waiting = [socket.create_connection(("127.100.0.2", state["port"])) for _ in range(260)]
    assert eventually(lambda: len(server.children()) == 256, timeout=30)
    before = sum(server.cpu_times()[:2])
    assert not eventually(lambda: len(server.children()) != 256, timeout=0.5)
    assert sum(server.cpu_times()[:2]) - before < 0.2
    for connection in waiting:
        connection.close()
    assert ssh(str(tmp_path / "ssh_config"), "node2", "echo here") == "here"
    assert call_script("stop", tmp_path).returncode == 0


def test_a_directory_that_others_can_write_to_is_not_trusted(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    victim = subprocess.Popen(["sleep", "60"])
    request.addfinalizer(victim.wait)
    request.addfinalizer(victim.kill)
    started = Path(f"/proc/{victim.pid}/stat").read_text().rpartition(")")[2].split()[19]
    state = {"pid": victim.pid, "start": started, "port": 1, "nodes": 1}
    (tmp_path / "state").write_text(json.dumps(state))
    tmp_path.chmod(0o777)
    assert call_script("status", tmp_path).returncode == 1
    assert call_script("stop", tmp_path).returncode == 0
    assert victim.poll() is None
    refused = call_script("start", tmp_path)
    assert refused.returncode == 1
    assert str(tmp_path) in refused.stderr


def test_a_directory_that_openssh_would_misread_is_refused(tmp_path: Path) -> None:
    refused = call_script("start", tmp_path / "a b")
    assert refused.returncode == 2
    assert "a b" in refused.stderr
    assert not (tmp_path / "a b").exists()


def test_it_ends_by_itself(tmp_path: Path) -> None:
    assert call_script("start", tmp_path, "--nodes", "2", "--lifetime", "3").returncode == 0
    assert eventually(lambda: call_script("status", tmp_path).returncode == 1)
