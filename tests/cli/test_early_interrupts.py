"""Ctrl-C before a command has begun its work, and after it: the program ends with 130 and without a word."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import PROGRAM, ROOT, environment

NODESET = [sys.executable, "-m", "mpshell.cli.nodeset"]

#: Sends Ctrl-C when a module is about to be loaded, or at the exit of the interpreter.
SITE = """
import atexit, os, signal, sys

moment = os.environ["INTERRUPTED_AT"]

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

class Watching:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == moment:
            interrupt()

sys.meta_path.insert(0, Watching)
if moment == "exit":
    atexit.register(interrupt)
"""


def interrupted(
    moment: str, tmp_path: Path, words: list[str], *, ignored: bool = False
) -> subprocess.CompletedProcess[bytes]:
    """Run a program that gets Ctrl-C at a moment."""
    (tmp_path / "sitecustomize.py").write_text(SITE)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if ignored else None
    try:
        return subprocess.run(
            words, env=environment(PYTHONPATH=f"{tmp_path}:{ROOT}", INTERRUPTED_AT=moment),
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "moment",
    [
        "mpshell.cli.guard", "mpshell.cli.command", "argparse", "mpshell.cli.parser",
        "mpshell.cli.effective", "mpshell.cli.nodes", "mpshell.task.task", "mpshell.cli.run",
    ],
)  # fmt: skip
def test_in_an_import(moment: str, tmp_path: Path) -> None:
    done = interrupted(moment, tmp_path, [*PROGRAM, "-w", "n1", "-R", "exec", "echo ran"])
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.parametrize(
    "moment", ["mpshell.cli.nodesetcommand", "mpshell.cli.nodesetparser", "mpshell.nodeset"]
)
def test_in_an_import_of_the_other_command(moment: str, tmp_path: Path) -> None:
    done = interrupted(moment, tmp_path, [*NODESET, "-f", "n1,n2"])
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([*PROGRAM, "-w", "n1", "-R", "exec", "echo ran"], b"n1: ran\n"),
        ([*NODESET, "-f", "n1,n2"], b"n[1-2]\n"),
    ],
    ids=["mpshell", "mpshell-nodeset"],
)
def test_at_the_exit_of_the_interpreter(words: list[str], shown: bytes, tmp_path: Path) -> None:
    """All output is there by then."""
    done = interrupted("exit", tmp_path, words)
    assert (done.returncode, done.stdout, done.stderr) == (130, shown, b"")


def test_the_status_of_the_work_stays_at_the_exit(tmp_path: Path) -> None:
    """As that of SIGTERM, with a Ctrl-C behind it."""
    done = interrupted("exit", tmp_path, [*PROGRAM, "-S", "-w", "n1", "-R", "exec", "exit 3"])
    assert done.returncode == 3


@pytest.mark.parametrize("moment", ["mpshell.cli.command", "mpshell.cli.run", "exit"])
def test_where_it_is_ignored_it_stays_so(moment: str, tmp_path: Path) -> None:
    """As for a command in the background of a shell script."""
    words = [*PROGRAM, "-w", "n1", "-R", "exec", "echo ran"]
    done = interrupted(moment, tmp_path, words, ignored=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"n1: ran\n", b"")
