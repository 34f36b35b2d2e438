"""relay=sshd among nodes whose user is an ordinary one: neither sshd of theirs has a right of root's.

That user is in a passwd(5) of a mount namespace alone. Where the tests are an ordinary user's, all of those in
this directory are about one.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mpshell import Task
from mpshell.worker import relay
from tests.relays import SOON, Head, Place, SshPlace
from tests.ssh.conftest import SshServer
from tests.ssh.openssh import installed_version, openssh
from tests.support import eventually, paths_below

pytestmark = pytest.mark.needs("root", "ssh", "sshd", "unshare")

USER, UID = "mpshell-plain", 54321
NODES = ("node1", "node2", "node3")
SIZE = 3_000_001


class PlainPlace(SshPlace):
    """Nodes of an sshd that the ordinary user has started."""

    def __init__(self, directory: Path, server: SshServer) -> None:
        addresses = {node: server.address(node)[0] for node in NODES}
        self.passwd = directory / "passwd"
        self.passwd.write_text(
            Path("/etc/passwd").read_text() + f"{USER}:x:{UID}:{UID}::{directory}:/bin/bash\n"
        )
        # bash reads it for each command of a login: what it writes is neither an answer nor data.
        (directory / ".bashrc").write_text("echo a start-up file\n")
        self.port = free_port(addresses)
        for name in ("host_key", "user_key", "authorized_keys", "known_hosts"):
            shutil.copy(server.directory / name, directory / name)
        for name in ("login", "sshd_config", "ssh_config"):
            text = (server.directory / name).read_text()
            text = text.replace(f"{server.directory}/", f"{directory}/")
            text = text.replace("PidFile none\n", f"PidFile {directory}/pid\n")
            text = text.replace(f"HOME={server.directory}/home", f"HOME={directory}")
            text = text.replace(f"Port {server.address('node1')[1]}\n", f"Port {self.port}\n")
            (directory / name).write_text(text.replace("User root\n", f"User {USER}\n"))
        with (directory / "sshd_config").open("a") as config:
            config.writelines(f"ListenAddress {address}\n" for address in addresses.values())
        super().__init__(directory, addresses, str(directory / "ssh_config"))
        for node in NODES:
            self.home(node)
        for path in (directory, *directory.rglob("*")):
            os.chown(path, UID, UID)

    def server_words(self, sshd: str) -> list[str]:
        """Return the words that start the server, as the user."""
        become = (
            f"mount --bind {self.passwd} /etc/passwd && exec setpriv --reuid={UID} --regid={UID} "
        )
        become += f"--clear-groups {sshd} -D -f {self.directory}/sshd_config -p {self.port} "
        # No child of the test's: what the title of its process counts is nothing that a test leaves behind.
        start = ["setsid", "--fork", "unshare", "--mount", "/bin/sh", "-c"]
        return [*start, f"{become} -E {self.directory}/sshd.log"]

    def listens(self) -> bool:
        """Return whether the server takes connections by now."""
        try:
            for address in self.addresses.values():
                socket.create_connection((address, self.port), 5).close()
        except ConnectionRefusedError:
            return False
        return True


def free_port(addresses: dict[str, str]) -> int:
    with socket.create_server((addresses["node1"], 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server_place(ssh_server: SshServer) -> Iterator[PlainPlace]:
    # Not below the directory of the tests, which is root's alone.
    directory = Path(tempfile.mkdtemp(prefix="mpshell-plain-"))
    place = PlainPlace(directory, ssh_server)
    subprocess.run(place.server_words(openssh(installed_version()).sshd), check=True)
    try:
        assert eventually(place.listens), (directory / "sshd.log").read_text()
        yield place
    finally:
        os.kill(int((directory / "pid").read_text()), signal.SIGTERM)
        # The server removes it at its end.
        assert eventually(lambda: not (directory / "pid").exists())
    shutil.rmtree(directory)


@pytest.fixture
def place(server_place: PlainPlace) -> Iterator[PlainPlace]:
    yield server_place
    for head in server_place.heads:
        head.abandon()
    server_place.heads.clear()
    for node in NODES:
        (server_place.home(node) / "target").unlink(missing_ok=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(SIZE))
    return path


def users(head: Head) -> set[int]:
    """Return the users of the servers of a run, by their words: their title takes the environment's place."""
    found = set()
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if any(f"/cwd/config -p {node.port}" in words for node in head.nodes):
                found.add(process.uids().effective)
        except psutil.Error:
            continue
    return found


def test_each_node_serves_by_an_sshd_of_that_user(place: PlainPlace, source: Path) -> None:
    head = Head(place, source, way=relay.SSHD)
    one, two, three = head.ready(*NODES)
    feed, _ = head.feed(one)
    feed.write(head.data[: SIZE // 2])
    two.pull(one)
    three.pull(two)
    assert head.has(three, SIZE // 2 - 30_000)
    assert users(head) == {UID}
    feed.write(head.data[SIZE // 2 :])
    assert feed.end() == 0
    for node in head.nodes:
        node.wait("done")
        assert head.target(node).read_bytes() == head.data
        assert head.target(node).stat().st_uid == UID
    head.close()
    assert eventually(lambda: not users(head))


def test_the_end_of_the_head_leaves_nothing(place: PlainPlace, source: Path) -> None:
    head = Head(place, source, way=relay.SSHD)
    one, two, _ = head.ready(*NODES)
    feed, _ = head.feed(one)
    feed.write(head.data[: SIZE // 2])
    two.pull(one)
    assert head.has(two, SIZE // 2 - 30_000)
    for node in head.nodes:
        node.process.kill()
    assert eventually(lambda: not place.processes(), SOON), place.processes()
    assert not paths_below(place.directory / "homes", ".mpshell-*")
    head.close()


@pytest.mark.parametrize("transport", ["ssh", "asyncssh"], indirect=True)
def test_a_copy_of_a_task(place: PlainPlace, source: Path, ssh_task: Task, transport: str) -> None:
    ssh_task.set_info("ssh_options", f"-F {place.directory}/ssh_config")
    ssh_task.set_info("relay_options", f"-F {place.directory}/ssh_config")
    ssh_task.set_info("relay_least", 0)
    worker = ssh_task.copy(source, "~/target", "node[1-3]", relay="sshd")
    ssh_task.resume()
    assert [outcome for outcome in worker.outcomes() if not outcome.ok] == []
    for node in NODES:
        assert (place.home(node) / "target").read_bytes() == source.read_bytes()
    assert eventually(lambda: not place.processes(), SOON), place.processes()


class WithoutSshd(Place):
    """Nodes without the programs of an administrator, sshd(8) for one."""

    def argv(self, node: str, command: str) -> list[str]:
        hide = 'mount -t tmpfs none /usr/sbin && mount -t tmpfs none /usr/local/sbin && exec "$@"'
        return ["unshare", "--mount", "/bin/sh", "-c", hide, "sh", *super().argv(node, command)]


def test_a_node_without_sshd_says_so(tmp_path: Path, source: Path) -> None:
    head = Head(WithoutSshd(tmp_path), source, way=relay.SSHD)
    one = head.start("n1")
    assert " ".join(one.wait("fail")) == "no sshd here, which relay=sshd needs"
    assert one.over() == 1
    head.close()
