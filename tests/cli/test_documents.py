"""The page, the man page and the completion scripts are those of the program's options."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.cli.program import ROOT, environment, mpshell

PAGE = (ROOT / "docs" / "cli.md").read_text()


def options() -> list[str]:
    """Return every option that --help names."""
    shown = mpshell("--help").out.decode()
    found = set(re.findall(r"^  (-.*?)(?:  |$)", shown, re.M))
    return sorted({name for line in found for name in re.findall(r"--?[A-Za-z][\w-]*", line)})


def test_the_page_and_the_man_page_are_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "docs"), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_option_is_in_the_page_and_in_the_man_page() -> None:
    manual = (ROOT / "docs" / "mpshell.1").read_text().replace("\\-", "-")
    names = [name for name in options() if "_" not in name]
    assert len(names) > 50
    for name in names:
        assert f"`{name}" in PAGE, name
        assert f"\\fB{name}" in manual, name


def test_every_option_is_used_by_a_test() -> None:
    places = (Path(__file__).parent, ROOT / "tests" / "report")
    sources = "".join(path.read_text() for place in places for path in place.glob("test_*.py"))
    from mpshell.cli.parser import build_parser

    for action in build_parser()._actions:
        forms = [rf"[\"' ]{re.escape(name)}[\"'= ]" for name in action.option_strings]
        forms += [rf"[\"']-\w*{name[1]}" for name in action.option_strings if len(name) == 2]
        assert any(re.search(form, sources) for form in forms), action.option_strings


@pytest.mark.parametrize("clash", ["-b", "-q", "-L", "-d", "-v", "-S", "-w"])
def test_each_clash_is_documented_in_both_places(clash: str) -> None:
    clashes = mpshell("--help").out.decode().rpartition("Where they clash")[2]
    table = PAGE.partition("## Compared with clush and pdsh")[2]
    assert clash in clashes
    assert re.search(rf"^\|[^|]*`{clash}\b", table, re.M)


@pytest.fixture(params=["bash", pytest.param("zsh", marks=pytest.mark.needs("zsh"))])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[pexpect.spawn[str]]:
    """Give a shell that completes, as a user has set it up."""
    name: str = request.param
    script = mpshell("--print-completion", name)
    assert script.code == 0
    (tmp_path / "_mpshell").write_bytes(script.out)
    # A file to complete, and the program: zsh asks for no completion of a program that does not exist.
    (tmp_path / "hosts-of-rack-1").write_text("n1")
    (tmp_path / "mpshell").write_text("")
    (tmp_path / "mpshell").chmod(0o755)
    words, begin = {
        "bash": (["--norc"], "bind 'set bell-style none'; source ./_mpshell"),
        "zsh": (["-f"], "fpath=($PWD $fpath); autoload -U compinit; compinit -u -d dump"),
    }[name]
    path = f"{tmp_path}:{os.environ['PATH']}"
    child = pexpect.spawn(
        name, words, env=environment(TERM="dumb", PATH=path), cwd=str(tmp_path), timeout=30,
        encoding="utf-8", dimensions=(50, 160),
    )  # fmt: skip
    try:
        child.sendline(f"{begin}; echo re''ady")
        child.expect("ready\r\n")
        yield child
    finally:
        child.close(force=True)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("mpshell --max-f\t", "--max-fail "),
        ("mpshell --color alw\t", "always "),
        ("mpshell -R rs\t", "rsh "),
        ("mpshell --hostfile hosts-o\t", "hosts-of-rack-1 "),
        ("mpshell -w n1 -c hosts-o\t", "hosts-of-rack-1 "),
        ("mpshell -w n1 cat hosts-o\t", "hosts-of-rack-1 "),
    ],
)
def test_completion(shell: pexpect.spawn[str], typed: str, completed: str) -> None:
    shell.send(typed)
    shell.expect_exact(completed)


def test_completion_offers_the_choices(shell: pexpect.spawn[str]) -> None:
    shell.send("mpshell --max\t\t")
    shell.expect_exact("--max-fail")
    shell.expect_exact("--maxrc")
    shell.send("\x15mpshell --color \t\t")
    for word in ("always", "auto", "never"):
        shell.expect_exact(word)
