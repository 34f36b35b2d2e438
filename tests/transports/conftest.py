"""A stand-in for the server of rsh on loopback, and what its tests share with those over ssh."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpshell import NodeSet, Task, task_cleanup, task_self, task_terminate
from tests.ssh.conftest import small_disk as small_disk
from tests.ssh.conftest import source as source

#: A network for each process of a suite that runs in several.
NETWORK = f"127.{101 + int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:])}.0"
NODES = f"{NETWORK}.[1-12]"
SECOND = f"{NETWORK}.2"


@pytest.fixture(scope="session")
def rsh_server() -> Iterator[None]:
    """Run the stand-in for the time of the session."""
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "rshd.py"), *NodeSet(NODES)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdin is not None and server.stdout is not None
    assert server.stdout.readline() == "ready\n", "port 514 of loopback addresses takes root"
    yield
    server.stdin.close()
    assert server.wait(10) == 0
    server.stdout.close()


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
