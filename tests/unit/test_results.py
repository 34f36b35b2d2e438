"""Return codes, recorded output, and outcomes."""

from __future__ import annotations

import time

import pytest

from mpshell.coordinator.intake import indexes_by_job
from mpshell.coordinator.results import (
    Interned,
    LiveBlock,
    StreamStore,
    WorkerResults,
    matcher,
    returncode,
    text,
)
from mpshell.outcome import REASONS, Outcome
from mpshell.wire.messages import (
    CANCELLED,
    EXITED,
    LOST,
    SIGNALED,
    SPAWN_FAILED,
    TIMED_OUT,
    client_id,
)


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (EXITED, 0, 0),
        (EXITED, 3, 3),
        (SIGNALED, 9, 137),
        (SPAWN_FAILED, -1, 255),
        (LOST, 0, 255),
        (TIMED_OUT, -1, None),
        (CANCELLED, -1, None),
    ],
)
def test_the_code_of_an_outcome(reason: int, status: int, code: int | None) -> None:
    assert returncode(reason, status) == code


def test_an_unknown_reason_is_an_error() -> None:
    with pytest.raises(ValueError, match="77"):
        returncode(77, 0)


def test_a_text_loses_its_last_newline_only() -> None:
    assert [text(body) for body in (b"a\n", b"a\n\n", b"\n", b"a")] == [b"a", b"a\n", b"", b"a"]


def test_equal_bodies_are_one_object() -> None:
    store, intern = StreamStore(), Interned()
    for key in ("a", "b"):
        store.add_block(key, b"one\n")
        store.add_block(key, b"two\n")
        store.settle(key, intern)
    (body, keys), *rest = store.groups().items()
    assert (body, keys, rest) == (b"one\ntwo", ["a", "b"], [])
    assert store.get("a") is store.get("b")
    store.add_block("a", b"three\n")
    assert store.get("a") == b"one\ntwo\nthree"
    assert store.get("c") is None
    store.drop("a")
    assert store.get("a") is None


def test_a_handler_sees_the_lines_reported_so_far_and_no_more() -> None:
    results = WorkerResults()
    on = {"stdout": True}
    live = LiveBlock(results, lambda sname: on[sname], "stdout", ["k"], b"a\nb\nc\nd\n")
    seen = []
    for line in live.told:
        seen.append(results.text_of("k", "stdout"))
        if line == b"b":
            results.streams["stdout"].clear()
    live.end()
    assert seen == [b"a", b"a\nb", b"c", b"c\nd"]
    assert results.text_of("k", "stdout") == b"c\nd"


def test_recording_switched_off_in_the_middle() -> None:
    results = WorkerResults()
    on = {"stdout": True}
    live = LiveBlock(results, lambda sname: on[sname], "stdout", ["k"], b"a\nb\nc\n")
    for line in live.told:
        if line == b"b":
            live.record()
            on["stdout"] = False
    live.end()
    on["stdout"] = True
    assert results.text_of("k", "stdout") == b"a\nb"


def test_matchers() -> None:
    match = matcher(["a", 0])
    assert matcher(None) is None
    assert match is not None
    assert [match(key) for key in ("a", 0, "b")] == [True, True, False]


def test_outcomes_are_distinguished() -> None:
    results = WorkerResults()
    results.diagnose = lambda words: "auth" if "denied" in words else None
    now = time.monotonic()
    results.outcomes["a"] = Outcome(EXITED, 0, now, 0.5, None, 1)
    results.outcomes["b"] = Outcome(EXITED, 255, now, 0.5, "denied", 1)
    results.outcomes["c"] = Outcome(SIGNALED, 9, now, 0.5, None, 2)
    results.outcomes["d"] = Outcome(LOST, 0, 0.0, 0.0, "signal 9", 2)
    results.outcomes["e"] = Outcome(TIMED_OUT, -1, now, 0.5, None, 2)
    results.codes.update(a=0, b=255, c=137, d=255)
    found = {outcome.node: outcome for outcome in results.iter_outcomes()}
    assert {o.reason for o in found.values()} <= set(REASONS)
    assert [found[key].reason for key in "abcde"] == ["exit", "auth", "signal", "lost", "timeout"]
    assert [found[key].returncode for key in "abcde"] == [0, 255, 137, 255, None]
    assert [found[key].ok for key in "abcde"] == [True, False, False, False, False]
    assert found["c"].signal == 9
    assert found["d"].started_at is None
    assert found["e"].timed_out


def test_bodies_that_nobody_has_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Interned, "SWEEP", 1000)
    intern = Interned()
    kept = [intern(b"%0100d" % n) for n in range(10)]
    for n in range(10, 1000):
        intern(b"%0100d" % n)
    assert len(intern._bodies) < 50
    for n, body in enumerate(kept):
        assert intern(b"%0100d" % n) is body


def test_codes_of_one_turn_are_in_ascending_order_after_those_of_earlier_ones() -> None:
    results = WorkerResults()
    results.codes.update({"a": 3, "b": 7, "c": 0, "d": 1, "e": 3})
    results.first_seen.update({3: 5, 9: 5, 7: 6, 0: 6, 1: 6})
    assert list(results.by_code().items()) == [(3, ["a", "e"]), (0, ["c"]), (1, ["d"]), (7, ["b"])]
    assert list(results.by_code({"b", "d"}.__contains__).items()) == [
        (3, []),
        (0, []),
        (1, ["d"]),
        (7, ["b"]),
    ]


@pytest.mark.parametrize(
    ("blocks", "last"),
    [
        ([b"one\n", b"two\n"], b"two"),
        ([b"one\ntwo"], b"two"),
        ([b"one\n\n"], b""),
        ([b"\n"], b""),
        ([b"one"], b"one"),
    ],
)
def test_the_last_line_of_a_key(blocks: list[bytes], last: bytes) -> None:
    store = StreamStore()
    for block in blocks:
        store.add_block("k", block)
    assert store.last_line("k") == last and store.last_line("other") is None
    store.settle("k", Interned())
    assert store.last_line("k") == last


@pytest.mark.parametrize(
    ("clients", "by_job"),
    [
        ([], {}),
        ([(1, 0)], {1: [0]}),
        ([(7, 3), (7, 1), (7, (1 << 32) - 1)], {7: [3, 1, (1 << 32) - 1]}),
        ([(2, 5), (1, 5), (2, 4)], {2: [5, 4], 1: [5]}),
        ([(1, (1 << 32) - 1), (2, 0)], {1: [(1 << 32) - 1], 2: [0]}),
    ],
)
def test_clients_are_grouped_by_their_job(
    clients: list[tuple[int, int]], by_job: dict[int, list[int]]
) -> None:
    ids = [client_id(job_id, index) for job_id, index in clients]
    assert indexes_by_job(ids) == by_job
