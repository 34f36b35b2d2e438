"""The program as `pip install .` puts it into an environment that has nothing else, the extra `cli` neither."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import ROOT, Done, mpshell

TREES = ("mpshell", "docs")
FILES = ("pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an environment with an installed mpshell and nothing else, pip neither."""
    source, home = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("home") / "env"
    # A build leaves its files in the tree.
    for tree in TREES:
        shutil.copytree(ROOT / tree, source / tree, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(source), str(source))
    subprocess.run([*pip, *build], check=True)
    (wheel,) = source.glob("*.whl")
    subprocess.run([*pip, "--python", str(home), "install", "--no-deps", str(wheel)], check=True)
    return home


def installed(home: Path, *words: str) -> Done:
    # The environment of the tests has the checkout in the path of modules.
    return mpshell(*words, program=[str(home / "bin" / "mpshell")], env={"PYTHONPATH": ""}, cwd="/")


def test_an_installed_program(home: Path) -> None:
    from mpshell import __version__

    assert installed(home, "--version").out.decode() == f"mpshell {__version__}\n"
    done = installed(home, "-R", "exec", "-b", "-E", "2", "-w", "n[1-20]", "echo same; exit %n")
    assert (done.code, done.lines[1]) == (19, "n[1-20] (20)")
    assert (
        str(home)
        in installed(home, "-R", "exec", "-Nw", "n1", "tr '\\0' ' ' </proc/$PPID/cmdline").lines[0]
    )


def test_without_the_extra(home: Path) -> None:
    done = installed(home, "--print-completion", "bash")
    assert (done.code, done.out) == (64, b"")
    assert "needs shtab: pip install 'mpshell[cli]'" in done.err


def test_what_is_installed(home: Path) -> None:
    manual = home / "share" / "man" / "man1" / "mpshell.1"
    assert manual.read_bytes() == (ROOT / "docs" / "mpshell.1").read_bytes()
    (package,) = home.glob("lib/python*/site-packages/mpshell")
    assert (package / "py.typed").exists()
    names = {str(path.relative_to(ROOT / "mpshell")) for path in (ROOT / "mpshell").rglob("*.py")}
    assert names <= {str(path.relative_to(package)) for path in package.rglob("*.py")}
