"""Node groups, of real files and upcalls, by ClusterShell's own resolver."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ClusterShell.NodeUtils import (
    GroupResolver,
    GroupResolverConfig,
    GroupResolverIllegalCharError,
    GroupResolverSourceError,
    GroupSource,
    GroupSourceQueryFailed,
    UpcallGroupSource,
)

from mpshell import DEFAULTS, task_self
from mpshell.nodeset import (
    RESOLVER_NOGROUP,
    NodeGroupError,
    NodeSet,
    NodeSetExternalError,
    NodeSetParseError,
    expand,
    grouplist,
    set_std_group_resolver,
    set_std_group_resolver_config,
    std_group_resolver,
)
from tests.faults.conftest import marked
from tests.groupfiles import calls, write_groups
from tests.support import eventually


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    """Give the folder of the groups of the process."""
    set_std_group_resolver_config(str(write_groups(tmp_path)))
    yield tmp_path
    set_std_group_resolver(None)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("@compute", "n[1-6]"),
        ("@local:compute,gw9", "gw9,n[1-6]"),
        ("@all", "gw[1-2],n[1-6]"),
        ("@*", "gw[1-2],n[1-6]"),
        ("@roles:*", "db[1-2],w[1-3]"),
        # Without an upcall `all`: the members of all groups.
        ("@racks:*", "n[1-6]"),
        ("@racks:rack[1-2]!@gpu", "n[1-4]"),
        ("@compute&@racks:rack2^n4", "n[5-6]"),
        # A group without a source is of the source that its answer came from.
        ("@roles:all", "db[1-2],w[1-3]"),
        ("@mixed", "n[5-6],w[1-3]"),
        ("@@racks", "rack[1-2]"),
        ("@@", "all,compute,gpu,login,mixed"),
        ("n*", "n[1-6]"),
        ("?w1,n[5-9]*", "gw1,n[5-6]"),
        ("*!n*", "gw[1-2]"),
        ("@batch:7", "n[2,4]"),
        ("@nobody", ""),
        ("user@host", "user@host"),
    ],
)
def test_groups_and_wildcards(files: Path, text: str, folded: str) -> None:
    assert str(NodeSet(text)) == folded
    assert str(NodeSet.fromlist([text, "z1"])) == ",".join(filter(None, [folded, "z1"]))
    assert NodeSet("z[1-2]").union(text) == NodeSet(folded).union("z[1-2]")
    assert expand(text) == list(NodeSet(folded))


@pytest.mark.parametrize(
    "text", ["@compute,n9", "@racks:rack[1-2]", "*!n*", "@@", "@roles:*", "n?^@gpu"]
)
def test_the_peer_resolves_the_same(files: Path, text: str) -> None:
    source = (
        "import sys\nfrom ClusterShell.NodeSet import NodeSet, set_std_group_resolver_config\n"
        "set_std_group_resolver_config(sys.argv[1])\nprint(NodeSet(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, str(files / "groups.conf"), text],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(NodeSet(text))


def test_from_nodes_to_groups(files: Path) -> None:
    nodes = NodeSet("n[1-6],gw1")
    assert nodes.regroup() == "@compute,gw1"
    assert nodes.regroup("racks") == "@racks:rack[1-2],gw1"
    assert nodes.regroup("racks", noprefix=True) == "@rack[1-2],gw1"
    assert NodeSet("n[1-6]").regroup(overlap=True) == "@compute"
    assert NodeSet("n[1-3,5],z").regroup(autostep=2) == "n[1-3,5],z"
    assert NodeSet().regroup() == ""
    found = NodeSet("n[4-5]").groups("racks")
    assert {name: (str(all_), str(own)) for name, (all_, own) in found.items()} == {
        "@racks:rack2": ("n[4-6]", "n[4-5]")
    }
    assert sorted(NodeSet("gw1").groups()) == ["@all", "@login"]
    # By the upcall `reverse`, as there are more groups than nodes.
    assert NodeSet("n[2,4]").groups("batch").keys() == {"@batch:7"}
    assert NodeSet.fromall() == NodeSet("gw[1-2],n[1-6]")
    assert NodeSet.fromall("roles") == NodeSet("@roles:all")
    assert grouplist("racks") == ["rack1", "rack2"]


def test_a_source_is_asked_once_where_it_is_cached(files: Path) -> None:
    assert NodeSet("@batch:7") == NodeSet("@batch:7,@batch:7")
    assert calls(files) == 1
    assert NodeSet("@fresh:7") == NodeSet("@fresh:7")
    assert calls(files) == 3


def test_a_group_is_resolved_when_it_is_given(files: Path) -> None:
    nodes = NodeSet("@fresh:7")
    asked = calls(files)
    task = task_self()
    task.set_default("distant_workername", "exec")
    try:
        first = task.shell("echo %h", nodes="@fresh:7")
        assert calls(files) == asked + 1
        (files / "groups.conf.d" / "jobs").write_text("#!/bin/sh\necho z9\n")
        again = task.shell("echo %h", nodes=first.nodes)
        task.resume()
        for worker in (first, again):
            assert NodeSet.fromlist(nodes for _, nodes in worker.iter_buffers()) == nodes
    finally:
        task.set_default("distant_workername", "ssh")
    assert NodeSet("@fresh:7") == NodeSet("z9")
    assert nodes == NodeSet("n[2,4]") == pickle.loads(pickle.dumps(nodes))


@pytest.mark.parametrize(
    ("text", "upcall", "message"),
    [
        ("@bad:status", "map", r'"@bad:status": group source "bad" failed: its upcall map ended with status 3: '
         r"\./fails status"),
        ("@bad:signal", "map", r"its upcall map ended with status 137: \./fails signal"),
        ("@bad:rubbish", None, r'"@bad:rubbish": the answer of group source "bad" is not a node set: missing '
         r'bracket: "n\[1-"'),
        ("@bad:hangs", "map", r"its upcall map did not end within 1\.5 s, and was killed: \./fails hangs"),
        ("@bad:forever", "map", r"its upcall map (did not end|wrote more than 64 MiB).*, and was killed"),
        ("@bad:a;b", "map", r"'a;b' holds ';', which a shell would interpret"),
        ("@bad:$(id)", "map", r"'\$\(id\)' holds '\$'"),
        ("@bad:*", "list", r"cannot list all nodes: that takes the upcall all, or map and list"),
        ("n1,@@bad", "list", r'group source "bad" has no upcall list'),
    ],
)  # fmt: skip
def test_an_upcall_that_fails(
    files: Path, monkeypatch: pytest.MonkeyPatch, text: str, upcall: str | None, message: str
) -> None:
    monkeypatch.setitem(DEFAULTS._tables()["nodeset"], "upcall_timeout", 1.5)
    monkeypatch.setenv("MPSHELL_TEST_MARK", str(files))
    with pytest.raises(NodeGroupError, match=message) as caught:
        NodeSet(text)
    error = caught.value
    assert (error.source, error.upcall) == ("bad", upcall)
    # Programs that were written for ClusterShell catch one of these.
    assert isinstance(error, NodeSetParseError) and isinstance(error, NodeSetExternalError)
    assert isinstance(error, GroupSourceQueryFailed) is (upcall == "map")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.source) == (type(error), str(error), "bad")
    assert eventually(lambda: not marked(str(files)))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("@nosuch:a", GroupResolverSourceError, r'"@nosuch:a": there is no group source "nosuch" \(the group '
         r"sources are: bad, batch, fresh, local, racks, roles\)"),
        ("@bad:self", NodeSetParseError, r'"@self": this group contains itself'),
        ("@bad:deeper", NodeSetParseError, r"more than 100 groups contain one another"),
        ("@", NodeSetParseError, r'the name of a group is missing: "@"'),
        ("a,@local:", NodeSetParseError, r'the name of a group is missing: "@local:"'),
    ],
)  # fmt: skip
def test_a_group_that_cannot_be(
    files: Path, text: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        NodeSet(text)


def test_an_answer_that_is_not_utf8(files: Path) -> None:
    assert list(NodeSet("@bad:bytes")) == ["n\udce9"]


def test_a_list_that_fails_is_an_error_of_regroup() -> None:
    failing = GroupResolver(UpcallGroupSource("s", "echo n1", list_upcall="exit 4"))
    with pytest.raises(NodeGroupError, match="its upcall list ended with status 4"):
        NodeSet("n1", resolver=failing).regroup()
    # The groups of a node can be had all the same.
    found = GroupResolver(
        UpcallGroupSource("s", "echo n1", list_upcall="exit 4", reverse_upcall="echo g")
    )
    assert NodeSet("n1", resolver=found).regroup() == "@g"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not a configuration", "File contains no section headers"),
        ("[Main]\ndefault: x\n", 'Default group source not found: "x"'),
        ("[Main]\nautodir: /dev/null\n", "/dev/null is not a directory"),
        ("[s]\nlist: echo\n", "No option 'map' or 'mapall' in section"),
        ("[s]\nmap: echo\ncache_time: soon\n", "could not convert string to float"),
    ],
)
def test_a_configuration_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "groups.conf").write_text(text)
    resolver = GroupResolverConfig(str(tmp_path / "groups.conf"))
    with pytest.raises(NodeGroupError, match=message):
        NodeSet("@a", resolver=resolver)


@pytest.mark.parametrize("value", ["12", "[1, 2]", "{a: b}"])
def test_yaml_with_other_values_than_texts(tmp_path: Path, value: str) -> None:
    (tmp_path / "g.yaml").write_text(f"s:\n  grp: {value}\n")
    (tmp_path / "groups.conf").write_text(f"[Main]\nautodir: {tmp_path}\n")
    resolver = GroupResolverConfig(str(tmp_path / "groups.conf"))
    with pytest.raises(NodeGroupError, match=r'"@grp": group source "s" failed'):
        NodeSet("@grp", resolver=resolver)


def test_a_listed_group_with_a_name_of_another_meaning() -> None:
    source = UpcallGroupSource("s", "echo n1", list_upcall="echo 'a b*'")
    with pytest.raises(
        GroupResolverIllegalCharError, match=r'"@@": group source "s" has a group with \*'
    ):
        grouplist(resolver=GroupResolver(source, illegal_chars={"*"}))


def test_a_resolver_of_a_set_and_none() -> None:
    resolver = GroupResolver(GroupSource("mem", {"a": "x[1-3]"}, "x[1-9]"))
    nodes = NodeSet("@a", resolver=resolver)
    assert str(nodes) == "x[1-3]"
    nodes.update("x7*,@mem:a")
    for other in (nodes, nodes.copy(), nodes[:4], nodes | NodeSet()):
        assert str(other) == "x[1-3,7]" and "@a" in other
    assert NodeSet("@a,b*,c?", resolver=RESOLVER_NOGROUP) == NodeSet.fromnames(["@a", "b*", "c?"])
    assert str(NodeSet("@a[1-2]", resolver=RESOLVER_NOGROUP)) == "@a[1-2]"
    for call in (
        NodeSet("a", resolver=RESOLVER_NOGROUP).groups,
        NodeSet("a", resolver=RESOLVER_NOGROUP).regroup,
    ):
        with pytest.raises(NodeSetExternalError, match="RESOLVER_NOGROUP"):
            call()


class Own:
    """A resolver that has nothing of ClusterShell's."""

    def group_nodes(self, group: str, namespace: str | None = None) -> list[str]:
        return {"a": ["n[1-2]", "n3"]}[group]

    def all_nodes(self, namespace: str | None = None) -> list[str]:
        return ["n[1-9]"]

    def grouplist(self, namespace: str | None = None) -> list[str]:
        return ["a"]

    def has_node_groups(self, namespace: str | None = None) -> bool:
        return False


def test_a_resolver_of_the_process() -> None:
    default = std_group_resolver()
    assert isinstance(default, GroupResolverConfig) and std_group_resolver() is default
    own: Any = Own()
    set_std_group_resolver(own)
    try:
        assert std_group_resolver() is own
        assert str(NodeSet("@a,n?!n5")) == "n[1-4,6-9]"
        assert NodeSet("n[1-4]").regroup() == "@a,n4"
        with pytest.raises(NodeGroupError, match=r'"@b": .*KeyError'):
            NodeSet("@b")
        set_std_group_resolver_config(None)
        assert std_group_resolver() is own
    finally:
        set_std_group_resolver(None)
    assert std_group_resolver() is default


def test_without_the_extra() -> None:
    source = (
        "import sys\nsys.modules['ClusterShell'] = None\n"
        "from mpshell.nodeset import *\n"
        "print(NodeSet('n[1-3],user@h'), NodeSet('@a*', resolver=RESOLVER_NOGROUP))\n"
        "for call in (lambda: NodeSet('n1,@a'), lambda: NodeSet('n*'), std_group_resolver, NodeSet.fromall):\n"
        "    try:\n        call()\n"
        "    except NodeGroupError as error:\n        print(error)\n"
    )
    folder = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys\nsys.path.insert(0, {str(folder)!r})\n{source}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    need = "node groups and wildcards need ClusterShell's resolver: pip install 'mpshell[groups]'"
    assert done.stdout.splitlines() == [
        "n[1-3],user@h @a*", f'"@a": {need}', f'"n*": {need}', need, f'"@*": {need}',
    ]  # fmt: skip


def test_nothing_of_it_is_loaded_where_it_is_not_used() -> None:
    source = (
        "import sys\nfrom mpshell.nodeset import NodeSet\nNodeSet('n[1-3],user@h!n2').split(2)\n"
        "print([m for m in sys.modules if 'ClusterShell' in m or m in ('subprocess', 'configparser')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
