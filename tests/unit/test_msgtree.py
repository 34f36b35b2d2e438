"""Check `MsgTree` by itself: its modes, walks and the removal of keys."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from mpshell.msgtree import MODE_DEFER, MODE_SHIFT, MODE_TRACE, MsgTree, MsgTreeElem

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
    assert tree.mode == MODE_TRACE and tree["a"] == b"one\ntwo"


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


# -- messages by hand ---------------------------------------------------------------------------------


def test_a_message_of_a_line_and_a_parent() -> None:
    root = MsgTreeElem()
    line = MsgTreeElem(b"line", parent=root)
    assert (bytes(line), list(line), len(line), line[0]) == (b"line", [b"line"], 4, b"line")
    assert line.parent is root and line.msgline == b"line" and line.keys is None
    after = MsgTreeElem(b"more", line)
    assert (after.message(), after.splitlines()) == (b"line\nmore", [b"line", b"more"])
    assert list(MsgTreeElem(None, line)) == [] and bytes(MsgTreeElem(None, line)) == b""
    empty = MsgTreeElem(b"", parent=root)
    assert (list(empty), len(empty), list(MsgTreeElem(b"x", empty))) == ([b""], 0, [b"", b"x"])
    # A line given as one stays one, even with newlines in it.
    assert list(MsgTreeElem(b"a\nb", parent=root)) == [b"a\nb"]
    assert list(MsgTreeElem(b"a\nb")) == [b"a", b"b"] and MsgTreeElem(b"a\nb").msgline == b"b"


def test_append_gives_the_message_that_goes_on() -> None:
    root = MsgTreeElem()
    first = root.append(b"a")
    second = first.append(b"b")
    assert (bytes(root), bytes(first), bytes(second)) == (b"", b"a", b"a\nb")
    assert first.append(b"b") is second and second.parent is first
    assert root.children == {b"a": first} and list(first.children) == [b"b"]
    other = first.append(b"c")
    assert other == b"a\nc" and second == b"a\nb" and len({other, second, first}) == 3
    # Also to the gathered output of a run.
    assert bytes(MsgTreeElem(b"one\ntwo").append(b"three")) == b"one\ntwo\nthree"


def test_keys_go_on_with_the_lines() -> None:
    root = MsgTreeElem()
    first = root.append(b"a", "k1")
    assert root.append(b"a", "k2") is first
    second = first.append(b"b", "k1")
    assert (root.keys, first.keys, second.keys) == (None, {"k2"}, {"k1"})


def test_keys_stay_with_the_beginning_in_a_trace() -> None:
    root = MsgTreeElem(trace=True)
    first = root.append(b"a", "k1")
    root.append(b"a", "k2")
    second = first.append(b"b", "k1")
    assert (root.keys, first.keys, second.keys) == (None, {"k1", "k2"}, {"k1"})


def test_a_long_message_is_one_chain() -> None:
    elem = MsgTreeElem()
    for number in range(5000):
        elem = elem.append(b"%d" % number)
    assert list(elem) == [b"%d" % number for number in range(5000)]
    # Far deeper than the interpreter's stack: a copy is the message alone.
    for copied in (copy.copy(elem), copy.deepcopy(elem), pickle.loads(pickle.dumps(elem))):
        assert copied == elem and copied.splitlines() == elem.splitlines()
        assert copied.parent is None and copied.children == {}


@pytest.mark.parametrize("mode", [MODE_DEFER, MODE_SHIFT, MODE_TRACE])
def test_a_copy_of_a_tree_stands_by_itself(mode: int) -> None:
    tree = grown(mode)
    for copied in (copy.deepcopy(tree), pickle.loads(pickle.dumps(tree))):
        assert list(copied.walk()) == list(grown(mode).walk())
        copied.add("new", b"line")
        assert "new" not in list(tree) and "new" in list(copied)
