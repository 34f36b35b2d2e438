"""Check `RangeSet` and the text of indexes: parsing, order, folding, set algebra."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpshell.rangeset import (
    AUTOSTEP_DISABLED,
    MAX_INDEXES,
    RangeSet,
    RangeSetError,
    RangeSetException,
    RangeSetPaddingError,
    RangeSetParseError,
)

WRONG: Any = "x"
INDEXES = st.sampled_from([f"{n:0{width}d}" for n in range(131) for width in (1, 2, 3)])
INDEX_SETS = st.sets(INDEXES, max_size=40)


@pytest.mark.parametrize(
    ("text", "items", "folded"),
    [
        ("5", ["5"], "5"),
        ("0-0", ["0"], "0"),
        ("00", ["00"], "00"),
        (" 1 - 3 ", ["1", "2", "3"], "1-3"),
        ("3,1,2,2", ["1", "2", "3"], "1-3"),
        ("1-10/3", ["1", "4", "7", "10"], "1,4,7,10"),
        ("05-09/2", ["05", "07", "09"], "05,07,09"),
        ("8-11", ["8", "9", "10", "11"], "8-11"),
        ("09-11", ["09", "10", "11"], "09-11"),
        ("099,100", ["099", "100"], "099-100"),
        ("1-2,01-02", ["1", "2", "01", "02"], "1-2,01-02"),
        ("9,10,09", ["9", "09", "10"], "9,09-10"),
        ("8,9,05,10", ["8", "9", "05", "10"], "8-9,05,10"),
        ("05,98-101", ["05", "98", "99", "100", "101"], "05,98-101"),
        ("099-100,1000", ["099", "100", "1000"], "099-100,1000"),
        ("89,045", ["89", "045"], "89,045"),
        ("99,0100", ["99", "0100"], "99,0100"),
    ],
)
def test_parse_sorts_and_folds(text: str, items: list[str], folded: str) -> None:
    ranges = RangeSet(text)
    assert list(ranges) == list(ranges.striter()) == items
    assert list(ranges.intiter()) == [int(item) for item in items]
    assert str(ranges) == folded
    assert len(ranges) == len(items)


@pytest.mark.parametrize(
    ("text", "part", "message"),
    [
        ("", "", "empty range"),
        ("1,,2", "", "empty range"),
        ("x", "x", "cannot convert"),
        ("-1", "-1", "cannot convert"),
        ("1-", "1-", "cannot convert"),
        ("1-2-3", "1-2-3", "cannot convert"),
        ("1-3/", "1-3/", "cannot convert"),
        ("\u0661", "\u0661", "cannot convert"),
        ("9" * 5000, "9" * 5000, "cannot convert"),
        ("2,1/2", "1/2", "invalid step usage"),
        ("1-3/0", "1-3/0", "invalid values"),
        ("2,5-1", "5-1", "invalid values"),
        ("01-3", "01-3", "padding length mismatch"),
        ("1-03", "1-03", "padding length mismatch"),
        ("99-0100", "99-0100", "padding length mismatch"),
        ("08-0100", "08-0100", "padding length mismatch"),
        ("08-100/2", "08-100/2", "padding length mismatch"),
        ("1,1-99999999999", "1-99999999999", "more than 10,000,000"),
    ],
)
def test_a_bad_text_is_named(text: str, part: str, message: str) -> None:
    with pytest.raises(RangeSetParseError, match=message) as caught:
        RangeSet(text)
    assert caught.value.part == part
    assert part in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))


def test_the_errors_form_a_family() -> None:
    assert issubclass(RangeSetPaddingError, RangeSetParseError)
    assert issubclass(RangeSetParseError, RangeSetError)
    assert issubclass(RangeSetError, RangeSetException)
    with pytest.raises(RangeSetPaddingError):
        RangeSet("01-3")


@pytest.mark.parametrize(
    ("text", "autostep", "folded"),
    [
        ("1-9/2", None, "1,3,5,7,9"),
        ("1-9/2", AUTOSTEP_DISABLED, "1,3,5,7,9"),
        ("1-9/2", 6, "1,3,5,7,9"),
        ("1-9/2", 5, "1-9/2"),
        ("1,3", 2, "1-3/2"),
        ("1,3,5,7-10,20,30", 3, "1-7/2,8-10,20,30"),
        ("0,5,10-12,14,16", 3, "0-10/5,11-12,14,16"),
        ("1,3-5", 3, "1,3-5"),
        ("1,3-4,6,8", 2, "1-3/2,4,6-8/2"),
        ("1,3,5-6,8,10", 3, "1-5/2,6,8,10"),
        ("1,3,5-7", 3, "1-5/2,6-7"),
        ("1,3-4", 2, "1-3/2,4"),
        ("5,7,08,10", 2, "5-7/2,08-10/2"),
        ("1-4,6,8", 3, "1-4,6,8"),
        ("01,03,05,5,7,9", 3, "5-9/2,01-05/2"),
        ("90-110/10", 3, "90-110/10"),
        ("080,090,100", 3, "080-100/10"),
        ("090,100,110,1000", 3, "090-110/10,1000"),
    ],
)
def test_autostep_folds_with_steps(text: str, autostep: float | None, folded: str) -> None:
    ranges = RangeSet(text, autostep)
    assert str(ranges) == folded
    assert ranges.autostep == autostep
    assert RangeSet(folded) == ranges


def test_autostep_is_checked() -> None:
    ranges = RangeSet("1-9/2")
    ranges.autostep = 3
    assert str(ranges) == str(ranges.copy()) == "1-9/2"
    with pytest.raises(ValueError, match="2 or more"):
        ranges.autostep = 1
    with pytest.raises(TypeError, match="'x'"):
        RangeSet("1", autostep=WRONG)


def test_other_ways_in() -> None:
    assert list(RangeSet()) == []
    assert list(RangeSet([2, "01"])) == ["2", "01"]
    assert str(RangeSet(RangeSet("1-3"))) == "1-3"
    assert str(RangeSet.fromlist(["1-3", RangeSet("5"), {"07"}])) == "1-3,5,07"
    assert str(RangeSet.fromone(5)) == "5"
    assert str(RangeSet.fromone("5", pad=3)) == "005"
    assert str(RangeSet.fromone(slice(1, 9, 2), pad=3)) == "001,003,005,007"
    assert str(RangeSet.fromone(slice(None, 3))) == "0-2"
    with pytest.raises(ValueError, match="stop"):
        RangeSet.fromone(slice(3, None))
    wrongs: tuple[Any, ...] = (5, b"5", [1.5])
    for wrong in wrongs:
        with pytest.raises(TypeError, match="5"):
            RangeSet(wrong)


def test_elements_come_and_go() -> None:
    ranges = RangeSet("1-3")
    ranges.add(7)
    ranges.add("8", pad=2)
    ranges.add_range(20, 30, 5, pad=3)
    assert str(ranges) == "1-3,7,08,020,025"
    ranges.remove(7)
    ranges.remove(8, pad=2)
    ranges.discard("99")
    ranges.discard("no index")
    for absent in ("99", "no index"):
        with pytest.raises(KeyError):
            ranges.remove(absent)
    ranges.update("40-41")
    ranges.update([50])
    ranges.updaten(["60", RangeSet("61")])
    ranges.union_update(None)
    assert str(ranges) == "1-3,40-41,50,60-61,020,025"
    ranges.clear()
    assert not ranges
    with pytest.raises(RangeSetParseError, match="x"):
        ranges.add("x")
    for bad in ((5, 1), (1, 5, 0), (-1, 5), (0, MAX_INDEXES + 1)):
        with pytest.raises(ValueError, match=r"5|10000001"):
            ranges.add_range(*bad)


def test_views() -> None:
    ranges = RangeSet("1-3,5,07-08")
    assert [str(part) for part in ranges.contiguous()] == ["1-3", "5", "07-08"]
    assert list(ranges.slices()) == [slice(1, 4, 1), slice(5, 6, 1), slice(7, 9, 1)]
    assert list(RangeSet("1-9/2", autostep=3).slices()) == [slice(1, 10, 2)]
    assert [str(one) for one in RangeSet("1-5/2", autostep=3).contiguous()] == ["1", "3", "5"]
    assert [str(part) for part in RangeSet("1-10").split(3)] == ["1-4", "5-7", "8-10"]
    assert (ranges[0], ranges[-1], str(ranges[1:4])) == ("1", "08", "2-3,5")
    assert (ranges.index("07"), ranges.index(5), ranges.index("3", 1, 3)) == (4, 3, 2)
    assert (ranges.dim(), RangeSet().dim()) == (1, 0)
    assert (ranges.padding, RangeSet("0").padding, RangeSet("1,002,03").padding) == (2, None, 3)
    inside: list[Any] = ["5", 5, "07", RangeSet("1-2"), {"1", "2"}]
    outside: list[Any] = ["05", 7, "1-2", RangeSet("1-4"), None]
    assert all(item in ranges for item in inside)
    assert not any(item in ranges for item in outside)
    assert repr(ranges) == "RangeSet('1-3,5,07-08')"
    with pytest.raises(ValueError, match="9 is not in"):
        ranges.index(9)
    with pytest.raises(IndexError):
        ranges[9]
    with pytest.raises(TypeError, match="'x'"):
        ranges[WRONG]


def test_a_padding_can_be_set() -> None:
    ranges = RangeSet("8-10,07,100")
    for width, folded in (
        (3, "007-010,100"),
        (2, "07-10,100"),
        (1, "7-10,100"),
        (None, "7-10,100"),
    ):
        ranges.padding = width
        assert str(ranges) == folded
    with pytest.raises(TypeError, match="'x'"):
        ranges.padding = WRONG


def test_copies_are_independent_and_sets_unhashable() -> None:
    ranges = RangeSet("1-3", autostep=3)
    for other in (ranges.copy(), copy.copy(ranges), pickle.loads(pickle.dumps(ranges))):
        assert other == ranges
        assert other.autostep == 3
        other.add(9)
        assert other != ranges
    with pytest.raises(TypeError):
        hash(ranges)


@given(INDEX_SETS)
def test_folding_round_trips(items: set[str]) -> None:
    ranges = RangeSet(items)
    assert list(ranges) == sorted(items, key=lambda item: (len(item), item))
    for autostep in (None, 3) if items else ():
        ranges.autostep = autostep
        assert RangeSet(str(ranges)) == ranges == items
    parts = list(ranges.contiguous())
    assert [item for part in parts for item in part] == list(ranges)


@given(INDEX_SETS, INDEX_SETS)
def test_algebra_is_that_of_sets(one: set[str], two: set[str]) -> None:
    a, b = RangeSet(one), RangeSet(two)
    for operated, method, expected in (
        (a | b, a.union(two), one | two),
        (a & b, a.intersection(two), one & two),
        (a - b, a.difference(two), one - two),
        (a ^ b, a.symmetric_difference(two), one ^ two),
    ):
        assert type(operated) is type(method) is RangeSet
        assert operated == method == expected
    assert (a <= b, a < b, a >= b, a > b) == (one <= two, one < two, one >= two, one > two)
    assert (a.issubset(b), a.issuperset(b)) == (one <= two, one >= two)
    assert (a.isdisjoint(b), a == b, a == two) == (one.isdisjoint(two), one == two, one == two)
    for name in ("__ior__", "__iand__", "__isub__", "__ixor__"):
        changed = a.copy()
        assert getattr(changed, name)(b) is changed
        assert changed == getattr(set(one), name)(two)


def test_methods_take_texts() -> None:
    ranges = RangeSet("1-5")
    assert (ranges.issubset("0-9"), ranges.issubset("4-6"), ranges.issuperset("4-5")) == (
        True,
        False,
        True,
    )
    assert str(ranges.union("6")) == "1-6"
    assert str(ranges.intersection("4-6")) == "4-5"


def test_operators_refuse_texts_and_strict_differences_absent_indexes() -> None:
    ranges = RangeSet("1-3")
    for name in ("or", "and", "sub", "xor"):
        assert getattr(ranges, f"__{name}__")("1") is NotImplemented
    for name in ("ior", "iand", "isub", "ixor", "lt", "le", "gt", "ge"):
        with pytest.raises(TypeError, match="operator of a RangeSet takes another set, not '1'"):
            getattr(ranges, f"__{name}__")("1")
    assert ranges != "1-3"
    with pytest.raises(KeyError, match="9"):
        ranges.difference_update("1,9", strict=True)
    assert str(ranges) == "1-3"
    ranges.difference_update("1,9")
    assert str(ranges) == "2-3"


@given(INDEX_SETS, st.integers(1, 50))
def test_split_is_a_partition_in_order(items: set[str], nbr: int) -> None:
    ranges = RangeSet(items)
    parts = [list(part) for part in ranges.split(nbr)]
    assert [item for part in parts for item in part] == list(ranges)
    assert len(parts) == min(nbr, len(items))
    sizes = [len(part) for part in parts]
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_split_needs_a_part() -> None:
    with pytest.raises(ValueError, match="0 parts"):
        RangeSet("1").split(0)
