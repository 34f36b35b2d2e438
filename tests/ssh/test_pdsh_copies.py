"""Copies over pdcp and rpdcp: names, directories as targets, and what goes wrong on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from mpshell import Task, WorkerError
from tests.ssh.test_pdsh import codes
from tests.support import eventually
from tests.system.test_copy import NAMES


@pytest.fixture
def engines() -> int:
    """Two: how nodes are dealt out makes no difference to what is in this module."""
    return 2


def test_odd_names_are_copied_or_refused(
    pdsh_task: Task,
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
            ("out", name, pdsh_task.copy, name, tmp_path / "out", "node1"),
            ("target", name, pdsh_task.copy, name, tmp_path / "target" / name, "node1"),
            ("back", f"{name}.node3", pdsh_task.rcopy, tmp_path / name, "back", "node3"),
        )
        for place, result, call, *args in copies:
            try:
                call(*args)
                expected[place].add(result)
            except WorkerError:
                continue
    pdsh_task.resume()
    assert len(expected["out"]) > 15
    for place, names in expected.items():
        assert set(os.listdir(place)) == names
        for name in names:
            assert (Path(place) / name).read_text() == name.removesuffix(".node3")


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_directory_as_target_stays_one(
    slash: str,
    pdsh_task: Task,
    source: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "there").mkdir()
    pdsh_task.copy(source, f"{tmp_path}/there{slash}", "node[1-2]")
    pdsh_task.resume()
    assert pdsh_task.max_retcode() == 0
    assert (tmp_path / "there" / "source").read_bytes() == source.read_bytes()


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


def holders(path: Path) -> list[psutil.Process]:
    """Return the processes that have a file open."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(Path(file.path) == path for file in process.open_files()):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


class Cut:
    """Copy something big with a program that stops itself when a file is there; then kill the other side."""

    def __init__(
        self,
        tmp_path: Path,
        program: str,
        reverse: bool,
        node: str,
        *,
        atomic: bool = False,
        kills: bool = True,
    ) -> None:
        self.big = tmp_path / "big"
        self.big.write_bytes(b"")
        os.truncate(self.big, 3_000_000_000)
        self.place = tmp_path / "to"
        self.place.mkdir()
        self.copied = self.place / (f"big.{node}" if reverse else "big")
        self.held = self.big if reverse else self.copied
        self.pid_file = tmp_path / "pid"
        self.kills = kills
        appears = f"{self.place}/.mpshell-*" if atomic else self.copied
        self.program = tmp_path / "program"
        self.program.write_text(
            f"#!/bin/sh\n(until [ -s {appears} ]; do sleep 0.01; done\n"
            f"kill -STOP $$; echo $$ >{self.pid_file}.new; mv {self.pid_file}.new {self.pid_file}) &\n"
            f'exec {program} "$@"\n'
        )
        self.program.chmod(0o755)
        self._thread = threading.Thread(target=self._cut)

    def __enter__(self) -> Cut:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self.copied.unlink(missing_ok=True)

    def _cut(self) -> None:
        if not self.kills:
            return
        assert eventually(self.pid_file.exists, 30)
        pid = int(self.pid_file.read_text())
        for process in holders(self.held):
            if process.pid != pid and pid not in [parent.pid for parent in process.parents()]:
                process.kill()
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("reverse", [False, True], ids=["to", "from"])
def test_a_copy_that_is_cut_off_is_never_done(
    reverse: bool,
    pdsh_task: Task,
    tmp_path: Path,
) -> None:
    """pdcp on the node is killed in the middle."""
    with Cut(tmp_path, "rpdcp" if reverse else "pdcp", reverse, "node1") as cut:
        pdsh_task.set_info("rpdcp_path" if reverse else "pdcp_path", str(cut.program))
        call = pdsh_task.rcopy if reverse else pdsh_task.copy
        worker = call(cut.big, cut.place, "node1")
        pdsh_task.resume()
        assert 0 < cut.copied.stat().st_size < cut.big.stat().st_size
    assert len(codes(worker)) == 1 and 0 not in codes(worker)


def test_a_timeout_is_each_node_s(pdsh_task: Task, tmp_path: Path) -> None:
    """A FIFO on the way: nobody reads it."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"x")
    slow = pdsh_task.copy(tmp_path / "file", tmp_path / "fifo", "node1", timeout=1)
    good = pdsh_task.copy(tmp_path / "file", tmp_path / "good", "node[2-3]", timeout=20)
    pdsh_task.resume()
    assert list(slow.iter_keys_timeout()) == ["node1"] and codes(slow) == {}
    assert codes(good) == {0: "node[2-3]"}
