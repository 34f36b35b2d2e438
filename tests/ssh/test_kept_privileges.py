"""A program of root's with open connections drops privileges, and attacks its own idle engine from then on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import attacks
from tests.ssh.conftest import SshServer

pytestmark = pytest.mark.needs("ssh", "sshd")

#: Has run a command as root on two nodes, over connections that stay; `sessions` are sshd's processes for them.
PROGRAM = """
import os, sys
sys.path.insert(0, ROOT)
import psutil
from mpshell import task_cleanup, task_self
from mpshell.launch import pool
from mpshell.wire import messages as m
from mpshell.wire.connect import Connect
from tests.attacks import alive, drop, fork, framed, write
from tests.engine.conftest import job
from tests.support import eventually

def frame(path):
    command = f"echo $PPID $(id -u) > {path}"
    connect = Connect("asyncssh", command, "", 60, ("-F", CONFIG), "prefer", (), keep=600.0)
    return framed([m.Configure(b"/", None, {b"PATH": b"/usr/bin:/bin"}), m.SetSlots(0, 8),
                   m.ConnectLimits(8, None),
                   m.Submit(1, job("true")._replace(connect=connect), 0, ["node1", "node2"])])

def prepared(task):
    task.set_default("distant_workername", "asyncssh")
    for key, value in {"ssh_keep": 600, "engines": 1, "connect_timeout": 60,
                       "ssh_options": f"-F {CONFIG}"}.items():
        task.set_info(key, value)
    return task

where, way, when = sys.argv[1:]
path = os.path.join(where, "ran")
task = prepared(task_self())
worker = task.run("echo $PPID", nodes="node[1-2]")
sessions = [int(bytes(worker.read(node))) for node in worker.nodes]
[handle] = pool.engine_pool()._idle
channel = os.dup(handle.channel.fileno())
before = alive()
assert len(before) == 2 and all(map(psutil.pid_exists, sessions)), (before, sessions)
"""

ATTACK = """
if when != "root":
    drop()
if when == "later":
    assert eventually(lambda: not alive(), 10), alive()
if way == "frame":
    write(channel, frame(path))
else:
    fork(write, channel, frame(path))
if when == "root":
    # Both nodes write there.
    eventually(lambda: os.path.exists(path) and open(path).read().endswith("\\n"), 30)
    pid, uid = open(path).read().split()
    print(int(pid) in sessions, uid)
else:
    print(eventually(lambda: not alive(), 10), os.path.exists(path))
    print(eventually(lambda: not any(map(psutil.pid_exists, sessions)), 10))
"""


def attack(server: SshServer, script: str, where: Path, way: str = "", when: str = "") -> str:
    """Run a script behind the program above; return its output."""
    program = f"ROOT = {attacks.ROOT!r}\nCONFIG = {server.config!r}\n{PROGRAM}"
    return attacks.attack(program + script, where, way, when)


def test_the_attack_is_a_real_one(ssh_server: SshServer, tmp_path: Path) -> None:
    """While the program is root, such a frame has a command run there, over the connection that is open."""
    assert attack(ssh_server, ATTACK, tmp_path, "frame", "root") == "True 0\n"


@pytest.mark.parametrize("when", ["dropped", "later"])
@pytest.mark.parametrize("way", ["frame", "frame from a fork"])
def test_nothing_runs_over_connections_that_root_has_opened(
    ssh_server: SshServer, way: str, when: str, tmp_path: Path
) -> None:
    printed = attack(ssh_server, ATTACK, tmp_path, way, when)
    assert printed == "True False\nTrue\n"


def test_without_any_call_they_are_closed(ssh_server: SshServer, tmp_path: Path) -> None:
    script = "drop(); print(eventually(lambda: not any(map(psutil.pid_exists, sessions)), 10))"
    assert attack(ssh_server, script, tmp_path) == "True\n"


def test_a_run_of_the_new_user_has_no_part_in_them(ssh_server: SshServer, tmp_path: Path) -> None:
    """It may not even read the key: that is one error, or each node refuses the login."""
    script = """
from mpshell import WorkerError
drop()
try:
    worker = prepared(task_self()).run(f"touch {path}", nodes="node[1-2]")
    print(sorted({outcome.reason for outcome in worker.outcomes()}), os.path.exists(path))
except WorkerError as error:
    print("refused", os.path.exists(path))
"""
    printed = attack(ssh_server, script, tmp_path)
    assert printed in ("['auth'] False\n", "refused False\n")
