"""No core file of an engine that has keys or passwords in its memory; its commands leave theirs as they would.

A soft limit of 1 byte and not of 0: with a program in core_pattern (core(5), "Piping core dumps to a program")
the kernel passes a core on whatever the limit is, but for 1 (fs/coredump.c). In an engine's one thread.
"""

from __future__ import annotations

import resource

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

#: The limit by which there is no core, in a file or through a pipe.
_NONE = 1


class CoreLimit:
    """This process has no core from now on; its children within the context have the limit of before."""

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
