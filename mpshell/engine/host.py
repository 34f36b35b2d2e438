"""Engines that host connections: the module of a library gives them a loop and a family of carriers.

The fork server loads it with the request for the first engine of that library, so that the engines share its
pages, and no other process pays for it.
"""

from __future__ import annotations

import gc
import os
import sys

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from mpshell.engine.clients import Clients
    from mpshell.engine.family import Connecting
    from mpshell.runtime.loop import EventLoop

    class ConnectionHost(Protocol):
        """A module that hosts connections of one library."""

        def make_loop(self) -> EventLoop:
            """Return the loop of an engine, in whose process this is called."""

        def make_family(self, loop: EventLoop, clients: Clients) -> Connecting:
            """Return the family that carries the clients of jobs with a `Connect`."""


#: The module that hosts connections of a library.
_MODULES = {"asyncssh": "mpshell.connect.host"}


def load(library: str, paths: Sequence[str]) -> ConnectionHost:
    """Return the host of a library, loaded from these directories; ImportError when that cannot be."""
    name = _MODULES.get(library)
    if name is None:
        raise ImportError(f"no engine hosts connections of {library!r}")
    if name not in sys.modules:
        sys.path += [path for path in paths if path not in sys.path]
        gc.disable()
        try:
            _import(name)
        finally:
            # Nothing of it is freed, and the collector of each engine leaves its pages alone.
            gc.freeze()
            gc.enable()
    host: ConnectionHost = sys.modules[name]
    return host


def _import(name: str) -> None:
    """Import a module, which may look for shared libraries, and start no program for that.

    find_library() of ctypes asks ldconfig(8), and a compiler and a linker for what is not installed.
    """
    import ctypes.util

    original, ctypes.util.find_library = ctypes.util.find_library, _cached_library
    try:
        __import__(name)
    finally:
        ctypes.util.find_library = original


def _cached_library(name: str) -> str | None:
    """Return the file name of a shared library that the dynamic linker knows (ld.so.cache); None: none."""
    import re

    try:
        with open("/etc/ld.so.cache", "rb") as file:
            known = file.read()
    except OSError:
        return None
    found = re.search(rb"\0(lib%s\.so[.0-9]*)\0" % re.escape(os.fsencode(name)), known)
    return os.fsdecode(found[1]) if found else None
