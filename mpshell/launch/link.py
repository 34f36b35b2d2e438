"""Where engines come from: the interface between a run and the means that start its engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mpshell.launch.local import EngineHandle


class Closable(Protocol):
    """What is to be closed."""

    def close(self) -> None:
        """End it; may wait for that, some seconds at most."""


class Launcher(Protocol):
    """Starts engines somewhere. It carries frames and never sees a node's name."""

    #: Whether the last words of a dead engine always arrive, so that what it did not announce has
    #: surely not run.
    lossless: bool

    def prepare(self) -> None:
        """Begin with what a start takes, without waiting for it: one is soon to come."""

    def credentials(self) -> object:
        """Return as whom an engine runs commands that is started now; that of others must not run them."""

    def part_with(self, used: set[object]) -> Sequence[Closable]:
        """Return what serves no engine of these credentials, nor a next one: to be closed."""

    def start(self) -> EngineHandle:
        """Start an engine; EngineStartError when that cannot be."""

    def close(self) -> None:
        """End all engines and what serves them."""
