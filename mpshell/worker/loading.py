"""Transports by name: finds the worker class of a name."""

from __future__ import annotations

import importlib

from mpshell.runtime.lean import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing import Any


def is_worker_class(value: Any) -> bool:
    """Return whether a value is a class of workers over nodes."""
    # Late: a run of a local command does not need it.
    from mpshell.worker.kinds import DistantWorker

    return isinstance(value, type) and issubclass(value, DistantWorker)


def load_worker_class(name: str) -> type[Any]:
    """Return the worker class of a transport: of mpshell.worker.<name>, or of a module of that name.

    Raise ImportError if neither exists, or if it has no WORKER_CLASS.
    """
    if not isinstance(name, str) or not all(map(str.isidentifier, name.split("."))):
        raise ImportError(
            f"no transport {name!r}: a name is expected, 'ssh' or 'exec' for instance"
        )
    candidates = (f"mpshell.worker.{name.lower()}", name)
    for module_name in candidates:
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not module_name.startswith(error.name):
                raise
            continue
        worker_class = getattr(module, "WORKER_CLASS", None)
        if is_worker_class(worker_class):
            return cast("type[Any]", worker_class)
    raise ImportError(
        f"no transport {name!r}: neither of {candidates} is a module with WORKER_CLASS, a worker over nodes"
    )
