"""Prevents core files of an engine that has keys or passwords in its memory; its commands are not affected.

The soft limit is 1 byte and not 0: with a program in core_pattern (core(5), "Piping core dumps to a program")
the kernel passes a core on with any limit except 1 (fs/coredump.c). In an engine's one thread.
"""

from __future__ import annotations

import resource

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

#: The limit that prevents a core, in a file or through a pipe.
_NONE = 1


class CoreLimit:
    """Prevent cores of this process from now on; children within the context have the former limit."""

    def __init__(self) -> None:
        self._before = _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        self._now = _NONE if hard == resource.RLIM_INFINITY else min(_NONE, hard), hard
        self.__exit__(None, None, None)

    def __enter__(self) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, self._before)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        resource.setrlimit(resource.RLIMIT_CORE, self._now)
