"""Which clients are run once more: the rule, as one object that is asked at every end of a client. Pure.

At most once is the rule: what may have run is run again only where the user has asked for that.
"""

from typing import Protocol

from mpshell.outcome import Outcome
from mpshell.wire.messages import LOST


class RetryPolicy(Protocol):
    """Decides, by the outcome of an attempt, whether and when there is another one."""

    def delay(self, outcome: Outcome) -> float | None:
        """Return the seconds until the next attempt; None: this outcome is the last word."""


class RetryLost:
    """A client whose engine was lost is run again at once, a bounded number of times.

    The bound is for a command that kills its engine: it would be run for ever.
    """

    MOST = 10

    def delay(self, outcome: Outcome) -> float | None:
        return 0.0 if outcome.reason == LOST and outcome.attempt <= self.MOST else None
