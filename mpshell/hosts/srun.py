"""The nodes of a Slurm allocation, each reached with a step of srun(1): for a program inside the job."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator

from mpshell.errors import TaskSettingError
from mpshell.hosts.launcher import HostsLauncher, check_engines, check_ways
from mpshell.hosts.packets import Way
from mpshell.hosts.ssh import outpost_words
from mpshell.nodeset import NodeSet

#: Seconds that a step has to start: a node may first have to run a prolog.
PATIENCE = 60.0

_CPUS = re.compile(r"(\d+)(?:\(x(\d+)\))?")


def srun(
    *, engines: int | None = None, python: str | None = None, options: str | None = None
) -> HostsLauncher:
    """Return a launcher whose engines run on the nodes of this job's allocation, one step of srun(1) on each.

    Arguments as for `ssh_hosts`; `options` are more options of srun. The nodes are those of the variables that
    Slurm sets in a job (SLURM_JOB_ID, SLURM_JOB_NODELIST, SLURM_JOB_CPUS_PER_NODE): TaskSettingError without
    them.
    """
    check_engines(engines)
    job, nodes = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_JOB_NODELIST")
    if not (job and nodes):
        raise TaskSettingError(
            "srun: not in a Slurm job: SLURM_JOB_ID and SLURM_JOB_NODELIST are not set"
        )
    try:
        more = shlex.split(options or "")
    except ValueError as error:
        raise TaskSettingError(f"options {options!r}: {error}") from error
    names = list(NodeSet(nodes, resolver=None))
    cpus = list(_cpus_per_node(os.environ.get("SLURM_JOB_CPUS_PER_NODE", "")))
    cpus += [0] * (len(names) - len(cpus))
    words = outpost_words(python)
    ways = [
        Way(name, (*_words(job, name, count), *more, "/bin/sh", "-c", words), PATIENCE)
        for name, count in zip(names, cpus, strict=False)
    ]
    check_ways(ways)
    return HostsLauncher(ways, engines)


def _words(job: str, node: str, cpus: int) -> Iterator[str]:
    """Yield the words of srun for one node: a step beside others that takes nothing from them."""
    yield from ("srun", "-Q", f"--jobid={job}", "-N1", "-n1", "-w", node, "--overlap", "--exact")
    if cpus:
        yield f"-c{cpus}"
    # Without -u output waits in slurmstepd until a newline comes.
    yield from ("-u", "--kill-on-bad-exit=0", "--mpi=none")


def _cpus_per_node(text: str) -> Iterator[int]:
    """Yield the processors of each node, as `4(x2),8` has them."""
    for found in _CPUS.finditer(text):
        yield from [int(found[1])] * int(found[2] or 1)
