"""The program as `pip install .` puts it into an environment that has nothing else, the extra `cli` neither."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from mpshell import __version__
from tests.cli.program import ROOT, Done, mpshell

TREES = ("mpshell", "docs")
FILES = ("pyproject.toml", "README.md", "LICENSE")

#: Each line of a mistake is marked.
MISTAKEN = """
from mpshell import DistantWorker, EventHandler, Worker, WorkerPopen, task_self


class Handler(EventHandler):
    def ev_close(self, worker: str, timedout: bool) -> None: ...  # wrong

    def ev_start(self, worker: Worker) -> None:
        worker.task.shel("true")  # wrong
        worker.task.shell("true", nodes=5)  # wrong
        worker.task.shell("true").current_nod  # wrong


def main() -> None:
    task = task_self()
    task.shell(3)  # wrong
    task.shell("true", nodse="n1")  # wrong
    task.shell("true", nodes=5)  # wrong
    task.shell("true", nodes="n1", key="k")  # wrong
    task.shell("true", nodes="n1", timeout="5")  # wrong
    task.run("true", "n1")  # wrong
    task.run(hanlder=Handler())  # wrong
    local: DistantWorker = task.run("true")  # wrong
    distant: WorkerPopen = task.run("true", nodes="n1")  # wrong
    nothing: Worker = task.run()  # wrong
    task.copy("a", "b")  # wrong
    task.run("true", nodes="n1").retcode()  # wrong
    task.run("true").node_buffer("n1")  # wrong
    print(local, distant, nothing)
"""


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with the source distribution, and the wheel that is built from it."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("packages")
    # A build leaves its files in the tree.
    for tree in TREES:
        shutil.copytree(ROOT / tree, source / tree, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, source)
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(made), str(source))
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def environment_with(package: Path, home: Path) -> Path:
    """Return an environment with a package and nothing else, pip neither."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    install = ("install", "--no-deps", "--no-build-isolation", str(package))
    subprocess.run([*PIP, "--python", str(home), *install], check=True)
    return home


@pytest.fixture(scope="module")
def home(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an environment into which the wheel is installed."""
    (wheel,) = packages.glob("*.whl")
    return environment_with(wheel, tmp_path_factory.mktemp("home") / "env")


def test_the_packages_are_as_an_index_wants_them(packages: Path) -> None:
    names = sorted(path.name for path in packages.iterdir())
    assert [name.partition("-")[2] for name in names] == [
        f"{__version__}-py3-none-any.whl", f"{__version__}.tar.gz",
    ]  # fmt: skip
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, packages.iterdir())]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_install_from_the_source_distribution(packages: Path, tmp_path: Path) -> None:
    """With the setuptools of this interpreter: nothing is asked for from the network."""
    (source,) = packages.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        # Python 3.11.4 has filters, and 3.12 warns where none is chosen.
        chosen: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(tmp_path, **chosen)
    (tree,) = tmp_path.glob("mpshell-*")
    wheel = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(tree))
    subprocess.run([*PIP, *wheel], check=True)
    (built,) = tmp_path.glob("*.whl")
    home = environment_with(built, tmp_path / "env")
    assert installed(home, "--version").out.decode() == f"mpshell {__version__}\n"


def installed(home: Path, *words: str) -> Done:
    # The environment of the tests has the checkout in the path of modules.
    return mpshell(*words, program=[str(home / "bin" / "mpshell")], env={"PYTHONPATH": ""}, cwd="/")


def test_an_installed_program(home: Path) -> None:
    assert installed(home, "--version").out.decode() == f"mpshell {__version__}\n"
    command = [str(home / "bin" / "mpshell-nodeset"), "-f", "n1", "n2"]
    assert mpshell(program=command, env={"PYTHONPATH": ""}, cwd="/").out == b"n[1-2]\n"
    assert (home / "share" / "man" / "man1" / "mpshell-nodeset.1").exists()
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


def test_the_installed_files(home: Path) -> None:
    manual = home / "share" / "man" / "man1" / "mpshell.1"
    assert manual.read_bytes() == (ROOT / "docs" / "mpshell.1").read_bytes()
    (package,) = home.glob("lib/python*/site-packages/mpshell")
    assert (package / "py.typed").exists()
    report = package / "cli" / "report"
    assert {path.name for path in report.iterdir()} >= {
        path.name for path in (ROOT / "mpshell/cli/report").iterdir() if path.suffix in (".html", ".css", ".js")
    }  # fmt: skip
    names = {str(path.relative_to(ROOT / "mpshell")) for path in (ROOT / "mpshell").rglob("*.py")}
    assert names <= {str(path.relative_to(package)) for path in package.rglob("*.py")}


def test_typed_programs_pass_the_type_checker_at_its_strictest(home: Path, tmp_path: Path) -> None:
    """From the wheel: a checkout may show mypy more than a user has."""
    shutil.copy(ROOT / "tests" / "system" / "typed_program.py", tmp_path)
    (tmp_path / "mistaken_program.py").write_text(MISTAKEN)
    mypy = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-executable",
        str(home / "bin" / "python"),
    ]
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MYPYPATH")}

    def check(name: str) -> str:
        words = [*mypy, "--cache-dir", str(tmp_path / "cache"), name]
        return subprocess.run(words, cwd=tmp_path, env=env, text=True, capture_output=True).stdout

    assert check("typed_program.py").startswith("Success: no issues found in 1 source file")
    found = check("mistaken_program.py").splitlines()
    lines = enumerate(MISTAKEN.splitlines(), 1)
    wrong = {str(number) for number, line in lines if line.endswith("# wrong")}
    assert {line.split(":")[1] for line in found if " error: " in line} == wrong
