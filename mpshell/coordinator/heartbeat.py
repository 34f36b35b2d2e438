"""Finds the engines of a run that are given up because they send nothing."""

from __future__ import annotations

from mpshell.launch.link import Link
from mpshell.runtime.loop import EventLoop
from mpshell.wire import messages

#: The number of signs of life that are requested in the time after which an engine is given up. That takes at
#: most an eighth longer, so that an engine of another host is lost within ten seconds by default.
_BEATS = 8


class Heartbeat:
    """Asks every engine for a sign of life, and fences those that have not answered the last ones.

    An engine may be silent for `seconds`; None: for ever, and none is asked.
    """

    def __init__(self, loop: EventLoop, seconds: float | None) -> None:
        self._loop = loop
        self._seconds = seconds
        self._links: dict[int, Link] = {}
        #: Beats in a row without a frame, by engine.
        self._silent: dict[int, int] = {}
        self._beating = False

    def watch(self, link: Link) -> None:
        """Watch an engine of the run from now on."""
        if self._seconds is None:
            return
        self._links[link.engine_id] = link
        self._silent[link.engine_id] = 0
        if not self._beating:
            self._beating = True
            self._loop.call_later(self._seconds / _BEATS, self._beat, self._seconds)

    def forget(self, engine_id: int) -> None:
        """An engine is gone."""
        self._links.pop(engine_id, None)

    def heard(self, engine_id: int) -> None:
        """A frame of an engine has arrived, and any frame is a sign of life."""
        self._silent[engine_id] = 0

    def _beat(self, seconds: float) -> None:
        # A turn of the loop reads the channels before it handles deadlines, and the next beat counts from
        # here. So an engine that answered during a slow handler is never taken for dead.
        for engine_id, link in self._links.items():
            silent = self._silent[engine_id] = self._silent[engine_id] + 1
            limit = seconds if link.ready else max(seconds, link.patience)
            if silent * seconds / _BEATS > limit:
                link.fence(f"no sign of life for {limit:g} s")
            else:
                link.send([messages.Ping()])
        self._loop.call_later(seconds / _BEATS, self._beat, seconds)
