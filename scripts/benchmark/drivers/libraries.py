"""The two libraries that have a Task, under the same names: one driver runs on either."""

import importlib
from types import SimpleNamespace
from typing import Any

_NAMES = {
    "Task": ("Task", "task_self"),
    "Event": ("EventHandler",),
    "NodeSet": ("NodeSet",),
    "Worker.Exec": ("ExecWorker",),
    "Worker.Ssh": ("WorkerSsh",),
}


def load(library: str) -> Any:
    """Return Task, EventHandler, NodeSet and workers of "mpshell" or "ClusterShell"."""
    found: dict[str, Any] = {"name": library}
    for module, attributes in _NAMES.items():
        path = f"{library}.{module}" if library == "ClusterShell" else f"{library}.{module.lower()}"
        loaded = importlib.import_module(path)
        found |= {attribute: getattr(loaded, attribute) for attribute in attributes}
    return SimpleNamespace(**found)
