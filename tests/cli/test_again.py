"""--resume and --rerun-failed: which nodes run again, and how, and which requests are refused."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import PROGRAM, local, mpshell
from tests.support import run_script

MAIN = "import sys; from mpshell.cli.main import main; sys.exit(main())"


def rows(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as journal:
        return journal.execute(statement).fetchall()


def change(path: Path, statement: str, *values: Any) -> None:
    """Change a journal, as a program that is not mpshell."""
    with closing(sqlite3.connect(path)) as journal:
        journal.execute(statement, values)
        journal.commit()


def cut_off(path: Path, command: str, *words: str, fails: int = 2, **options: Any) -> None:
    """Have a journal of a run on n[0-5], one node after the other, that ended when node `fails` had failed."""
    done = local(
        "-f", "1", "-k", "1", "-w", "n[0-5]", "--journal", str(path), *words, f"{command}; test %n -ne {fails}",
        **options,
    )  # fmt: skip
    assert done.code == 1, done.err
    states = dict(rows(path, "SELECT node, state FROM verdicts"))
    assert {node for node, state in states.items() if state == "not run"} == {
        f"n{number}" for number in range(fails + 1, 6)
    }


def test_nodes_that_have_not_run_do_and_keep_their_rank(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    cut_off(journal, "echo %n of %h")
    done = mpshell("--resume", str(journal))
    assert done.lines == ["n3: 3 of n3", "n4: 4 of n4", "n5: 5 of n5"] and done.code == 0
    assert [
        run["mode"] for run in map(json.loads, mpshell("--runs", str(journal), "--jsonl").lines)
    ] == [
        "run",
        "resume",
    ]
    once_more = mpshell("--resume", str(journal))
    assert (
        once_more.code == 0 and once_more.out == b"" and "no node is left to run" in once_more.err
    )
    assert rows(journal, "SELECT count(*) FROM runs") == [(2,)]


def test_all_nodes_folded_are_all_nodes_of_the_first_run(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    local("-w", "n[0-5]", "--journal", str(journal), "echo %hosts; exit 3")
    assert mpshell("--rerun-failed", str(journal), "-b", "-N").lines == ["n[0-5]"]
    assert rows(journal, "SELECT count(*) FROM attempts") == [(12,)]


def test_failed_nodes_run_once_more_by_their_last_verdict(tmp_path: Path) -> None:
    journal, ledger = tmp_path / "journal", tmp_path / "ledger"
    command = f"echo %h >> {ledger}; test %n -ge 2 || test $(grep -cx %h {ledger}) -gt $((%n + 1))"
    assert local("-w", "n[0-5]", "--journal", str(journal), command).code == 1
    assert mpshell("--rerun-failed", str(journal)).code == 1
    # n0 has succeeded then: whichever run is named, its last verdict counts.
    ran = ["--json", "--run", "1"]
    document = json.loads(mpshell("--rerun-failed", str(journal), *ran).out)
    assert [node["node"] for node in document["nodes"]] == ["n1"] and document["exit_status"] == 0
    assert mpshell("--rerun-failed", str(journal), "--run", "2").out == b""
    assert sorted(ledger.read_text().split()) == [
        "n0",
        "n0",
        "n1",
        "n1",
        "n1",
        "n2",
        "n3",
        "n4",
        "n5",
    ]


def test_a_node_that_may_have_run_is_left_alone_unless_asked_for(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    cut_off(journal, "echo %h")
    change(journal, "UPDATE attempts SET reason = NULL WHERE rank = 1")
    done = mpshell("--resume", str(journal))
    assert done.lines == ["n3: n3", "n4: n4", "n5: n5"]
    assert "may have run, and are not run again: n1 (1)" in done.err
    assert mpshell("--resume", str(journal), "--rerun-unknown").lines == ["n1: n1"]
    assert mpshell("--rerun-failed", str(journal)).lines == ["n2: n2"]


def test_an_incomplete_journal_has_no_nodes_that_have_surely_not_run(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    cut_off(journal, "echo %h")
    change(journal, "UPDATE runs SET incomplete = 'database or disk is full'")
    done = mpshell("--resume", str(journal))
    assert done.out == b"" and "may have run, and are not run again: n[3-5] (3)" in done.err
    assert mpshell("--resume", str(journal), "--rerun-unknown").lines == [
        "n3: n3",
        "n4: n4",
        "n5: n5",
    ]


def test_settings_and_directory_are_those_of_the_run(tmp_path: Path) -> None:
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    there.mkdir()
    elsewhere.mkdir()
    journal = tmp_path / "journal"
    cut_off(journal, "pwd; sleep $(test %n -ne 4 || echo 60)", "-u", "1.5", cwd=there)
    done = mpshell("--resume", "../journal", "-k", "9", "--outdir", "out", "-q", cwd=elsewhere)
    assert done.lines == [f"n3: {there}", f"n4: {there}", f"n5: {there}"]
    assert done.code == 255
    assert (elsewhere / "out" / "n5").read_text() == f"{there}\n"
    [(settings,)] = rows(journal, "SELECT settings FROM runs WHERE run = 2")
    assert json.loads(settings)["fanout"] == 1 and json.loads(settings)["command_timeout"] == 1.5
    there.rmdir()
    change(journal, "DELETE FROM attempts WHERE rank = 5")
    gone = mpshell("--resume", str(journal))
    assert gone.code == 73 and f"was in directory '{there}': No such file" in gone.err


def test_options_of_output_and_limits_can_be_given(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    cut_off(journal, "echo %h; test %n -ne 4 || exit 1")
    again = ["--resume", str(journal)]
    assert mpshell(*again, "--dry-run").lines[0].startswith("n3: echo n3;")
    done = mpshell(
        *again, "-k", "1", "--always-zero", "-v", "--journal-sync", "--journal-output", "none"
    )
    assert done.code == 0 and done.lines == ["n3: n3", "n4: n4"]
    assert f"resume of run 1: n[3-5] (3) over exec: {'echo %h'}" in done.err
    assert rows(journal, "SELECT rank, stdout FROM attempts WHERE run = 2") == [
        (3, None),
        (4, None),
    ]
    assert mpshell(*again, "--jsonl").out.count(b"\n") == 1


GIVEN = [
    ["-w", "n9"], ["-x", "n1"], ["-g", "x"], ["-a"], ["--pick", "1"], ["--hostfile", "x"], ["-f", "3"],
    ["-u", "3"], ["-t", "3"], ["-l", "x"], ["-o", "-oPort=3"], ["-R", "rsh"], ["-E", "3"], ["--rate", "3"],
    ["--delay", "3"], ["-c"], ["--rcopy"], ["--dest", "x"], ["-p"], ["--atomic"],
    ["--journal", "x"], ["uptime"],
    ["--", "uptime"],
]  # fmt: skip


@pytest.mark.parametrize("given", GIVEN, ids=" ".join)
@pytest.mark.parametrize("option", ["--resume", "--rerun-failed", "--show", "--runs"])
def test_neither_command_nor_nodes_are_given(option: str, given: list[str], tmp_path: Path) -> None:
    done = mpshell(option, str(tmp_path / "journal"), *given)
    assert done.code == 64 and option in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["--show", "x", "-k", "1"], ["--runs", "x", "--dry-run"], ["--runs", "x", "--run", "1"],
        ["--show", "x", "--journal-sync"], ["--rerun-unknown", "true"], ["--run", "1", "true"],
        ["--rerun-failed", "x", "--rerun-unknown"], ["--resume", "x", "--show", "x"],
        ["--journal-output", "all", "true"], ["--journal-limit", "1", "true"], ["--journal-sync", "true"],
        ["--journal", "x", "--journal-limit", "many", "true"],
        ["--journal", "x", "--journal-output", "some", "true"],
        ["--resume", "x", "--run", "0"], ["--journal", "", "true"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_options_that_exclude_each_other_are_a_wrong_usage(
    words: list[str], tmp_path: Path
) -> None:
    done = mpshell(*words, cwd=tmp_path)
    assert done.code == 64, done.err
    assert not list(tmp_path.iterdir())


def test_limits_and_tries_are_those_of_the_run_unless_they_are_given(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    words = ["--retry", "1", "--retry-on", "exit", "--batch", "1"]
    cut_off(journal, "echo %h; test %n -ne 3 || exit 1", *words)
    assert rows(journal, "SELECT attempt, reason FROM attempts WHERE rank = 2") == [
        (1, "exit"),
        (2, "exit"),
    ]
    # n3 fails twice, which is the one failure that -k 1 allows.
    assert mpshell("--resume", str(journal), "-q").lines == ["n3: n3", "n3: n3"]
    done = mpshell("--resume", str(journal), "-q", "--canary", "1")
    assert done.code == 0 and done.lines == ["n4: n4", "n5: n5"]
    for number, canary in ((1, None), (2, None), (3, 1)):
        [(text,)] = rows(journal, f"SELECT settings FROM runs WHERE run = {number}")
        settings = json.loads(text)
        assert (settings["max_fail"], settings["batch"], settings["canary"]) == (1, 1, canary)
        assert settings["retry"]["retries"] == 1 and settings["retry"]["on"] == ["exit"]


def test_nodes_held_back_by_a_canary_go_on(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    words = ["-w", "n[0-5]", "--canary", "2", "--journal", str(journal), "echo %n; test %n -ne 1"]
    assert local(*words).code == 1
    assert mpshell("--resume", str(journal), "-b", "-N", "-q").lines == ["2", "3", "4", "5"]


# -- stdin -------------------------------------------------------------------------------------------


def test_a_run_that_has_read_stdin_asks_for_it_again(tmp_path: Path) -> None:
    journal, empty = tmp_path / "journal", tmp_path / "empty"
    empty.touch()
    cut_off(journal, "cat", stdin=b"a line\n")
    again = ["--resume", str(journal)]
    for refused in (mpshell(*again), mpshell(*again, "-n", stdin=b"x\n")):
        assert refused.code == 73 and "read stdin, which the journal does not hold" in refused.err
    redirected = [PROGRAM[0], "-c", f"import os; os.dup2(os.open({str(empty)!r}, 0), 0); {MAIN}"]
    assert mpshell(*again, program=redirected).code == 73
    assert rows(journal, "SELECT count(*) FROM runs") == [(1,)]
    done = mpshell(*again, stdin=b"another line\n")
    assert done.code == 0
    assert done.lines == ["n3: another line", "n4: another line", "n5: another line"]


def test_a_run_without_input_gets_none(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    cut_off(journal, "cat")
    done = mpshell("--resume", str(journal), stdin=b"not for them\n")
    assert done.code == 0 and done.out == b""


# -- copies ------------------------------------------------------------------------------------------


def copy_cut_off(tmp_path: Path) -> tuple[Path, Path]:
    """Make a journal of a copy to n[0-5] that ended at n2, because its directory was missing."""
    source, journal = tmp_path / "source", tmp_path / "journal"
    source.write_text("one")
    for name in ("n0", "n1", "n3", "n4", "n5"):
        (tmp_path / name).mkdir()
    words = ["-f", "1", "-k", "1", "-w", "n[0-5]", "--journal", str(journal), "-c", str(source)]
    done = local(*words, "--dest", f"{tmp_path}/%h/copy")
    assert done.code == 1, done.err
    (tmp_path / "n2").mkdir()
    return source, journal


def test_copies_go_on(tmp_path: Path) -> None:
    _, journal = copy_cut_off(tmp_path)
    (tmp_path / "n1" / "copy").unlink()
    assert mpshell("--resume", str(journal)).code == 0
    assert mpshell("--rerun-failed", str(journal)).code == 0
    copies = sorted(path.parent.name for path in tmp_path.glob("n*/copy"))
    assert copies == ["n0", "n2", "n3", "n4", "n5"]
    assert "-c" in mpshell("--runs", str(journal)).lines[-1]


@pytest.mark.parametrize("how", ["size", "time", "gone"])
def test_a_source_that_has_changed_is_refused(how: str, tmp_path: Path) -> None:
    source, journal = copy_cut_off(tmp_path)
    if how == "size":
        before = source.stat()
        source.write_text("other")
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "time":
        os.utime(source, (1, 1))
    else:
        source.unlink()
    done = mpshell("--resume", str(journal))
    assert done.code == 73
    assert ("does not exist" if how == "gone" else "has changed since run 1") in done.err
    assert not (tmp_path / "n3" / "copy").exists()


def test_a_file_in_a_tree_that_has_changed_is_refused(tmp_path: Path) -> None:
    tree, journal = tmp_path / "tree", tmp_path / "journal"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "file").write_text("one")
    words = [
        "-w",
        "n[0-1]",
        "--journal",
        str(journal),
        "-c",
        str(tree),
        "--dest",
        f"{tmp_path}/none/%h",
    ]
    assert local(*words).code == 1
    (tree / "a" / "file").write_text("changed")
    done = mpshell("--rerun-failed", str(journal))
    assert done.code == 73 and "has changed since" in done.err


def test_copies_from_nodes_and_several_files(tmp_path: Path) -> None:
    journal, here = tmp_path / "journal", tmp_path / "here"
    here.mkdir()
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    words = [
        "-w",
        "n[0-1]",
        "--journal",
        str(journal),
        "--rcopy",
        str(one),
        str(two),
        "--dest",
        str(here),
    ]
    assert local(*words).code == 1
    two.write_text("2")
    (here / "one.n0").unlink()
    done = mpshell("--rerun-failed", str(journal), "-v")
    assert done.code == 0 and "ok 2" in done.err
    # The file that was there is not copied again.
    assert sorted(path.name for path in here.iterdir()) == ["one.n1", "two.n0", "two.n1"]


# -- a journal that was changed ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE runs SET settings = '[]'", "UPDATE runs SET settings = '{\"fanout\": 0}'",
        "UPDATE runs SET settings = 3",
        "UPDATE commands SET options = 'x'", "UPDATE commands SET transport = 'no.such.module'",
        "UPDATE nodes SET node = 'n' || (9 - rank)", "UPDATE attempts SET rank = 77 WHERE rank = 2",
        "UPDATE commands SET kind = 'what'", "UPDATE commands SET text = NULL",
        "UPDATE runs SET directory = ''",
    ],
)  # fmt: skip
def test_the_contents_of_a_journal_are_checked(statement: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    cut_off(journal, f"touch {tmp_path}/ran-%h")
    for path in tmp_path.glob("ran-*"):
        path.unlink()
    change(journal, statement)
    done = mpshell("--resume", str(journal))
    assert done.code == 73, done.err
    assert not list(tmp_path.glob("ran-*"))


@pytest.mark.parametrize("words", ["-p s3cret", "-v -ps3cret", "-p 's3cret and more'"])
def test_a_password_in_a_setting_is_not_recorded_and_the_run_cannot_go_on(
    words: str, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    done = run_script(
        f"""
from mpshell import task_self
task = task_self()
task.set_info("journal", {str(journal)!r})
task.set_info("ssh_path", {f"{tmp_path}/sshpass {words} ssh"!r})
task.run("true", nodes="n1")
print(next(iter(task.outcomes())).reason)
"""
    )
    assert done.stdout == "not started\n", done.stderr
    assert all(b"s3cret" not in file.read_bytes() for file in tmp_path.iterdir())
    again = mpshell("--rerun-failed", str(journal))
    assert again.code == 73 and again.out == b"", again.err
    assert "ssh_path was called with a password" in again.err and "sshpass -e or -f" in again.err
