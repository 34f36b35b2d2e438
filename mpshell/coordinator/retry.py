"""Which attempts are followed by another one, and when: a policy, called at each end of a client. Pure.

At most once is the rule: a command that may have run is run again only if the user has named that reason.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from mpshell.errors import TaskSettingError
from mpshell.outcome import REASONS

#: Reasons which prove that nothing has run on the node.
DEFAULT_REASONS = frozenset(("unreachable", "not started"))

#: The reasons that a policy may name: not "cancelled", as an aborted command is never run again.
POSSIBLE_REASONS = tuple(reason for reason in REASONS if reason != "cancelled")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Up to `retries` more attempts for each node, after one that failed for one of the reasons `on`.

    The reasons are those of `NodeOutcome.reason`, except "cancelled"; a node with an ok outcome is never tried
    again. Attempt n+1 starts after a random part of `delay` * 2 ** (n-1) seconds, at most `most` seconds
    (back-off with full jitter); without `jitter` after exactly that time. TypeError and TaskSettingError (a
    ValueError) for bad values.
    """

    retries: int = 3
    on: frozenset[str] = DEFAULT_REASONS
    delay: float = 1.0
    most: float = 60.0
    jitter: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 1:
            raise TaskSettingError(f"retries is a whole number of at least 1, not {self.retries!r}")
        if isinstance(self.on, (str, bytes)):
            raise TypeError(f"on is a set of reasons, not the string {self.on!r}")
        on = frozenset(self.on)
        if not on:
            raise TaskSettingError("on names no reason for another attempt")
        for reason in on:
            if reason not in POSSIBLE_REASONS:
                raise TaskSettingError(
                    f"{reason!r} is not a reason for another attempt: these are {', '.join(POSSIBLE_REASONS)}"
                )
        object.__setattr__(self, "on", on)
        for name in ("delay", "most"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} is a number of seconds, not {value!r}")
            if not 0 <= value < math.inf:
                raise TaskSettingError(f"{name} is a finite number of seconds, not {value!r}")

    def also_on(self, reason: str) -> RetryPolicy:
        """Return this policy with one more reason."""
        return replace(self, on=self.on | {reason})

    def wait(self, reason: str, attempt: int) -> float | None:
        """Return the seconds until the next attempt after a failed one; None: there is none."""
        if reason not in self.on or attempt > self.retries:
            return None
        # Beyond 2 ** 60 every delay except 0 is at its bound.
        longest = min(self.most, self.delay * 2.0 ** min(attempt - 1, 60))
        return random.uniform(0, longest) if self.jitter else longest


#: The policy of the info key `retry_lost`. Without a bound a command that kills its engine would run for ever.
RETRY_LOST = RetryPolicy(10, frozenset(("lost",)), delay=0.0)
