"""The modules of an installed ClusterShell, whatever stands in its place in `sys.modules`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

#: Modules that were loaded beside a package that has ClusterShell's name.
_loaded: dict[str, ModuleType] = {}


def clustershell(name: str) -> ModuleType:
    """Return a module that imports no other one of ClusterShell, as NodeUtils; ImportError without it."""
    package = _package()
    full = f"ClusterShell.{name}"
    there = sys.modules.get("ClusterShell")
    if there is None or _is(there, package):
        return importlib.import_module(full)
    spec = PathFinder.find_spec(full, package.submodule_search_locations)
    if spec is None or spec.loader is None:
        raise ImportError(f"the installed ClusterShell has no module {name!r}", name=full)
    for module in (sys.modules.get(full), _loaded.get(full)):
        if module is not None and _is(module, spec):
            return module
    module = _loaded[full] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _package() -> ModuleSpec:
    spec = PathFinder.find_spec("ClusterShell")
    if spec is None and "ClusterShell" not in sys.modules:
        # Not on the path itself: an editable installation has a finder of its own.
        spec = importlib.util.find_spec("ClusterShell")
    if spec is None:
        raise ImportError("ClusterShell is not installed", name="ClusterShell")
    return spec


def _is(module: ModuleType, spec: ModuleSpec) -> bool:
    return getattr(module, "__file__", None) == spec.origin
