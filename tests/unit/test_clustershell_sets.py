"""Node sets as ClusterShell has them: fold_axis, NodeSetBase, RangeSetND, pickles, sets of both libraries."""

from __future__ import annotations

import io
import pickle
from typing import Any

import ClusterShell.NodeSet as peer
import ClusterShell.RangeSet as peer_ranges
import pytest

from mpshell import DEFAULTS, NodeSet, NodeSetBase, RangeSet, RangeSetND
from mpshell.nodeset import RESOLVER_NOGROUP
from mpshell.rangeset import RangeSetError, RangeSetParseError

NAMES = "a3b2c0,a2b3c1,a2b4c1,a1b2c0,a1b2c1,a3b2c1,a2b5c1,n[1-3],x"


@pytest.mark.parametrize("axes", [None, (), [0], [1], [2], [-1], [-3], [0, 2], range(2), [3], [-4]])
def test_fold_axis(axes: Any) -> None:
    nodes = NodeSet(NAMES, fold_axis=axes)
    text = str(nodes)
    assert NodeSet(text) == nodes == peer.NodeSet(text)
    theirs = str(peer.NodeSet(NAMES, resolver=peer.RESOLVER_NOGROUP, fold_axis=axes))
    assert text == theirs == str(nodes.copy())


def test_fold_axis_is_a_default_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = NodeSet("a[1-2]b[1-2]")
    monkeypatch.setitem(DEFAULTS._tables()["nodeset"], "fold_axis", (-1,))
    assert str(nodes) == "a1b[1-2],a2b[1-2]"
    nodes.fold_axis = (0,)
    assert str(nodes) == "a[1-2]b1,a[1-2]b2" and nodes.fold_axis == (0,)
    bad: Any
    for bad in (0, "0-1", b"x", object()):
        with pytest.raises((TypeError, ValueError)):
            nodes.fold_axis = bad


def test_a_base_takes_patterns_and_no_texts() -> None:
    base = NodeSetBase("node%s-ib%s", RangeSetND([["1-2,05", "0-1"]]))
    assert base == NodeSet("node[1-2,05]-ib[0-1]") and len(base) == 6
    base.update(NodeSetBase("foo%sbar", RangeSet("1-3")))
    assert str(base & NodeSet("foo[2-9]bar")) == "foo[2-3]bar"
    assert list(NodeSetBase("100%%")) == ["100%"]
    for call in (base.update, base.difference_update, base.issuperset, base.__contains__):
        with pytest.raises(TypeError, match="not a node set: 'n1'"):
            call("n1")
    with pytest.raises(ValueError, match="indexes need a pattern"):
        NodeSetBase(None, RangeSet("1"))


def test_vectors() -> None:
    vectors = RangeSetND([["0-2", "1-2"], ["10", "03-05"]])
    assert (len(vectors), vectors.dim(), vectors.pads()) == (9, 2, (0, 2))
    assert str(vectors) == "0-2; 1-2\n10; 03-05\n"
    assert vectors[0] == ("0", "1") and vectors[-1] == ("10", "05")
    assert str(vectors[6:]) == "10; 03-05\n" and vectors.index((2, 2)) == 5
    assert RangeSetND([(0, 4), (0, 5), (1, 4), (1, 5)]) == RangeSetND([["0-1", "4-5"]])
    assert [list(map(str, axes)) for axes in vectors.vectors()] == [["0-2", "1-2"], ["10", "03-05"]]
    assert [str(part) for part in RangeSetND([["1-2,5", "1"]]).contiguous()] == [
        "1-2; 1\n",
        "5; 1\n",
    ]
    assert (1, 2) in vectors and (1, 3) not in vectors and 3 in RangeSetND([["0-4"]])
    assert str(RangeSetND([[number, 1] for number in range(0, 9, 2)], autostep=3)) == "0-8/2; 1\n"
    assert RangeSetND([[1, 2]], pads=[2, 3])[0] == ("01", "002")
    assert pickle.loads(pickle.dumps(vectors)) == vectors == vectors.copy()
    assert list(vectors.iter_padding()) == list(
        peer_ranges.RangeSetND([["0-2", "1-2"], ["10", "03-05"]]).iter_padding()
    )
    vectors.set_autostep(2)
    assert vectors.get_autostep() == 2 and vectors.autostep == 2


@pytest.mark.parametrize(
    "operator", ["__or__", "__and__", "__sub__", "__xor__", "__le__", "__gt__"]
)
def test_operators_of_vectors(operator: str) -> None:
    one, two = [["10", "10-13"], ["10", "9-12"], ["8-9", "12-15"]], [["10", "10"], ["9", "12-15"]]
    found = getattr(RangeSetND(one), operator)(RangeSetND(two))
    theirs = getattr(peer.RangeSetND(one), operator)(peer.RangeSetND(two))
    assert (found if isinstance(found, bool) else list(found)) == (
        theirs if isinstance(theirs, bool) else list(theirs)
    )
    if operator in ("__le__", "__gt__"):
        with pytest.raises(TypeError, match="takes another one"):
            getattr(RangeSetND(one), operator)([["1", "1"]])
    else:
        assert getattr(RangeSetND(one), operator)([["1", "1"]]) is NotImplemented


def test_vectors_that_are_wrong() -> None:
    with pytest.raises(RangeSetError, match="different lengths: 1, 2"):
        RangeSetND([["1"], ["1", "2"]])
    bad: Any
    for bad in (["12"], [1], [[1.5]], [[-1]]):
        with pytest.raises(TypeError):
            RangeSetND(bad)
    with pytest.raises(RangeSetParseError, match="more than"):
        RangeSetND([["1-9999", "1-9999"]])
    with pytest.raises(KeyError):
        RangeSetND([["1", "2"]]).difference_update([["1", "3"]], strict=True)


class InPlaceOfThePeer(pickle.Unpickler):
    """Reads pickles as a program does in which mpshell.compat stands for ClusterShell."""

    def find_class(self, module: str, name: str) -> Any:
        ours = {"NodeSet": NodeSet, "RangeSet": RangeSet, "RangeSetND": RangeSetND}
        return ours[name] if module.startswith("ClusterShell") else super().find_class(module, name)


@pytest.mark.parametrize("text", ["", "n", "n[1-9,05-06]", "a[1-2]b[01-03],c[1-9/2],d%e", "5"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_of_clustershell_is_read(text: str, protocol: int) -> None:
    theirs = peer.NodeSet(text, autostep=3)
    data = pickle.dumps(theirs, protocol)
    ours = InPlaceOfThePeer(io.BytesIO(data)).load()
    assert type(ours) is NodeSet and ours == NodeSet(text) and ours.autostep == 3
    ours.update("z[1-2]")
    assert pickle.loads(pickle.dumps(ours)) == ours
    ranges = peer_ranges.RangeSet("1-3,05", autostep=4)
    found = InPlaceOfThePeer(io.BytesIO(pickle.dumps(ranges, protocol))).load()
    assert type(found) is RangeSet and found == RangeSet("1-3,05") and found.autostep == 4


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        # Until 1.6 one number of a name was a range, the others text.
        ({"foo%sbar[1-10]": RangeSet("1-100"), "x": None}, "foo[1-100]bar[1-10],x"),
        ({"a[1-2]b%s": RangeSet("05")}, "a[1-2]b05"),
        ({"a%s": RangeSet("1-3,7")}, "a[1-3,7]"),
    ],
)
def test_a_pickle_of_an_old_clustershell_is_read(patterns: dict[str, Any], text: str) -> None:
    nodes = NodeSet.__new__(NodeSet)
    nodes.__setstate__({"_length": 0, "_patterns": patterns, "_autostep": None})
    assert nodes == NodeSet(text) and str(nodes) == text and nodes.autostep is None


def test_sets_of_both_libraries() -> None:
    ours, theirs = NodeSet("n[1-3]"), peer.NodeSet("n[2-5]")
    for found, text in (
        (theirs | ours, "n[1-5]"), (ours | theirs, "n[1-5]"), (theirs & ours, "n[2-3]"),
        (theirs - ours, "n[4-5]"), (ours - theirs, "n1"), (theirs ^ ours, "n[1,4-5]"),
        (peer.NodeSet.fromlist(ours), "n[1-3]"), (NodeSet(theirs), "n[2-5]"),
    ):  # fmt: skip
        assert str(found) == text
    assert ours == peer.NodeSet("n[1-3]") and peer.NodeSet("n[1-3]") == ours and ours != theirs
    assert peer.NodeSet("n2") in ours and str(peer.NodeSet("n2")) in ours
    theirs.updaten(ours)
    assert theirs == NodeSet("n[1-5]") and peer.NodeSet(str(ours)) in theirs
    # A name from their set stays a name, even with characters of the syntax.
    assert list(NodeSet(peer.NodeSet("a*,@b", resolver=RESOLVER_NOGROUP))) == ["@b", "a*"]
