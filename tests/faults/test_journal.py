"""A journal and the death of the program that writes it: at most once, and nothing forgotten."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import uuid
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.program import PROGRAM, Done, environment, gone, mpshell

FANOUT, NODES = 8, 240


def ledger_of(path: Path) -> Counter[str]:
    """Return how often each node has run, by the names that its command has added to a file."""
    return Counter(path.read_text().split()) if path.exists() else Counter()


def states(path: Path) -> dict[str, str]:
    """Return each node's state in a journal, by the view for other programs; {} before it begins."""
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
    # Nodes that may have run are run again on request, and then none is left.
    done = mpshell("--resume", str(journal), "--rerun-unknown", "-q")
    assert done.code == 0, done.err
    assert set(states(journal).values()) == {"ended"}
    again = ledger_of(ledger)
    assert set(again) == set(known) and set(again.values()) <= {1, 2}
    assert {node for node, count in again.items() if count == 2} <= unknown


def on_a_disk(size: str, disk: Path, script: str, *words: str) -> Done:
    """Run a shell script with arguments in a mount namespace, which has a small file system at `disk`."""
    disk.mkdir()
    mounted = f"mount -t tmpfs -o size={size} none {disk} || exit 99\n{script}"
    return mpshell(*words, program=["unshare", "-Urm", "sh", "-c", mounted, "sh"])


def test_a_disk_that_fills_in_the_middle_of_a_run_ends_the_journal_and_not_the_run(
    tmp_path: Path,
) -> None:
    """The file is copied from the full disk before that ends: the file itself records that it is incomplete."""
    disk, ledger = tmp_path / "disk", tmp_path / "ledger"
    # Each prints 50 kB, and the disk has room for a few of them beside the reserved space.
    command = f"echo %h >> {ledger}; head -c 50000 /dev/zero | tr '\\0' x; echo %h"
    script = f'"$@"; code=$?; cp {disk}/journal* {tmp_path}; exit $code'
    done = on_a_disk(
        "1m", disk, script, *PROGRAM, "-R", "exec", "-f", "2",
        "-w", "n[1-60]", "-N", "--journal", str(disk / "journal"), command,
    )  # fmt: skip
    assert done.code == 73, done.err
    assert done.err.count("the run goes on, and no command that") == 1
    assert "database or disk is full" in done.err
    assert ledger_of(ledger) == Counter(f"n{number}" for number in range(1, 61))
    path = tmp_path / "journal"
    with closing(sqlite3.connect(path)) as journal:
        assert journal.execute("SELECT incomplete FROM runs").fetchall() == [
            ("database or disk is full",)
        ]
    found = Counter(states(path).values())
    # None is taken for one that has surely not run.
    assert set(found) == {"ended", "may have run"} and sum(found.values()) == 60
    resumed = mpshell("--resume", str(path))
    assert ledger_of(ledger).total() == 60, resumed.err


def test_a_read_only_disk_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    disk, ran = tmp_path / "disk", tmp_path / "ran"
    program = " ".join(PROGRAM)
    path, new = disk / "journal", disk / "new"
    done = on_a_disk(
        "4m", disk,
        f"""
        {program} -R exec -w n[1-2] -q --journal {path} 'echo %h; exit 1'
        mount -o remount,ro {disk}
        {program} --show {path}
        {program} -R exec -w n1 --journal {new} 'touch {ran}'; echo $?
        {program} -R exec -w n1 --journal {path} 'touch {ran}'; echo $?
        {program} --resume {path} --rerun-unknown; echo $?
        {program} --rerun-failed {path}; echo $?
        """,
    )  # fmt: skip
    assert sorted(done.lines[2:4]) == ["n1: n1", "n2: n2"], done.err
    assert done.lines[4:] == ["73"] * 4
    assert done.err.count("Read-only file system") == 4
    assert not ran.exists()


#: As a user other than root: root without its capabilities is bound to the modes of files.
PLAIN_USER = [
    "unshare", "-Ur", "setpriv", "--securebits", "+noroot", "--inh-caps=-all", "--bounding-set=-all",
]  # fmt: skip


@pytest.mark.parametrize("existing", [False, True])
def test_a_read_only_directory_is_an_error_before_anything_runs(
    existing: bool, tmp_path: Path
) -> None:
    """A journal has files beside it, so it is refused where they cannot be made."""
    directory, ran = tmp_path / "directory", tmp_path / "ran"
    directory.mkdir()
    words = ["-R", "exec", "-w", "n1", "-q", "--journal", str(directory / "journal")]
    if existing:
        assert mpshell(*words, "true").code == 0
    before = {found.name: found.read_bytes() for found in directory.iterdir()}
    directory.chmod(0o555)
    try:
        done = mpshell(*words, f"touch {ran}", program=[*PLAIN_USER, *PROGRAM])
    finally:
        directory.chmod(0o755)
    assert done.code == 73, done.err
    assert str(directory / "journal") in done.err
    assert not ran.exists()
    assert {found.name: found.read_bytes() for found in directory.iterdir()} == before
