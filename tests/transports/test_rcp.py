"""Copies over rcp: names, directories as targets, and faults on the way."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mpshell import Task, WorkerRsh
from tests.copies import check_cut_copy, check_directory_as_target, check_odd_names
from tests.transports.conftest import NETWORK, NODES, SECOND, RshClient
from tests.transports.test_rsh import codes


@pytest.fixture
def engines() -> int:
    """Two: the distribution of nodes over engines makes no difference to the tests of this module."""
    return 2


def test_odd_names_are_copied_or_refused(
    rsh_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_odd_names(rsh_task, SECOND, monkeypatch, tmp_path)


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_directory_as_target_stays_one(slash: str, rsh_task: Task, source: Path) -> None:
    check_directory_as_target(rsh_task, SECOND, source, slash)


def test_full_places(rsh_task: Task, source: Path, small_disk: Path) -> None:
    good = rsh_task.copy(source, source.parent / "good", SECOND)
    bad = rsh_task.copy(source, small_disk / "target", SECOND)
    rsh_task.resume()
    assert list(codes(bad)) == [1] and list(codes(good)) == [0]
    (small_disk / "target").unlink(missing_ok=True)
    back = rsh_task.rcopy(source, small_disk, SECOND)
    rsh_task.resume()
    assert list(codes(back)) == [1]


def test_a_read_only_destination(rsh_task: Task, source: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    good = rsh_task.copy(source, source.parent / "good", NODES)
    bad = rsh_task.copy(source, small_disk / "target", f"{NETWORK}.[1-3]", stderr=True)
    back = rsh_task.rcopy(source, small_disk, SECOND)
    rsh_task.resume()
    assert list(codes(good)) == [0]
    assert codes(bad) == {1: [f"{NETWORK}.{i}" for i in (1, 2, 3)]} and list(codes(back)) == [1]
    assert os.listdir(small_disk) == []


@pytest.mark.parametrize("reverse", [False, True], ids=["to", "from"])
def test_a_copy_that_is_cut_off_is_never_done(
    reverse: bool, rsh_task: Task, rsh_client: RshClient, tmp_path: Path
) -> None:
    """rcp on the node is killed in the middle."""
    check_cut_copy(rsh_task, rsh_client.rcp, "rcp_path", reverse, SECOND, tmp_path)


def test_ipv6_addresses_are_in_brackets_for_rcp_only(rsh_task: Task, tmp_path: Path) -> None:
    for name in ("rsh", "rcp"):
        fake = tmp_path / name
        fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        fake.chmod(0o755)
        rsh_task.set_info(f"{name}_path", str(fake))
    rsh_task.set_info("rsh_user", "ada")
    away = WorkerRsh("::1", source="/etc/hosts", dest="/tmp/x")
    back = WorkerRsh("::1", source="/etc/hosts", dest=str(tmp_path), reverse=True, preserve=True)
    command = WorkerRsh("::1", command="true")
    for worker in (away, back, command):
        rsh_task.schedule(worker)
    rsh_task.resume()
    assert (away.read("::1") or b"").split() == [b"/etc/hosts", b"ada@[::1]:/tmp/x"]
    target = os.fsencode(tmp_path / "hosts.::1")
    assert (back.read("::1") or b"").split()[-2:] == [b"ada@[::1]:/etc/hosts", target]
    assert b"\n::1\n" in (command.read("::1") or b"")
