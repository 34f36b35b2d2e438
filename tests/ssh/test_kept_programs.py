"""Programs with connections that stay open: at their end, and with few descriptors."""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.ssh.conftest import SshServer
from tests.ssh.keeping import WHICH
from tests.support import eventually, run_script

pytestmark = pytest.mark.needs("ssh", "sshd")


def test_the_end_of_the_program_is_the_end_of_them(ssh_server: SshServer) -> None:
    script = f"""
import os, signal
from mpshell import task_self
task = task_self()
task.set_default("distant_workername", "asyncssh")
for key, value in {{"ssh_keep": 600, "engines": 2, "connect_timeout": 60,
                   "ssh_options": "-F {ssh_server.config}"}}.items():
    task.set_info(key, value)
worker = task.run("{WHICH}", nodes="node[1-20]")
print(*(bytes(text).split()[-1].decode() for text, _ in worker.iter_buffers()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run_script(script)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 20
    assert eventually(lambda: not any(map(psutil.pid_exists, pids)))


def test_no_more_stay_than_half_of_the_descriptors(ssh_server: SshServer) -> None:
    """Those that were used longest ago are closed, and no node fails for want of a descriptor."""
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150))
from mpshell import task_self, task_cleanup
task = task_self()
task.set_default("distant_workername", "asyncssh")
for key, value in {{"ssh_keep": 600, "engines": 1, "connect_timeout": 60, "fanout": 16,
                   "ssh_options": "-F {ssh_server.config}"}}.items():
    task.set_info(key, value)
def run():
    worker = task.run("{WHICH}", nodes="node[1-90]")
    assert all(outcome.ok for outcome in worker.outcomes())
    return {{node: bytes(worker.read(node)) for node in worker.nodes}}
first, second = run(), run()
import psutil
engines = [p for p in psutil.Process().children(recursive=True) if p.ppid() != psutil.Process().pid]
print(max(len(p.net_connections("tcp")) for p in engines), len(set(first.values())))
task_cleanup()
"""
    done = run_script(script)
    assert done.stderr == ""
    kept, made = map(int, done.stdout.split())
    assert 50 <= kept <= 75 and made == 90
