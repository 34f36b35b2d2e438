"""Nodes that are IPv6 addresses, over a real connection to ::1."""

from __future__ import annotations

import filecmp
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpshell import Task
from tests.cli.program import mpshell
from tests.ssh.conftest import SshServer
from tests.ssh.test_copies import BOTH, codes, make_tree, same_tree


@pytest.fixture
def options(ssh_server: SshServer, tmp_path: Path) -> Iterator[str]:
    """Give options of ssh with which the server of the tests answers on ::1, too."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    assert sshd is not None
    listener = socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=64)
    servers: list[subprocess.Popen[bytes]] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                servers.append(
                    subprocess.Popen(
                        [sshd, "-i", "-f", str(ssh_server.directory / "sshd_config")],
                        stdin=connection.fileno(),
                        stdout=connection.fileno(),
                        stderr=subprocess.DEVNULL,
                    )
                )

    thread = threading.Thread(target=accept)
    thread.start()
    config = tmp_path / "config"
    port = listener.getsockname()[1]
    config.write_text(f"Host ::1\n  Port {port}\n" + Path(ssh_server.config).read_text())
    yield f"-F {config}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for server in servers:
        server.wait(30)


def test_a_command(ssh_task: Task, options: str) -> None:
    ssh_task.set_info("ssh_options", options)
    worker = ssh_task.shell("echo $SSH_CONNECTION; cat; exit 3", nodes="::1,node1")
    worker.write(b"input\n")
    worker.set_write_eof()
    ssh_task.resume()
    assert codes(worker) == {"::1": 3, "node1": 3}
    here, echoed = (worker.node_buffer("::1") or b"").split(b"\n")
    assert (here.split()[0], here.split()[2], echoed) == (b"::1", b"::1", b"input")
    assert b"127.100.0.2" in (worker.node_buffer("node1") or b"")


@BOTH
def test_copies(atomic: bool, ssh_task: Task, options: str, source: Path) -> None:
    ssh_task.set_info("ssh_options", options)
    (source.parent / "back").mkdir()
    away = ssh_task.copy(source, source.parent / "to", "::1", preserve=True, atomic=atomic)
    back = ssh_task.rcopy(source, source.parent / "back", "::1", atomic=atomic)
    ssh_task.resume()
    assert codes(away) == {"::1": 0} == codes(back)
    for path in (source.parent / "to", source.parent / "back" / "source.::1"):
        assert filecmp.cmp(path, source, shallow=False)


def test_trees(ssh_task: Task, options: str, tmp_path: Path) -> None:
    ssh_task.set_info("ssh_options", options)
    make_tree(tmp_path / "tree")
    (tmp_path / "back").mkdir()
    away = ssh_task.copy(tmp_path / "tree", tmp_path / "to", "::1")
    back = ssh_task.rcopy(tmp_path / "tree", tmp_path / "back", "::1")
    ssh_task.resume()
    assert codes(away) == {"::1": 0} == codes(back)
    assert same_tree(tmp_path / "tree", tmp_path / "to")
    assert same_tree(tmp_path / "tree", tmp_path / "back" / "tree.::1")


def test_the_program(options: str, source: Path, transport: str) -> None:
    run = ("-R", transport, "-o", options, "-w", "::1")
    done = mpshell(*run, "-b", "echo ${SSH_CONNECTION%% *}")
    assert (done.code, done.lines[1::2]) == (0, ["::1", "::1"])
    done = mpshell(*run, "-c", str(source), "--dest", str(source.parent / "to"))
    assert done.code == 0, done.err
    done = mpshell(*run, "--rcopy", str(source.parent / "to"))
    assert done.code == 0, done.err
    assert (source.parent / "to.::1").read_bytes() == source.read_bytes()
