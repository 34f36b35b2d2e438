"""Copies over rcp: names, directories as targets, and what goes wrong on the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mpshell import Task, WorkerError, WorkerRsh
from tests.ssh.test_pdsh_copies import Cut
from tests.system.test_copy import NAMES
from tests.transports.conftest import SECOND
from tests.transports.test_rsh import codes


@pytest.fixture
def engines() -> int:
    """Two: how nodes are dealt out makes no difference to what is in this module."""
    return 2


def test_odd_names_are_copied_or_refused(
    rsh_task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("out", "target", "back"):
        Path(place).mkdir()
    expected: dict[str, set[str]] = {"out": set(), "target": set(), "back": set()}
    for name in (name.replace("%%", "%") for name in NAMES):
        Path(name).write_text(name)
        copies = (
            ("out", name, rsh_task.copy, name, tmp_path / "out", SECOND),
            ("target", name, rsh_task.copy, name, tmp_path / "target" / name, SECOND),
            ("back", f"{name}.{SECOND}", rsh_task.rcopy, tmp_path / name, "back", SECOND),
        )
        for place, result, call, *args in copies:
            try:
                call(*args)
                expected[place].add(result)
            except WorkerError:
                continue
    rsh_task.resume()
    assert len(expected["out"]) > 15
    for place, names in expected.items():
        assert set(os.listdir(place)) == names
        for name in names:
            assert (Path(place) / name).read_text() == name.removesuffix(f".{SECOND}")


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_directory_as_target_stays_one(
    slash: str,
    rsh_task: Task,
    source: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "there").mkdir()
    rsh_task.copy(source, f"{tmp_path}/there{slash}", SECOND)
    rsh_task.resume()
    assert rsh_task.max_retcode() == 0
    assert (tmp_path / "there" / "source").read_bytes() == source.read_bytes()


def test_full_places(rsh_task: Task, source: Path, small_disk: Path) -> None:
    good = rsh_task.copy(source, source.parent / "good", SECOND)
    bad = rsh_task.copy(source, small_disk / "target", SECOND)
    rsh_task.resume()
    assert list(codes(bad)) == [1] and list(codes(good)) == [0]
    (small_disk / "target").unlink(missing_ok=True)
    back = rsh_task.rcopy(source, small_disk, SECOND)
    rsh_task.resume()
    assert list(codes(back)) == [1]


@pytest.mark.parametrize("reverse", [False, True], ids=["to", "from"])
def test_a_copy_that_is_cut_off_is_never_done(
    reverse: bool,
    rsh_task: Task,
    tmp_path: Path,
) -> None:
    """rcp on the node is killed in the middle."""
    with Cut(tmp_path, "netkit-rcp", reverse, SECOND) as cut:
        rsh_task.set_info("rcp_path", str(cut.program))
        call = rsh_task.rcopy if reverse else rsh_task.copy
        worker = call(cut.big, cut.place, SECOND)
        rsh_task.resume()
        assert 0 < cut.copied.stat().st_size < cut.big.stat().st_size
    assert len(codes(worker)) == 1 and 0 not in codes(worker)


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
