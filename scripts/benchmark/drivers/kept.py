"""Runs one after the other over real ssh, whose connections stay open in between, or are made anew."""

import contextlib
from pathlib import Path
from typing import Any

import probe
from libraries import load
from meter import Meter
from sweeps import new_task, node_text


def sweeps(
    library: str,
    nodes: int,
    command: str,
    ssh_options: str,
    keep: float,
    runs: int,
    fanout: int = 64,
    engines: int = 2,
) -> dict[str, float]:
    """Run a command on the nodes some times, by engines that are warm; connections stay for `keep` seconds.

    The first run is not measured. The memory of a connection is what a hundred of them add to the engines.
    """
    api = load(library)
    task = new_task(
        api, fanout, engines=engines, ssh_options=ssh_options, ssh_keep=keep, connect_timeout=60
    )
    task.set_default("distant_workername", "asyncssh")

    def run(count: int) -> None:
        task.run(command, nodes=node_text(count))
        codes = {code: len(done) for code, done in task.iter_retcodes()}
        if codes != {0: count}:
            raise RuntimeError(f"return codes of {count} nodes: {codes}")

    few = min(nodes, max(engines, nodes // 2))
    run(few)
    before = _private_memory()
    run(nodes)
    more = nodes - few
    result: dict[str, float] = {}
    if keep and more >= 50:
        result["connection_kb"] = (_private_memory() - before) / more / 1000
    meter = Meter()
    for _ in range(runs):
        run(nodes)
    return result | meter.stop()


def _private_memory() -> int:
    """Return the bytes that the engines have for themselves."""
    total = 0
    for pid in probe.helpers():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            lines: dict[str, Any] = dict(
                line.split(":", 1) for line in text.splitlines() if line.startswith("Private_")
            )
            total += sum(int(value.split()[0]) * 1024 for value in lines.values())
    return total
