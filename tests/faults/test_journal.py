"""A journal and the death of the program that writes it: at most once, and nothing forgotten."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import uuid
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.cli.program import PROGRAM, environment, gone, mpshell

FANOUT, NODES = 8, 240


def ledger_of(path: Path) -> Counter[str]:
    """Return how often each node has run, by the words that its command has added to a file."""
    return Counter(path.read_text().split()) if path.exists() else Counter()


def states(path: Path) -> dict[str, str]:
    """Return what a journal knows of each node, by the view for other programs; {} before it begins."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as journal:
        if not journal.execute("SELECT 1 FROM sqlite_master WHERE name = 'verdicts'").fetchall():
            return {}
        return dict(journal.execute("SELECT node, state FROM verdicts"))


def killed_after(seconds: float, *words: str) -> None:
    """Start the program, kill it after some seconds, and return when all that it ran has ended."""
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [*PROGRAM, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=environment(MPSHELL_TEST_MARK=mark),
    )  # fmt: skip
    try:
        _, err = process.communicate(timeout=seconds)
        # It has come to its own end.
        assert process.returncode == 0, err
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    assert gone(mark)


def test_a_kill_at_any_moment_runs_no_node_twice_and_forgets_none(tmp_path: Path) -> None:
    journal, ledger = tmp_path / "journal", tmp_path / "ledger"
    seed = random.randrange(1 << 30)
    dice = random.Random(seed)
    first = [
        "-R",
        "exec",
        "-f",
        str(FANOUT),
        "-E",
        "2",
        "-w",
        f"n[1-{NODES}]",
        "--journal",
        str(journal),
    ]
    first += [f"echo %h >> {ledger}; sleep 0.04"]
    runs = 0
    known: dict[str, str] = {}
    while "not run" in known.values() or not known:
        killed_after(dice.uniform(0.1, 1.2), *(["--resume", str(journal)] if known else first))
        known, ran = states(journal), ledger_of(ledger)
        if not known:
            # Killed before anything was written down: then nothing has run.
            assert not ran, seed
            continue
        runs += 1
        unknown = {node for node, state in known.items() if state == "may have run"}
        ended = {node for node, state in known.items() if state == "ended"}
        assert len(known) == NODES
        assert set(ran.values()) <= {1}, (seed, ran)
        assert ended <= set(ran) <= ended | unknown, seed
        assert len(unknown) <= 2 * FANOUT * runs, (seed, runs, unknown)
    # What may have run is run again where that is asked for, and then nothing is left.
    done = mpshell("--resume", str(journal), "--rerun-unknown", "-q")
    assert done.code == 0, done.err
    assert set(states(journal).values()) == {"ended"}
    again = ledger_of(ledger)
    assert set(again) == set(known) and set(again.values()) <= {1, 2}
    assert {node for node, count in again.items() if count == 2} <= unknown
