"""Hosts of a dask cluster: a scheduler and workers over TLS, and the same chain through a task."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psutil
import pytest

from mpshell import EngineStartError, Task, TaskSettingError, dask, task_cleanup
from mpshell.hosts.launcher import HostsLauncher
from tests.engine.conftest import alive
from tests.hosts.conftest import Chain, Ledger, switchboard
from tests.hosts.daskcluster import HOSTS, Cluster, is_alive, running_cluster
from tests.hosts.killrows import EVERYWHERE, Hurt, check
from tests.hosts.test_runs import digest
from tests.support import eventually

pytestmark = pytest.mark.needs("openssl")

distributed: Any = importlib.import_module("distributed")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture
def configured(running: Cluster) -> Iterator[Cluster]:
    """Give the cluster, with dask's configuration of this program as a client of it."""
    tls = "distributed.comm.tls"
    own = {
        f"{tls}.ca-file": f"{running.top}/ca.pem",
        f"{tls}.client.cert": f"{running.top}/own.pem",
        f"{tls}.client.key": f"{running.top}/own.key",
    }
    with importlib.import_module("dask.config").set(own):
        yield running


def connect(cluster: Cluster) -> Any:
    """Return a client of a cluster."""
    return distributed.Client(cluster.address, timeout=60, set_as_default=False)


def mend(cluster: Cluster) -> None:
    """Have a living worker on each host."""
    missing = {
        host for host in HOSTS if host not in cluster.workers or not is_alive(cluster.workers[host])
    }
    for host in missing:
        cluster.end(host)
    with connect(cluster) as client:
        assert eventually(lambda: not missing & hosts_of(client), 60)
        for host in missing:
            cluster.start_worker(host)
        assert eventually(lambda: hosts_of(client) == set(HOSTS), 60)


def hosts_of(client: Any) -> set[str]:
    return {worker["host"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}


def addresses(client: Any) -> set[str]:
    return set(client.scheduler_info(n_workers=-1)["workers"])


@pytest.fixture
def cluster(configured: Cluster) -> Cluster:
    """Give the cluster with a worker on each of its hosts."""
    mend(configured)
    return configured


@pytest.fixture
def hosts(cluster: Cluster) -> HostsLauncher:
    return dask(cluster.address, engines=1)


def test_a_cluster_without_a_worker_is_an_error(configured: Cluster) -> None:
    """The first test of the file, so that no worker has to be ended and started again for it."""
    for host in HOSTS:
        configured.end(host)
    with connect(configured) as client:
        assert eventually(lambda: not hosts_of(client), 60)
        with pytest.raises(EngineStartError, match="no worker is connected"):
            dask(client)


def test_the_results_over_dask_are_those_of_engines_here(task: Task, hosts: HostsLauncher) -> None:
    here = digest(task)
    task.set_info("launcher", hosts)
    assert digest(task) == here


def test_commands_run_where_the_workers_are(task: Task, cluster: Cluster) -> None:
    """The worker of each host is the parent of its outpost; and its thread is free for computations."""
    with connect(cluster) as client:
        task.set_info("launcher", dask(client, engines=1))
        task.set_info("fanout", 2)
        # The second host may take longer to answer than a whole run.
        for _ in range(20):
            worker = task.run("echo $PPID; sleep 0.3", nodes="n[1-12]", remote=False)
            if {outcome.host for outcome in worker.outcomes()} == set(HOSTS):
                break
        assert {outcome.host for outcome in worker.outcomes()} == set(HOSTS)
        engines = {int(text.message()) for text, _ in worker.iter_buffers()}
        parents = {p.pid for pid in engines for p in psutil.Process(pid).parents()}
        assert {worker.pid for worker in cluster.workers.values()} <= parents
        assert client.submit(sum, [1, 2], pure=False).result(timeout=60) == 3


def hurt_bridge(number: int) -> Hurt:
    return lambda chain: os.kill(bridge().pid, number)


def bridge() -> psutil.Process:
    """Return the process that carries the lines to the scheduler."""
    [found] = switchboard().children()
    return found


#: The parent of an outpost is the worker.
FAULTS = {
    **EVERYWHERE,
    "worker killed": lambda chain: os.kill(chain.of("program").pid, signal.SIGKILL),
    "worker stopped": lambda chain: os.kill(chain.of("program").pid, signal.SIGSTOP),
    "bridge killed": hurt_bridge(signal.SIGKILL),
    "bridge stopped": hurt_bridge(signal.SIGSTOP),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_verdict_a_node_whatever_is_hurt_over_dask(
    fault: str, task: Task, ledger: Ledger, hosts: HostsLauncher
) -> None:
    check(task, ledger, hosts, FAULTS[fault])


@pytest.mark.parametrize("end", ["ends", "is killed"])
def test_a_stopped_bridge_ends_with_its_switchboard(
    end: str, task: Task, ledger: Ledger, hosts: HostsLauncher
) -> None:
    """Stopped, it sees neither the end of its lines nor that of the control socket."""
    chain = chain_of_a_run(task, ledger, hosts)
    stopped = bridge()
    with stop(stopped):
        if end == "is killed":
            switchboard().kill()
        task_cleanup()
        assert eventually(lambda: gone(stopped))
    # It has passed that on.
    assert eventually(lambda: gone(chain.of("outpost"), chain.of("engine")))


def test_a_stopped_outpost_ends_with_its_worker(
    task: Task, ledger: Ledger, hosts: HostsLauncher
) -> None:
    """Stopped, it sees neither the end of its line nor that of its lease."""
    chain = chain_of_a_run(task, ledger, hosts)
    family = [chain.of(name) for name in ("outpost", "fork_server", "engine")]
    with stop(family[0]):
        chain.of("program").kill()
        assert eventually(lambda: gone(*family))


def chain_of_a_run(task: Task, ledger: Ledger, hosts: HostsLauncher) -> Chain:
    """Run a command, and return what leads to it, which stays for the next one."""
    task.set_info("launcher", hosts)
    worker = task.run(ledger.command, nodes="n1", remote=False)
    assert worker.node_retcode("n1") == 0
    [(_, engine, _)] = ledger.lines()
    return Chain(engine)


def gone(*processes: psutil.Process) -> bool:
    """Whether none of them runs; a zombie does not."""
    return not any(process.is_running() and alive(process.pid) for process in processes)


@contextmanager
def stop(process: psutil.Process) -> Iterator[None]:
    """Stop a process whose end is then awaited; it is not left behind."""
    process.suspend()
    try:
        assert eventually(lambda: process.status() == psutil.STATUS_STOPPED)
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def in_the_middle(ledger: Ledger, act: Any, commands: int = 1) -> threading.Thread:
    """Do something once so many commands run."""

    def wait() -> None:
        if eventually(lambda: len(ledger.lines()) >= commands):
            act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def cancel_tasks(cluster: Cluster) -> None:
    """Cancel the tasks of every other client."""
    with connect(cluster) as client:
        keys = [key for found in client.processing().values() for key in found]
        assert keys
        client.cancel([distributed.Future(key, client) for key in keys], force=True)


def test_the_end_of_a_cancelled_task_is_the_end_of_its_commands(
    task: Task, ledger: Ledger, cluster: Cluster
) -> None:
    launcher = dask(cluster.address, engines=1)
    task.set_info("launcher", launcher)
    worker = task.shell(
        f"{ledger.command}; exec sleep 60", nodes="n1", remote=False, handler=ledger
    )
    thread = in_the_middle(ledger, lambda: cancel_tasks(cluster))
    task.resume()
    thread.join()
    [outcome] = worker.outcomes()
    assert outcome.reason == "lost" and not ledger.alive
    assert "its task is cancelled" in (outcome.detail or "")


def outposts(worker: psutil.Process) -> list[psutil.Process]:
    return [child for child in worker.children() if "mpshell.hosts.outpost" in child.cmdline()]


def test_a_task_that_is_started_again_starts_nothing(
    task: Task, ledger: Ledger, configured: Cluster
) -> None:
    """A worker comes back at its address, and gets the task of the lost one: that presents itself, and ends."""
    mend(configured)
    host = HOSTS[0]
    with connect(configured) as client:
        [address] = [at for at in addresses(client) if urlsplit(at).hostname == host]
        port = str(urlsplit(address).port)
        task.set_info("launcher", dask(configured.address, engines=1))
        worker = task.shell(
            f"{ledger.command}; exec sleep 60",
            nodes="n[1-2]",
            remote=False,
            handler=ledger,
            timeout=45,
        )
        again: list[int] = []

        def restart() -> None:
            configured.end(host)
            process = configured.start_worker(host, "--worker-port", port)
            log = configured.top / "worker.log"
            assert eventually(lambda: address in addresses(client), 60), log.read_text()
            again.extend(child.pid for child in outposts(process))

        thread = in_the_middle(ledger, restart, commands=2)
        task.resume()
        thread.join()
        again += [child.pid for child in outposts(configured.workers[host])]
    outcomes = {outcome.host: outcome for outcome in worker.outcomes()}
    assert outcomes[host].reason == "lost"
    assert not again
    assert len(ledger.lines()) == 2


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import mpshell; mpshell.__version__ = '0.0'", "it has mpshell 0.0, this program"),
        ("import sys; sys.modules['mpshell'] = None", "No module named 'mpshell"),
    ],
    ids=["of another version", "without mpshell"],
)
def test_a_worker_that_cannot_be_used_is_skipped_and_listed(
    code: str, text: str, task: Task, configured: Cluster, tmp_path: Path
) -> None:
    mend(configured)
    (tmp_path / "sitecustomize.py").write_text(code)
    host = "127.101.0.9"
    configured.start_worker(host, env={"PYTHONPATH": str(tmp_path)})
    with connect(configured) as client:
        assert eventually(lambda: host in hosts_of(client), 60)
    try:
        launcher = dask(configured.address, engines=1)
        task.set_info("launcher", launcher)
        task.set_info("fanout", 3)
        worker = task.run("echo %h; sleep 0.3", nodes="n[1-30]", remote=False)
    finally:
        configured.end(host)
    assert {outcome.host for outcome in worker.outcomes()} == set(HOSTS)
    assert list(launcher.skipped) == [host]
    assert text in launcher.skipped[host]


def test_the_command_runs_on_the_hosts_of_a_cluster(cluster: Cluster) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mpshell", "--dask", cluster.address, "-R", "exec", "-w", "n[1-20]", "--json",
         "echo %h; exit 3"],
        env={**os.environ, **cluster.configure()}, capture_output=True, text=True, timeout=120, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    nodes = json.loads(done.stdout)["nodes"]
    assert {node["host"] for node in nodes} <= set(HOSTS)
    assert [node["stdout"] for node in nodes] == [node["node"] for node in nodes]


def test_the_loss_of_the_scheduler_is_that_of_every_host(
    task: Task, ledger: Ledger, tmp_path: Path
) -> None:
    with running_cluster(tmp_path) as own:
        own.start_worker(HOSTS[0])
        security = distributed.Security(
            tls_ca_file=f"{own.top}/ca.pem", tls_client_cert=f"{own.top}/own.pem",
            tls_client_key=f"{own.top}/own.key", require_encryption=True,
        )  # fmt: skip
        with distributed.Client(own.address, security=security, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            launcher = dask(client, engines=1)
        task.set_info("launcher", launcher)
        worker = task.shell(
            f"{ledger.command}; exec sleep 60", nodes="n[1-2]", remote=False, handler=ledger
        )
        thread = in_the_middle(ledger, own.scheduler.kill)
        task.resume()
        thread.join()
    assert [outcome.reason for outcome in worker.outcomes()] == ["lost", "lost"]
    assert not ledger.alive


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("tcp://10.1.2.3:8786", "not protected by TLS"),
        ("10.1.2.3:8786", "not protected by TLS"),
        ("tcp://127.example.org:8786", "not protected by TLS"),
        ("tcp://[2001:db8::1]:8786", "not protected by TLS"),
        ("inproc://10.1.2.3/1/1", "not protected by TLS"),
        ("", "address of a scheduler"),
        (cast(str, 3), "address of a scheduler"),
    ],
)
def test_bad_values_are_refused_at_the_call(value: str, text: str) -> None:
    with pytest.raises(TaskSettingError, match=text):
        dask(value)


def test_a_scheduler_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpshell.hosts.dask._CONNECT", 1)
    with pytest.raises(EngineStartError, match=r"tcp://127\.0\.0\.1:1 does not answer"):
        dask("tcp://127.0.0.1:1")
