"""Where copies over scp and ssh go: many nodes, directories as targets, addresses, and times."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mpshell import Task
from tests.copies import Cut, leftovers
from tests.ssh.conftest import SshServer
from tests.ssh.test_copies import BOTH, codes
from tests.support import eventually
from tests.system.recorder import Recorder


def ssh_for_each(path: Path) -> str:
    """Return an ssh that puts the node's name where the remote command has @: one disk is all nodes'."""
    wrapper = path / "ssh-for-each"
    # The command comes last, the node before it.
    wrapper.write_text(
        "#!/bin/bash\nlast=${!#}; node=${@:$#-1:1}\n"
        'exec /usr/bin/ssh "${@:1:$#-1}" "${last//@/$node}"\n'
    )
    wrapper.chmod(0o755)
    return str(wrapper)


@pytest.mark.timeout(300)
def test_a_file_to_200_nodes_and_back_in_one_step_each(
    ssh_task: Task, source: Path, tmp_path: Path
) -> None:
    ssh_task.set_info("fanout", 16)
    ssh_task.set_info("connect_timeout", 100)
    ssh_task.set_info("ssh_path", ssh_for_each(tmp_path))
    for place in ("to", "back"):
        (tmp_path / place).mkdir()
    for number in range(1, 201):
        (tmp_path / "to" / f"node{number}").write_bytes(b"old")
    worker = ssh_task.copy(source, tmp_path / "to" / "@", "node[1-200]", atomic=True)
    ssh_task.resume()
    assert codes(worker) == {f"node{number}": 0 for number in range(1, 201)}
    data = source.read_bytes()
    assert sorted(os.listdir(tmp_path / "to")) == sorted(codes(worker))
    assert all(path.read_bytes() == data for path in (tmp_path / "to").iterdir())
    worker = ssh_task.rcopy(tmp_path / "to" / "@", tmp_path / "back", "node[1-20]", atomic=True)
    ssh_task.resume()
    assert set(codes(worker).values()) == {0}
    assert len(os.listdir(tmp_path / "back")) == 20
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
def test_a_copy_from_a_node_that_is_cut_off_is_never_done(
    atomic: bool, ssh_task: Task, tmp_path: Path
) -> None:
    """What sends the file on the node is killed in the middle."""
    with Cut(tmp_path, "ssh" if atomic else "scp", True, "node1", atomic=atomic) as cut:
        (cut.place / "big.node1").write_bytes(b"" if not atomic else b"old")
        ssh_task.set_info("ssh_path" if atomic else "scp_path", str(cut.program))
        worker = ssh_task.rcopy(cut.big, cut.place, "node1", atomic=atomic)
        ssh_task.resume()
        assert len(codes(worker)) == 1 and codes(worker)["node1"] != 0
        if atomic:
            assert os.listdir(cut.place) == ["big.node1"]
            assert cut.copied.read_bytes() == b"old"


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
    atomic: bool, ssh_task: Task, source: Path, tmp_path: Path
) -> None:
    """Ten copies one after the other take longer than it; one that hangs is ended by it."""
    slow = tmp_path / "slow"
    slow.write_text(
        "#!/bin/bash\ncase $* in *node7*) sleep 60;; *) sleep 0.5;; esac\n"
        f'exec /usr/bin/{"ssh" if atomic else "scp"} "$@"\n'
    )
    slow.chmod(0o755)
    ssh_task.set_info("ssh_path" if atomic else "scp_path", str(slow))
    ssh_task.set_info("fanout", 1)
    ssh_task.set_info("command_timeout", 8)
    worker = ssh_task.copy(source, tmp_path / "to", "node[1-10]", atomic=atomic)
    ssh_task.resume()
    assert list(worker.iter_keys_timeout()) == ["node7"]
    assert set(codes(worker).values()) == {0} and len(codes(worker)) == 9
