"""The table of programs that tests need, and their installation; test_missing_programs.py is about its use."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import programs

ROOT = Path(__file__).parents[2]


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
