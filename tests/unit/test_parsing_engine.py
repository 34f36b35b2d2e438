"""`ParsingEngine`, and the names of resolvers: the same results as from ClusterShell's class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ClusterShell.NodeSet as peer
import pytest
from ClusterShell.NodeUtils import GroupResolverConfig

from mpshell import NodeSet, NodeSetBase
from mpshell.compat.NodeSet import (
    DEF_GROUPS_CONFIGS,
    RESOLVER_NOGROUP,
    RESOLVER_NOINIT,
    RESOLVER_STD_GROUP,
    STD_GROUP_RESOLVER,
    ParsingEngine,
    set_std_group_resolver,
    set_std_group_resolver_config,
    std_group_resolver,
)
from mpshell.nodeset import NodeGroupError, NodeSetParseError
from tests.groupfiles import write_groups


@pytest.fixture
def resolver(tmp_path: Path) -> Iterator[Any]:
    yield GroupResolverConfig(str(write_groups(tmp_path)))
    set_std_group_resolver(None)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("n[1-3],x!n2", None), ("@compute!@gpu", None), ("n[1-2]*", None), ("@rack1", "racks"),
        ("@@racks", None), ("@*&n[2-9]", None), ("", None),
    ],
)  # fmt: skip
def test_texts_are_read_as_there(resolver: Any, text: str, source: str | None) -> None:
    found = ParsingEngine(resolver).parse_string(text, None, namespace=source)
    theirs = peer.ParsingEngine(resolver).parse_string(text, None, namespace=source)
    assert type(found) is NodeSetBase and str(found) == str(theirs)


def test_the_steps_are_those_of_clustershell(resolver: Any) -> None:
    ours, theirs = ParsingEngine(resolver), peer.ParsingEngine(resolver)
    assert ours.OP_CODES == theirs.OP_CODES
    assert (ours.BRACKET_OPEN, ours.BRACKET_CLOSE) == (theirs.BRACKET_OPEN, theirs.BRACKET_CLOSE)
    for group in ("@compute", "@racks:rack1", "@*", "@@racks", "@racks:*"):
        texts, source = ours.parse_group_string(group)
        expected, namespace = theirs.parse_group_string(group)
        assert (str(NodeSet(texts)), source) == (str(NodeSet(expected)), namespace), group
    assert str(ours.parse_group("rack1", "racks")) == str(theirs.parse_group("rack1", "racks"))
    assert ours.grouplist("racks") == theirs.grouplist("racks")
    assert str(NodeSet(ours.all_nodes())) == str(peer.NodeSet(",".join(theirs.all_nodes())))
    assert str(ours.parse_string_single("n5", None)) == "n5"
    with pytest.raises(NodeSetParseError, match="one node"):
        ours.parse_string_single("n[1-2]", None)


def test_a_set_or_nothing_can_be_parsed(resolver: Any) -> None:
    engine = ParsingEngine(None)
    nodes = NodeSet("n1")
    assert engine.parse(nodes, None) is nodes and len(engine.parse(None, None)) == 0
    assert str(engine.parse("a[1,3,5],@g,b*", 3)) == "@g,a[1-5/2],b*"
    wrong: Any = 5
    with pytest.raises(TypeError, match="not 5"):
        engine.parse(wrong, None)
    with pytest.raises(NodeGroupError, match="no group resolver"):
        engine.grouplist()
    no_wildcards = ParsingEngine(resolver, node_wildcard_enable=False)
    assert str(no_wildcards.parse("n*,@gpu", None)) == str(
        NodeSet("@gpu", resolver=resolver)
    ) + ",n*" or ("n*" in no_wildcards.parse("n*,@gpu", None))


def test_the_standard_resolver_has_a_name_before_it_is_made(tmp_path: Path, resolver: Any) -> None:
    assert STD_GROUP_RESOLVER is RESOLVER_STD_GROUP
    assert DEF_GROUPS_CONFIGS == peer.DEF_GROUPS_CONFIGS
    folder = tmp_path / "other"
    folder.mkdir()
    set_std_group_resolver_config(str(write_groups(folder)))
    text = "@racks:rack1"
    assert str(NodeSet(text)) == "n[1-3]"
    # It is the default one, not the one that was set.
    assert std_group_resolver() is not RESOLVER_STD_GROUP
    with pytest.raises(NodeGroupError):
        NodeSet(text, resolver=RESOLVER_STD_GROUP)
    set_std_group_resolver(RESOLVER_STD_GROUP)
    with pytest.raises(NodeGroupError):
        NodeSet(text)
    assert RESOLVER_STD_GROUP.default_source_name == peer.RESOLVER_STD_GROUP.default_source_name
    for none in (RESOLVER_NOGROUP, RESOLVER_NOINIT):
        assert list(NodeSet("@compute", resolver=none)) == ["@compute"]
