"""Node groups on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import local
from tests.cli.test_nodes import nodes_of
from tests.groupfiles import calls, write_groups


@pytest.fixture
def site(tmp_path: Path) -> dict[str, str]:
    """Give the environment of a site with groups."""
    write_groups(tmp_path)
    return {"CLUSTERSHELL_CFGDIR": str(tmp_path)}


@pytest.mark.parametrize(
    ("words", "nodes"),
    [
        (("-a",), "gw1 gw2 n1 n2 n3 n4 n5 n6"),
        (("--all", "-x", "n*"), "gw1 gw2"),
        (("-s", "roles", "-a"), "db1 db2 w1 w2 w3"),
        (("-g", "login"), "gw1 gw2"),
        (("--group=login,gpu", "-w", "z1"), "gw1 gw2 n5 n6 z1"),
        (("-g", "racks:rack[1-2]", "-X", "gpu"), "n1 n2 n3 n4"),
        (("-a", "-X", "login,racks:rack1"), "n4 n5 n6"),
        (("--groupsource", "racks", "-g", "@rack1"), "n1 n2 n3"),
        (("-g", "*", "-X", "@compute"), "gw1 gw2"),
        (("-w", "@*!@login"), "n1 n2 n3 n4 n5 n6"),
        (("-w", "@roles:web,n?&@gpu"), "n5 n6"),
        (("-w", "gw*", "-x", "@@,?w2"), "gw1"),
        (("-w", "@batch:7"), "n2 n4"),
    ],
)
def test_nodes_of_groups(site: dict[str, str], words: tuple[str, ...], nodes: str) -> None:
    done = local("--dry-run", *words, "echo", "%h", env=site)
    assert nodes_of(done) == nodes.split()


def test_groups_in_files(site: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("@login z1  # and\n@racks:rack1\n")
    for words in (("--hostfile", str(tmp_path / "hosts")), ("-w", f"^{tmp_path / 'hosts'}")):
        done = local("--dry-run", *words, "true", env=site)
        assert nodes_of(done) == ["gw1", "gw2", "n1", "n2", "n3", "z1"]


def test_another_configuration(tmp_path: Path) -> None:
    conf = write_groups(tmp_path)
    done = local("--dry-run", "--groupsconf", str(conf), "-g", "login", "true")
    assert nodes_of(done) == ["gw1", "gw2"]


@pytest.mark.parametrize("option", ["-G", "--groupbase"])
def test_gathered_by_group_without_the_source(site: dict[str, str], option: str) -> None:
    done = local("-w", "@racks:rack1", "-s", "racks", "-b", "-r", option, "echo a", env=site)
    assert done.lines[1] == "@rack1 (3)"


def test_gathered_along_one_number_of_the_names() -> None:
    done = local("-w", "dc[1-2]n[1-2]", "--axis", "1", "-b", "echo a")
    assert done.lines[1] == "dc[1-2]n1,dc[1-2]n2 (4)"
    done = local("-w", "dc[1-2]n[1-2]", "--axis=-1", "-b", "echo a")
    assert done.lines[1] == "dc1n[1-2],dc2n[1-2] (4)"


def test_gathered_by_group(site: dict[str, str]) -> None:
    command = "case %h in n*) echo a;; gw1) echo b; echo c;; *) echo b;; esac"
    done = local("-w", "@*", "-b", "-r", command, env=site)
    assert [line for line in done.lines if line[0] != "-"] == [
        "@compute (6)", "a", "gw1", "b", "c", "gw2", "b",
    ]  # fmt: skip
    done = local("-a", "-s", "racks", "-bL", "--regroup", "echo", "x", env=site)
    assert done.lines == ["@rack[1-2]: x"]
    done = local("-a", "--diff", "-r", "case %h in gw?) echo b;; *) echo a;; esac", env=site)
    assert done.lines[:2] == ["--- @compute (6)", "+++ @login (2)"]


def test_a_group_is_asked_for_once(site: dict[str, str], tmp_path: Path) -> None:
    assert local("-w", "@batch:7", "-b", "true", env=site).code == 0
    assert calls(tmp_path) == 1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("-g", "bad:status"), "-g 'bad:status': \"@bad:status\": group source \"bad\" failed: its upcall map "
         "ended with status 3: ./fails status"),
        (("-w", "n1,@bad:rubbish"), "-w 'n1,@bad:rubbish': \"@bad:rubbish\": the answer of"),
        (("-a", "-s", "bad"), "-a: \"@*\": "),
        (("-w", "n1", "-X", "no:a"), "-X 'no:a': \"@no:a\": there is no group source \"no\""),
        (("-s", "no", "-w", "n1"), "-s: there is no group source \"no\""),
        (("-g", "nobody"), "no nodes in -g 'nobody'"),
        (("-g", "login", "-X", "login"), "no node is left after -X 'login'"),
        (("-w", "n1", "-r"), "-r is for gathered output"),
        (("--groupsconf", "/no/such", "-a"), "--groupsconf '/no/such' cannot be read: No such file"),
    ],
)  # fmt: skip
def test_errors_of_groups(site: dict[str, str], words: tuple[str, ...], error: str) -> None:
    done = local(*words, "true", env=site)
    assert error in done.err
    assert (done.code, done.out) == (64, b"")


def test_sources_without_a_way_back(site: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "groups.conf").write_text("[Main]\ndefault: s\n[s]\nmap: echo n1\nlist: exit 2\n")
    done = local("-w", "n1", "-b", "-r", "echo", "x", env=site)
    assert (
        done.code == 64 and '-r: "@@": group source "s" failed: its upcall list ended' in done.err
    )
    (tmp_path / "groups.conf").write_text(
        "[Main]\ndefault: s\n[s]\nmap: echo n1\nlist: test ! -e here && touch here && echo g\ncache_time: 0\n"
    )
    done = local("-w", "n1", "-b", "-r", "echo", "x", env=site)
    assert done.code == 0 and done.lines[1:] == ["n1", "---------------", "x"]
    assert '-r: "@@": group source "s" failed: its upcall list ended with status 1' in done.err
