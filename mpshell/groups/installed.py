"""The module of an installed ClusterShell that groups need; ImportError if it is not installed."""

from __future__ import annotations

import importlib
from typing import Any


def node_utils() -> Any:
    """Return ClusterShell's NodeUtils: the one that a program imports, so that its classes are the same."""
    return importlib.import_module("ClusterShell.NodeUtils")
