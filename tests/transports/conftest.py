"""A stand-in for the server of rsh on loopback, and fixtures shared with the tests over ssh."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mpshell import NodeSet, Task, task_cleanup, task_self, task_terminate
from tests.ssh.conftest import source as source

#: Where a stand-in for rsh and rcp of netkit is.
STAND_IN = Path(__file__).parent / "netkit.py"


def claimed_network() -> tuple[socket.socket, str]:
    """Return a loopback network that no other process of tests uses, and the socket that holds the claim to it.

    The name of an abstract socket is there for as long as its process, and in the same network namespace as the
    ports that it stands for.
    """
    for number in range(101, 250):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0mpshell-test-rsh-{number}")
        except OSError:
            claim.close()
            continue
        return claim, f"127.{number}.0"
    raise AssertionError("149 processes of tests use a network each")


_CLAIM, NETWORK = claimed_network()
NODES = f"{NETWORK}.[1-12]"
SECOND = f"{NETWORK}.2"


@dataclass(frozen=True)
class RshClient:
    """The programs rsh and rcp, each as the beginning of a command line."""

    rsh: str
    rcp: str


@pytest.fixture(scope="session")
def node_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory that comes first in the PATH of the nodes."""
    return tmp_path_factory.mktemp("rsh")


@contextmanager
def rshd(addresses: Iterable[str], node_path: Path) -> Iterator[str]:
    """Run the stand-in on loopback addresses; give its first line, empty when it cannot have them."""
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "rshd.py"), *addresses],
        env={**os.environ, "PATH": f"{node_path}:{os.environ['PATH']}"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdin is not None and server.stdout is not None
    word = server.stdout.readline()
    yield word.strip()
    server.stdin.close()
    assert (server.wait(10) == 0) is bool(word)
    server.stdout.close()


@pytest.fixture(scope="session")
def rsh_server(node_path: Path) -> Iterator[None]:
    """Run the stand-in for the time of the session."""
    with rshd(NodeSet(NODES), node_path) as word:
        assert word == "ready", "port 514 of loopback addresses takes root"
        yield


@pytest.fixture
def rsh_on_ipv6(node_path: Path) -> Iterator[None]:
    """Run the stand-in on ::1, which only one process of a suite can have at a time."""
    for _ in range(100):
        with rshd(["::1"], node_path) as word:
            if word:
                yield
                return
    raise AssertionError("port 514 of ::1 was never free")


@pytest.fixture(params=["netkit", "stand-in"])
def rsh_client(request: pytest.FixtureRequest, node_path: Path) -> RshClient:
    """Give rsh and rcp: those of Debian's rsh-client where it can be had, and the stand-in for them.

    The rcp on the nodes is the same one, beside any other that is installed under that name.
    """
    wrappers = {name: node_path / f"stand-in-{name}" for name in ("rsh", "rcp")}
    for name, wrapper in wrappers.items():
        if not wrapper.exists():
            words = shlex.join([sys.executable, str(STAND_IN), name])
            wrapper.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            wrapper.chmod(0o755)
    if request.param == "netkit":
        programs = {name: shutil.which(f"netkit-{name}") for name in wrappers}
    else:
        programs = {name: str(wrapper) for name, wrapper in wrappers.items()}
    (node_path / "rcp").unlink(missing_ok=True)
    (node_path / "rcp").symlink_to(str(programs["rcp"]))
    return RshClient(str(programs["rsh"]), str(programs["rcp"]))


@pytest.fixture
def rsh_task(rsh_server: None, rsh_client: RshClient, engines: int) -> Iterator[Task]:
    task_terminate()
    task = task_self()
    task.set_info("engines", engines)
    task.set_default("distant_workername", "rsh")
    task.set_info("rsh_path", shlex.quote(rsh_client.rsh))
    task.set_info("rcp_path", shlex.quote(rsh_client.rcp))
    yield task
    task_cleanup()
