"""The result of a check."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """A limit of this machine: the figure, and the sweep that it allows."""

    #: The limited resource, as a heading.
    subject: str
    #: The figure, with its unit.
    figure: str
    #: The sweep that it allows, as a sentence.
    allows: str
    #: How many commands may run at once, None when it does not limit that.
    fanout: int | None = None
    #: How many nodes a sweep may have, None when it does not limit that.
    nodes: int | None = None
    #: The remedy for an administrator, "" if none is needed.
    remedy: str = ""
    #: Whether the remedy is worth applying for a sweep of any size.
    advised: bool = False


def count(number: int) -> str:
    """Return a number for people: 12,345."""
    return f"{number:,}"
