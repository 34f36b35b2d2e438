"""How long an outpost may go on without its switchboard, and when that is surely over. Pure: without a clock.

The outpost sends its clock as a beat, each second; the switchboard confirms each one. A confirmed beat lets the
outpost go on for `LEASE` seconds *from when it was sent*: one that was stuck on the way gives no time that the
other side does not know of.

    outpost:      beat at 100.0 ──► confirmed ──► may go on until 105.0, its clock
    switchboard:  knows that 100.0 there was not later than some moment here: there it ends by that + LEASE
"""

from collections import deque

#: Seconds that an outpost goes on after the newest confirmed beat was sent.
LEASE = 5.0

#: Seconds between two beats.
BEAT = 1.0

#: The most seconds that an outpost needs to end its commands.
CLEAR = 3.0

#: Seconds without a byte after which a host counts as cut off.
SILENCE = 8.0

#: Beats by which the difference of the clocks is known: few enough that no drift counts.
_BEATS = 60


class Holder:
    """The outpost's side. Its moments are those of its own clock."""

    def __init__(self, hello: float) -> None:
        #: The time by which its commands must have ended. The greeting counts as a beat: it is answered before
        #: an engine is requested.
        self.until = hello + LEASE

    def confirmed(self, sent: float, now: float) -> bool:
        """Take a confirmation of the beat sent at `sent`; return whether the lease is longer by that.

        If one arrives after the end of the lease and of all commands, the lease begins again.
        """
        # No moment that has not come yet was ever sent.
        until = min(sent, now) + LEASE
        if until <= self.until:
            return False
        self.until = until
        return until > now

    def over(self, now: float) -> bool:
        """Whether nothing may run any more."""
        return now >= self.until


class Grantor:
    """The switchboard's side. `now` is its clock, `sent` the outpost's."""

    def __init__(self) -> None:
        self._differences: deque[float] = deque(maxlen=_BEATS)
        self._granted: float | None = None
        self._heard = 0.0

    def heard(self, now: float) -> None:
        """Take note of a sign of life."""
        self._heard = now

    def patience(self, now: float) -> float:
        """Return the seconds until a silent host counts as cut off; 0: it does now."""
        return max(0.0, self._heard + SILENCE - now)

    def beat(self, sent: float, now: float) -> None:
        """Take a beat, which is confirmed now."""
        self.heard(now)
        # It has arrived after it was sent: the least difference is the nearest to that of the clocks.
        self._differences.append(now - sent)
        self._granted = sent if self._granted is None else max(self._granted, sent)

    def ended(self) -> float:
        """Return the moment, on the clock here, from which nothing runs there; 0 when nothing ever has."""
        if self._granted is None:
            return 0.0
        # A beat cannot have been sent after its arrival, whatever its clock shows.
        return min(self._heard, self._granted + min(self._differences)) + LEASE + CLEAR
