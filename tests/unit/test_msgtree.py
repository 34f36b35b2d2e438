"""Check `MsgTree` by itself: its modes, walks and the removal of keys."""

from __future__ import annotations

from typing import Any

import pytest

from mpshell.msgtree import MODE_DEFER, MODE_SHIFT, MODE_TRACE, MsgTree

WRONG: Any = 3


def grown(mode: int) -> MsgTree:
    """Return a tree in which a and b begin alike, c and d are equal, and e is the beginning of c."""
    tree = MsgTree(mode)
    for key, lines in {
        "a": "one two",
        "b": "one three",
        "c": "up on",
        "d": "up on",
        "e": "up",
    }.items():
        for line in lines.split():
            tree.add(key, line.encode())
    return tree


@pytest.mark.parametrize("mode", [MODE_DEFER, MODE_SHIFT])
def test_a_walk_gives_each_message_with_its_keys(mode: int) -> None:
    tree = grown(mode)
    assert tree.mode == mode
    expected = {b"one\ntwo": ["a"], b"one\nthree": ["b"], b"up\non": ["c", "d"], b"up": ["e"]}
    assert {bytes(message): keys for message, keys in tree.walk()} == expected
    assert tree.mode == MODE_SHIFT
    tree.add("e", b"on")
    [(message, keys)] = tree.walk(match="cde".__contains__, mapper=str.upper)
    assert (bytes(message), keys) == (b"up\non", ["C", "D", "E"])
    with pytest.raises(ValueError, match="not 1"):
        tree.walk_trace()


def test_a_trace_gives_each_beginning_with_its_keys() -> None:
    tree = grown(MODE_TRACE)
    assert sorted(tree.walk_trace()) == [
        (b"on", ["c", "d"], 2, 0),
        (b"one", ["a", "b"], 1, 2),
        (b"three", ["b"], 2, 0),
        (b"two", ["a"], 2, 0),
        (b"up", ["c", "d", "e"], 1, 1),
    ]
    assert {bytes(message): keys for message, keys in tree.walk()} == {
        b"one": ["a", "b"],
        b"one\ntwo": ["a"],
        b"one\nthree": ["b"],
        b"up": ["c", "d", "e"],
        b"up\non": ["c", "d"],
    }
    assert (tree.mode, tree["a"]) == (MODE_TRACE, b"one\ntwo")


def test_a_trace_goes_down_before_it_goes_on() -> None:
    tree = grown(MODE_TRACE)
    trace = [(line, depth) for line, _, depth, _ in tree.walk_trace(match="abd".__contains__)]
    assert trace == [(b"up", 1), (b"on", 2), (b"one", 1), (b"three", 2), (b"two", 2)]
    assert list(tree.walk_trace("e".__eq__, str.upper)) == [(b"up", ["E"], 1, 1)]


@pytest.mark.parametrize("mode", [MODE_DEFER, MODE_SHIFT, MODE_TRACE])
def test_removed_keys_may_come_back(mode: int) -> None:
    tree = grown(mode)
    tree.remove("abde".__contains__)
    assert list(tree) == ["c"]
    with pytest.raises(KeyError):
        tree["a"]
    tree.add("a", b"new")
    assert {bytes(message) for message in tree.messages(match="a".__eq__)} == {b"new"}
    tree.clear()
    assert (len(tree), list(tree.walk()), tree.mode >= mode) == (0, [], True)


def test_a_wrong_mode_is_named() -> None:
    with pytest.raises(ValueError, match="not 3"):
        MsgTree(WRONG)
