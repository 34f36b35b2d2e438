"""An engine of another host as the coordinator's process has it."""

import math
import os
import time
from collections.abc import Callable
from typing import Any, Final

from mpshell.hosts import lease
from mpshell.hosts.packets import REFUSED, UNCERTAIN
from mpshell.launch import lifecycle
from mpshell.launch.link import PATIENCE
from mpshell.launch.local import LocalLink
from mpshell.wire import messages

#: Seconds after the end of the switchboard from which nothing runs on any host: its last confirmation, and all
#: that an outpost may go on after that.
_UNGUARDED = lease.LEASE + lease.CLEAR


# What the switchboard has reported about the end of an engine.
_NOTHING: Final = "NOTHING"
_ENDED: Final = "ENDED"
_LOST: Final = "LOST"  # it has ended itself without a report


class FarLink(LocalLink):
    """A `Link` to an engine on another host; both its ends here are the switchboard's.

    It has no session: no pid that it reports is signalled here. `on_located` is called with the processors of
    its host, `on_end` once, with the reason why the host cannot be used, or "", and whether its end
    is certain.
    """

    far = True

    def __init__(
        self,
        *args: Any,
        host: str,
        on_located: Callable[[int], object],
        on_end: Callable[[str, bool], object],
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self.host = host
        self._on_located = on_located
        self._on_end: Callable[[str, bool], object] | None = on_end
        self._located = False
        self._report: str = _NOTHING

    @property
    def patience(self) -> float:
        # The switchboard is patient with a host that has not answered.
        if not self._located:
            self._unrequested = time.monotonic()
            return math.inf
        return PATIENCE + self._unrequested - self._made

    def _hear(self, events: list[messages.Message]) -> list[messages.Message]:
        # The switchboard's own, before anything of the engine's.
        if not self._located and events and isinstance(first := events[0], messages.Located):
            self._located = True
            self.offset, self.stage, self.lacks = first.offset, first.stage, first.lacks
            self._on_located(first.cpus)
            events = events[1:]
        return super()._hear(events)

    def _on_sentinel(self) -> None:
        if not self._sentinel.ours():
            return
        text = os.read(self._sentinel.fd, 200).decode(errors="replace")
        if text.startswith(UNCERTAIN):
            self._lifecycle.certain = False
        elif text.startswith(REFUSED):
            self._end(text.removeprefix(REFUSED))
        if text:
            self._report = _ENDED
            self.detail = self.detail or text.lstrip(UNCERTAIN + REFUSED)
            self._handle(lifecycle.DEATH)
        elif self._report is _ENDED or self.loop is None:
            self._handle(lifecycle.NOTHING_LEFT)
        else:
            self._be_orphaned()

    def _be_orphaned(self) -> None:
        """The switchboard has ended without a report: the engine ends with its lease, unconfirmed."""
        if self._report is _LOST or self.loop is None:
            return
        self._report = _LOST
        self._lifecycle.certain = False
        self.detail = self.detail or f"{self.host}: the switchboard has ended"
        self.loop.remove_reader(self._sentinel.fd)
        self.loop.call_later(_UNGUARDED, self._on_unguarded_end)

    def _on_unguarded_end(self) -> None:
        if self._lifecycle.state in lifecycle.GUARDED:
            self._handle(lifecycle.NOTHING_LEFT)

    def _give_up(self) -> None:
        # Some of its data may still be on the way.
        self._lifecycle.certain = False
        super()._give_up()

    def _release(self) -> None:
        super()._release()
        self._end("")

    def _end(self, why: str) -> None:
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end(why, self.certain)
