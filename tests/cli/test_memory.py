"""Gathered output takes about its own size in memory, and is shown when there is no room for more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import PROGRAM, environment

#: Bytes of each node's output, and number of nodes.
EACH, NODES = 5_000_000, 20

#: Lines that differ from node to node; the same for all nodes.
DISTINCT = f"yes 'of %h: some more words, as lines are about so long' | head -c {EACH}"
EQUAL = f"yes 'of no node: some more words, as lines are about so long' | head -c {EACH}"


#: Runs a program, and prints its status and the most memory in KiB that it, or a child of it, took.
#: In a process between: an exec keeps the peak of before, and so a child of a test would begin with the test's.
RUN = """
import os, resource, subprocess, sys
if int(sys.argv[1]) > 0:
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
process = subprocess.Popen(sys.argv[3:], stdin=subprocess.DEVNULL, stdout=open(sys.argv[2], "wb"))
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


def peak(
    out: Path, *words: str, limit: int = -1, nodes: str = f"n[1-{NODES}]"
) -> tuple[int, int, str]:
    """Run the program with local commands; return its exit status, its most memory in bytes, its stderr."""
    program = [*PROGRAM, "-R", "exec", "-w", nodes, *words]
    done = subprocess.run(
        [sys.executable, "-S", "-c", RUN, str(limit), out, *program],
        capture_output=True, text=True, env=environment(), check=True,
    )  # fmt: skip
    code, kilobytes = done.stdout.split()
    return int(code), int(kilobytes) * 1024, done.stderr


@pytest.fixture(scope="module")
def least(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Give the memory that the program takes with next to no output."""
    return peak(tmp_path_factory.mktemp("least") / "out", "-b", "echo x")[1]


@pytest.mark.parametrize("option", ["-b", "-B", "-L", "--json", "--jsonl"])
@pytest.mark.parametrize("command", [DISTINCT, EQUAL], ids=["distinct", "equal"])
def test_gathered_output_takes_at_most_one_and_a_half_times_its_size(
    option: str, command: str, tmp_path: Path, least: int
) -> None:
    code, memory, text = peak(tmp_path / "out", option, command)
    assert (code, text) == (0, "")
    shown = 1 if command is EQUAL and option in ("-b", "-B") else NODES
    assert (tmp_path / "out").stat().st_size > shown * EACH
    assert memory - least < 1.5 * EACH * NODES


#: One node with nearly all of it, and two with half of it each, that differ at their end.
ONE = f"test %h = n2 && echo little || yes 'of %h: some more words, as lines are' | head -c {EACH * NODES}"
HALVES = (
    f"yes 'of each: some more words, as lines are' | head -c {EACH * NODES // 2}; echo; echo %h"
)


@pytest.mark.parametrize("option", ["-b", "-B", "-L", "--json", "--jsonl"])
@pytest.mark.parametrize("command", [ONE, HALVES], ids=["one", "halves"])
def test_few_large_outputs_take_no_more_than_that(
    option: str, command: str, tmp_path: Path, least: int
) -> None:
    code, memory, text = peak(tmp_path / "out", option, command, nodes="n[1-2]")
    assert (code, text) == (0, "")
    assert (tmp_path / "out").stat().st_size > EACH * NODES
    assert memory - least < 1.5 * EACH * NODES


def test_a_diff_of_two_large_outputs_takes_no_more_than_that(tmp_path: Path, least: int) -> None:
    """Of which most is the same."""
    code, memory, text = peak(tmp_path / "out", "--diff", HALVES, nodes="n[1-2]")
    assert (code, text) == (0, "")
    assert (tmp_path / "out").read_bytes().endswith(b"\n-n1\n+n2\n")
    assert memory - least < 1.5 * EACH * NODES


@pytest.mark.parametrize("command", [DISTINCT, EQUAL], ids=["distinct", "equal"])
def test_a_diff_takes_no_more_than_that(command: str, tmp_path: Path, least: int) -> None:
    code, memory, text = peak(tmp_path / "out", "--diff", command)
    assert (code, text) == (0, "")
    assert ((tmp_path / "out").stat().st_size > EACH) == (command is DISTINCT)
    assert memory - least < 1.5 * EACH * NODES


@pytest.mark.parametrize("option", ["-b", "-qb", "-L", "--json"])
def test_out_of_memory_is_one_sentence_with_the_output_so_far(option: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, text = peak(out, option, DISTINCT, limit=130_000_000)
    assert code == 70
    assert text.splitlines()[-1].startswith("mpshell: out of memory: the run was stopped, and ")
    assert "Traceback" not in text
    if option == "--json":
        document = json.loads(out.read_bytes())
        assert document["exit_status"] == 70 and len(document["nodes"]) == NODES
    assert out.stat().st_size > EACH


@pytest.mark.parametrize("option", ["-b", "-L", "--json", "--diff"])
def test_an_output_that_takes_too_much_itself_costs_no_other(option: str, tmp_path: Path) -> None:
    """There is room for it once: the run goes on, and the other output is shown."""
    out = tmp_path / "out"
    code, _, text = peak(out, option, ONE, limit=240_000_000, nodes="n[1-2]")
    named = "except that of n1, which is too large by itself"
    assert (code, text) == (70, f"mpshell: out of memory: the gathered output is shown, {named}\n")
    shown = out.read_bytes()
    assert b"little" in shown or option == "--diff"
    if option == "--json":
        found = [(node["reason"], node["stdout"]) for node in json.loads(shown)["nodes"]]
        assert found == [("exit", None), ("exit", "little")]
