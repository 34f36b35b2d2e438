"""A limit of starts per second over all engines: one bucket of tokens, a token for each client. Pure.

The coordinator uses it when it hands out clients (`mpshell.coordinator.engines`).
"""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """Tokens that arrive at a rate; `clock` returns monotonic seconds.

    It holds at most the tokens of a tenth of a second (at least one), so that no burst follows a
    pause.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rate: float | None = None
        self._tokens = 1.0
        self._filled_at = clock()

    def set_rate(self, rate: float | None) -> None:
        """Let `rate` tokens per second arrive from now on; None: there is no limit."""
        self._fill()
        self._rate = rate
        self._tokens = min(self._tokens, self._size())

    @property
    def is_limited(self) -> bool:
        """Whether there is a rate."""
        return self._rate is not None

    def available(self) -> int | None:
        """Return how many tokens can be taken now; None: any number."""
        if self._rate is None:
            return None
        self._fill()
        return int(self._tokens)

    def take(self, count: int) -> None:
        """Take tokens that are available."""
        if self._rate is not None:
            self._tokens -= count

    def next_token(self) -> float:
        """Return the seconds until a token is available, 0 if there is one."""
        if self._rate is None:
            return 0.0
        self._fill()
        # A little more, so that rounding does not cause a wake-up too early.
        return max(0.0, (1.0 - self._tokens) / self._rate) + 1e-4 if self._tokens < 1 else 0.0

    def _size(self) -> float:
        return 1.0 if self._rate is None else max(1.0, self._rate / 10)

    def _fill(self) -> None:
        now = self._clock()
        if self._rate is not None:
            came_in = (now - self._filled_at) * self._rate
            self._tokens = min(self._size(), self._tokens + came_in)
        self._filled_at = now
