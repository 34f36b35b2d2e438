"""How far a relay copy is, of the nodes of its line. Pure."""

from __future__ import annotations

from typing import NamedTuple

from mpshell.coordinator.relayline import RelayLine
from mpshell.coordinator.relaynode import DONE


class RelayProgress(NamedTuple):
    """How far a relay copy is; `offset` in bytes, the mean over all nodes; rates in bytes a second."""

    size: int
    offset: int
    rate: float
    done: int
    nodes: int
    slowest: str  # "" or "node <- source"
    slowest_rate: float


def progress_of(line: RelayLine, now: float) -> RelayProgress:
    """Return how far the nodes of a line are; those that are over count among all nodes alone."""
    nodes = [node for node in line.nodes if node.is_live or node.state is DONE]
    rates = [
        (rate, node) for node in nodes if node.is_live and (rate := node.rate(now)) is not None
    ]
    slowest, least = "", 0.0
    if rates:
        least, node = min(rates, key=lambda found: found[0])
        slowest = f"{node.name} <- {line.name_of(node.source)}"
    return RelayProgress(
        size=line.size,
        offset=sum(node.offset for node in nodes) // max(1, len(nodes)),
        rate=max((found[0] for found in rates), default=0.0),
        done=sum(node.state is DONE for node in nodes),
        nodes=len(line.nodes),
        slowest=slowest,
        slowest_rate=least,
    )
