"""-R asyncssh with engines on other hosts: connections by the programs and files of those hosts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpshell import Task, WorkerError
from mpshell.hosts.launcher import HostsLauncher
from mpshell.hosts.packets import Way
from tests.hosts.conftest import OUTPOST
from tests.ssh.conftest import SshServer, ssh_server

__all__ = ["ssh_server"]

#: An outpost of a host without the library.
WITHOUT = (OUTPOST[0], "-P", "-c",
           "import sys; sys.modules['asyncssh'] = None; import importlib.util as u; find = u.find_spec;"
           "u.find_spec = lambda name, *more: None if name == 'asyncssh' else find(name, *more);"
           "from mpshell.hosts.outpost import main; sys.exit(main())")  # fmt: skip


def hosts(home: Path, *programs: tuple[str, ...]) -> HostsLauncher:
    """Return hosts with a home of their own, which holds their configuration of ssh."""
    env = (("HOME", str(home)),)
    return HostsLauncher([Way(f"gw{n + 1}", argv, 60.0, env) for n, argv in enumerate(programs)], 1)


@pytest.fixture
def home(ssh_server: SshServer, tmp_path: Path) -> Path:
    """Give the home of a host: its configuration, and a file for new host keys."""
    text = Path(ssh_server.config).read_text()
    # The first value of a keyword counts.
    own = f"UserKnownHostsFile {tmp_path}/known\nStrictHostKeyChecking accept-new\n"
    (tmp_path / "config").write_text(own + text)
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


def test_a_host_without_the_library_takes_ssh(task: Task, home: Path) -> None:
    task.set_info("launcher", hosts(home, WITHOUT))
    with pytest.warns(
        RuntimeWarning, match=r"6 nodes over ssh\(1\) in place of asyncssh: gw1: .*asyncssh"
    ) as logged:
        worker = task.run("exit 4", nodes="node[1-6]")
    assert len(logged) == 1
    assert {(o.reason, o.returncode, o.host) for o in worker.outcomes()} == {("exit", 4, "gw1")}


def test_no_password_is_sent_there(task: Task, home: Path) -> None:
    task.set_info("launcher", hosts(home, OUTPOST))
    task.set_info("ssh_password", "secret")
    try:
        with pytest.raises(WorkerError, match="no password is sent to engines on other hosts"):
            task.run("true", nodes="node1")
    finally:
        task.set_info("ssh_password", None)
