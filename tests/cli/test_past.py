"""--show and --runs: a past run looks as it did, in every form; and a file that is no journal is refused."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from tests.cli.program import Done, local, mpshell, started
from tests.support import eventually

#: Prints on both streams, with a byte that is no UTF-8, and ends in each way.
COMMAND = r"""
case %n in
    0|1) printf 'a\nb\n' ;;
    2) printf 'a\nc'; echo oops >&2; exit 3 ;;
    3) kill -9 $$ ;;
    4) printf '\377\n' ;;
    5) sleep 60 ;;
esac
"""

FORMS = [
    [], ["-N"], ["-b"], ["-B"], ["-L"], ["-bL"], ["-bN"], ["--diff"], ["--json"], ["--jsonl"], ["-q"],
    ["-v", "-b"],
    ["--color", "always", "-b"],
]  # fmt: skip


def comparable(done: Done) -> list[str]:
    """Return the lines of both streams, sorted, without the parts that differ from run to run."""
    lines = [*done.lines, *done.err.splitlines()]
    lines = [line for line in lines if " over exec, fanout" not in line and ": run 1, " not in line]
    return sorted(re.sub(r"in [\d.]+ s \(.*/s\)", "", line) for line in lines)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a journal of one run; no test changes it."""
    path = tmp_path_factory.mktemp("past") / "journal"
    local("-w", "n[0-6]", "-u", "1", "--journal", str(path), COMMAND)
    return path


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_a_past_run_looks_as_it_did(form: list[str], tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    live = local("-w", "n[0-6]", "-u", "1", *form, "--journal", path, COMMAND)
    shown = mpshell("--show", path, *form)
    assert shown.code == 0
    if form == ["--json"]:
        then, now = json.loads(live.out), json.loads(shown.out)
        assert now.pop("duration") == pytest.approx(then.pop("duration"), abs=5)
        assert now == then
    elif form == ["-B"]:
        # Which of a node's streams came first is not in the journal.
        assert sorted(b"".join(live.out.split())) == sorted(b"".join(shown.out.split()))
    else:
        assert comparable(shown) == comparable(live)


def test_files_of_nodes_are_written_again(journal: Path, tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    mpshell("--show", str(journal), "--outdir", str(out), "--errdir", str(err))
    assert (out / "n0").read_bytes() == b"a\nb\n" and (out / "n4").read_bytes() == b"\xff\n"
    assert (err / "n2").read_bytes() == b"oops\n"


def test_a_pager_that_goes_away_is_no_error(journal: Path) -> None:
    assert (
        mpshell(
            program=["sh", "-c", f"{sys.executable} -m mpshell --show {journal} | head -1"]
        ).code
        == 0
    )


def test_the_list_of_runs(journal: Path, tmp_path: Path) -> None:
    [line] = mpshell("--runs", str(journal)).lines
    assert re.match(
        r"  1  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\d+\.\d s  ok 4, failed 2, timed out 1  ", line
    )
    [record] = json.loads(mpshell("--runs", str(journal), "--json").out)["runs"]
    assert json.loads(mpshell("--runs", str(journal), "--jsonl").out) == record
    assert record["counts"] == {"ok": 4, "failed": 2, "timed out": 1}
    assert record["state"] == "ended" and record["command"] == COMMAND


def test_one_run_of_many(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    for word in ("one", "two", "three"):
        local("-w", "n1", "--journal", path, f"echo {word}")
    assert mpshell("--show", path).out == b"n1: three\n"
    assert mpshell("--show", path, "--run", "2").out == b"n1: two\n"
    missing = mpshell("--show", path, "--run", "7")
    assert missing.code == 73 and "has no run 7, but 1 to 3" in missing.err
    assert len(mpshell("--runs", path).lines) == 3


def test_a_run_that_goes_on_is_shown_and_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    go = tmp_path / "go"
    command = f"echo %h; test %n = 0 || until test -e {go}; do sleep 0.05; done"
    with started("-f", "2", "-w", "n[1-9]", "--journal", str(path), command) as process:
        assert eventually(lambda: path.exists() and b"n1: n1" in mpshell("--show", str(path)).out)
        shown = mpshell("--show", str(path), "--jsonl", "-v")
        reasons = {json.loads(line)["node"]: json.loads(line)["reason"] for line in shown.lines}
        assert reasons["n1"] == "exit" and reasons["n9"] == "not run"
        assert reasons["n2"] == "may have run" and "the run goes on" in shown.err
        assert "goes on" in mpshell("--runs", str(path)).lines[0]
        for words in (["--resume", str(path)], ["--rerun-failed", str(path)]):
            refused = mpshell(*words)
            assert (
                refused.code == 73
                and "is locked by another run, which is in progress" in refused.err
            )
        refused = local("-w", "x", "--journal", str(path), f"touch {tmp_path}/ran")
        assert refused.code == 73 and "is locked by another run" in refused.err
        assert not (tmp_path / "ran").exists()
        go.touch()
        assert process.wait(60) == 0
    assert "ok 9" in mpshell("--runs", str(path)).lines[0]
    assert not list(tmp_path.glob("journal-*"))


def test_output_that_is_not_kept(tmp_path: Path) -> None:
    counts = {}
    for which in ("none", "failed", "all"):
        path = tmp_path / which
        local("-w", "n[0-3]", "--journal", str(path), "--journal-output", which, "echo %h; exit %n")
        with closing(sqlite3.connect(path)) as found:
            counts[which] = found.execute("SELECT count(*) FROM bodies").fetchone()[0]
    assert counts == {"none": 0, "failed": 3, "all": 4}


def test_each_text_is_stored_once_and_no_more_than_the_bound(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    command = "head -c 40000 /dev/zero | tr '\\0' x; test %n = 0 && echo more"
    live = local("-w", "n[0-9]", "--journal", path, "--journal-limit", "64K", command)
    assert live.out.count(b"x") == 400_000
    shown = mpshell("--show", path, "-b")
    # One text takes a sixteenth at most; that they are equal is known of the whole texts.
    assert shown.out.count(b"x") == 8192
    assert "n[1-9] (9)" in shown.lines
    assert (
        f"[35904 more bytes are not in the journal, SHA-256 {sha256(b'x' * 40000).hexdigest()}]"
        in shown.lines
    )
    assert "not all output is in the journal (--journal-limit): n[0-9]" in shown.err
    with closing(sqlite3.connect(path)) as found:
        sizes = found.execute("SELECT size, length(content) FROM bodies ORDER BY size").fetchall()
    assert sizes == [(40000, 4096), (40004, 4096)]


def test_names_and_commands_that_are_no_utf_8(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    local("-w", b"caf\xe9", "--journal", path, b"printf '%%s' d\xe9j\xe0; exit 1")
    assert mpshell("--show", path).out == b"caf\xe9: d\xe9j\xe0\n"
    again = mpshell("--rerun-failed", path)
    assert again.code == 1 and again.out == b"caf\xe9: d\xe9j\xe0\n"


@pytest.mark.parametrize("name", [b"\xff?#%41 'j", "jöurnal".encode()])
def test_any_name_of_a_file_is_the_name_of_a_journal(name: bytes, tmp_path: Path) -> None:
    # A path that begins with two slashes is the host of a URI elsewhere.
    path = b"/" + os.fsencode(tmp_path) + b"/" + name
    assert local("-w", "n[1-2]", "--journal", path, "exit %n").code == 1
    assert os.listdir(os.fsencode(tmp_path)) == [name]
    assert mpshell("--show", path, "--json").code == 0
    assert len(mpshell("--runs", path).lines) == 1
    assert "ok 0, failed 1" in mpshell("--rerun-failed", path).err


def test_the_files_of_a_journal_are_the_users_alone(tmp_path: Path) -> None:
    path, go = tmp_path / "journal", tmp_path / "go"
    names = ["journal", "journal-wal", "journal-shm"]
    command = f"until test -e {go}; do sleep 0.05; done"
    with started("-w", "n[1-2]", "--journal", str(path), command, umask=0) as process:
        assert eventually(lambda: all((tmp_path / name).exists() for name in names))
        modes = {found.name: oct(found.stat().st_mode) for found in tmp_path.glob("journal*")}
        assert modes == dict.fromkeys(names, "0o100600")
        go.touch()
        assert process.wait(60) == 0
    assert oct(path.stat().st_mode) == "0o100600"


def test_a_run_without_a_journal_does_not_load_sqlite(tmp_path: Path) -> None:
    program = [sys.executable, "-X", "importtime", "-m", "mpshell"]
    without = local("-w", "n1", "true", program=program)
    assert without.code == 0 and "mpshell.cli.run" in without.err
    assert "sqlite3" not in without.err
    with_one = local("-w", "n1", "--journal", str(tmp_path / "j"), "true", program=program)
    assert "sqlite3" in with_one.err


# -- other files than journals -----------------------------------------------------------------------


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE t (x)")
        other.commit()


def of_another_version(path: Path) -> None:
    local("-w", "n1", "--journal", str(path), "true")
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 2")


def damaged(path: Path) -> None:
    local("-w", "n[1-999]", "--journal", str(path), "true")
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data), 4096):
        data[at : at + 64] = b"\xa5" * 64
    path.write_bytes(data)


def cut(path: Path) -> None:
    local("-w", "n[1-999]", "--journal", str(path), "true")
    os.truncate(path, path.stat().st_size // 8192 * 4096)


NO_JOURNALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a text": (lambda path: path.write_text("n1 ok\n" * 99), "is damaged, or no journal"),
    "a database of another program": (of_another_program, "is not a journal of mpshell"),
    "another version": (of_another_version, "has schema 2, but this mpshell knows schema 1"),
    "a damaged one": (damaged, "damaged"),
    "one that was cut": (cut, "damaged"),
    "a directory": (Path.mkdir, "Is a directory|is not a regular file"),
    "a pipe": (os.mkfifo, "is not a regular file"),
}


@pytest.mark.parametrize("kind", NO_JOURNALS)
@pytest.mark.parametrize("option", ["--journal", "--resume", "--rerun-failed", "--show", "--runs"])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(
    kind: str, option: str, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    make, complaint = NO_JOURNALS[kind]
    make(path)
    before = path.read_bytes() if path.is_file() else None
    ran = tmp_path / "ran"
    words = ["-R", "exec", "-w", "n1", "--journal", str(path), f"touch {ran}"]
    done = mpshell(*(words if option == "--journal" else [option, str(path)]))
    assert done.code == 73 and re.search(complaint, done.err), done.err
    assert not ran.exists()
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize("option", ["--resume", "--rerun-failed", "--show", "--runs"])
def test_no_file_and_an_empty_one(option: str, tmp_path: Path) -> None:
    missing = mpshell(option, str(tmp_path / "none"))
    assert missing.code == 73 and "No such file or directory" in missing.err
    assert not (tmp_path / "none").exists()
    empty = tmp_path / "empty"
    empty.touch()
    done = mpshell(option, str(empty))
    assert done.code == 73 and "holds no run" in done.err
