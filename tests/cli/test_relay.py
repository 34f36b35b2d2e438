"""--relay: a file that each node passes on; nodes are directories here, with a wrapper for ssh."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpshell import NodeSet
from mpshell.cli.relayed import news, ordered
from mpshell.coordinator.relayprogress import RelayProgress
from tests.cli.program import PROGRAM, Done, environment, mpshell
from tests.cli.terminals import on_a_terminal, rest
from tests.relaynodes import Nodes
from tests.trees import contents, make_tree


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = Nodes(tmp_path)
    made.make(4)
    (tmp_path / "image").write_bytes(bytes(range(256)) * 20_000)
    yield made
    for process in made.processes():
        process.kill()


def relay(nodes: Nodes, *words: str) -> Done:
    return mpshell(
        "-O", f"ssh_path={shlex.quote(str(nodes.program))}", "-w", "n[1-4]", *words, "-c",
        str(nodes.directory / "image"), "--dest", "~/image",
    )  # fmt: skip


def test_a_file_is_relayed_and_v_names_the_sources(nodes: Nodes) -> None:
    done = relay(nodes, "--relay", "-v")
    assert done.code == 0, done.err
    for name in ("n1", "n2", "n3", "n4"):
        copied = nodes.homes / name / "image"
        assert copied.read_bytes() == (nodes.directory / "image").read_bytes()
        assert re.search(f"^mpshell: {name} <- (this host|n[1-4])", done.err, re.MULTILINE)
    assert done.err.count("<- this host") == 1 and "ok 4" in done.err
    nodes.check_clean()


def test_a_dry_run_shows_the_line(nodes: Nodes) -> None:
    done = relay(nodes, "--relay", "--dry-run")
    assert done.code == 0 and len(done.lines) == 1
    assert done.lines[0].startswith("n[1-4]: relay over ssh of ")
    assert done.lines[0].endswith("(5120000 bytes), in the order in which the nodes answer: "
                                  "head -> n1 -> n2 -> n3 -> n4")  # fmt: skip
    assert not nodes.left() and not (nodes.homes / "n1" / "image").exists()
    done = mpshell(
        "-w", "n3,n1", "-w", "n[1-2]", "--relay=sshd", "--relay-order=as-given", "--dry-run", "-c",
        str(nodes.directory / "image"), "--dest", "/tmp/x",
    )  # fmt: skip
    assert "relay over sshd" in done.lines[0] and done.lines[0].endswith("head -> n3 -> n1 -> n2")


def test_a_failure_is_reported_with_its_reason(nodes: Nodes) -> None:
    (nodes.homes / "n2" / "image" / "image").mkdir(parents=True)
    done = relay(nodes, "--relay")
    assert done.code == 1
    assert re.search("^mpshell: n2: relay: .*is a directory", done.err, re.MULTILINE), done.err
    nodes.check_clean()


def test_a_journal_has_relay_copies_and_they_go_on_as_such(nodes: Nodes, tmp_path: Path) -> None:
    (nodes.homes / "n2" / "image" / "image").mkdir(parents=True)
    done = relay(nodes, "--relay", "--journal", str(tmp_path / "log"))
    assert done.code == 1
    (nodes.homes / "n2" / "image" / "image").rmdir()
    done = mpshell("--rerun-failed", str(tmp_path / "log"), "-v")
    assert done.code == 0 and "ok 1" in done.err, done.err
    copied = nodes.homes / "n2" / "image" / "image"
    assert copied.read_bytes() == (tmp_path / "image").read_bytes()
    nodes.check_clean()


def test_a_tree_is_relayed_and_goes_on_from_a_journal(nodes: Nodes, tmp_path: Path) -> None:
    (nodes.homes / "n2" / "image").write_text("in the way")
    source = make_tree(tmp_path / "tree")
    words = (
        "--relay",
        "--journal",
        str(tmp_path / "log"),
        "--json",
        "-c",
        str(source),
        "--dest",
        "~/image",
    )
    done = mpshell(
        "-O", f"ssh_path={shlex.quote(str(nodes.program))}", "-w", "n[1-4]", *words
    )  # fmt: skip
    assert done.code == 1
    assert "mpshell: relay: " in done.err and "is there and no directory: n2" in done.err
    assert b'"counts": {"ok": 3, "failed": 1}' in done.out
    (nodes.homes / "n2" / "image").unlink()
    done = mpshell("--rerun-failed", str(tmp_path / "log"), "-v")
    assert done.code == 0 and "ok 1" in done.err, done.err
    for name in ("n1", "n2", "n3", "n4"):
        assert contents(nodes.homes / name / "image", modes=False) == contents(source, modes=False)
    nodes.check_clean()


def test_several_sources_with_a_tree_among_them(nodes: Nodes, tmp_path: Path) -> None:
    """To a directory; one node has a file where the tree would be, and gets the other sources."""
    tree = make_tree(tmp_path / "tree")
    (tmp_path / "small").write_text("small")
    homes = [nodes.homes / name for name in ("n1", "n2", "n3", "n4")]
    for home in homes:
        (home / "place").mkdir()
    (homes[1] / "place" / "tree").write_text("in the way")
    done = mpshell(
        "-O", f"ssh_path={shlex.quote(str(nodes.program))}", "-w", "n[1-4]", "--relay", "-v", "-c",
        str(tmp_path / "image"), str(tree), str(tmp_path / "small"), "--dest", "~/place",
    )  # fmt: skip
    assert done.code == 1, done.err
    assert re.search("^mpshell: n2: relay: .*is there and no directory", done.err, re.MULTILINE)
    # The file and the tree; the small file goes flat.
    assert done.err.count("<- this host") >= 2
    for home in homes:
        assert (home / "place" / "image").read_bytes() == (tmp_path / "image").read_bytes()
        assert (home / "place" / "small").read_text() == "small"
        if home.name != "n2":
            assert contents(home / "place" / "tree", modes=False) == contents(tree, modes=False)
    assert (homes[1] / "place" / "tree").read_text() == "in the way"
    nodes.check_clean()


def test_a_dry_run_of_a_tree_shows_its_size(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    done = mpshell("-w", "n1", "--relay", "--dry-run", "-c", str(tree), "--dest", "/tmp/x")
    assert done.code == 0 and " bytes, packed), in the order" in done.lines[0]


def test_refused_logins_name_the_other_way(nodes: Nodes) -> None:
    nodes.refused.mkdir()
    for name in ("n1", "n2", "n3", "n4"):
        (nodes.refused / name).touch()
    done = relay(nodes, "--relay")
    assert done.code == 1
    assert "nodes cannot log in to each other" in done.err and "use --relay=sshd" in done.err
    nodes.check_clean()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--relay", "true"), "--relay is for copies to nodes: -c must be given with it"),
        (("--relay", "--rcopy", "/etc/hosts"), "--relay is for copies to nodes"),
        (("-c", "/etc/hosts", "--relay=rsync"), "invalid choice: 'rsync'"),
        (("-c", "/etc/hosts", "--relay-order=by-name"), "--relay-order is for relay copies"),
        (("-c", "/etc/hosts", "--relay-options=-v"), "--relay-options is for relay copies"),
        (
            ("-c", "/etc", "--relay", "--atomic"),
            "'/etc' is a directory: only a file can arrive in one",
        ),
        (("-c", "/dev/shm/..", "--relay"), "source '/dev/shm/..' has no name to be copied under"),
        (
            ("-c", "/dev", "--relay"),
            " is a device, and a tree that is relayed has files, directories and",
        ),
        (("-c", "/dev/null", "--relay"), "'/dev/null' is not a regular file"),
        (("-c", "/etc/hosts", "--relay", "-R", "exec"), "relay='ssh' needs nodes with ssh"),
        (("-c", "/etc/hosts", "--relay", "-R", "rsh"), "relay='ssh' needs nodes with ssh"),
        (("-O", "relay_ports=x", "-c", "/etc/hosts", "--relay=sshd"), "relay_ports is LOW-HIGH"),
    ],
)
def test_options_that_exclude_it(words: tuple[str, ...], error: str) -> None:
    done = mpshell("-w", "n1", *words)
    assert done.code == 64 and error in done.err, done.err


def test_the_progress_line_has_bytes_rate_nodes_and_the_slowest_link() -> None:
    class Copying:
        relays_over = "ssh"

        def __init__(self, found: RelayProgress | None) -> None:
            self.progress = lambda: found

    assert news(Copying(None)) == ""
    early = RelayProgress(25_000_000, 0, 0.0, 0, 4, "", 0.0)
    assert news(Copying(early)) == "0.0/25.0 MB, 0/4 nodes"
    later = RelayProgress(25_000_000, 17_250_000, 2.4e6, 1, 4, "n7 <- n6", 3e5)
    assert news(Copying(later)) == (
        "17.2/25.0 MB at 2.4 MB/s, 1/4 nodes, slowest n7 <- n6 0.3 MB/s"
    )


#: Passes on what it reads, so many bytes ten times a second.
THROTTLE = "import os, time\nwhile data := os.read(0, 1 << 17): os.write(1, data), time.sleep(0.1)"


def test_a_terminal_shows_bytes_rate_nodes_and_the_slowest_link(
    nodes: Nodes, tmp_path: Path
) -> None:
    (tmp_path / "throttle").write_text(THROTTLE)
    reach = nodes.program.read_text()
    slow = f'[ -z "$ON_NODE" ] || exec > >(exec {sys.executable} {tmp_path}/throttle)\n'
    nodes.program.write_text(reach.replace("host=$1; shift\n", f"host=$1; shift\n{slow}"))
    line = [
        *PROGRAM, "-O", f"ssh_path={shlex.quote(str(nodes.program))}", "-w", "n[1-4]", "--relay", "-c",
        str(tmp_path / "image"), "--dest", "~/image",
    ]  # fmt: skip
    with on_a_terminal(line, environment(TERM="xterm"), dimensions=(24, 160)) as child:
        child.expect(r"\d\.\d/5\.1 MB at \d+\.\d MB/s, \d/4 nodes, slowest n\d <- n\d \d+\.\d MB/s")
        rest(child)
        assert child.exitstatus == 0
    nodes.check_clean()


def test_the_order_of_nodes_as_they_are_given() -> None:
    nodes = NodeSet("n[1-6]")
    assert ordered(nodes, ["n5,n[2-3]", "x1,n5", "@group", "n1"]) == [
        "n5",
        "n2",
        "n3",
        "n1",
        "n4",
        "n6",
    ]
    assert ordered(nodes, []) == ["n1", "n2", "n3", "n4", "n5", "n6"]
