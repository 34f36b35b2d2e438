"""Cases of many short commands: one local process a node."""

import os
from typing import Any

from scripts.benchmark.model import CLUSTERSHELL, LIMIT, MPSHELL, Case, Contender, Target
from scripts.benchmark.workplace import Workplace

_FANOUT = 64
_SLOW = "fewer nodes: the rate is what is compared"


def _names(count: int) -> bytes:
    return b"".join(b"node%d\n" % n for n in range(1, count + 1))


def _sweep(
    work: Workplace,
    command: str,
    *,
    limit: list[str],
    xargs: list[str],
    pdsh: str,
    parallel: str,
) -> list[Contender]:
    """Return the contenders that run a command on 10,000 nodes, the slow ones on fewer."""
    nodes, fewer, least = work.size(10_000, 500), work.size(2_000, 200), work.size(500, 100)
    return [
        work.mpshell("sweep", nodes, nodes=nodes, command=command, fanout=_FANOUT),
        work.clustershell("sweep", fewer, _SLOW, nodes=fewer, command=command, fanout=_FANOUT),
        work.limit(nodes, _FANOUT, limit),
        *work.program(
            "xargs -P", ["xargs", f"-P{_FANOUT}", *xargs], nodes, stdin=_names(nodes)
        ),
        *work.program(
            "pdsh -R exec",
            ["pdsh", "-R", "exec", "-f", str(_FANOUT), "-w", f"node[1-{fewer}]", pdsh],
            fewer,
        ),
        *work.program(
            "GNU parallel",
            ["parallel", "--will-cite", f"-j{_FANOUT}", parallel],
            least,
            stdin=_names(least),
        ),
    ]  # fmt: skip


def _tiny(work: Workplace) -> list[Contender]:
    tiny = work.tiny
    return _sweep(
        work,
        tiny,
        limit=[tiny],
        xargs=["-n1", tiny],
        pdsh=tiny,
        parallel=tiny,
    )


def _echo(work: Workplace) -> list[Contender]:
    return _sweep(
        work,
        "echo %h",
        limit=["/bin/echo", "%h"],
        xargs=["-n1", "/bin/echo"],
        pdsh="echo %h",
        parallel="echo {}",
    )


_SH = 'x=%h; case "$x" in *7) echo seven;; *) echo "other $((6 * 7))";; esac'


def _sh(work: Workplace) -> list[Contender]:
    mine = _SH.replace("%h", "{}")
    return _sweep(
        work,
        _SH,
        limit=["/bin/sh", "-c", _SH],
        xargs=["-I{}", "/bin/sh", "-c", mine],
        pdsh=_SH,
        parallel=mine,
    )


def _journal(work: Workplace) -> list[Contender]:
    """Return both programs that record each command in a file, and mpshell without it."""
    nodes, least = work.size(10_000, 500), work.size(500, 100)
    sweep: dict[str, Any] = {"nodes": nodes, "command": "echo %h", "fanout": _FANOUT}
    file = str(work.directory / "journal")
    parallel = ["parallel", "--will-cite", f"-j{_FANOUT}", "--joblog", f"{file}.joblog", "echo {}"]
    return [
        work.mpshell("sweep", nodes, **sweep, journal=file),
        Contender(_PLAIN, work.driver("mpshell", "sweep", nodes, **sweep)),
        *work.program(_JOBLOG, parallel, least, stdin=_names(least)),
    ]


_PLAIN, _JOBLOG = "mpshell without a journal", "GNU parallel --joblog"

_SSH = "/usr/bin/ssh"


def _alone(work: Workplace) -> list[Contender]:
    """Return both libraries with commands that end one by one, on an idle machine and beside others."""
    nodes = work.size(500, 64)
    loop = ["timeout", "-s", "KILL", "120", work.limit_program, "1", "1000000", "1", _SSH, "-V"]
    beside = {
        "": [],
        ", beside loops that compute": [work.walk, "0"],
        ", beside loops through 32 MB of memory": [work.walk, str(32 << 20)],
    }
    if os.access(_SSH, os.X_OK):
        beside[", beside loops of `ssh -V`"] = loop
    else:
        work.leave_out(f"beside loops of `ssh -V`: no {_SSH} here.")
    return [
        Contender(
            library + label,
            work.driver(
                library, "sweep_beside", nodes, nodes=nodes, command=f"{work.rest} %h",
                others=[argv] * work.cores if argv else [],
            ),
        )
        for label, argv in beside.items()
        for library in (MPSHELL, CLUSTERSHELL)
    ]  # fmt: skip


def _wake(work: Workplace) -> list[Contender]:
    """Return the same piece of Python, with pauses of some milliseconds between."""
    count = work.size(1_000, 50)
    return [
        Contender(
            f"after {milliseconds} ms of sleep" if milliseconds else "in a row",
            work.driver("none", "wake.pieces", count, count=count, pause=milliseconds / 1000),
        )
        for milliseconds in (0, 1, 5, 18)
    ]


def _targets(times: float, *more: Target) -> tuple[Target, ...]:
    return (
        Target(f"at least {times}x ClusterShell's rate", "rate", times, against=CLUSTERSHELL),
        *more,
    )


_LIKE_C = Target("at least 0.75 of the C limit's rate", "rate", 0.75, against=LIMIT)
_OWN_CPU = Target("own CPU at most 160 us a node", "cpu_us", at_most=160)

CASES = (
    Case(
        "tiny",
        "A tiny static program (a C `main` that returns 0) on 10,000 nodes, exec, fanout 64",
        "nodes",
        _tiny,
        _targets(6, _LIKE_C, _OWN_CPU),
    ),
    Case("echo", "`echo %h` on 10,000 nodes, exec, fanout 64", "nodes", _echo, _targets(3.5)),
    Case("sh", f"`{_SH}` on 10,000 nodes, exec, fanout 64", "nodes", _sh, _targets(2.2)),
    Case(
        "journal",
        "`echo %h` on 10,000 nodes with a journal, exec, fanout 64",
        "nodes",
        _journal,
        (
            Target("at least 5x the rate of GNU parallel --joblog", "rate", 5, against=_JOBLOG),
            Target("at least 0.9 of the rate without a journal", "rate", 0.9, against=_PLAIN),
        ),
    ),
    Case(
        "alone",
        "Commands that end one by one: sleeps of 0.5 to 1.9 s on 500 nodes, exec, fanout 64",
        "nodes",
        _alone,
        shown=("cpu_us", "coordinator_cpu_us"),
        rounds=3,
    ),
    Case(
        "wake",
        "What waking costs: the same piece of Python in a row, and after a sleep",
        "pieces",
        _wake,
        shown=("cpu_us",),
    ),
)
