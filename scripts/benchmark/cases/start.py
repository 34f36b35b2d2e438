"""Cases of small jobs and of big parents: what a run costs before it has done anything."""

from dataclasses import replace
from typing import Any

from scripts.benchmark.model import CLUSTERSHELL, MPSHELL, Case, Contender, Target
from scripts.benchmark.workplace import Workplace

_GB = 1 << 30
_SMALL = "small parent"


def _cold(work: Workplace) -> list[Contender]:
    times = work.size(10, 2)
    bare = Contender("Python alone", work.driver("none", "cold.start_up", times, times=times))
    return [
        work.mpshell("cold.start_up", times, times=times),
        work.clustershell("cold.start_up", times, times=times),
        bare,
    ]


def _warm(work: Workplace) -> list[Contender]:
    runs = work.size(200, 20)
    return [
        work.mpshell("warm", runs, runs=runs),
        work.clustershell("warm", runs, runs=runs),
    ]


def _warm_nodes(work: Workplace) -> list[Contender]:
    runs = work.size(100, 10)
    return [
        work.mpshell("warm", runs, runs=runs, nodes=8),
        work.clustershell("warm", runs, runs=runs, nodes=8),
    ]


def _available() -> int:
    """Return the bytes of memory that are to be had (MemAvailable)."""
    with open("/proc/meminfo") as file:
        fields = dict(line.split(":") for line in file)
    return int(fields["MemAvailable"].split()[0]) * 1024


def _parent(work: Workplace) -> list[Contender]:
    many, few, ballast = work.size(4_000, 300), work.size(100, 50), work.size(4 * _GB, _GB // 4)
    if _available() < ballast + 2 * _GB:
        work.leave_out("The parent of 4 GB: not so much memory is free here.")
        return []
    found = []
    for held in (ballast, 0):
        more: dict[str, Any] = {"command": work.tiny, "ballast": held, "warm": 64}
        for contender in (
            work.mpshell("sweep", many, nodes=many, **more),
            work.clustershell("sweep", few, nodes=few, **more),
        ):
            label = contender.label if held else f"{contender.label}, {_SMALL}"
            found.append(replace(contender, label=label))
    return found


def _as_fast(times: float, what: str) -> tuple[Target, ...]:
    text = f"at least {times}x ClusterShell's rate of {what}"
    return (Target(text, "rate", times, against=CLUSTERSHELL),)


CASES = (
    Case(
        "cold",
        "Import and first run of `true` in a cold interpreter",
        "starts",
        _cold,
        (
            *_as_fast(1.3, "first runs, from before the import"),
            Target(
                "ClusterShell's time / ours, from the start of the process to its end",
                "process_ms", against=MPSHELL, who=CLUSTERSHELL,
            ),
        ),
        shown=("first_ms", "process_ms", "all_cpu_ms"),
    ),
    Case(
        "warm",
        "`true` again and again in one program",
        "runs",
        _warm,
        _as_fast(1.0, "runs"),
        shown=("rate", "cpu_us"),
    ),
    Case(
        "warm-nodes",
        "`true` on 8 nodes again and again in one program",
        "runs",
        _warm_nodes,
        _as_fast(1.0, "runs"),
        shown=("rate", "cpu_us"),
    ),
    Case(
        "parent",
        "A tiny program on 4,000 nodes, asked for by a process that holds 4 GB",
        "nodes",
        _parent,
        (
            Target(
                "rate at least 0.95x that with a small parent",
                "rate", 0.95, against=f"{MPSHELL}, {_SMALL}",
            ),
            Target(
                "own CPU at most 1.05x that with a small parent",
                "cpu_us", at_most=1.05, against=f"{MPSHELL}, {_SMALL}",
            ),
            Target(
                "ClusterShell's rate against its own with a small parent",
                "rate", against=f"{CLUSTERSHELL}, {_SMALL}", who=CLUSTERSHELL,
            ),
        ),
    ),
)  # fmt: skip
