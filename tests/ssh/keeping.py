"""For the tests of connections that stay: which connection a command came over, and its owner."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import psutil

from mpshell import NodeOutcome, Task
from tests.support import is_engine

#: Prints values that differ for each connection: its addresses and ports, and the process of its server.
WHICH = "echo $SSH_CONNECTION $PPID"


def connections(task: Task, nodes: str, command: str = WHICH, **more: Any) -> dict[str, str]:
    """Run a command on nodes that all have to be ok; return the output of each."""
    worker = task.run(command, nodes=nodes, **more)
    ended = list(worker.outcomes())
    assert [(o.node, o.reason) for o in ended if not o.ok or o.attempt != 1] == []
    found = {outcome.node: (worker.read(outcome.node) or b"").decode() for outcome in ended}
    assert len(found) == len(ended)
    return found


def outcomes(task: Task, nodes: str, command: str = "true", **more: Any) -> dict[str, NodeOutcome]:
    """Run a command on nodes; return the outcome of each."""
    ended = list(task.run(command, nodes=nodes, **more).outcomes())
    assert len({outcome.node for outcome in ended}) == len(ended)
    return {outcome.node: outcome for outcome in ended}


def servers(found: Mapping[str, str]) -> list[int]:
    """Return the processes of the servers that commands have named."""
    return [int(text.split()[-1]) for text in found.values()]


def alive(pids: list[int]) -> list[int]:
    """Return those of some processes that have not ended."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def engines() -> list[psutil.Process]:
    """Return the engines of this process, fork servers left out."""
    found = psutil.Process().children(recursive=True)
    return [child for child in found if is_engine(child) and child.ppid() != os.getpid()]


def sockets() -> int:
    """Return how many connections the engines of this process have."""
    return sum(len(engine.net_connections("tcp")) for engine in engines())
