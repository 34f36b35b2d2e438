"""Tests ask for the programs that they need and no others, before `scripts/test PATH` runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import programs

ROOT = Path(__file__).parents[2]


def run_tests(path: Path, *words: str) -> str:
    """Run tests with a PATH on which only the programs of /usr/sbin are; return pytest's output."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=ROOT, env={"PATH": str(path)}, timeout=100, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_unit_test_needs_no_program(tmp_path: Path) -> None:
    assert " passed" in run_tests(tmp_path, "tests/unit/test_rate.py").splitlines()[-1]


def test_a_test_whose_program_is_missing_names_it_and_its_package(tmp_path: Path) -> None:
    tests = (
        "tests/ssh/test_sshd.py",
        "tests/cli/test_documents.py",
        "-k",
        "by_itself or up_to_date",
    )
    printed = run_tests(tmp_path, *tests)
    assert "needs ssh: as root, apt-get install openssh-client" in printed
    assert "1 passed" in printed.splitlines()[-1] and "1 error" in printed.splitlines()[-1]


def test_tests_of_a_program_with_a_stand_in_are_left_out_and_counted(tmp_path: Path) -> None:
    printed = run_tests(tmp_path, "tests/transports/test_netkit.py", "--collect-only")
    assert "[stand-in]" in printed and "netkit]" not in printed
    assert "4 deselected" in printed
    assert "not here: netbase rsh-client" in printed or "not here: rsh-client" in printed


def test_every_fixture_that_is_named_exists() -> None:
    source = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    for fixture in (*programs.FIXTURES, *(fixture for fixture, _ in programs.PARAMETERS)):
        assert f"\ndef {fixture}(" in source, fixture
    used = {*programs.FIXTURES.values(), *programs.PARAMETERS.values()}
    assert {name for names in used for name in names} <= set(programs.PROGRAMS)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Sequence[str]]:
    """Let apt-get be one that fails; give the list of its calls."""
    calls: list[Sequence[str]] = []
    monkeypatch.setattr(programs, "_apt_get", lambda *words: calls.append(words))
    monkeypatch.setattr(programs, "APT_GET", "/bin/sh")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    missing = {name: programs.Program(f"no-such-{name}", f"pack-{name}") for name in ("a", "b")}
    monkeypatch.setattr(programs, "PROGRAMS", {**missing, "sh": programs.Program("sh", "dash")})
    return calls


def test_a_missing_program_is_installed_where_that_is_asked_for(
    tried: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MPSHELL_TEST_INSTALL", raising=False)
    programs.provide({"a", "b", "sh"})
    assert tried == []
    monkeypatch.setenv("MPSHELL_TEST_INSTALL", "yes")
    programs.provide({"sh"})
    assert tried == []
    programs.provide({"a", "b", "sh"})
    both = ("install", "pack-a", "pack-b")
    assert tried == [both, ("update",), both, ("install", "pack-a"), ("install", "pack-b")]
    programs.provide({"a", "b"})
    assert len(tried) == 5, "each process of a run has tried again"
    monkeypatch.setenv("PYTEST_XDIST_TESTRUNUID", "another run")
    programs.provide({"a"})
    assert len(tried) > 5
