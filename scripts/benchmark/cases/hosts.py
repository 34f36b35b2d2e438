"""The case of engines on other hosts: gateways over ssh, nodes of a Slurm job, hosts of a dask cluster."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Any

from scripts.benchmark.model import Case, Contender, Target
from scripts.benchmark.workplace import Workplace

HERE, SSH, SRUN, DASK = "engines here", "over ssh", "over srun", "over dask, TLS"


def _slurm(work: Workplace) -> dict[str, str] | None:
    """Return the environment of a program in a job on two nodes of a private cluster, or None without one."""
    if os.geteuid() or not all(map(shutil.which, ("srun", "slurmctld", "slurmd", "munged"))):
        work.leave_out("over srun: no Slurm here, or not root.")
        return None
    from tests.hosts.slurm import running_slurm

    slurm = work.keep(running_slurm(work.directory / "slurm"))
    return {
        "SLURM_CONF": str(slurm.conf), "SLURM_JOB_ID": slurm.allocate(), "SLURM_JOB_NODELIST": "c[1-2]",
        "SLURM_JOB_CPUS_PER_NODE": "1(x2)",
    }  # fmt: skip


def _dask(work: Workplace) -> tuple[str, dict[str, str]] | None:
    """Return the address of a cluster of two hosts, and a client's environment, or None without one."""
    if importlib.util.find_spec("distributed") is None or shutil.which("openssl") is None:
        work.leave_out("over dask: the package distributed, or openssl, is not here.")
        return None
    from tests.hosts.daskcluster import HOSTS, running_cluster

    (top := work.directory / "dask").mkdir()
    cluster = work.keep(running_cluster(top))
    for host in HOSTS:
        cluster.start_worker(host)
    cluster.wait_for_workers(len(HOSTS))
    return cluster.address, cluster.configure()


def _hosts(work: Workplace) -> list[Contender]:
    nodes = work.size(10_000, 500)

    def contender(label: str, where: str, how: dict[str, Any], env: dict[str, str]) -> Contender:
        run = work.driver(
            "mpshell", "hosts.sweep", nodes, nodes=nodes, command="/bin/echo %h", where=where,
            how={"engines": 2, **how},
        )  # fmt: skip
        run.env.update(env)
        return Contender(label, run)

    found = [contender(HERE, "", {}, {})]
    if (server := work.ssh_server(8)) is not None:
        options = f"-F {server}/ssh_config"
        found.append(contender(SSH, "ssh", {"hosts": "node[1-2]", "options": options}, {}))
    if (job := _slurm(work)) is not None:
        found.append(contender(SRUN, "srun", {}, job))
    if (dask := _dask(work)) is not None:
        found.append(contender(DASK, "dask", {"cluster": dask[0]}, dask[1]))
    return found


def _targets(who: str, share: float, cpu: int) -> tuple[Target, Target]:
    return (
        Target(f"{who}: at least {share} of the rate here", "rate", share, against=HERE, who=who),
        Target(f"{who}: at most {cpu} us of the head's CPU a node", "cpu_us", at_most=cpu, who=who),
    )


CASES = (
    Case(
        "hosts",
        "`/bin/echo %h` on 10,000 nodes by four engines, exec, fanout 64: here and on two hosts",
        "nodes",
        _hosts,
        (*_targets(SSH, 0.9, 45), *_targets(SRUN, 0.75, 60), *_targets(DASK, 0.5, 160)),
        shown=("rate", "cpu_us", "coordinator_cpu_us", "switchboard_cpu_us", "lines_cpu_us"),
    ),
)
