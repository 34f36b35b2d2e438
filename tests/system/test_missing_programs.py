"""Tests ask for the programs that they need and no others, before `scripts/test PATH` runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
