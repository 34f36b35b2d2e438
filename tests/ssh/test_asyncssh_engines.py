"""Engines that hold many connections: their death, what many runs leave, and what they keep to themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpshell import EventHandler, Task
from tests.faults.conftest import engines, hurt, memory
from tests.faults.test_data import MB
from tests.ssh.conftest import SshServer
from tests.support import descriptors, eventually, run_script

pytestmark = [
    pytest.mark.needs("ssh", "sshd"),
    #: Those of ssh(1) are processes (tests/faults).
    pytest.mark.parametrize("transport", ["asyncssh"], indirect=True),
]

#: A thousand of them take minutes (scripts/stress).
RUNS = int(os.environ.get("MPSHELL_TEST_RUNS", "40"))


def connected(server: SshServer) -> int:
    """Return how many connections to the server's nodes there are."""
    port = server.address("node1")[1]
    return sum(
        found.status == psutil.CONN_ESTABLISHED and found.raddr[1:] == (port,)
        for found in psutil.net_connections("tcp")
    )


class Gathering(EventHandler):
    """Calls an action when so many commands have begun, and ends the input of those that run after that."""

    def __init__(self, wanted: int, action: Any) -> None:
        self._wanted = wanted
        self._action = action
        self.begun = 0
        self.hups: list[str] = []

    def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
        self.begun += 1
        if self.begun == self._wanted:
            self._action()
            worker.set_write_eof()

    def ev_hup(self, worker: Any, node: str, rc: int | None) -> None:
        self.hups.append(node)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_an_engine_with_a_hundred_of_200_connections(
    number: signal.Signals, ssh_task: Task, ssh_server: SshServer
) -> None:
    """Its nodes are lost, once each; the others end as ever, and no connection is left."""
    ssh_task.set_info("fanout", 200)
    ssh_task.set_info("heartbeat", 4)
    hit: list[psutil.Process] = []
    handler = Gathering(200, lambda: hit.extend(hurt(engines()[-1:], number)))
    worker = ssh_task.shell("echo begun; cat; exit 3", nodes="node[1-200]", handler=handler)
    ssh_task.resume()
    told = list(worker.outcomes())
    assert len(hit) == 1 and len(told) == 200
    assert {outcome.node for outcome in told} == set(worker.nodes) == set(handler.hups)
    assert len(handler.hups) == 200
    reasons = {outcome.engine: set[tuple[str, int | None]]() for outcome in told}
    for outcome in told:
        reasons[outcome.engine].add((outcome.reason, outcome.returncode))
    assert sorted(map(sorted, reasons.values())) == [[("exit", 3)], [("lost", 255)]]
    assert not hit[0].is_running() or hit[0].status() == psutil.STATUS_ZOMBIE
    assert eventually(lambda: not connected(ssh_server))
    found = ssh_task.run("exit 4", nodes="node[1-20]")
    assert [outcome.returncode for outcome in found.outcomes()] == [4] * 20


@pytest.mark.timeout(1200)
def test_many_runs_leave_nothing(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, source: Path
) -> None:
    """Commands that end, that time out, nodes that refuse, and copies: descriptors, threads and memory stay."""

    def run(number: int) -> None:
        ok = ssh_task.shell(f"echo {number}; exit 3", nodes="node[1-2]")
        refused = ssh_task.shell("true", nodes="127.0.0.1")
        copy = ssh_task.copy(source, tmp_path / "to", "node3")
        back = ssh_task.rcopy(source, tmp_path, "node4", atomic=True)
        late = ssh_task.shell("sleep 60", nodes="node5", timeout=0.5) if number % 20 == 0 else None
        ssh_task.resume()
        assert [outcome.returncode for outcome in ok.outcomes()] == [3, 3]
        assert [outcome.reason for outcome in refused.outcomes()] == ["unreachable"]
        assert [o.ok for worker in (copy, back) for o in worker.outcomes()] == [True, True]
        assert late is None or late.num_timeout() == 1

    def held() -> list[tuple[int, int]]:
        return sorted((engine.num_fds(), engine.num_threads()) for engine in engines())

    for number in range(20):
        run(number)
    before, threads, warm = descriptors().keys(), threading.active_count(), memory(psutil.Process())
    had = held()
    for number in range(RUNS):
        run(number)
    assert descriptors().keys() == before
    assert threading.active_count() == threads
    # A thread for names or files may have been started by the first that needed one.
    assert eventually(lambda: [fds for fds, _ in held()] == [fds for fds, _ in had]), (held(), had)
    assert all(count <= 9 for _, count in held())
    assert eventually(lambda: not connected(ssh_server))
    # An engine looks for cycles every 100,000 objects, and a closed connection leaves some hundred in them.
    assert memory(psutil.Process()) - warm < 40 * MB


# -- secrets -----------------------------------------------------------------------------------------


def test_an_engine_with_keys_leaves_no_core_file(ssh_task: Task, tmp_path: Path) -> None:
    """And its commands, here and there, have the limit that the program has."""
    done = run_script(
        "import os, resource, signal, sys\n"
        "import psutil\n"
        "from mpshell import EventHandler, task_self\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "os.chdir(sys.argv[2])\n"
        "task = task_self()\n"
        "task.set_info('ssh_options', sys.argv[1])\n"
        "task.set_default('distant_workername', 'asyncssh')\n"
        "here = task.shell('ulimit -c')\n"
        "class Killing(EventHandler):\n"
        "    def ev_read(self, *args):\n"
        "        server, = psutil.Process().children()\n"
        "        for engine in server.children():\n"
        "            print(resource.prlimit(engine.pid, resource.RLIMIT_CORE)[0])\n"
        "            engine.send_signal(signal.SIGSEGV)\n"
        "worker = task.shell('echo begun; cat', nodes='node1', handler=Killing())\n"
        "task.resume()\n"
        "print([outcome.reason for outcome in worker.outcomes()], here.read())\n",
        args=[str(ssh_task.info("ssh_options")), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stdout.split("\n")[0] == "1", done.stderr
    assert done.stdout.split("\n")[-2] == "['lost'] b'unlimited'", (done.stdout, done.stderr)
    assert not list(tmp_path.glob("core*"))


def test_no_secret_can_be_read_from_outside(
    ssh_task: Task, ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The private key is in no argument, variable, trace or text of an object; only the files hold it."""
    key = (ssh_server.directory / "user_key").read_text().splitlines()
    # From the middle of the file, where the private part is.
    secret = key[len(key) // 2]
    seen: list[str] = []

    class Looking(EventHandler):
        def ev_read(self, *args: object) -> None:
            for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    seen.extend((*process.cmdline(), *process.environ().values()))

    traced: list[str] = []
    ssh_task.set_info("debug", True)
    ssh_task.set_info("print_debug", lambda task, line: traced.append(line))
    worker = ssh_task.run("echo here", nodes="node[1-3]", handler=Looking())
    assert seen and traced
    texts = [*seen, *traced, repr(worker), *map(repr, worker.outcomes()), repr(ssh_task)]
    assert not [text for text in texts if secret in text]
