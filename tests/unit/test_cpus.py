"""How many processors count: the affinity mask, and the quotas of the cgroups above this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mpshell import task_self
from mpshell.launch import cpus, pool
from mpshell.launch.pool import EnginePool, default_engines
from mpshell.worker.pdsh import WorkerPdsh
from tests.fakes import FakeLauncher

Layout = Callable[[str, dict[str, str]], float | None]


@pytest.fixture
def quota_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Give a function that lays out cgroup files and returns the quota found in them."""

    def lay_out(membership: str, files: dict[str, str]) -> float | None:
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "membership").write_text(membership)
        monkeypatch.setattr(cpus, "_CGROUPS", str(tmp_path / "cgroup"))
        monkeypatch.setattr(cpus, "_MEMBERSHIP", str(tmp_path / "membership"))
        return cpus.cgroup_quota.__wrapped__()

    return lay_out


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/job/step\n", {"job/step/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/job/step\n", {"job/step/cpu.max": "max 100000\n"}, None),
        (
            "0::/job/step\n",
            {"job/step/cpu.max": "max 100000\n", "job/cpu.max": "200000 100000\n"},
            2,
        ),
        (
            "0::/job/step\n",
            {"job/step/cpu.max": "800000 100000\n", "job/cpu.max": "300000 100000\n"},
            3,
        ),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
        (
            "4:cpu,cpuacct:/job\n1:memory:/x\n",
            {"cpu/job/cpu.cfs_quota_us": "250000\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        (
            "4:cpu:/job\n",
            {"cpu/job/cpu.cfs_quota_us": "-1\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        ("0::/gone\n", {}, None),
        ("0::/job\n", {"job/cpu.max": "nonsense\n"}, None),
    ],
)
def test_the_least_quota_of_the_levels_counts(
    quota_of: Layout, membership: str, files: dict[str, str], quota: float | None
) -> None:
    assert quota_of(membership, files) == quota


@pytest.mark.parametrize(
    ("mask", "quota", "usable"),
    [(8, None, 8), (8, 2.0, 2), (8, 1.5, 2), (8, 0.2, 1), (2, 16.0, 2), (1, None, 1)],
)
def test_mask_and_quota_together(
    monkeypatch: pytest.MonkeyPatch, mask: int, quota: float | None, usable: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(mask)))
    monkeypatch.setattr(cpus, "cgroup_quota", lambda: quota)
    assert cpus.usable_cpus() == usable


@pytest.mark.parametrize(
    ("clients", "usable", "engines"), [(1, 8, 1), (8, 8, 1), (9, 8, 2), (1000, 8, 8), (1000, 1, 1)]
)
def test_no_more_engines_than_the_work_is_worth(clients: int, usable: int, engines: int) -> None:
    assert default_engines(clients, usable) == engines


def test_the_capacity_is_the_launcher_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The capacity is of the machine with the engines, not of this one; pdsh deals its nodes over it too."""
    launcher = FakeLauncher()
    monkeypatch.setitem(pool._pools, None, EnginePool(launcher))
    task = task_self()
    assert task.engines_for(1000) == launcher.capacity() == 64
    lines = list(WorkerPdsh("n[1-1000]", command="true").command_lines(task))
    assert len(lines) == min(64, task.info("fanout"))
    task.set_info("engines", 3)
    assert task.engines_for(1000) == 3
    assert len(list(WorkerPdsh("n[1-1000]", command="true").command_lines(task))) == 3
    task.abort(kill=True)
