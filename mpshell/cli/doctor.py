"""--doctor: the limits of this machine, and whether the sweep that is asked about fits."""

from __future__ import annotations

import argparse
import json

from mpshell.cli.terminal import Terminal
from mpshell.cli.text import visible, visible_lines
from mpshell.doctor import machine, ssh
from mpshell.doctor.finding import Finding, count
from mpshell.task.task import Task

#: Exit status when the sweep does not fit, as that of a command that has failed.
_TOO_SMALL = 1

#: Commands for which a run has as many engines as it ever has.
_MOST = 1 << 20


def examine(options: argparse.Namespace, task: Task, nodes: int | None, terminal: Terminal) -> int:
    """Print each limit, and return the exit status: 0 when the sweep fits, or none is asked about."""
    fanout = task.info("fanout")
    if nodes is not None:
        fanout = nodes if fanout == -1 else min(fanout, nodes)
    engines = task.engines_for(_MOST)
    findings = [*machine.examine(engines), *ssh.examine(engines)]
    short = [f for f in findings if _is_short(f, fanout, nodes)]
    if options.json or options.jsonl:
        document = {"fanout": fanout, "nodes": nodes, "findings": [
            {**finding._asdict(), "suffices": finding not in short} for finding in findings
        ]}  # fmt: skip
        terminal.out(json.dumps(document).encode() + b"\n")
    else:
        for finding in findings:
            terminal.out(_block(finding, finding in short).encode(errors="backslashreplace"))
        terminal.out(_verdict(short, fanout, nodes).encode(errors="backslashreplace"))
    return _TOO_SMALL if short else 0


def _is_short(finding: Finding, fanout: int, nodes: int | None) -> bool:
    """Return whether a limit is too low for the sweep."""
    if finding.fanout is not None and finding.fanout < fanout:
        return True
    return finding.nodes is not None and nodes is not None and finding.nodes < nodes


def _block(finding: Finding, short: bool) -> str:
    lines = [f"{finding.subject}: {finding.figure}", f"    {finding.allows}"]
    if short:
        lines[0] = f"TOO SMALL  {lines[0]}"
    if finding.remedy and (short or finding.advised):
        lines.append(f"    remedy: {finding.remedy}")
    elif finding.remedy:
        lines.append(f"    for more: {finding.remedy}")
    return "".join(f"{visible_lines(visible(line))}\n" for line in lines)


def _verdict(short: list[Finding], fanout: int, nodes: int | None) -> str:
    if fanout == -1:
        return "\nno fanout: give the nodes with -w to see whether they fit\n"
    asked = (
        f"fanout {count(fanout)}"
        if nodes is None
        else f"{count(nodes)} nodes, fanout {count(fanout)}"
    )
    if not short:
        return f"\n{asked}: this machine has room for it\n"
    return f"\n{asked}: too small: {', '.join(visible(f.subject) for f in short)}\n"
