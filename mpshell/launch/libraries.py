"""Libraries whose connections engines host, and the directories in which they are installed for this program.

A fork server is isolated from the program's paths (`mpshell.launch.fork`). With the request for the first
engine of a library it gets the directories of that library and its dependencies, which follow its own.
"""

from __future__ import annotations

import functools
import importlib.util
import os

from mpshell.errors import EngineStartError

#: The packages that a library needs, and those that it uses if they are installed.
_MODULES = {
    "asyncssh": (("asyncssh", "cryptography", "typing_extensions"), ("_cffi_backend", "bcrypt"))
}


@functools.cache
def paths_of(library: str) -> tuple[str, ...]:
    """Return the directories from which to load a library; EngineStartError if a part of it is missing."""
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
