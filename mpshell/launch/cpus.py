"""The number of processors that this process may use: its affinity mask and its cgroup's quota."""

from __future__ import annotations

import functools
import math
import os

_CGROUPS = "/sys/fs/cgroup"
_MEMBERSHIP = "/proc/self/cgroup"


def usable_cpus() -> int:
    """Return the number of processors that the affinity mask and the cgroup quota grant, at least 1.

    Sources: sched_getaffinity(2); cpu.max of cgroup v2 and cpu.cfs_quota_us of v1 (the kernel's
    admin-guide, cgroup-v2 and cgroup-v1/cpu).
    """
    cpus = len(os.sched_getaffinity(0))
    quota = cgroup_quota()
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


@functools.cache
def cgroup_quota() -> float | None:
    """Return the number of processors in the cgroup's quota, or None if it has none.

    Read once: it does not change during the life of nearly every process.
    """
    quotas = [quota for directory in directories("cpu") if (quota := _quota(directory)) is not None]
    return min(quotas, default=None)


def directories(controller: str) -> list[str]:
    """Return the directories with a controller's limits: each level from this process's cgroup to the root."""
    found = []
    try:
        lines = _text(_MEMBERSHIP).splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base = _CGROUPS
        elif controller in controllers.split(","):
            base = os.path.join(_CGROUPS, controller)
        else:
            continue
        levels = [level for level in path.split("/") if level]
        found += [os.path.join(base, *levels[:n]) for n in range(len(levels), -1, -1)]
    return found


def _quota(directory: str) -> float | None:
    try:
        if os.path.exists(file := os.path.join(directory, "cpu.max")):
            quota, period = _text(file).split()
        else:
            quota = _text(os.path.join(directory, "cpu.cfs_quota_us"))
            period = _text(os.path.join(directory, "cpu.cfs_period_us"))
        return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()
