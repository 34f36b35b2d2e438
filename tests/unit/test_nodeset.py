"""Check `NodeSet`: its sources, order, folding, set algebra, splitting, speed of growth."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import ClusterShell.NodeSet as peer
import ClusterShell.RangeSet as peer_ranges
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpshell import RangeSetND
from mpshell.nodeset import (
    AUTOSTEP_DISABLED,
    RESOLVER_NOGROUP,
    NodeSet,
    NodeSetParseError,
    fold,
)

WRONG: Any = 5


NUMBERS = [f"{n:0{width}d}" for n in range(13) for width in (1, 2, 3)]


def names_of(*patterns: str) -> st.SearchStrategy[str]:
    """Return names of those patterns, in which {} stands for a number of one to three digits.

    A name is one draw, the number of its pattern and its numbers: four draws take four times as long.
    """
    count = len(NUMBERS)

    def name(drawn: int) -> str:
        rest, pattern = divmod(drawn, len(patterns))
        return patterns[pattern].format(
            NUMBERS[rest % count], NUMBERS[rest // count % count], NUMBERS[rest // count**2]
        )

    return st.integers(0, len(patterns) * count**3 - 1).map(name)


NAMES = names_of(
    "a", "b{}", "b{}", "c{}-ib", "r{}n{}", "r{}n{}", "x{}y{}z{}", "{}", "a b{}", "u@h{}", "%s{}"
)
NAME_SETS = st.sets(NAMES, max_size=60)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("n0[1-3]", "n[01-03]"),
        ("n[1-3]0", "n[10,20,30]"),
        ("n0[1-3,05]", "n[01-03,005]"),
        ("n00[1-2]0b", "n[0010,0020]b"),
        ("a5,a05,a005", "a[5,05,005]"),
        ("a[9-10],a[09-10]", "a[9,09-10]"),
        ("n10,n9,b,a,a10,a9,a09,a1b2,a1b10", "a,a[9,09-10],a1b[2,10],b,n[9-10]"),
        ("a[1-3]b[1-3]!a2b2", "a[1,3]b[1-3],a2b[1,3]"),
        ("a1b1,a2b2", "a1b1,a2b2"),
        ("a[1-2]b[1-2],a[3-4]b[2-3]", "a[1-2]b[1-2],a[3-4]b[2-3]"),
        ("a[01-02]b[1-2],a1b[1-2]", "a[1,01-02]b[1-2]"),
        ("x[1-2]y[1-2]z[1-2],x3y1z1", "x[1-2]y[1-2]z[1-2],x3y1z1"),
        ("1,2,3", "[1-3]"),
        ("n[210-2320]", "n[210-2320]"),
        ("a[1]b", "a1b"),
    ],
)
def test_fold(text: str, folded: str) -> None:
    assert str(NodeSet(text)) == fold(text) == folded


class ForeignNodes:
    """Nodes of another library: an iterable of names."""

    def __iter__(self) -> Iterator[str]:
        return iter(["b", "a2", "a1"])


@pytest.mark.parametrize(
    "source",
    [
        "b,a[1-2]",
        ["b", "a1", "a2"],
        ("a[1-2]", "b"),
        {"a1", "a2", "b"},
        {"a1": 1, "a2": 2, "b": 3},
        (name for name in ("a1", "b", " a2 ", "")),
        NodeSet("a[1-2],b"),
        ForeignNodes(),
        [NodeSet("a1"), ["a2", "b"]],
    ],
)
def test_any_iterable_of_names_is_accepted(source: Any) -> None:
    nodes = NodeSet(source)
    assert str(nodes) == "a[1-2],b"
    nodes.add(["c"])
    assert str(nodes) == "a[1-2],b,c"
    assert "c" not in NodeSet(source)


def test_wrong_types_are_named() -> None:
    wrongs: tuple[Any, ...] = (5, [5], ["a", None], b"a", [b"a"], 1.5)
    for wrong in wrongs:
        with pytest.raises(TypeError, match=r"not nodes .*: (5|None|b'a'|1\.5)$"):
            NodeSet(wrong)
    with pytest.raises(TypeError, match="not one text: 'ab'"):
        NodeSet.fromlist("ab")
    with pytest.raises(TypeError, match="not nodes"):
        NodeSet("a").updaten(WRONG)
    with pytest.raises(TypeError, match="integers or slices"):
        NodeSet("a")[WRONG * 1.0]


def test_fromlist_and_updaten_take_texts_and_sets() -> None:
    nodes = NodeSet.fromlist(["a[1-2]", NodeSet("b"), "c,d!c"], autostep=3)
    assert str(nodes) == "a[1-2],b,d"
    assert nodes.autostep == 3
    nodes.updaten(["e", NodeSet("f"), ""])
    assert str(nodes) == "a[1-2],b,d,e,f"


@pytest.mark.parametrize(
    ("autostep", "folded"),
    [(None, "1,3,5,7,9"), (AUTOSTEP_DISABLED, "1,3,5,7,9"), (5, "1-9/2"), (6, "1,3,5,7,9")],
)
def test_autostep(autostep: float | None, folded: str) -> None:
    nodes = NodeSet("a[1-9/2]b", autostep=autostep)
    assert str(nodes) == fold("a[1-9/2]b", autostep) == str(nodes.copy()) == f"a[{folded}]b"
    nodes.autostep = 2
    assert str(nodes) == "a[1-9/2]b"
    assert str(NodeSet(nodes)) == "a[1-9/2]b"
    assert str(NodeSet(nodes, autostep=AUTOSTEP_DISABLED)) == "a[1,3,5,7,9]b"
    with pytest.raises(ValueError, match="2 or more"):
        nodes.autostep = 0


def test_autostep_is_inherited_from_the_first_set_unless_it_is_given() -> None:
    stepped = NodeSet("a[1-9/2]", autostep=3)
    takes: list[Callable[[NodeSet], None]] = [
        lambda nodes: nodes.update(stepped),
        lambda nodes: nodes.symmetric_difference_update(stepped),
        lambda nodes: nodes.updaten([stepped, NodeSet("b")]),
    ]
    for take in takes:
        nodes = NodeSet()
        take(nodes)
        nodes.update(NodeSet("c[1-5/2]"))
        text = str(nodes).replace("b,", "")
        assert (nodes.autostep, text) == (None, "a[1-9/2],c[1-5/2]")
        theirs = peer.NodeSet(peer.NodeSet("a[1-9/2]", autostep=3))
        theirs.update("c[1-5/2]")
        assert (theirs.autostep, str(theirs)) == (None, "a[1-9/2],c[1,3,5]")
        for again in (NodeSet(nodes), nodes.copy(), pickle.loads(pickle.dumps(nodes))):
            assert (again.autostep, str(again)) == (None, str(nodes))
        fixed = NodeSet(autostep=AUTOSTEP_DISABLED)
        take(fixed)
        assert str(fixed).replace(",b", "") == "a[1,3,5,7,9]"
        nodes.set_autostep(None)
        assert nodes.get_autostep() is None and str(nodes).startswith("a[1,3,5,7,9]")


def test_positions_and_slices() -> None:
    nodes = NodeSet("a[1-9],b[1-3]")
    assert (nodes[0], nodes[-1]) == ("a1", "b3")
    assert str(nodes[2:5]) == "a[3-5]"
    assert (nodes.index("a3"), nodes.index(NodeSet("b1"), -3), nodes.index("a3", 0, 3)) == (2, 9, 2)
    for absent in ("z", "a[3-4]", "", None):
        with pytest.raises(ValueError, match=r"single node|not in nodeset"):
            nodes.index(absent)
    with pytest.raises(ValueError, match="'a3' is not in nodeset"):
        nodes.index("a3", 5)
    with pytest.raises(IndexError):
        nodes[99]


def test_membership() -> None:
    nodes = NodeSet("a[1-9],b")
    inside: list[Any] = ["a3", " a3 ", "a[3-4]", "", None, NodeSet("b"), NodeSet(), ["a1", "b"]]
    outside: list[Any] = ["a03", "a[3-14]", NodeSet("a10"), ["a1", "c"]]
    assert all(item in nodes for item in inside)
    assert not any(item in nodes for item in outside)
    with pytest.raises(TypeError):
        assert WRONG in nodes


def test_removal() -> None:
    nodes = NodeSet("a[1-9]")
    nodes.remove("a[1-2]")
    nodes.difference_update("a3,z")
    for remove in (nodes.remove, lambda other: nodes.difference_update(other, strict=True)):
        with pytest.raises(KeyError, match="z"):
            remove("a4,z")
    assert str(nodes) == "a[4-9]"
    nodes.clear()
    assert not nodes
    assert str(nodes) == ""


def test_parts() -> None:
    nodes = NodeSet("a[1-2,5]b[1-2],c", autostep=3)
    assert [str(part) for part in nodes.contiguous()] == ["a[1-2]b[1-2]", "a5b[1-2]", "c"]
    assert [str(part) for part in NodeSet("a[1-3],a5,a05").contiguous()] == ["a[1-3]", "a5", "a05"]
    assert [list(part) for part in nodes.nsiter()] == [[name] for name in nodes]
    parts = list(NodeSet("a[1-9],b[1-3]", autostep=3).split(5))
    assert [str(part) for part in parts] == ["a[1-3]", "a[4-6]", "a[7-8]", "a9,b1", "b[2-3]"]
    assert parts[0].autostep == 3
    assert list(NodeSet().split(3)) == []
    with pytest.raises(ValueError, match="0 parts"):
        nodes.split(0)


def test_copies_are_independent_and_sets_unhashable() -> None:
    nodes = NodeSet("a[1-3]", autostep=3)
    copies = (nodes.copy(), copy.copy(nodes), copy.deepcopy(nodes), NodeSet(nodes, 3))
    for other in (*copies, pickle.loads(pickle.dumps(nodes))):
        assert other == nodes
        assert other.autostep == 3
        other.add("b")
        assert list(other) == ["a1", "a2", "a3", "b"]
        assert list(nodes) == ["a1", "a2", "a3"]
    assert repr(nodes) == "NodeSet('a[1-3]')"
    with pytest.raises(TypeError):
        hash(nodes)


def test_iteration_outlives_a_change() -> None:
    nodes = NodeSet("a[1-3]")
    seen = []
    for name in nodes:
        seen.append(name)
        nodes.remove(name)
    assert seen == ["a1", "a2", "a3"]
    assert not nodes


def test_operators_take_node_sets_only() -> None:
    nodes = NodeSet("a[1-3]")
    for name in ("or", "and", "sub", "xor", "ior", "iand", "isub", "ixor", "lt", "le", "gt", "ge"):
        for other in ("a1", ["a1"], {"a1"}):
            operator = getattr(nodes, f"__{name}__")
            if name in ("or", "and", "sub", "xor"):
                assert operator(other) is NotImplemented
            else:
                with pytest.raises(TypeError, match="operator of a NodeSet takes another one, not"):
                    operator(other)
    assert nodes != "a[1-3]"


@given(NAME_SETS, NAME_SETS)
def test_algebra_is_that_of_sets(one: set[str], two: set[str]) -> None:
    a, b = NodeSet(one), NodeSet(two)
    for operator, method, expected in (
        ("or", "union", one | two),
        ("and", "intersection", one & two),
        ("sub", "difference", one - two),
        ("xor", "symmetric_difference", one ^ two),
    ):
        changed, updated = a.copy(), a.copy()
        assert getattr(changed, f"__i{operator}__")(b) is changed
        getattr(updated, "update" if method == "union" else f"{method}_update")(str(b))
        results = [getattr(a, f"__{operator}__")(b), getattr(a, method)(two), changed, updated]
        assert all(result == NodeSet(expected) for result in results)
        assert all(set(result) == expected for result in results)
    assert (a <= b, a < b, a >= b, a > b) == (one <= two, one < two, one >= two, one > two)
    assert (a.issubset(two), a.issuperset(str(b))) == (one <= two, one >= two)
    assert (a == b, set(a), set(b)) == (one == two, one, two)


def order_key(name: str) -> tuple[str, list[tuple[int, str]]]:
    """Return the documented order: the pattern, then each number by its width and value."""
    numbers = re.findall("[0-9]+", name)
    return re.sub("[0-9]+", "%", name), [(len(number), number) for number in numbers]


def test_names_of_several_numbers_fold_as_in_clustershell_and_come_in_the_order_of_their_numbers() -> (
    None
):
    nodes = NodeSet("x[2-4]y[2-3],x[1,9,10]y1")
    assert str(nodes) == str(peer.NodeSet(str(nodes))) == "x[2-4]y[2-3],x[1,9-10]y1"
    assert " ".join(nodes) == "x1y1 x2y2 x2y3 x3y2 x3y3 x4y2 x4y3 x9y1 x10y1"


def vectors_of(*axes: int) -> st.SearchStrategy[set[tuple[str, ...]]]:
    """Return sets of vectors of indexes, mostly made of boxes, with up to so many indexes in each axis."""
    columns = [st.sets(st.sampled_from(INDEXES[:count]), min_size=1) for count in axes]
    boxes = st.tuples(*columns).map(lambda drawn: set(itertools.product(*drawn)))
    singles = st.sets(st.tuples(*[st.sampled_from(INDEXES[:count]) for count in axes]), max_size=9)
    unions = st.lists(st.one_of(boxes, singles), max_size=4).map(lambda drawn: set().union(*drawn))
    return unions.filter(bool)


INDEXES = ["1", "2", "10", "9", "05", "3", "11", "4"]


@given(st.one_of(vectors_of(8, 8), vectors_of(8, 3), vectors_of(4, 3, 3), vectors_of(2, 2, 2, 3)))
def test_vectors_fold_into_the_boxes_of_clustershell(vectors: set[tuple[str, ...]]) -> None:
    ours, theirs = RangeSetND(list(vectors)), peer_ranges.RangeSetND(list(vectors))
    assert str(ours) == str(theirs)
    assert list(ours) == list(theirs)
    assert [list(map(str, vector)) for vector in ours.vectors()] == [
        list(map(str, vector)) for vector in theirs.vectors()
    ]
    assert [ours.index(vector) for vector in theirs] == list(range(len(ours)))


@given(NAME_SETS, st.sampled_from([None, 2, 3, 5]))
def test_folding_round_trips(names: set[str], autostep: float | None) -> None:
    nodes = NodeSet(names, autostep)
    assert list(nodes) == sorted(names, key=order_key)
    again = NodeSet(str(nodes), autostep)
    assert again == nodes
    assert (list(again), str(again)) == (list(nodes), str(nodes))
    parts = list(nodes.contiguous())
    assert sorted(name for part in parts for name in part) == sorted(names)


@given(st.lists(NAMES, max_size=30), st.lists(NAMES, max_size=9))
def test_a_list_with_names_twice_is_a_set(names: list[str], others: list[str]) -> None:
    nodes = NodeSet.fromlist
    expected = NodeSet.fromnames(set(names))
    ordered = sorted(set(names), key=order_key)
    assert str(nodes(names)) == str(expected)
    assert list(nodes(names)) == ordered == list(nodes(names).copy()) == list(nodes(names)[:])
    assert len(nodes(names)) == len(ordered) and bool(nodes(names)) is bool(names)
    assert nodes(names) == expected and all(name in nodes(names) for name in names)
    assert [len(part) for part in nodes(names).split(3)] == [len(p) for p in expected.split(3)]
    assert list(map(str, nodes(names).contiguous())) == list(map(str, expected.contiguous()))
    changed = nodes(names)
    kept = changed.copy()
    changed.update(nodes(others))
    assert set(changed) == {*names, *others} and list(kept) == ordered
    assert set(nodes(names) - nodes(others)) == set(names) - set(others)
    assert set(nodes(names) ^ nodes(others)) == set(names) ^ set(others)
    assert pickle.loads(pickle.dumps(nodes(names))) == expected


@given(NAME_SETS, st.integers(1, 70))
def test_split_is_a_partition_in_order(names: set[str], nbr: int) -> None:
    nodes = NodeSet(names)
    parts = [list(part) for part in nodes.split(nbr)]
    assert [name for part in parts for name in part] == list(nodes)
    assert len(parts) == min(nbr, len(names))
    sizes = [len(part) for part in parts]
    assert not sizes or max(sizes) - min(sizes) <= 1


POSITIONS = st.one_of(st.none(), st.integers(-70, 70))
STEPS = st.one_of(st.none(), st.integers(-5, -1), st.integers(1, 5))


@given(NAME_SETS, POSITIONS, POSITIONS, STEPS)
def test_slices_and_positions_are_those_of_the_list(
    names: set[str], start: int | None, stop: int | None, step: int | None
) -> None:
    nodes = NodeSet(names)
    order = list(nodes)
    part = order[start:stop:step]
    sliced = nodes[start:stop:step]
    assert list(sliced) == [name for name in order if name in part]
    assert sliced == NodeSet(part)
    for at, name in enumerate(order):
        assert nodes.index(name) == at
        assert nodes[at] == name
        assert name in nodes


COUNT = 40_000
LONG_TEXTS = {
    "one range": f"node[1-{COUNT}]",
    "a list": ",".join(f"node{n}" for n in range(COUNT)),
    "two numbers": ",".join(f"rack{n // 40}node{n % 40:02d}" for n in range(COUNT)),
    "stepped": f"node[0-{2 * COUNT - 1}/2].example",
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
def test_long_sets_are_quick(text: str) -> None:
    # Of processor time each takes some 0.02 s; with each pair compared it would be ten seconds.
    nodes = NodeSet(text)
    names = list(nodes)
    steps: list[Callable[[], object]] = [
        lambda: NodeSet(text),
        lambda: list(NodeSet(names)),
        lambda: str(nodes),
        lambda: NodeSet.fromlist(reversed(names)),
        lambda: [list(part) for part in NodeSet(names).split(64)],
        lambda: list(nodes[1000:-1000]),
        lambda: nodes & nodes[::2],
    ]
    assert len(nodes) == len(names) == COUNT
    for step in steps:
        start = time.thread_time()
        step()
        assert time.thread_time() - start < 2


def test_a_number_too_long_for_the_interpreter_is_named() -> None:
    with pytest.raises(NodeSetParseError, match="number too long"):
        str(NodeSet("a" + "1" * 5000))


@pytest.mark.parametrize("resolver", [None, RESOLVER_NOGROUP])
def test_a_resolver_makes_no_difference_to_plain_names(resolver: int | None) -> None:
    nodes = NodeSet("n[1-3]", resolver=resolver)
    assert nodes == NodeSet("n[1-3]") == NodeSet("n[1-3]", None, resolver)
    assert nodes == NodeSet.fromlist(["n1", "n2", "n3"], resolver=resolver)


@pytest.mark.parametrize("resolver", ["x", 5, -3, True, object()])
def test_another_resolver_is_refused(resolver: Any) -> None:
    with pytest.raises(ValueError, match="RESOLVER_NOGROUP is expected"):
        NodeSet("n1", resolver=resolver)
    with pytest.raises(ValueError, match="RESOLVER_NOGROUP is expected"):
        NodeSet.fromlist(["n1"], resolver=resolver)
