"""Imports of `ClusterShell` and of `mpshell.compat`: which module each name gets.

                  mpshell.compat.X                       ClusterShell.X, once installed
has a file here   that file                              the same module object
in `BORROWED`     ClusterShell's file, whose own         the same module object
                  imports of ClusterShell get this
                  package
`SHARED`          the module ClusterShell.X              ClusterShell's file, under its own name
in `ABSENT`       ImportError                            ImportError
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import TYPE_CHECKING

from mpshell.runtime.uncopied import allow_copies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType, ModuleType
    from typing import Any

OURS, PEER = "mpshell.compat", "ClusterShell"

#: Modules that mpshell has nothing for, and that work on its classes.
BORROWED = ("CLI", "Communication", "Propagation", "Topology", "Worker.fastsubprocess")

#: Imports nothing else of ClusterShell, so that both libraries can have it; mpshell loads it for node groups.
SHARED = "NodeUtils"

#: Modules that cannot work here, and why.
ABSENT = {
    "Gateway": "mpshell has no tree mode",
    "Worker.Tree": "mpshell has no tree mode",
}


class AlreadyImportedError(ImportError):
    """ClusterShell cannot be replaced in this process: some of it has been imported."""


def install() -> None:
    """Let every import of ClusterShell in this process get mpshell, from now on. A second call does nothing.

    `copy.copy(task)` works from then on, as there: a second object for the same Task.
    Raises AlreadyImportedError when the program has imported ClusterShell: it would have classes of both.
    """
    if _finder.installed:
        return
    loaded = {name for name in sys.modules if name == PEER or name.startswith(PEER + ".")}
    shared = f"{PEER}.{SHARED}"
    # Where only mpshell has loaded something, that is it.
    if loaded and loaded != {PEER, shared}:
        raise AlreadyImportedError(
            "mpshell cannot take the place of ClusterShell, which is imported already "
            f"({', '.join(sorted(loaded))}): call mpshell.compat.install() before the first import of it, "
            "or run the program with python -m mpshell.compat",
            name=PEER,
        )
    package = sys.modules[OURS]
    if loaded:
        setattr(package, SHARED, sys.modules[shared])
    _finder.installed = True
    allow_copies()
    sys.modules[PEER] = package


def is_borrowed(name: str) -> bool:
    """Return whether a module of ClusterShell, named without the package, comes from there."""
    return any(name == top or name.startswith(top + ".") for top in BORROWED)


class _Alias(Loader):
    """Gives a second name to a module."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has put the second name's there; reload() and pickle go by the first.
        module.__spec__ = self._spec

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the code of the module, for runpy."""
        spec = importlib.util.find_spec(self._name)
        loader: Any = spec and spec.loader
        code: CodeType | None = loader.get_code(self._name)
        return code


class _Borrowed(SourceFileLoader):
    """Loads a file of ClusterShell as a module of this package."""

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": _import}
        try:
            super().exec_module(module)
        except ModuleNotFoundError:
            raise
        except ImportError as error:
            raise ImportError(
                f"{self.path} of ClusterShell does not work on mpshell: {error}", name=self.name
            ) from error


def _import(
    name: str,
    names: Mapping[str, object] | None = None,
    local: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Import for ClusterShell's own files: they get this package instead of theirs."""
    if level or name.partition(".")[0] != PEER:
        return builtins.__import__(name, names, local, fromlist or (), level)
    name = OURS + name.removeprefix(PEER)
    if fromlist:
        return builtins.__import__(name, names, local, fromlist)
    importlib.import_module(name)
    return sys.modules[OURS]


class _Finder(MetaPathFinder):
    installed = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.startswith(OURS + "."):
            return _find_ours(fullname, fullname.removeprefix(OURS + "."))
        package, _, name = fullname.partition(".")
        if package == PEER and self.installed:
            return _find_in_place_of_peer(fullname, name)
        return None


def _find_ours(fullname: str, name: str) -> ModuleSpec | None:
    if name in ABSENT:
        raise ImportError(f"there is no {fullname}: {ABSENT[name]}", name=fullname)
    if name == SHARED:
        _find_peers(name)
        return ModuleSpec(fullname, _Alias(f"{PEER}.{name}"))
    if not is_borrowed(name):
        return None
    spec = _find_peers(name)
    if spec is None or spec.origin is None:
        return None
    return importlib.util.spec_from_file_location(
        fullname,
        spec.origin,
        loader=_Borrowed(fullname, spec.origin),
        submodule_search_locations=spec.submodule_search_locations,
    )


def _find_in_place_of_peer(fullname: str, name: str) -> ModuleSpec | None:
    if name in ABSENT:
        raise ImportError(f"there is no {fullname}: {ABSENT[name]}", name=fullname)
    if name == SHARED:
        return _find_peers(name)
    own = f"{OURS}.{name}" if name else OURS
    return ModuleSpec(fullname, _Alias(own)) if importlib.util.find_spec(own) else None


def _find_peers(name: str) -> ModuleSpec | None:
    """Return the spec of a module in an installed ClusterShell, None if that has none of this name.

    Raises ModuleNotFoundError if ClusterShell is not installed.
    """
    for finder in sys.meta_path:
        package = None if finder is _finder else finder.find_spec(PEER, None)
        if package is not None and package.submodule_search_locations:
            middle = name.split(".")[:-1]
            folders = [os.path.join(root, *middle) for root in package.submodule_search_locations]
            return PathFinder.find_spec(f"{PEER}.{name}", folders)
    raise ModuleNotFoundError(
        f"{PEER}.{name} is needed, which mpshell takes from ClusterShell, and ClusterShell is not installed: "
        "pip install 'mpshell[groups]'",
        name=f"{PEER}.{name}",
    )


_finder = _Finder()
sys.meta_path.insert(0, _finder)
