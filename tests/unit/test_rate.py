"""The bucket that limits starts a second, on a clock of the test's own."""

from __future__ import annotations

import pytest

from mpshell.coordinator.rate import TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_a_rate_there_is_no_limit() -> None:
    bucket = TokenBucket(Clock())
    assert bucket.available() is None
    bucket.take(1000)
    assert bucket.next_token() == 0


def test_tokens_come_in_at_the_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(clock)
    bucket.set_rate(4)
    assert bucket.available() == 1
    bucket.take(1)
    assert bucket.available() == 0
    assert bucket.next_token() == pytest.approx(0.25, abs=0.001)
    clock.now += bucket.next_token()
    assert bucket.available() == 1


@pytest.mark.parametrize(("rate", "burst"), [(0.1, 1), (5, 1), (100, 10)])
def test_a_pause_is_not_made_up_for(rate: float, burst: int) -> None:
    clock = Clock()
    bucket = TokenBucket(clock)
    bucket.set_rate(rate)
    clock.now += 3600
    assert bucket.available() == burst


def test_a_second_never_sees_more_than_the_rate_and_the_burst() -> None:
    clock = Clock()
    bucket = TokenBucket(clock)
    bucket.set_rate(50)
    taken = 0
    for _ in range(1000):
        count = bucket.available()
        assert count is not None
        bucket.take(count)
        taken += count
        clock.now += 0.001
    assert 50 <= taken <= 55
