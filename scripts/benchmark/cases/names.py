"""Cases without any command: node sets, and the coordinator alone."""

import sys
from pathlib import Path

from scripts.benchmark.model import CLUSTERSHELL, MPSHELL, Case, Contender, Invocation, Target
from scripts.benchmark.workplace import Workplace

ROOT = Path(__file__).parents[3]

_OPERATIONS = ("parse", "iterate", "fold", "split", "fromlist")


def _node_sets(work: Workplace) -> list[Contender]:
    many, few = work.size(1_000_000, 20_000), work.size(100_000, 5_000)
    ours = dict.fromkeys(_OPERATIONS, many)
    theirs = ours | {"split": few, "fromlist": few}
    note = f"split and fromlist of {few:,}"
    return [
        work.mpshell("names.node_sets", 1e6, sizes=ours),
        work.clustershell("names.node_sets", 1e6, note, sizes=theirs),
    ]


def _million(work: Workplace) -> list[Contender]:
    count = work.size(1_000_000, 50_000)
    run = work.driver(
        "mpshell", "null_transport.million", count, nodes=count, fanout=1024, engines=4
    )
    return [Contender(MPSHELL, run)]


def _commands(work: Workplace, words: list[str], names: int, stdin: bytes) -> list[Contender]:
    """Return mpshell-nodeset and nodeset with the same words."""
    commands = {MPSHELL: "mpshell.cli.nodeset", CLUSTERSHELL: "ClusterShell.CLI.Nodeset"}
    return [
        Contender(
            label,
            Invocation(
                [sys.executable, "-m", module, *words], names, stdin, {"PYTHONPATH": str(ROOT)}
            ),
        )
        for label, module in commands.items()
    ]


def _fold(work: Workplace) -> list[Contender]:
    names = work.size(100_000, 5_000)
    return _commands(work, ["-f"], names, b"".join(b"node%d\n" % name for name in range(names)))


def _expand(work: Workplace) -> list[Contender]:
    names = work.size(100_000, 5_000)
    return _commands(work, ["-e", f"node[0-{names - 1}]"], names, b"")


CASES = (
    Case(
        "nodeset",
        "Node sets of 1,000,000 names: text to set, iterate, set to text, split(64); a set of a list of names",
        "names",
        _node_sets,
        (
            Target(
                "parse, iterate, fold and split together at least 20x ClusterShell's rate",
                "rate", 20, against=CLUSTERSHELL,
            ),
            *(
                Target(f"{operation} against ClusterShell's", f"{operation}_rate", against=CLUSTERSHELL)
                for operation in _OPERATIONS
            ),
        ),
        shown=tuple(f"{operation}_rate" for operation in _OPERATIONS),
    ),
    Case(
        "nodeset-fold",
        "mpshell-nodeset -f and nodeset -f: 100,000 names from stdin to one text, the start included",
        "names",
        _fold,
        (Target("at least 8x nodeset's rate", "rate", 8, against=CLUSTERSHELL),),
    ),
    Case(
        "nodeset-expand",
        "mpshell-nodeset -e and nodeset -e: one text to 100,000 names, the start included",
        "names",
        _expand,
        (Target("at least 3x nodeset's rate", "rate", 3, against=CLUSTERSHELL),),
    ),
    Case(
        "million",
        "1,000,000 nodes through the coordinator alone: names, sharding, messages, results; a transport"
        " that answers at once (4 engines, 256 nodes a frame)",
        "nodes",
        _million,
        (
            Target(
                "at least 150,000 nodes a second of the coordinator's CPU",
                "per_cpu_second", 150_000,
            ),
        ),
        shown=("per_cpu_second", "names_us", "run_us", "results_us", "coordinator_memory_mb"),
    ),
)  # fmt: skip
