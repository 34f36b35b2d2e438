"""-R asyncssh with engines on other hosts: connections with what those hosts have."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpshell import Task, WorkerError, task_cleanup
from mpshell.hosts.launcher import HostsLauncher
from mpshell.hosts.packets import Way
from tests.hosts.conftest import OUTPOST
from tests.ssh.conftest import SshServer, ssh_server
from tests.ssh.keeping import alive, connections, outcomes, servers
from tests.support import eventually

__all__ = ["ssh_server"]

#: An outpost of a host without the library.
WITHOUT = (OUTPOST[0], "-P", "-c",
           "import sys; sys.modules['asyncssh'] = None; import importlib.util as u; find = u.find_spec;"
           "u.find_spec = lambda name, *more: None if name == 'asyncssh' else find(name, *more);"
           "from mpshell.hosts.outpost import main; sys.exit(main())")  # fmt: skip


#: Of nodes that no command runs on.
BAD_NODES = """
Host node91
  Port 1
Host node92
  StrictHostKeyChecking yes
  HostKeyAlias nobody-knows
Host node93
  PubkeyAuthentication no
"""


def hosts(home: Path, *programs: tuple[str, ...]) -> HostsLauncher:
    """Return hosts with a home of their own, whose configuration of ssh is in there."""
    env = (("HOME", str(home)),)
    return HostsLauncher([Way(f"gw{n + 1}", argv, 60.0, env) for n, argv in enumerate(programs)], 1)


@pytest.fixture
def home(ssh_server: SshServer, tmp_path: Path) -> Path:
    """Give the home of a host: its configuration, and a file for new host keys."""
    text = Path(ssh_server.config).read_text()
    # The first value of a keyword counts.
    own = f"Host *\n  UserKnownHostsFile {tmp_path}/known\n  StrictHostKeyChecking accept-new\n"
    (tmp_path / "config").write_text(BAD_NODES + own + text)
    return tmp_path


@pytest.fixture
def task(task: Task, home: Path) -> Iterator[Task]:
    task.set_default("distant_workername", "asyncssh")
    task.set_info("ssh_options", f"-F {home}/config")
    task.set_info("connect_timeout", 60)
    task.set_info("fanout", 4)
    yield task
    task.set_default("distant_workername", "ssh")


def test_connections_are_made_there(task: Task, home: Path) -> None:
    """By the engine: no ssh(1) is the client's; a new host key is added to the file of that host, once."""
    task.set_info("launcher", hosts(home, OUTPOST))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        worker = task.run("echo $SSH_CONNECTION; exit 4", nodes="node[1-8]")
    assert {(o.reason, o.returncode, o.host) for o in worker.outcomes()} == {("exit", 4, "gw1")}
    assert len({text.message() for text, _ in worker.iter_buffers()}) == 8
    [line] = (home / "known").read_text().splitlines()
    assert line.startswith("mpshell-node ")


def test_a_connection_that_fails_there_costs_its_node_alone(task: Task, home: Path) -> None:
    """The engine reports it, and goes on with the others."""
    task.set_info("launcher", hosts(home, OUTPOST))
    found = outcomes(task, "node[1-4,91-93]", "exit 4")
    reasons = {node: (outcome.reason, outcome.host) for node, outcome in found.items()}
    assert reasons == {
        **{f"node{n}": ("exit", "gw1") for n in range(1, 5)},
        "node91": ("unreachable", "gw1"),
        "node92": ("hostkey", "gw1"),
        "node93": ("auth", "gw1"),
    }
    assert len({outcome.engine for outcome in found.values()}) == 1
    assert "Connection refused" in (found["node91"].detail or "")


def test_connections_stay_there_until_they_are_cleaned_up(task: Task, home: Path) -> None:
    """Each node's next command goes to the engine that has its connection, on whichever host that is."""
    task.set_info("launcher", hosts(home, OUTPOST, OUTPOST))
    task.set_info("engines", 2)
    found: set[str] = set()
    for _ in range(20):
        # Until both hosts have answered.
        found |= {outcome.host for outcome in outcomes(task, "node[1-8]", "sleep 0.2").values()}
        if found == {"gw1", "gw2"}:
            break
    assert found == {"gw1", "gw2"}
    task.set_info("ssh_keep", 600)
    first = connections(task, "node[1-8]")
    for _ in range(3):
        assert connections(task, "node[1-8]") == first
    assert connections(task, "node[2,7]") == {node: first[node] for node in ("node2", "node7")}
    task_cleanup()
    assert eventually(lambda: not alive(servers(first)))


def test_a_host_without_the_library_takes_ssh(task: Task, home: Path) -> None:
    task.set_info("launcher", hosts(home, WITHOUT))
    with pytest.warns(
        RuntimeWarning, match=r"6 nodes over ssh\(1\) in place of asyncssh: gw1: .*asyncssh"
    ) as told:
        worker = task.run("exit 4", nodes="node[1-6]")
    assert len(told) == 1
    assert {(o.reason, o.returncode, o.host) for o in worker.outcomes()} == {("exit", 4, "gw1")}


def test_no_password_is_sent_there(task: Task, home: Path) -> None:
    task.set_info("launcher", hosts(home, OUTPOST))
    task.set_info("ssh_password", "secret")
    try:
        with pytest.raises(WorkerError, match="no password is sent to engines on other hosts"):
            task.run("true", nodes="node1")
    finally:
        task.set_info("ssh_password", None)
