"""Hosts that are the nodes of a Slurm job: a private cluster, and the same chain over srun."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mpshell import Task, srun
from mpshell.hosts.launcher import HostsLauncher
from tests.hosts.conftest import Chain, Ledger
from tests.hosts.killrows import EVERYWHERE, check, hurt_way
from tests.hosts.slurm import NODES, Slurm, running_slurm
from tests.hosts.test_runs import digest

pytestmark = pytest.mark.needs("root", "slurmctld", "slurmd", "munged", "srun")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with running_slurm(tmp_path_factory.mktemp("slurm") / "top") as slurm:
        yield slurm


@pytest.fixture(scope="module")
def job(slurm: Slurm) -> str:
    """Give the number of a job that has all nodes."""
    return slurm.allocate()


@pytest.fixture
def hosts(slurm: Slurm, job: str, monkeypatch: pytest.MonkeyPatch) -> HostsLauncher:
    """Give the launcher of a program inside the job."""
    for name, value in (
        ("SLURM_CONF", str(slurm.conf)), ("SLURM_JOB_ID", job), ("SLURM_JOB_NODELIST", f"c[1-{NODES}]"),
        ("SLURM_JOB_CPUS_PER_NODE", f"1(x{NODES})"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    return srun(engines=1)


def test_the_results_over_srun_are_those_of_engines_here(task: Task, hosts: HostsLauncher) -> None:
    here = digest(task)
    task.set_info("launcher", hosts)
    assert digest(task) == here


def test_commands_run_on_the_nodes_of_the_job(task: Task, hosts: HostsLauncher, job: str) -> None:
    options = "--export=ALL,MPSHELL_TEST_OPTION=given"
    task.set_info("launcher", srun(engines=1, options=options))
    line = "echo $SLURM_JOB_ID $MPSHELL_TEST_OPTION"
    worker = task.run(line, nodes="n[1-4]", remote=False)
    assert {text.message() for text, _ in worker.iter_buffers()} == {f"{job} given".encode()}
    assert {outcome.host for outcome in worker.outcomes()} <= {f"c{n + 1}" for n in range(NODES)}


def node_of(outpost: psutil.Process) -> str:
    return outpost.environ()["SLURMD_NODENAME"]


def kill_step(chain: Chain) -> None:
    """Kill the slurmstepd of an outpost."""
    daemon = next(p for p in chain.of("engine").parents() if p.name().startswith("slurmstepd"))
    os.kill(daemon.pid, signal.SIGKILL)


FAULTS = {
    **EVERYWHERE,
    "srun killed": hurt_way(signal.SIGKILL, node_of),
    "srun stopped": hurt_way(signal.SIGSTOP, node_of),
    "slurmstepd killed": kill_step,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_verdict_a_node_whatever_is_hurt_over_srun(
    fault: str, task: Task, ledger: Ledger, hosts: HostsLauncher, tmp_path: Path
) -> None:
    check(task, ledger, hosts, FAULTS[fault])
