"""A stand-in for the server of rsh on loopback, and what its tests share with those over ssh."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mpshell import NodeSet, Task, task_cleanup, task_self, task_terminate
from tests.ssh.conftest import small_disk as small_disk
from tests.ssh.conftest import source as source

#: A network for each process of a suite that runs in several.
NETWORK = f"127.{101 + int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:])}.0"
NODES = f"{NETWORK}.[1-12]"
SECOND = f"{NETWORK}.2"


@contextmanager
def rshd(addresses: Iterable[str]) -> Iterator[str]:
    """Run the stand-in on loopback addresses; give its first word, nothing when it cannot have them."""
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "rshd.py"), *addresses],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdin is not None and server.stdout is not None
    word = server.stdout.readline()
    yield word.strip()
    server.stdin.close()
    assert (server.wait(10) == 0) is bool(word)
    server.stdout.close()


@pytest.fixture(scope="session")
def rsh_server() -> Iterator[None]:
    """Run the stand-in for the time of the session."""
    with rshd(NodeSet(NODES)) as word:
        assert word == "ready", "port 514 of loopback addresses takes root"
        yield


@pytest.fixture
def rsh_on_ipv6() -> Iterator[None]:
    """Run the stand-in on ::1, which only one process of a suite can have at a time."""
    for _ in range(100):
        with rshd(["::1"]) as word:
            if word:
                yield
                return
    raise AssertionError("port 514 of ::1 was never free")


@pytest.fixture
def rsh_task(rsh_server: None, engines: int) -> Iterator[Task]:
    task_terminate()
    task = task_self()
    task.set_info("engines", engines)
    task.set_default("distant_workername", "rsh")
    # That of Debian's rsh-client, whatever else is installed under the name of rsh.
    task.set_info("rsh_path", "netkit-rsh")
    task.set_info("rcp_path", "netkit-rcp")
    yield task
    task_cleanup()
