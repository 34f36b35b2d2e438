"""Copies over pdcp and rpdcp: names, directories as targets, and faults on the way."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mpshell import Task
from tests.copies import check_cut_copy, check_directory_as_target, check_odd_names
from tests.ssh.test_pdsh import codes


@pytest.fixture
def engines() -> int:
    """Two: the distribution of nodes over engines makes no difference to the tests of this module."""
    return 2


def test_odd_names_are_copied_or_refused(
    pdsh_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_odd_names(pdsh_task, "node3", monkeypatch, tmp_path)


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_directory_as_target_stays_one(slash: str, pdsh_task: Task, source: Path) -> None:
    check_directory_as_target(pdsh_task, "node[1-2]", source, slash)


def test_a_full_destination_and_a_full_place_here(
    pdsh_task: Task,
    source: Path,
    small_disk: Path,
) -> None:
    good = pdsh_task.copy(source, source.parent / "good", "node2")
    bad = pdsh_task.copy(source, small_disk / "target", "node1")
    pdsh_task.resume()
    assert codes(bad) == {2: "node1"} and codes(good) == {0: "node2"}
    back = pdsh_task.rcopy(source, small_disk, "node1")
    pdsh_task.resume()
    assert codes(back) == {2: "node1"}


def test_a_read_only_destination(
    pdsh_task: Task,
    source: Path,
    small_disk: Path,
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    worker = pdsh_task.copy(source, small_disk / "target", "node[1-3]")
    pdsh_task.resume()
    assert codes(worker) == {2: "node[1-3]"}


def test_sources_that_are_not_there(pdsh_task: Task, tmp_path: Path) -> None:
    away = pdsh_task.copy(tmp_path / "missing", tmp_path / "to", "node[1-2]")
    pdsh_task.resume()
    assert [code for code, _ in away.iter_retcodes()] != [0]
    back = pdsh_task.rcopy(tmp_path / "missing", tmp_path, "node[1-2]")
    pdsh_task.resume()
    assert codes(back) == {2: "node[1-2]"}
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("reverse", [False, True], ids=["to", "from"])
def test_a_copy_that_is_cut_off_is_never_done(
    reverse: bool, pdsh_task: Task, tmp_path: Path
) -> None:
    """pdcp on the node is killed in the middle."""
    program = "rpdcp" if reverse else "pdcp"
    check_cut_copy(pdsh_task, program, f"{program}_path", reverse, "node1", tmp_path)


def test_a_timeout_is_each_node_s(pdsh_task: Task, tmp_path: Path) -> None:
    """A FIFO on the way, without a reader."""
    # The time of a pdcp is that to connect, too.
    pdsh_task.set_info("connect_timeout", 10)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"x")
    slow = pdsh_task.copy(tmp_path / "file", tmp_path / "fifo", "node1", timeout=1)
    good = pdsh_task.copy(tmp_path / "file", tmp_path / "good", "node[2-3]", timeout=20)
    pdsh_task.resume()
    assert list(slow.iter_keys_timeout()) == ["node1"] and codes(slow) == {}
    assert codes(good) == {0: "node[2-3]"}
