"""Host keys and key exchanges of whole runs: many nodes, two engines and two programs with one file of keys."""

from __future__ import annotations

import subprocess
import threading
import warnings
from pathlib import Path

import pytest

from mpshell import Task, task_self
from mpshell.ssh.connection import WEAKER_KEX
from tests.ssh.conftest import SshServer
from tests.ssh.test_ssh_faults import write_config

pytestmark = pytest.mark.needs("ssh", "sshd")

#: One of ssh(1)'s that the library has not, and one that both have.
QUANTUM_SAFE, USUAL = "sntrup761x25519-sha512@openssh.com", "curve25519-sha256"


def new_hosts(server: SshServer, path: Path, names: dict[str, str], more: str = "") -> str:
    """Return options for nodes of which no key is known, by the names that their keys are to have."""
    text = "".join(f"Host {node}\n  HostKeyAlias {name}\n" for node, name in names.items())
    text += f"Host *\n  StrictHostKeyChecking accept-new\n  UserKnownHostsFile {path}/known\n{more}"
    return write_config(path, server, text)


def names_in(path: Path) -> list[str]:
    return sorted(line.split()[0] for line in (path / "known").read_text().splitlines())


@pytest.mark.parametrize("transport", ["asyncssh"], indirect=True)
def test_many_new_hosts_are_added_once_each(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """Of two engines; some nodes are one host by their alias. After that all are known."""
    names = {f"node{n}": f"host{n}" if n <= 40 else "shared" for n in range(1, 61)}
    ssh_task.set_info("ssh_options", new_hosts(ssh_server, tmp_path, names))
    first = ssh_task.run("exit 3", nodes=[*names])
    assert {outcome.returncode for outcome in first.outcomes()} == {3}
    assert len({outcome.engine for outcome in first.outcomes()}) == 2
    assert names_in(tmp_path) == sorted(set(names.values()))
    options = str(ssh_task.info("ssh_options"))
    ssh_task.set_info("ssh_options", f"-oStrictHostKeyChecking=yes {options}")
    second = ssh_task.run("exit 3", nodes=[*names])
    assert {outcome.returncode for outcome in second.outcomes()} == {3}
    assert names_in(tmp_path) == sorted(set(names.values()))


@pytest.mark.parametrize("transport", ["asyncssh"], indirect=True)
def test_new_hosts_with_hashed_names(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    names = {f"node{n}": f"host{n}" for n in range(1, 13)}
    options = new_hosts(ssh_server, tmp_path, names, "  HashKnownHosts yes\n")
    ssh_task.set_info("ssh_options", options)
    worker = ssh_task.run("exit 3", nodes=[*names])
    assert {outcome.returncode for outcome in worker.outcomes()} == {3}
    assert len(names_in(tmp_path)) == 12
    for name in names.values():
        # ssh-keygen(1) finds it, and no name can be read.
        found = subprocess.run(
            [ssh_server.programs.programs["ssh-keygen"], "-F", name, "-f", tmp_path / "known"],
            check=False, capture_output=True,
        )  # fmt: skip
        assert found.returncode == 0 and name not in (tmp_path / "known").read_text()


@pytest.mark.parametrize("transport", ["asyncssh"], indirect=True)
def test_two_tasks_add_the_same_hosts_at_once(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """Each has a coordinator and engines of its own."""
    names = {f"node{n}": f"host{n}" for n in range(1, 41)}
    options = new_hosts(ssh_server, tmp_path, names)
    codes: list[set[int | None]] = []

    def run() -> None:
        task = task_self()
        task.set_default("distant_workername", "asyncssh")
        task.set_info("engines", 1)
        task.set_info("ssh_options", options)
        worker = task.run("exit 3", nodes=[*names])
        codes.append({outcome.returncode for outcome in worker.outcomes()})

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [{3}, {3}]
    assert names_in(tmp_path) == sorted(names.values())


@pytest.mark.parametrize("transport", ["asyncssh"], indirect=True)
@pytest.mark.parametrize("copies", [False, True], ids=["command", "copy"])
def test_a_weaker_key_exchange_is_one_line_or_goes_over_ssh(
    copies: bool, ssh_task: Task, ssh_server: SshServer, tmp_path: Path, source: Path
) -> None:
    """The decision comes with the server's list of algorithms: nothing has run there then."""
    text = f"Host node*\n  KexAlgorithms {QUANTUM_SAFE},{USUAL}\n"
    ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
    lines = {
        "prefer": f"2 nodes {WEAKER_KEX}: {USUAL} in place of {QUANTUM_SAFE}",
        "require": "2 nodes over ssh(1) in place of asyncssh: "
        f"{QUANTUM_SAFE} is needed, and AsyncSSH has only {USUAL}",
    }
    for wanted, line in lines.items():
        ssh_task.set_info("ssh_kex", wanted)
        if copies:
            worker = ssh_task.copy(source, tmp_path / wanted, "node[1-2]")
        else:
            worker = ssh_task.shell("echo here", nodes="node[1-2]")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ssh_task.resume()
        assert [str(warning.message) for warning in caught] == [line]
        assert [outcome.ok for outcome in worker.outcomes()] == [True, True]
        assert not copies or (tmp_path / wanted).read_bytes() == source.read_bytes()
