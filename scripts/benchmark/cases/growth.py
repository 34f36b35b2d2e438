"""Cases of size: many nodes, much at once, long waits; and how rate and memory grow."""

from dataclasses import replace
from typing import Any

from scripts.benchmark.model import CLUSTERSHELL, MPSHELL, Case, Contender, Target
from scripts.benchmark.workplace import Workplace

_SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
_FANOUTS = (1, 4, 16, 64, 256, 1_024)
_ENGINES = (1, 2, 3, 4)

#: Nodes that are gone over before the clock starts, where the cost of a node is what matters.
_WARM = 64


def _at(contender: Contender, count: int, what: str) -> Contender:
    """Return a contender as a point of its line."""
    point = (contender.label, float(count))
    return replace(contender, label=f"{contender.label}, {count:,} {what}", point=point)


def _said(work: Workplace) -> dict[str, Any]:
    """Return the command with the same output on every node, and the length of that."""
    return {"command": f"{work.tiny} the-same", "size": len("the-same"), "warm": _WARM}


def _nodes(work: Workplace) -> list[Contender]:
    sizes = _SIZES[:3] if work.quick else _SIZES
    found = []
    for count in sizes:
        found.append(_at(work.mpshell("sweep", count, nodes=count, **_said(work)), count, "nodes"))
        if count <= 3_000:
            theirs = work.clustershell("sweep", count, nodes=count, **_said(work))
            found.append(_at(theirs, count, "nodes"))
    return found


def _fanout(work: Workplace) -> list[Contender]:
    found = []
    for fanout in _FANOUTS:
        many, few = work.size(4_000, 200), work.size(1_000, 100)
        if fanout < 16:
            many, few = many // 4, few // 4
        more: dict[str, Any] = {"fanout": fanout, **_said(work)}
        theirs = work.clustershell("sweep", few, nodes=few, **more)
        for contender in (work.mpshell("sweep", many, nodes=many, **more), theirs):
            found.append(_at(contender, fanout, "at once"))
        if fanout >= work.cores:
            found.append(_at(work.limit(many, fanout, [work.tiny, "the-same"]), fanout, "at once"))
    return found


def _engines(work: Workplace) -> list[Contender]:
    count = work.size(10_000, 500)
    return [
        _at(
            work.mpshell("sweep", count, nodes=count, engines=engines, **_said(work)),
            engines,
            "engines",
        )
        for engines in _ENGINES
    ]


def _sleep(work: Workplace) -> list[Contender]:
    many, few, fanout = work.size(4_000, 400), work.size(2_000, 200), work.size(1_000, 100)

    def parameters(count: int) -> dict[str, Any]:
        return {"nodes": count, "command": "sleep 1", "fanout": fanout, "ideal": count / fanout}

    return [
        work.mpshell("sweep", many, **parameters(many)),
        work.clustershell("sweep", few, "half of them", **parameters(few)),
    ]


def _idle(work: Workplace) -> list[Contender]:
    many, few, seconds = work.size(2_000, 100), work.size(200, 50), work.size(10, 2)
    return [
        work.mpshell("idle", many, nodes=many, seconds=seconds),
        work.clustershell("idle", few, f"{few} clients", nodes=few, seconds=seconds),
    ]


CASES = (
    Case(
        "nodes",
        "Growth over the number of nodes, which all say the same; engines are warm",
        "nodes",
        _nodes,
        (
            Target(
                "own CPU a node at 100,000 nodes at most 1.15x that at 1,000", "cpu_us",
                at_most=1.15, against=f"{MPSHELL}, 1,000 nodes", who=f"{MPSHELL}, 100,000 nodes",
            ),
            Target(
                "coordinator at most 120 MB at 100,000 nodes", "coordinator_memory_mb",
                at_most=120, who=f"{MPSHELL}, 100,000 nodes",
            ),
        ),
        shown=("rate", "cpu_us", "coordinator_cpu_us", "coordinator_memory_mb", "memory_mb"),
        over="nodes",
    ),
    Case(
        "fanout",
        "Growth over the fanout: a tiny program on 4,000 nodes",
        "nodes",
        _fanout,
        shown=("rate", "cpu_us", "memory_mb"),
        over="commands at once",
    ),
    Case(
        "engines",
        "Growth over the number of engines: a tiny program on 10,000 nodes, fanout 64",
        "nodes",
        _engines,
        shown=("rate", "cpu_us", "coordinator_cpu_us", "memory_mb"),
        over="engines",
    ),
    Case(
        "sleep",
        "`sleep 1` on 4,000 nodes, fanout 1,000",
        "nodes",
        _sleep,
        (
            Target("ideal time / actual at least 0.80", "efficiency", 0.8),
            Target("ClusterShell's ideal / actual", "efficiency", who=CLUSTERSHELL),
        ),
        shown=("efficiency", "cpu_us", "memory_mb"),
    ),
    Case(
        "idle",
        "2,000 sleeping clients for 10 s",
        "clients",
        _idle,
        (Target("own CPU at most 1 % of a core", "cpu_percent", at_most=1),),
        shown=("cpu_percent", "memory_mb"),
    ),
)  # fmt: skip
