"""The life of an engine as the coordinator's process sees it: its table walked from end to end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpshell.errors import InvalidTransition
from mpshell.launch import lifecycle as c
from tests.unit.tables import Walk

#: A way into each state.
WAYS = {
    c.STARTING: [],
    c.READY: [c.FIRST_MESSAGE],
    c.DEAD: [c.FIRST_MESSAGE, c.DEATH],
    c.SILENT: [c.FIRST_MESSAGE, c.CHANNEL_END],
    c.ORPHANED: [c.FIRST_MESSAGE, c.NOTHING_LEFT],
    c.DRAINING: [c.DEATH, c.NOTHING_LEFT],
    c.GONE: [c.CHANNEL_END, c.NOTHING_LEFT],
    c.CLOSED: [c.CLOSE],
}
#: The table, row by row, for: first message, end of the channel, garbage, death reported, nothing left of it,
#: fence, given up, close.
EXPECTED = {
    c.STARTING: (
        c.READY, c.SILENT, c.SILENT, c.DEAD, c.ORPHANED, c.STARTING, c.DRAINING, c.CLOSED,
    ),
    c.READY: (None, c.SILENT, c.SILENT, c.DEAD, c.ORPHANED, c.READY, c.DRAINING, c.CLOSED),
    c.DEAD: (c.DEAD, c.SILENT, c.SILENT, c.DEAD, c.DRAINING, c.DEAD, c.DRAINING, c.CLOSED),
    c.SILENT: (None, None, None, c.SILENT, c.GONE, c.SILENT, c.GONE, c.CLOSED),
    c.ORPHANED: (c.ORPHANED, c.GONE, c.GONE, None, None, c.ORPHANED, c.DRAINING, c.CLOSED),
    c.DRAINING: (c.DRAINING, c.GONE, c.GONE, None, None, c.DRAINING, c.DRAINING, c.CLOSED),
    c.GONE: (None, None, None, None, None, c.GONE, None, c.GONE),
    c.CLOSED: (None, None, None, None, None, c.CLOSED, None, c.CLOSED),
}  # fmt: skip


WALK = Walk(c, c.Lifecycle, WAYS, EXPECTED, "{event} in state {state}")


@pytest.mark.parametrize(("state", "event"), WALK.pairs())
def test_every_pair_is_as_in_the_table(state: str, event: str) -> None:
    WALK.check(state, event)


@pytest.mark.parametrize(
    ("events", "effects", "certain"),
    [
        # It ends by itself, its messages first; or its end is reported before they are read.
        (
            [c.FIRST_MESSAGE, c.CHANNEL_END, c.DEATH, c.NOTHING_LEFT],
            [c.UNWATCH_CHANNEL, c.REPORT_SILENT, c.UNWATCH_SENTINEL, c.RELEASE, c.REPORT_GONE],
            True,
        ),
        (
            [c.FIRST_MESSAGE, c.DEATH, c.NOTHING_LEFT, c.CHANNEL_END],
            [c.UNWATCH_SENTINEL, c.DRAIN, c.UNWATCH_CHANNEL, c.RELEASE, c.REPORT_GONE],
            True,
        ),
        # Its fork server is gone: woken if it is fenced, and looked at once if it has never sent anything.
        (
            [c.FIRST_MESSAGE, c.NOTHING_LEFT, c.FENCE, c.CHANNEL_END],
            [c.UNWATCH_SENTINEL, c.INSIST, c.KILL, c.WAKE, c.INSIST, c.UNWATCH_CHANNEL, c.RELEASE,
             c.REPORT_GONE],
            True,
        ),
        (
            [c.NOTHING_LEFT, c.CHANNEL_END],
            [c.UNWATCH_SENTINEL, c.INSIST, c.LOOK, c.UNWATCH_CHANNEL, c.RELEASE, c.REPORT_GONE],
            True,
        ),
        # An unreadable frame may be the announcement of a command that has run.
        (
            [c.FIRST_MESSAGE, c.GARBAGE, c.DEATH, c.NOTHING_LEFT],
            [c.KILL, c.INSIST, c.UNWATCH_CHANNEL, c.REPORT_SILENT, c.UNWATCH_SENTINEL, c.RELEASE,
             c.REPORT_GONE],
            False,
        ),
        # It hangs in the kernel, with its channel open or not.
        (
            [c.FIRST_MESSAGE, c.FENCE, c.GIVEN_UP, c.CHANNEL_END],
            [c.KILL, c.INSIST, c.UNWATCH_SENTINEL, c.DRAIN, c.UNWATCH_CHANNEL, c.RELEASE, c.REPORT_GONE],
            True,
        ),
        (
            [c.FIRST_MESSAGE, c.CHANNEL_END, c.FENCE, c.GIVEN_UP],
            [c.UNWATCH_CHANNEL, c.REPORT_SILENT, c.KILL, c.INSIST, c.UNWATCH_SENTINEL, c.RELEASE,
             c.REPORT_GONE],
            True,
        ),
        ([c.CLOSE, c.CLOSE, c.FENCE], [c.RELEASE], True),
        ([c.FIRST_MESSAGE, c.CLOSE], [c.WAKE, c.RELEASE], True),
    ],
)  # fmt: skip
def test_lives_and_their_effects(events: list[str], effects: list[str], certain: bool) -> None:
    link_state = c.Lifecycle()
    assert [effect for event in events for effect in link_state.handle(event)] == effects
    assert link_state.certain is certain


@given(st.lists(st.sampled_from(c.EVENTS), max_size=14))
def test_released_once_and_gone_only_when_both_have_ended(events: list[str]) -> None:
    link_state = c.Lifecycle()
    effects: list[str] = []
    seen: set[str] = set()
    for event in events:
        try:
            done = link_state.handle(event)
        except InvalidTransition:
            continue
        seen.add(event)
        effects += done
        if c.REPORT_GONE in done:
            assert seen & {c.CHANNEL_END, c.GARBAGE} or c.GIVEN_UP in seen
            assert seen & {c.NOTHING_LEFT, c.GIVEN_UP}
    for once in (c.RELEASE, c.REPORT_GONE, c.REPORT_SILENT, c.UNWATCH_CHANNEL, c.UNWATCH_SENTINEL):
        assert effects.count(once) <= 1
    assert (c.RELEASE in effects) == (link_state.state in (c.GONE, c.CLOSED))
    assert (c.REPORT_GONE in effects) == (link_state.state == c.GONE)
    assert link_state.certain == (c.GARBAGE not in seen)
