"""Libraries that engines host connections of: where they are installed for this program.

A fork server is isolated from the program's paths (`mpshell.launch.fork`). When the first engine of a library
is asked for, it gets the directories of that library and of those that this needs, behind its own.
"""

from __future__ import annotations

import functools
import importlib.util
import os

from mpshell.errors import EngineStartError

#: The packages that a library needs to be loaded, and those that it uses where they are there.
_MODULES = {
    "asyncssh": (("asyncssh", "cryptography", "typing_extensions"), ("_cffi_backend", "bcrypt"))
}


@functools.cache
def paths_of(library: str) -> tuple[str, ...]:
    """Return the directories to load a library from; EngineStartError where something of it is missing."""
    needed, used = _MODULES[library]
    found: dict[str, None] = {}
    for name in (*needed, *used):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            if name in used:
                continue
            raise EngineStartError(f"{library} needs the module {name}, which is not installed")
        place = os.path.dirname(spec.origin)
        found[os.path.dirname(place) if spec.submodule_search_locations else place] = None
    return tuple(found)


def missing_libraries() -> dict[str, str]:
    """Return the libraries that cannot be loaded, with the reason of each."""
    missing = {}
    for library in _MODULES:
        try:
            paths_of(library)
        except EngineStartError as error:
            missing[library] = str(error)
    return missing
