"""A private OpenSSH server for the tests that need a real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mpshell import Task, task_cleanup, task_self, task_terminate
from tests.ssh.openssh import OpenSsh, installed_version, openssh
from tests.ssh.relayhomes import SIZE, Homes
from tests.trees import make_tree

SCRIPT = Path(__file__).parents[2] / "scripts" / "sshd"


@dataclass(frozen=True)
class SshServer:
    """A running server: where its files are, and the nodes that it answers for."""

    directory: Path
    nodes: int
    programs: OpenSsh

    @property
    def config(self) -> str:
        return str(self.directory / "ssh_config")

    def address(self, node: str) -> tuple[str, int]:
        """Return where a node listens."""
        lines = (self.directory / "ssh_config").read_text().splitlines()
        host = lines[lines.index(f"Host {node}") + 1].split()[1]
        return host, int(next(line for line in lines if line.startswith("  Port ")).split()[1])

    @property
    def session_paths(self) -> str:
        """Lines of an sshd_config for a server that is not at its compiled-in place."""
        lines = (self.directory / "sshd_config").read_text().splitlines(keepends=True)
        return "".join(line for line in lines if line.startswith(("SshdSession", "SshdAuth")))

    def call(self, command: str) -> subprocess.CompletedProcess[str]:
        return call_script(command, self.directory)


def call_script(command: str, directory: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/sshd."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), command, "--dir", str(directory), *args],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@contextmanager
def running_server(directory: Path, programs: OpenSsh) -> Iterator[SshServer]:
    """Give a server with 200 nodes."""
    others = [] if programs.installed else ["--programs", os.path.dirname(programs.sshd)]
    started = call_script("start", directory, "--nodes", "200", "--lifetime", "7200", *others)
    assert started.returncode == 0, started.stderr
    # The default since OpenSSH 9.0 takes many times the processor time, and would dominate the tests.
    with open(directory / "ssh_config", "a") as config:
        config.write("  KexAlgorithms curve25519-sha256\n")
    yield SshServer(directory, 200, programs)
    assert call_script("stop", directory).returncode == 0


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """Give a server of the installed OpenSSH."""
    with running_server(tmp_path_factory.mktemp("sshd"), openssh(installed_version())) as server:
        yield server


@pytest.fixture(
    scope="module", name="ssh_server", params=[9, 10], ids=lambda version: f"OpenSSH{version}"
)
def each_ssh_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SshServer]:
    """Give a server of each OpenSSH, with its programs as the clients too: for a module that imports it."""
    with running_server(tmp_path_factory.mktemp("sshd"), openssh(request.param)) as server:
        yield server


@pytest.fixture(params=["ssh", "asyncssh"])
def transport(request: pytest.FixtureRequest) -> str:
    """Give the name of each transport over SSH: they have to behave alike."""
    name: str = request.param
    return name


@pytest.fixture
def ssh_task(ssh_server: SshServer, transport: str) -> Iterator[Task]:
    """Give a Task with the nodes of the server, for each transport over SSH."""
    task_terminate()
    task = task_self()
    task.set_default("distant_workername", transport)
    task.set_info("engines", 2)
    # All of a sweep log in at once, maybe on a machine that is busy.
    task.set_info("connect_timeout", 60)
    task.set_info("ssh_options", f"-F {ssh_server.config}")
    if not ssh_server.programs.installed:
        task.set_info("ssh_path", ssh_server.programs.ssh)
        task.set_info("scp_path", ssh_server.programs.scp)
    with warnings.catch_warnings():
        # Here the results count; the warnings are test_asyncssh.py's and test_redial.py's.
        warnings.filterwarnings("ignore", r".* over ssh\(1\)|.* not reached: ", RuntimeWarning)
        yield task
    task_cleanup()


@pytest.fixture
def pdsh_task(
    ssh_server: SshServer, engines: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Task]:
    """Give a Task with pdsh as its distant transport, for every number of engines."""
    monkeypatch.setenv("PDSH_RCMD_TYPE", "ssh")
    monkeypatch.setenv("PDSH_SSH_ARGS_APPEND", f"-F {ssh_server.config}")
    task_terminate()
    task = task_self()
    task.set_info("engines", engines)
    task.set_info("connect_timeout", 60)
    task.set_default("distant_workername", "pdsh")
    yield task
    task_cleanup()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(300_000))
    path.chmod(0o751)
    os.utime(path, (1_000_000_000, 1_100_000_000))
    return path


@pytest.fixture
def homes(ssh_server: SshServer) -> Iterator[Homes]:
    made = Homes(ssh_server)
    yield made
    # The server is shared with other tests; their nodes have one home.
    shutil.rmtree(made.directory)


@pytest.fixture
def relay_task(ssh_task: Task, ssh_server: SshServer) -> Task:
    ssh_task.set_info("relay_least", 0)
    ssh_task.set_info("relay_options", f"-F {ssh_server.config}")
    return ssh_task


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(SIZE))
    path.chmod(0o640)
    os.utime(path, (1_000_000_000, 1_100_000_000))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = make_tree(tmp_path / "tree")
    (root / "deep" / "large").write_bytes(os.urandom(SIZE))
    return root
