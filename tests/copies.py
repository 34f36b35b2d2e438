"""Shared by the tests of copies over any transport: odd names, leftovers, a copy cut in the middle."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpshell import Task, WorkerError
from tests.support import eventually, paths_below, run_script

#: Names that a shell, an option parser or scp would take for something else.
NAMES = [
    "a b", "a'b", 'a"b', "a\nb", "-x", "a:b", "~x", "a*b", "a?[b]", "{a,b}", "$HOME", "ü", "a;b", " ",
    "a\tb", "[x]", "a\\b", "a!b", "x~", "`x`", "#x", "a&b", "(a)", "<a>", "=", "...", "100%%",
]  # fmt: skip


def has_no_leftovers(path: Path) -> bool:
    """Return whether nothing of a copy is left in a directory."""
    return not leftovers(path)


def leftovers(path: Path) -> list[Path]:
    return paths_below(path, ".mpshell-*")


def check_odd_names(task: Task, node: str, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Copy each of NAMES to a directory, to a name and back: as it is, or refused with a WorkerError."""
    monkeypatch.chdir(path)
    for place in ("out", "target", "back"):
        Path(place).mkdir()
    expected: dict[str, set[str]] = {"out": set(), "target": set(), "back": set()}
    for name in (name.replace("%%", "%") for name in NAMES):
        Path(name).write_text(name)
        copies: tuple[tuple[Any, ...], ...] = (
            ("out", name, task.copy, name, path / "out", node),
            ("target", name, task.copy, name, path / "target" / name, node),
            ("back", f"{name}.{node}", task.rcopy, path / name, "back", node),
        )
        for place, result, call, *args in copies:
            try:
                call(*args)
                expected[place].add(result)
            except WorkerError:
                continue
    task.resume()
    assert len(expected["out"]) > 15
    for place, names in expected.items():
        assert set(os.listdir(place)) == names
        for name in names:
            assert (Path(place) / name).read_text() == name.removesuffix(f".{node}")


def check_directory_as_target(task: Task, nodes: str, source: Path, slash: str) -> None:
    """Copy to a directory that is there: the file goes into it."""
    there = source.parent / "there"
    there.mkdir()
    task.copy(source, f"{there}{slash}", nodes)
    task.resume()
    assert task.max_retcode() == 0
    assert (there / "source").read_bytes() == source.read_bytes()


def check_cut_copy(
    task: Task, program: str, key: str, reverse: bool, node: str, path: Path
) -> None:
    """Cut a copy in the middle, with the info key of its program: it has a part, and is never done."""
    with Cut(path, program, reverse, node) as cut:
        task.set_info(key, str(cut.program))
        worker: Any = (task.rcopy if reverse else task.copy)(cut.big, cut.place, node)
        task.resume()
        assert 0 < cut.copied.stat().st_size < cut.big.stat().st_size
    codes = dict(worker.iter_node_retcodes())
    assert set(codes) == {node} and codes[node] != 0


#: Copies a file to or from node1, and kills itself when a temporary file of the copy is beside the target.
KILLED = """
import os, sys
from pathlib import Path
from mpshell import EventHandler, task_self
transport, options, way, source, target, number = sys.argv[1:]
place = Path(target) if os.path.isdir(target) else Path(target).parent
class Watch(EventHandler):
    def ev_timer(self, timer):
        if list(place.glob(".mpshell-*/*")):
            os.kill(os.getpid(), int(number))
task = task_self()
task.set_default("distant_workername", transport)
task.set_info("ssh_options", options)
getattr(task, way)(source, target, "node1", atomic=True)
task.timer(0.05, Watch(), interval=0.05)
task.resume(60)
"""


def check_killed_copy(
    task: Task, transport: str, way: str, source: Path, target: Path, number: int
) -> None:
    """Kill a program in the middle of an atomic copy over ssh: nothing is left of the copy."""
    options = str(task.info("ssh_options"))
    done = run_script(
        KILLED,
        args=[transport, options, way, str(source), str(target), str(int(number))],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == -number, done.stderr
    place = target if target.is_dir() else target.parent
    assert eventually(lambda: os.listdir(place) == []), os.listdir(place)


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
        appears = f"{self.place}/.mpshell-*/.mpshell-*" if atomic else self.copied
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
