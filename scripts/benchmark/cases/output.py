"""Cases of much output, and of much input."""

from scripts.benchmark.model import CLUSTERSHELL, Case, Contender, Target
from scripts.benchmark.workplace import Workplace

_NODES = 64
_LINE = 40  # bytes, with its newline
_FEWER = "a tenth as much of it: the rate is what is compared"


def lines(count: int, width: int, seed: int = 0) -> bytes:
    """Return `count` different lines of `width` bytes, newline included."""
    made = (
        b"%d line %d of a command's output " % (seed, number) + b"." * width
        for number in range(count)
    )
    return b"".join(line[: width - 1] + b"\n" for line in made)


def _read_lines(work: Workplace) -> list[Contender]:
    many, few = work.size(20_000, 1_000), work.size(2_000, 200)

    def parameters(count: int) -> dict[str, object]:
        path = work.file(f"lines-{count}", lines(count, _LINE))
        return {"nodes": _NODES, "command": f"cat {path}", "lines": _NODES * count}

    return [
        work.mpshell("read_lines", _NODES * many, **parameters(many)),
        work.clustershell("read_lines", _NODES * few, _FEWER, **parameters(few)),
    ]


def _gather_same(work: Workplace) -> list[Contender]:
    many, few = work.size(100_000, 5_000), work.size(10_000, 1_000)

    def parameters(count: int) -> dict[str, object]:
        text = lines(count, _LINE)
        path = work.file(f"lines-{count}", text)
        return {"nodes": _NODES, "command": f"cat {path}", "size": len(text) - 1}

    return [
        work.mpshell("sweep", _NODES * many, **parameters(many)),
        work.clustershell("sweep", _NODES * few, _FEWER, **parameters(few)),
    ]


def _gather_distinct(work: Workplace) -> list[Contender]:
    width = 80
    count = work.size(2_000_000, 80_000) // width

    def parameters(count: int) -> dict[str, object]:
        for node in range(1, _NODES + 1):
            work.file(f"distinct-{count}/node{node}", lines(count, width, node))
        command = f"cat {work.directory}/distinct-{count}/%h"
        return {"nodes": _NODES, "command": command, "size": _NODES * (count * width - 1)}

    few = count // 4
    less = "a quarter of it: the rate is what is compared"
    megabytes, fewer = (_NODES * count * width / 1e6 for count in (count, few))
    return [
        work.mpshell("sweep", megabytes, **parameters(count)),
        work.clustershell("sweep", fewer, less, **parameters(few)),
    ]


def _broadcast(work: Workplace) -> list[Contender]:
    nodes, fewer, size = 16, 4, work.size(32_000_000, 2_000_000)
    less = "a quarter of the nodes: the rate is what is compared"
    return [
        work.mpshell("broadcast", nodes * size / 1e6, nodes=nodes, size=size),
        work.clustershell("broadcast", fewer * size / 1e6, less, nodes=fewer, size=size),
    ]


def _own_cpu(unit: str) -> Target:
    title = f"at least 8x ClusterShell's {unit} a second of own CPU"
    return Target(title, "per_cpu_second", 8, against=CLUSTERSHELL)


_SHOWN = ("rate", "per_cpu_second", "memory_mb", "peak_memory_mb")

CASES = (
    Case(
        "ev_read",
        f"Every line to an `ev_read` handler: 64 nodes, 20,000 lines of {_LINE} bytes each",
        "lines",
        _read_lines,
        (Target("at least 15x ClusterShell's rate", "rate", 15, against=CLUSTERSHELL),),
        shown=("rate", "cpu_us", "memory_mb", "peak_memory_mb"),
    ),
    Case(
        "gather-same",
        f"Gather identical output: 64 nodes, 100,000 lines of {_LINE} bytes each",
        "lines",
        _gather_same,
        (_own_cpu("lines"),),
        shown=_SHOWN,
    ),
    Case(
        "gather-distinct",
        "Gather distinct output: 64 nodes, 2 MB each in lines of 80 bytes",
        "MB",
        _gather_distinct,
        (_own_cpu("MB"),),
        shown=_SHOWN,
    ),
    Case(
        "broadcast",
        "The same 32 MB to the stdin of `wc -c` on 16 nodes",
        "MB",
        _broadcast,
        (Target("at least 15x ClusterShell's rate", "rate", 15, against=CLUSTERSHELL),),
        shown=_SHOWN,
    ),
)  # fmt: skip
