"""Copies to the nodes and from them; with `exec` a node is a directory here."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.program import local, mpshell
from tests.ssh.conftest import SshServer


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Give a directory with one for each of three nodes, and files to copy."""
    for node in ("n1", "n2", "n3"):
        (tmp_path / node).mkdir()
    (tmp_path / "one").write_bytes(b"first\xff")
    (tmp_path / "two").write_text("second")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "leaf").write_text("in a tree")
    return tmp_path


def test_copies_of_files_and_directories(places: Path) -> None:
    done = local(
        "-w", "n[1-3]", "-c", str(places / "one"), str(places / "two"), "--dest", f"{places}/%h",
        str(places / "tree"), "-v",
    )  # fmt: skip
    assert done.code == 0, done.err
    for node in ("n1", "n2", "n3"):
        assert (places / node / "one").read_bytes() == b"first\xff"
        assert (places / node / "two").read_text() == "second"
        assert (places / node / "tree" / "leaf").read_text() == "in a tree"
    assert "mpshell: ok 3, in " in done.err


def test_preserve_and_atomic(places: Path) -> None:
    os.utime(places / "one", (1e9, 1e9))
    (places / "one").chmod(0o640)
    done = local("-w", "n[1-3]", "--copy", "--atomic", "-p", f"--dest={places}/%h", f"{places}/one")
    assert done.code == 0, done.err
    for node in ("n1", "n2", "n3"):
        copied = (places / node / "one").stat()
        assert (copied.st_mtime, copied.st_mode & 0o777) == (1e9, 0o640)
        assert [path.name for path in (places / node).iterdir()] == ["one"]


def test_a_node_is_as_good_as_its_worst_copy(places: Path) -> None:
    # Directories of that name: both go into it, and not at once to the same file.
    for node in ("n1", "n2", "n3"):
        (places / node / "x").mkdir()
    run = (
        "--json",
        "-w",
        "n[1-3]",
        "-c",
        f"{places}/one",
        f"{places}/two",
        "--dest",
        f"{places}/%h/x",
    )
    done = local(*run)
    assert json.loads(done.out)["counts"]["ok"] == 3, done.err
    shutil.rmtree(places / "n3")
    done = local(*run)
    found = {r["node"]: r for r in json.loads(done.out)["nodes"]}
    assert {node: r["rc"] for node, r in found.items()} == {"n1": 0, "n2": 0, "n3": 1}
    assert found["n3"]["stderr"].count("\n") == 1, "a line for each copy"
    assert done.code == 1


def test_max_fail_counts_a_node_with_its_first_bad_copy(places: Path) -> None:
    (places / "n1").rmdir()
    run = ("-k", "1", "-f", "1", "-w", "n[1-3]", "-c", f"{places}/one", f"{places}/two")
    done = local(*run, "--dest", f"{places}/%h/x")
    assert done.code == 1
    assert "mpshell: ok 0, failed 1, not run 2, in " in done.err
    assert not list((places / "n2").iterdir()) + list((places / "n3").iterdir())


def test_several_files_go_into_a_directory_only(places: Path) -> None:
    """To one name they would go at the same time, and one over the other."""
    run = ("-w", "n[1-3]", "-c", f"{places}/one", f"{places}/two", "--dest", f"{places}/%h/x")
    done = local(*run)
    assert done.code == 1 and "mpshell: ok 0, failed 3, in " in done.err
    assert not any(any((places / node).iterdir()) for node in ("n1", "n2", "n3"))
    shutil.copy(places / "two", places / "n2" / "x")
    assert local(*run).code == 1 and (places / "n2" / "x").read_text() == "second"


def test_copies_back(places: Path) -> None:
    for node in ("n1", "n2"):
        (places / node / "log").write_text(f"of {node}")
    into = places / "into"
    into.mkdir()
    done = local("-w", "n[1-2]", "--rcopy", f"{places}/%h/log", "--dest", str(into))
    assert done.code == 0, done.err
    assert {p.name: p.read_text() for p in into.iterdir()} == {
        "log.n1": "of n1",
        "log.n2": "of n2",
    }


def test_dry_run_of_a_copy(places: Path) -> None:
    done = local("--dry-run", "-w", "n[1-2]", "-c", f"{places}/one", "--dest", f"{places}/%h")
    assert done.code == 0
    assert [line.partition(":")[0] for line in done.lines] == ["n1", "n2"]
    assert f"{places}/n1" in done.lines[0]
    assert not (places / "n1" / "one").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("-c", "/no/such/file"), "-c '/no/such/file': there is no such file"),
        (
            ("--rcopy", "/etc/hosts", "--dest", "/no/such/dir"),
            "--dest '/no/such/dir' is not a directory",
        ),
        (
            ("--rcopy", "/etc/hosts", "--dest", "/etc/hosts"),
            "--dest '/etc/hosts' is not a directory",
        ),
        (
            ("--rcopy", "/no/such/file"),
            "--rcopy '/no/such/file': there is no directory '/no/such/'",
        ),
        (
            ("--rcopy", "/etc/host*", "--dest", "/tmp"),
            "--rcopy '/etc/host*': '*' makes it a pattern, and patterns are not expanded on the nodes: "
            "name each file, or copy the directory",
        ),
        (
            ("--rcopy", "/etc/hosts", "/etc/host?", "--dest", "/tmp"),
            "--rcopy '/etc/host?': '?' makes",
        ),
        (
            ("--rcopy", "/etc/[a-z]/x", "--dest", "/tmp"),
            "--rcopy '/etc/[a-z]/x': '[' makes it a pattern",
        ),
        (("-c",), "files to copy must be given"),
        (("-c", "--rcopy", "/etc/hosts"), "not allowed with"),
        (("-c", "/etc", "--atomic", "--dest", "/tmp/x"), "'/etc'"),
        (("-c", "/etc/hosts", "/./etc/hosts", "--dest", "/tmp"), "'/etc/hosts' and '/./etc/hosts'"),
        (("-c", "/etc/hosts", "/etc/../etc/hosts"), "would be the same file"),
    ],
)
def test_copies_that_cannot_be(words: tuple[str, ...], error: str) -> None:
    done = local("-w", "n1", *words)
    assert done.code == 64
    assert error in done.err


def test_over_ssh(ssh_server: SshServer, places: Path) -> None:
    options = ("-o", f"-F {ssh_server.config}", "-w", "node[1-2]")
    # All nodes have one file system: the last one wins.
    done = mpshell(*options, "-c", str(places / "one"), "--dest", str(places / "copied"))
    assert done.code == 0, done.err
    assert (places / "copied").read_bytes() == b"first\xff"
    done = mpshell(*options, "--rcopy", str(places / "two"), "--dest", str(places / "n1"))
    assert done.code == 0, done.err
    assert sorted(path.name for path in (places / "n1").iterdir()) == ["two.node1", "two.node2"]
