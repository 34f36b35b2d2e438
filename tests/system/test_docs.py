"""The documents match the program: the tour runs, the tests that they name exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mpshell.journal import schema
from tests.cli.program import mpshell
from tests.faults.test_processes import FAULTS
from tests.support import run_script

ROOT = Path(__file__).parents[2]


def test_the_readme_prints_as_shown() -> None:
    [source] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    done = run_script(source)
    assert done.stderr == "" and done.stdout.splitlines()[-1] == "node3 exit 1"
    assert source.count("\n") <= 10


def test_the_tour_prints_as_shown() -> None:
    page = (ROOT / "docs" / "tour.md").read_text()
    source = "\n".join(re.findall(r"```python\n(.*?)```", page, re.S))
    expected = re.findall(r"print\(.*\)  # (.*)", source)
    assert len(expected) >= 6
    done = run_script(source)
    assert done.stderr == ""
    assert [line for line in expected if line not in done.stdout.splitlines()] == []
    for line in ("node2 stdout: one", "node3 stderr: two", "node3 failed: 2", "done"):
        assert line in done.stdout.splitlines()
    assert "node1 failed" not in done.stdout


def test_the_page_of_groups_prints_as_shown() -> None:
    source = "\n".join(
        re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "groups.md").read_text(), re.S)
    )
    expected = re.findall(r"print\(.*\)  # (.*)", source)
    assert len(expected) >= 10
    assert run_script(source).stdout.splitlines() == expected


def test_the_page_of_asyncio_prints_as_shown() -> None:
    source = "\n".join(
        re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "async.md").read_text(), re.S)
    )
    expected = re.findall(r"print\(.*\)  # (.*)", source)
    assert len(expected) >= 4
    done = run_script(source)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line for line in expected if line not in lines] == []
    assert sorted(lines[:3]) == ["node1 0 node1", "node2 1 node2", "node3 2 node3"]
    assert "{'b1': '1.0', 'b2': '1.1'}" in lines or "{'b2': '1.1', 'b1': '1.0'}" in lines


def constant(lines: list[str]) -> list[str]:
    """Return lines without times and rates, in the order of the alphabet: nodes end in any order."""
    date = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    return sorted(re.sub(rf"{date}|\([\d.,k]+/s\)| +[\d.]+ s\b", "-", line) for line in lines)


def test_the_commands_of_the_page_of_the_journal_print_as_shown(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "journal.md").read_text()
    session = "".join(re.findall(r"```console\n(.*?)```", page, re.S))
    examples = re.findall(r"^\$ mpshell (.*)\n((?:[^$].*\n)*)", session, re.M)
    assert len(examples) >= 5
    for words, expected in examples:
        done = mpshell(*shlex.split(words), cwd=tmp_path)
        shown = done.lines + done.err.splitlines()
        assert constant(shown) == constant(expected.splitlines()), words


def test_the_program_of_the_page_of_the_journal_prints_as_shown(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "journal.md").read_text()
    [source] = re.findall(r"```python\n(.*?)```", page, re.S)
    expected = re.findall(r"(?:^|  )# (.*)$", source, re.M)
    assert len(expected) == 4
    done = run_script(f"import os\nos.chdir({str(tmp_path)!r})\n{source}")
    assert (done.stdout.splitlines(), done.stderr) == (expected, "")


def test_the_schema_of_the_page_of_the_journal_is_that_of_the_file() -> None:
    page = (ROOT / "docs" / "journal.md").read_text()
    assert re.findall(r"```sql\n(.*?)```", page, re.S) == [schema.TABLES]
    assert f"Version {schema.VERSION} (`PRAGMA user_version`" in page
    assert f"`application_id` is {schema.APPLICATION:#x})" in page


def test_the_page_of_configuration_prints_as_shown() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    source = "\n".join(re.findall(r"```python\n(.*?)```", page, re.S))
    first, second = run_script(source).stdout.splitlines()
    assert first == "256"
    assert second.endswith("/site.conf: [task.info] fanout: 'many' is not a whole number")
    assert (
        "# 256" in page
        and "# /tmp/.../site.conf: [task.info] fanout: 'many' is not a whole number" in page
    )


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_tests_named_in_the_docs_exist(page: Path) -> None:
    for name, function in re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", page.read_text()):
        found = list((ROOT / "tests").rglob(name))
        assert found, name
        defined = f"def {function}("
        assert not function or any(defined in path.read_text() for path in found), function


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_page_of_reliability_has_every_fault() -> None:
    """Each row names a test, each test of the fault table is in a row, and each fault of its own table too."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"`test_\w+\.py::(\w+)`", row) for row in rows]
    assert all(named) and len(rows) > 30
    for path in [*(ROOT / "tests" / "faults").glob("test_*.py"), *ROOT.rglob("test_ssh_faults.py")]:
        for function in re.findall(r"^def (test_\w+)\(", path.read_text(), re.M):
            assert f"`{path.name}::{function}`" in page, function
    covered = [fault.strip() for row in rows for fault in row.split("|")[1].split(";")]
    assert [fault for fault in FAULTS if fault not in covered] == []
