"""Where copies over scp and ssh go: many nodes, directories as targets, addresses, and times."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mpshell import Task
from tests.copies import Cut, leftovers
from tests.ssh.conftest import SshServer
from tests.ssh.forced import forced
from tests.ssh.servers import another_sshd
from tests.ssh.test_copies import BOTH, codes
from tests.ssh.test_ssh_faults import write_config
from tests.support import eventually
from tests.system.recorder import Recorder


@pytest.mark.timeout(300)
@BOTH
def test_a_file_to_200_nodes_and_back(
    atomic: bool, ssh_task: Task, ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    """All nodes share one disk: a relative path there is in a directory of the node's own."""
    ssh_task.set_info("fanout", 16)
    ssh_task.set_info("connect_timeout", 100)
    (tmp_path / "back").mkdir()
    for number in range(1, 201):
        (tmp_path / f"node{number}").mkdir()
        (tmp_path / f"node{number}" / "file").write_bytes(b"old")
    with forced(ssh_server, tmp_path, f'cd "{tmp_path}/$NODE" || exit', 200) as options:
        ssh_task.set_info("ssh_options", options)
        away = ssh_task.copy(source, "file", "node[1-200]", atomic=atomic)
        ssh_task.resume()
        assert codes(away) == {f"node{number}": 0 for number in range(1, 201)}
        back = ssh_task.rcopy("file", tmp_path / "back", "node[1-20]", atomic=atomic)
        ssh_task.resume()
        assert set(codes(back).values()) == {0}
    data = source.read_bytes()
    for number in range(1, 201):
        [path] = (tmp_path / f"node{number}").iterdir()
        assert path.name == "file" and path.read_bytes() == data
    assert sorted(os.listdir(tmp_path / "back")) == sorted(f"file.node{n}" for n in range(1, 21))
    assert all(path.read_bytes() == data for path in (tmp_path / "back").iterdir())


def test_a_shared_target_is_whole_at_any_moment(ssh_task: Task, source: Path) -> None:
    """Nodes with one file system: each of the copies has a temporary file of its own."""
    data, target = source.read_bytes(), source.parent / "target"
    target.write_bytes(b"old")
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.add(target.read_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    worker = ssh_task.copy(source, target, "node[1-30]", atomic=True)
    ssh_task.resume()
    over.set()
    thread.join()
    assert set(codes(worker).values()) == {0}
    assert seen <= {b"old", data} and target.read_bytes() == data
    assert not leftovers(source.parent)


@BOTH
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_directory_as_target_stays_one(
    slash: str, atomic: bool, ssh_task: Task, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "other").write_bytes(b"kept")
    ssh_task.copy(source, f"{tmp_path}/there{slash}", "node1", atomic=atomic)
    ssh_task.rcopy(source, f"{tmp_path}/there{slash}", "node2", atomic=atomic)
    missing = ssh_task.copy(source, f"{tmp_path}/missing/", "node3", atomic=atomic)
    ssh_task.resume()
    assert sorted(os.listdir(tmp_path / "there")) == ["other", "source", "source.node2"]
    assert (tmp_path / "there" / "source").read_bytes() == source.read_bytes()
    assert codes(missing)["node3"] != 0 and not (tmp_path / "missing").exists()


@BOTH
def test_a_node_may_be_an_ipv6_address(
    atomic: bool, ssh_task: Task, ssh_server: SshServer, source: Path
) -> None:
    config = source.parent / "config"
    # The private server has none: the name leads to one of its nodes.
    config.write_text(
        "Host fe80::7\n  HostName 127.100.0.2\n" + Path(ssh_server.config).read_text()
    )
    ssh_task.set_info("ssh_options", f"-F {config}")
    (source.parent / "back").mkdir()
    away = ssh_task.copy(source, source.parent / "to", "fe80::7", atomic=atomic)
    back = ssh_task.rcopy(source, source.parent / "back", "fe80::7", atomic=atomic)
    ssh_task.resume()
    assert codes(away) == {"fe80::7": 0} == codes(back)
    assert (source.parent / "to").read_bytes() == source.read_bytes()
    assert (source.parent / "back" / "source.fe80::7").read_bytes() == source.read_bytes()


@BOTH
# The programs that it stops are ssh's; the other transport has test_asyncssh_copies.py.
@pytest.mark.parametrize("transport", ["ssh"], indirect=True)
def test_a_copy_from_a_node_that_is_cut_off_is_never_done(
    atomic: bool, ssh_task: Task, tmp_path: Path
) -> None:
    """The process that sends the file on the node is killed in the middle."""
    with Cut(tmp_path, "ssh" if atomic else "scp", True, "node1", atomic=atomic) as cut:
        (cut.place / "big.node1").write_bytes(b"" if not atomic else b"old")
        ssh_task.set_info("ssh_path" if atomic else "scp_path", str(cut.program))
        worker = ssh_task.rcopy(cut.big, cut.place, "node1", atomic=atomic)
        ssh_task.resume()
        assert len(codes(worker)) == 1 and codes(worker)["node1"] != 0
        if atomic:
            assert os.listdir(cut.place) == ["big.node1"]
            assert cut.copied.read_bytes() == b"old"


# As above.
@pytest.mark.parametrize("transport", ["ssh"], indirect=True)
@pytest.mark.parametrize("how", ["timeout", "abort"])
def test_an_atomic_copy_from_a_node_that_is_ended_leaves_nothing(
    how: str, ssh_task: Task, tmp_path: Path
) -> None:
    with Cut(tmp_path, "ssh", True, "node1", atomic=True, kills=False) as cut:
        ssh_task.set_info("ssh_path", str(cut.program))
        limit = 5 if how == "timeout" else None
        worker = ssh_task.rcopy(cut.big, cut.place, "node1", timeout=limit, atomic=True)

        class Watch(Recorder):
            def ev_timer(self, timer: object) -> None:
                if cut.pid_file.exists():
                    worker.abort()

        if how == "abort":
            ssh_task.timer(0.1, Watch(), interval=0.1, autoclose=True)
        ssh_task.resume()
        assert codes(worker) == {}
        assert worker.num_timeout() == (how == "timeout")
        assert eventually(lambda: os.listdir(cut.place) == [])


@BOTH
def test_the_command_timeout_is_each_copy_s_from_its_own_start(
    atomic: bool, ssh_task: Task, ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    """Ten copies one after the other take longer than it; one that hangs is ended by it."""
    ssh_task.set_info("fanout", 1)
    ssh_task.set_info("command_timeout", 8)
    # As long as the connection is there: its process there is the parent.
    hangs = "while kill -0 $PPID 2>/dev/null; do sleep 0.1; done; exit 1"
    script = f"case $NODE in node7) {hangs};; *) sleep 0.5;; esac"
    with forced(ssh_server, tmp_path, script) as options:
        ssh_task.set_info("ssh_options", options)
        worker = ssh_task.copy(source, tmp_path / "to", "node[1-10]", atomic=atomic)
        ssh_task.resume()
    assert list(worker.iter_keys_timeout()) == ["node7"]
    assert set(codes(worker).values()) == {0} and len(codes(worker)) == 9


def test_an_account_that_may_do_nothing_else(
    ssh_task: Task, ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    """The server executes no command for it, and a shell is not needed (sshd_config(5), internal-sftp)."""
    (tmp_path / "back").mkdir()
    text = "Subsystem sftp internal-sftp\nForceCommand internal-sftp\n"
    with another_sshd(ssh_server, tmp_path, text) as port:
        place = f"Host other\n  HostName 127.0.0.1\n  Port {port}\n"
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, place))
        away = ssh_task.copy(source, tmp_path / "to", "other", preserve=True)
        back = ssh_task.rcopy(source, tmp_path / "back", "other")
        ssh_task.resume()
    assert codes(away) == {"other": 0} == codes(back)
    assert (tmp_path / "to").read_bytes() == source.read_bytes()
    assert (tmp_path / "back" / "source.other").read_bytes() == source.read_bytes()
