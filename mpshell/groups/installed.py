"""The modules of an installed ClusterShell that groups need; ImportError where it is not installed."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from types import ModuleType
from typing import Any


def node_utils() -> Any:
    """Return ClusterShell's NodeUtils: the one that a program imports, so that its classes are the same."""
    return importlib.import_module("ClusterShell.NodeUtils")


@functools.cache
def defaults() -> Any:
    """Return ClusterShell's own Defaults, which knows where groups.conf is looked for.

    Not under its name: a program may have mpshell in the place of it, or want that later.
    """
    path = os.path.join(os.path.dirname(node_utils().__file__), "Defaults.py")
    spec = importlib.util.spec_from_file_location("mpshell.groups.clustershell_defaults", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"ClusterShell has no {path}", path=path)
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
