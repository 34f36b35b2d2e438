"""Own the attribute `autostep` of sets that fold, by all its names."""

from __future__ import annotations

from mpshell.nodes.indexes import check_autostep


class Stepped:
    """A set that may fold with a step, as ``1-9/2``."""

    __slots__ = ("_autostep",)

    _autostep: float | None

    def get_autostep(self) -> float | None:
        """Return the least number of indexes that fold with a step; None: never."""
        return self._autostep

    def set_autostep(self, val: float | None) -> None:
        """Set the least number of indexes that fold with a step, from 2 on; None: never."""
        self._autostep = check_autostep(val)

    @property
    def autostep(self) -> float | None:
        """The least number of indexes that fold with a step; None: never."""
        return self.get_autostep()

    @autostep.setter
    def autostep(self, value: float | None) -> None:
        self.set_autostep(value)
