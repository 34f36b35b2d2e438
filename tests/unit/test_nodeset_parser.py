"""The syntax of node sets: the set that each text describes, and the error of each bad text."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpshell.nodeset import (
    NodeSet,
    NodeSetError,
    NodeSetException,
    NodeSetExternalError,
    NodeSetParseError,
    NodeSetParseRangeError,
    expand,
)

_SLURM_LISTS = Path(__file__).with_name("slurm_lists.txt").read_text().splitlines()

NAMES = st.sampled_from(["a", "a1", "a01", "a2b3", "b"])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (" \n", []),
        ("a", ["a"]),
        ("a[1-3,05-09/2],c", "a1 a2 a3 a05 a07 a09 c"),
        ("a[1-2,05]b[1-2],c", "a1b1 a1b2 a2b1 a2b2 a05b1 a05b2 c"),
        ("[1-2]", ["1", "2"]),
        ("[01-02]x", ["01x", "02x"]),
        ("a[ 1 - 2, 4 ]", "a1 a2 a4"),
        ("a[1]2", ["a12"]),
        ("a[1-2]02", "a102 a202"),
        ("a1[9-10]", "a19 a110"),
        ("a0[9-10]", "a09 a010"),
        ("a[9-10]0", "a90 a100"),
        ("a[1-5/2]0", "a10 a30 a50"),
        ("a1, a2\n", "a1 a2"),
        ("a1 a2", ["a1 a2"]),
        ("a\tb,c", ["a\tb", "c"]),
        ("a1,a1,a[1-2]", "a1 a2"),
        ("a[1-5]!a3", "a1 a2 a4 a5"),
        ("a[1-5]&a[2-9]", "a2 a3 a4 a5"),
        ("a[1-3]^a[2-4]", "a1 a4"),
        ("a[1-5]&a[2-9]^a4", "a2 a3 a5"),
        ("a1 ! a1 , b", ["b"]),
        ("a,b!a,a", "a b"),
        ("user@h[1-2]", "user@h1 user@h2"),
        ("a%s[1-2]", "a%s1 a%s2"),
        ("a\u0661", ["a\u0661"]),
        (f"n{'3' * 101}", [f"n{'3' * 101}"]),
    ],
)
def test_parse(text: str, names: str | list[str]) -> None:
    nodes = NodeSet(text)
    expected = names.split() if isinstance(names, str) else names
    assert list(nodes) == list(nodes.striter()) == expand(text) == expected
    assert len(nodes) == len(expected)
    assert bool(nodes) is bool(expected)


@pytest.mark.parametrize("line", [line for line in _SLURM_LISTS if not line.startswith("#")])
def test_lists_of_slurm(line: str) -> None:
    text, _, names = line.partition(" = ")
    nodes = NodeSet(text)
    assert sorted(nodes) == sorted(set(names.split()))
    assert list(nodes) == list(NodeSet.fromlist(names.split()))
    assert NodeSet(str(nodes)) == nodes


@given(NAMES, st.lists(st.tuples(st.sampled_from(",!&^"), NAMES)))
def test_operators_apply_from_left_to_right(first: str, rest: list[tuple[str, str]]) -> None:
    apply = {",": "union", "!": "difference", "&": "intersection", "^": "symmetric_difference"}
    text, expected = first, {first}
    for operator, name in rest:
        text += f" {operator} {name}"
        expected = getattr(expected, apply[operator])({name})
    assert set(NodeSet(text)) == expected


@pytest.mark.parametrize(
    ("text", "part", "message"),
    [
        ("a,,b", "b", "missing nodeset operand with ',' operator"),
        (",a", "a", "missing nodeset operand with ',' operator"),
        ("a,", "a", "missing nodeset operand with ',' operator"),
        (",", "", "missing nodeset operand with ',' operator"),
        ("a!,b", "b", "missing nodeset operand with ',' operator"),
        ("a&&b", "b", "missing nodeset operand with '&' operator"),
        ("^a", "a", "missing nodeset operand with '^' operator"),
        ("a[1-2]!", "a[1-2]", "missing nodeset operand with '!' operator"),
        ("b,a[1-", "a[1-", "missing bracket"),
        ("a[1,b", "a[1,b", "missing bracket"),
        ("a[[1]]", "a[[1]]", "missing bracket"),
        ("a]1", "a]1", "illegal closing bracket"),
        ("a[1]]", "a[1]]", "illegal closing bracket"),
        ("n[1-2][3-4]", "[3-4]", "illegal reopening bracket"),
        ("n[1-2]3[4-5]", "[4-5]", "illegal reopening bracket"),
        ("a\nb", "a\nb", "control character"),
        ("a\0b", "a\0b", "control character"),
    ],
)
def test_a_bad_text_is_named(text: str, part: str, message: str) -> None:
    with pytest.raises(NodeSetParseError, match=re.escape(message)) as caught:
        NodeSet(text)
    assert type(caught.value) is NodeSetParseError
    assert caught.value.part == part
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a[5-1]", "5-1"),
        ("a[]", "a[]"),
        ("a[1,,2]", "a[1,,2]"),
        ("a[x]", "x"),
        ("a[1-x]", "1-x"),
        ("a[-1]", "-1"),
        ("a[1/2]", "1/2"),
        ("a[1-3/0]", "1-3/0"),
        ("a[01-3]", "01-3"),
        ("a[8-09]", "8-09"),
        ("a[08-0100]", "08-0100"),
        ("a[8-0100]", "8-0100"),
        ("a[099-98]", "099-98"),
        ("a[08-100/2]", "08-100/2"),
        ("a[1!2]", "1!2"),
        ("a[1-99999999999]", "1-99999999999"),
        ("a[1-4000]b[1-4000]", "1-4000"),
        ("a[1-4000]b[1-500]c[1,2,3,4,5,6]", "1,2,3,4,5,6"),
    ],
)
def test_a_bad_range_is_named(text: str, part: str) -> None:
    with pytest.raises(NodeSetParseRangeError) as caught:
        NodeSet(text)
    assert caught.value.part == part
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.part, str(again)) == (part, str(caught.value))


@pytest.mark.parametrize("text", ["[::1]", "n1,[fe80::1]", "root@[::1]", "[::1]:22"])
def test_an_address_in_brackets_is_shown_as_it_is_written_here(text: str) -> None:
    with pytest.raises(NodeSetParseRangeError, match=r"without brackets: ::1"):
        NodeSet(text)
    assert expand("::1,fe80::[9-10]%eth0,root@::1") == [
        "::1", "fe80::9%eth0", "fe80::10%eth0", "root@::1",
    ]  # fmt: skip


def test_the_errors_form_a_family() -> None:
    assert issubclass(NodeSetParseRangeError, NodeSetParseError)
    assert issubclass(NodeSetParseError, NodeSetError)
    assert issubclass(NodeSetExternalError, NodeSetError)
    assert issubclass(NodeSetError, NodeSetException)
