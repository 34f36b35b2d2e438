"""The one warning of a run about its nodes: how many, their common fault, and the commonest reasons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from mpshell.coordinator.notices import NoticeCounts
from mpshell.wire.notices import NOTICE_REASON

FALLBACK = f"over ssh(1) in place of asyncssh{NOTICE_REASON}"


class FakeRun:
    def __init__(self) -> None:
        self.warned: list[str] = []

    def call(self, function: Callable[..., object], text: str, category: type) -> None:
        assert category is RuntimeWarning
        self.warned.append(text)


def warned(*counts: list[tuple[str, int]]) -> list[str]:
    """Return the warnings of a run in which engines have counted this."""
    run = FakeRun()
    notices = NoticeCounts(cast("Any", run))
    for each in counts:
        notices.count(each)
    notices.tell_counts()
    notices.tell_counts()
    return run.warned


def test_reasons_are_counted_over_all_engines_and_the_commonest_is_first() -> None:
    line = warned(
        [(f"{FALLBACK}ProxyUseFdpass yes", 1), (f"{FALLBACK}RevokedHostKeys x", 1)],
        [(f"{FALLBACK}RevokedHostKeys x", 1)],
    )
    assert line == [
        "3 nodes over ssh(1) in place of asyncssh: RevokedHostKeys x (2), ProxyUseFdpass yes (1)"
    ]


def test_one_reason_is_not_counted() -> None:
    assert warned([(f"{FALLBACK}ProxyUseFdpass yes", 1)]) == [
        "1 node over ssh(1) in place of asyncssh: ProxyUseFdpass yes"
    ]


def test_a_reason_for_each_node_makes_no_endless_line() -> None:
    [line] = warned([(f"{FALLBACK}ControlPath /tmp/{n}", 1) for n in range(500)])
    assert line.startswith("500 nodes over ssh(1) in place of asyncssh: ControlPath /tmp/")
    assert line.endswith(", 496 other reasons (496)") and line.count("ControlPath") == 4
    [line] = warned([(f"{FALLBACK}ControlPath /tmp/{n}", 1) for n in range(5)])
    assert line.endswith(", another reason (1)")


def test_different_things_are_one_line() -> None:
    assert warned([("not reached", 2), (f"{FALLBACK}ProxyUseFdpass yes", 3)]) == [
        "3 nodes over ssh(1) in place of asyncssh: ProxyUseFdpass yes; 2 nodes not reached"
    ]
    assert warned() == []
