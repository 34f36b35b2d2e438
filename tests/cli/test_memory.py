"""What is gathered takes about its own size in memory, and is shown when there is no room for more."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.program import PROGRAM, environment

#: Bytes of each node's output, and number of nodes.
EACH, NODES = 5_000_000, 20

#: Lines that differ from node to node; the same for all nodes.
DISTINCT = f"yes 'of %h: some more words, as lines are about so long' | head -c {EACH}"
EQUAL = f"yes 'of no node: some more words, as lines are about so long' | head -c {EACH}"


def peak(out: Path, *words: str, limit: int = 0) -> tuple[int, int, str]:
    """Run the program with local commands; return its exit status, its most memory in bytes, its stderr."""
    limits: Callable[[], object] | None = None
    if limit:

        def limits() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    with out.open("wb") as stdout:
        process = subprocess.Popen(
            [*PROGRAM, "-R", "exec", "-w", f"n[1-{NODES}]", *words],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=environment(),
            preexec_fn=limits,
        )
        assert process.stderr is not None
        with process.stderr as stderr:
            text = stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * 1024, text


@pytest.fixture(scope="module")
def least(tmp_path_factory: pytest.TempPathFactory) -> int:
    """What the program takes with next to no output."""
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


@pytest.mark.parametrize("option", ["-b", "-qb", "-L", "--json"])
def test_out_of_memory_is_one_sentence_with_the_output_so_far(option: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, text = peak(out, option, DISTINCT, limit=130_000_000)
    assert code == 70
    assert text.splitlines()[-1].startswith("mpshell: out of memory: the run was stopped, and ")
    assert "Traceback" not in text
    if option == "--json":
        # As text an output takes a multiple of its bytes: those of which that was too much are named.
        document = json.loads(out.read_bytes())
        assert document["exit_status"] == 70 and len(document["nodes"]) == NODES
        assert "but not of n[" in text or out.stat().st_size > EACH
    else:
        assert out.stat().st_size > EACH
