"""When a run gives up on engines that end before they have done anything. Pure."""

from __future__ import annotations

from mpshell.errors import EngineStartError, NoHostError

#: A run gives up after this many consecutive failed starts, for each engine that it has had at once, since one
#: event may hit them all: 10 if engines end before their first message (a killed fork server can cost two
#: starts, the second of them requested just before its end), 3 if they report an internal error before they
#: announce a command.
_FALSE_STARTS, _FAILURES = 10, 3


class Misfires:
    """Counts the engines of one run that have ended too early, in a row."""

    def __init__(self) -> None:
        self._false_starts = self._failures = 0
        #: How the last false start ended.
        self._detail = ""
        #: Engines that the run has had at once.
        self._most = 1
        #: Whether commands have been announced.
        self._has_worked = False

    def living(self, engines: int) -> None:
        """Note the present number of engines."""
        self._most = max(self._most, engines)

    def has_spoken(self) -> None:
        """An engine has sent its first message."""
        self._false_starts = 0

    def has_worked(self) -> None:
        """An engine has announced commands."""
        self._has_worked = True
        self._failures = 0

    def ends_run(self, error: EngineStartError) -> bool:
        """Whether the run cannot go on at all: if it has begun and all hosts were lost, it has results."""
        return not (self._has_worked and isinstance(error, NoHostError))

    def ended_at_once(self, detail: str) -> None:
        """An engine has ended before its first message."""
        self._false_starts += 1
        self._detail = detail

    def failed(self, traceback: str) -> EngineStartError | None:
        """Process an engine's internal error; return the error for the run if there have been too many."""
        self._failures += 1
        if self._failures < _FAILURES * self._most:
            return None
        # The next engine would get the same work, and fail as well.
        last = traceback.strip().splitlines()[-1]
        return EngineStartError(f"{self._failures} engine processes in a row failed: {last}")

    def check(self) -> None:
        """Raise EngineStartError if too many have ended at once."""
        if self._false_starts >= _FALSE_STARTS * self._most:
            raise EngineStartError(
                f"{self._false_starts} engine processes in a row ended at once: {self._detail}"
            )
