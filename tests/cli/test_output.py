"""How the program shows the output of nodes."""

from __future__ import annotations

import base64
import json
import os
import socket
from pathlib import Path

import pytest

from mpshell.cli.files import safe_name
from tests.cli.program import PROGRAM, local, mpshell

#: Prints its rank's parity on stdout, and its name on stderr.
BOTH = "echo parity $((%n % 2)); echo %h oops >&2".replace("% 2", "%% 2")
RAW = b"\xff\xfe caf\xe9 \x00 \xe2\x82\xac"
#: Writes those bytes in any shell.
PRINT_RAW = "printf '\\377\\376 caf\\351 \\000 \\342\\202\\254\\n'"


def test_labelled_lines_by_default() -> None:
    done = local("-w", "n[1-3]", BOTH)
    assert done.code == 0
    assert sorted(done.lines) == ["n1: parity 0", "n2: parity 1", "n3: parity 0"]
    assert sorted(done.err.splitlines()) == ["n1: n1 oops", "n2: n2 oops", "n3: n3 oops"]


def test_a_good_run_prints_nothing_else() -> None:
    done = local("-w", "n[1-3]", "true")
    assert (done.out, done.err) == (b"", "")


def test_gathered() -> None:
    done = local("-b", "-w", "n[1-3]", BOTH)
    rule = "-" * 15
    assert done.lines == [
        rule, "n[1,3] (2)", rule, "parity 0", rule, "n2", rule, "parity 1",
    ]  # fmt: skip
    assert sorted(done.err.splitlines()) == ["n1: n1 oops", "n2: n2 oops", "n3: n3 oops"]


def test_gathered_with_stderr() -> None:
    done = local("-B", "-w", "n[1-2]", "echo out; echo err >&2")
    assert done.lines[1:] == ["n[1-2] (2)", "-" * 15, "out", "err"]
    assert done.err == ""


def test_by_node() -> None:
    done = local("-L", "-w", "n[1-12]", "sleep 0.$((12 - %n)); echo a; echo b")
    assert done.lines == [f"n{i}: {line}" for i in range(1, 13) for line in "ab"]


def test_gathered_by_line() -> None:
    done = local("-bL", "-w", "n[1-3]", BOTH)
    assert done.lines == ["n[1,3]: parity 0", "n2: parity 1"]
    assert local("-BL", "-w", "n[1-2]", "echo e >&2").lines == ["n[1-2]: e"]
    # Line by line, as clush does: lines after one that differs are gathered all the same.
    command = "echo parity $((%n %% 2)); echo same; [ %n -lt 2 ] || echo last"
    assert local("-bL", "-w", "n[1-3]", command).lines == [
        "n[1,3]: parity 0", "n2: parity 1", "n[1-3]: same", "n3: last",
    ]  # fmt: skip
    assert local("-bLN", "-w", "n[1-3]", command).lines == ["parity 0", "parity 1", "same", "last"]


def test_no_labels() -> None:
    done = local("-N", "-w", "n[1-3]", "echo same; echo err >&2")
    assert (done.lines, done.err) == (["same"] * 3, "err\n" * 3)
    assert local("-bN", "-w", "n[1-3]", BOTH).lines == ["parity 0", "parity 1"]
    assert local("-LN", "-w", "n[1-3]", "echo %h").lines == ["n1", "n2", "n3"]


def test_diff() -> None:
    command = "echo first; [ %n -eq 1 ] && echo odd || echo common; [ %n -ne 2 ] || echo more"
    done = local("--diff", "-w", "n[1-5]", command)
    assert done.lines == [
        "--- n[1,4-5] (3)", "+++ n2", "@@ -1,2 +1,2 @@", " first", "-common", "+odd",
        "--- n[1,4-5] (3)", "+++ n3", "@@ -1,2 +1,3 @@", " first", " common", "+more",
    ]  # fmt: skip
    assert local("--diff", "-w", "n[1-5]", "echo same").out == b""


def test_a_silent_node_differs() -> None:
    done = local("--diff", "-w", "n[1-3]", "[ %n -eq 2 ] || echo line")
    assert done.lines == ["--- n[1-2] (2)", "+++ n3", "@@ -1 +0,0 @@", "-line"]


def test_quiet_verbose_and_debug() -> None:
    failing = ("-w", "n[1-2]", "exit 3")
    assert local("-q", *failing).err == ""
    assert "mpshell: exited with code 3: n[1-2]" in local(*failing).err
    lines = local("-v", "-w", "n[1-2]", "true").err.splitlines()
    assert lines[0] == "mpshell: n[1-2] (2) over exec, fanout 64: true"
    assert lines[1].startswith("mpshell: ok 2, in ")
    assert "EXECCLIENT: echo n1" in local("-d", "-w", "n1", "echo %h").err


def test_failures_are_reported_as_they_come_and_summed_up() -> None:
    command = "case %n in 0) exit 0;; 1) exit 4;; 2) kill -9 $$;; *) exit 4;; esac"
    lines = local("-w", "n[1-5]", command).err.splitlines()
    assert sorted(lines[:4]) == [
        "mpshell: n2: exited with code 4",
        "mpshell: n3: ended by SIGKILL",
        "mpshell: n4: exited with code 4",
        "mpshell: n5: exited with code 4",
    ]
    assert lines[4].startswith("mpshell: ok 1, failed 4, in ")
    assert lines[5:] == [
        "mpshell: ended by SIGKILL: n3",
        "mpshell: exited with code 4: n[2,4-5]",
    ]


@pytest.mark.parametrize("words", [(), ("-b",), ("--diff",), ("--json",)])
def test_no_terminal_no_colour_and_no_progress(words: tuple[str, ...]) -> None:
    """Also in an environment of one, as behind a pipe; the run is long enough for both."""
    done = local(*words, "-w", "n[1-2]", "echo %h; sleep 1.2", env={"TERM": "xterm-256color"})
    assert b"n1" in done.out and b"\033" not in done.out and b"\r" not in done.out
    assert done.err == ""


@pytest.mark.parametrize("words", [(), ("-b",), ("-L",), ("-B",)])
def test_color(words: tuple[str, ...]) -> None:
    run = (*words, "-w", "n1", "echo x; echo y >&2")
    plain = local(*run)
    assert b"\033" not in plain.out and "\033" not in plain.err
    colored = local("--color=always", *run)
    assert b"\033[" in colored.out
    assert local("--color=never", *run).out == plain.out


@pytest.mark.parametrize("words", [(), ("-b",), ("-B",), ("-L",), ("-bL",), ("-N",), ("-bN",)])
def test_any_bytes_survive_in_text(words: tuple[str, ...]) -> None:
    assert RAW in local(*words, "-w", "n[1-2]", PRINT_RAW).out


def test_any_bytes_survive_in_diffs_names_and_commands() -> None:
    assert b"+" + RAW in local("--diff", "-w", "n[1-3]", f"[ %n -lt 2 ] || {PRINT_RAW}").out
    assert local("-w", b"n\xe9", b"echo %h \xff").out == b"n\xe9: n\xe9 \xff\n"


@pytest.mark.parametrize("words", [(), ("-b",)])
def test_a_file_for_each_node(words: tuple[str, ...], tmp_path: Path) -> None:
    outdir, errdir = tmp_path / "a" / "out", tmp_path / "err"
    outdir.mkdir(parents=True)
    (outdir / "n1").write_text("of an earlier run\n")
    done = local(
        *words, "--outdir", str(outdir), "--errdir", str(errdir), "-w", "n[1-80]",
        "-u", "8", f"{PRINT_RAW}; echo %h >&2; [ %n -ne 3 ] || exec sleep 60",
    )  # fmt: skip
    assert done.code != 64
    assert sorted(p.name for p in outdir.iterdir()) == sorted(f"n{i}" for i in range(1, 81))
    assert {p.read_bytes() for p in outdir.iterdir()} == {RAW + b"\n"}
    assert (errdir / "n7").read_text() == "n7\n"
    assert done.out.count(RAW) == (1 if words else 80), "it is shown as well"


def test_more_files_than_descriptors(tmp_path: Path) -> None:
    few = ["/bin/sh", "-c", 'ulimit -n 150; exec "$@"', "sh", *PROGRAM]
    out = tmp_path / "out"
    command = "echo one; sleep 0.5; echo two"
    run = (
        "-R",
        "exec",
        "-E",
        "2",
        "-f",
        "90",
        "-w",
        "n[1-120]",
        "--outdir",
        str(out),
        "--errdir",
        f"{out}2",
    )
    done = mpshell(*run, command, program=few)
    assert done.code == 0, done.err
    assert len(list(out.iterdir())) == 120
    assert {path.read_text() for path in out.iterdir()} == {"one\ntwo\n"}


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    names = ["..", ".", "a/../../b", "%2F", "x" * 300, "x" * 299 + "y"]
    assert len({safe_name(name) for name in names}) == len(names)
    for name in names:
        path = tmp_path / safe_name(name)
        path.write_text("")
        assert path.parent == tmp_path and path.is_file()
    out = tmp_path / "out"
    assert local("--outdir", str(out), "-w", "../up,..", "echo %h").code == 0
    assert sorted(p.name for p in out.iterdir()) == ["%2E.", "%2E.%2Fup"]
    assert (out / "%2E.").read_text() == "..\n"


@pytest.mark.parametrize("how", [(), ("-b",), ("--jsonl",), ("-q",)])
def test_a_file_that_cannot_be_written_to(how: tuple[str, ...], tmp_path: Path) -> None:
    """It is that node's error; nothing is waited for, followed or opened."""
    out, err = tmp_path / "out", tmp_path / "err"
    out.mkdir()
    err.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("stays")
    os.mkfifo(out / "n1")
    (out / "n2").symlink_to(elsewhere)
    (out / "n3").symlink_to("/dev/full")
    (out / "n4").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(out / "n5"))
    (err / "n6").symlink_to(tmp_path / "new")
    options = ("--outdir", str(out), "--errdir", str(err), "-w", "n[1-9]")
    done = local(*how, *options, "echo %h; echo err >&2; [ %n -ne 8 ] || exit 3")
    listener.close()
    assert done.code == 74
    own = [line for line in done.err.splitlines() if "cannot be written" in line]
    kinds = {"n2": "a symbolic link", "n3": "a symbolic link", "n6": "a symbolic link"}
    assert sorted(own) == [
        f"mpshell: n{i}: --{'err' if i == 6 else 'out'}dir file '{err if i == 6 else out}/n{i}' "
        f"cannot be written: it is {kinds.get(f'n{i}', 'not a regular file')}"
        for i in range(1, 7)
    ]
    assert elsewhere.read_text() == "stays" and not (tmp_path / "new").exists()
    for i in (6, 7, 8, 9):
        assert (out / f"n{i}").read_text() == f"n{i}\n"
    assert (err / "n1").read_text() == "err\n"


def test_a_device_in_the_place_of_a_node_s_file() -> None:
    done = local("--outdir", "/dev", "-w", "full", "echo x")
    assert (done.code, done.out) == (74, b"full: x\n")
    assert "full: --outdir file '/dev/full' cannot be written: it is not a regular file" in done.err


def test_a_full_disk_for_a_file_is_that_node_s_error(tmp_path: Path) -> None:
    few = ["/bin/sh", "-c", 'ulimit -f 1; trap "" XFSZ; exec "$@"', "sh", *PROGRAM]
    command = "[ %n -ne 1 ] || head -c 2000 /dev/zero | tr '\\0' x; echo end"
    run = ("-R", "exec", "--outdir", str(tmp_path), "-w", "n[1-3]", command)
    done = mpshell(*run, program=few, env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert done.code == 74
    assert f"n2: --outdir file '{tmp_path}/n2' cannot be written: File too large" in done.err
    assert {(tmp_path / node).read_text() for node in ("n1", "n3")} == {"end\n"}
    assert done.out.count(b"end") == 3


#: Every kind of end, by rank.
KINDS = (
    f"case %n in 0) echo out; echo err >&2;; 1) exit 3;; 2) kill -9 $$;; 3) echo slow; sleep 60;; "
    f"4) {PRINT_RAW};; esac"
)
KEYS = {"node", "reason", "rc", "signal", "stdout", "stderr", "started_at", "duration", "engine"}


def check_records(records: list[dict[str, object]]) -> None:
    found = {record["node"]: record for record in records}
    assert len(records) == len(found) == 5
    assert all(set(record) >= KEYS for record in records)
    verdicts = {node: (r["reason"], r["rc"], r["signal"]) for node, r in found.items()}
    assert verdicts == {
        "n1": ("exit", 0, None),
        "n2": ("exit", 3, None),
        "n3": ("signal", 137, 9),
        "n4": ("timeout", None, None),
        "n5": ("exit", 0, None),
    }
    assert (found["n1"]["stdout"], found["n1"]["stderr"]) == ("out", "err")
    assert found["n4"]["stdout"] == "slow"
    assert float(str(found["n4"]["duration"])) >= 4
    assert base64.b64decode(str(found["n5"]["stdout_base64"])) == RAW
    assert isinstance(found["n5"]["stdout"], str)
    assert "stdout_base64" not in found["n1"]
    assert all(float(str(r["started_at"])) > 1.6e9 for r in records)
    assert all(isinstance(r["engine"], int) for r in records)


def test_json() -> None:
    done = local("--json", "-u", "4", "-w", "n[1-5]", KINDS)
    document = json.loads(done.out)
    check_records(document["nodes"])
    assert [record["node"] for record in document["nodes"]] == [f"n{i}" for i in range(1, 6)]
    assert document["exit_status"] == done.code == 255
    assert document["counts"] == {"ok": 2, "failed": 2, "timed out": 1}
    assert document["command"] == KINDS and document["duration"] >= 4


def test_jsonl() -> None:
    done = local("--jsonl", "-u", "4", "-w", "n[1-5]", KINDS)
    records = [json.loads(line) for line in done.lines]
    check_records(records)
    assert records[-1]["node"] == "n4", "each comes as its node finishes"


def test_json_of_names_and_commands_that_are_not_utf8() -> None:
    for form in ("--json", "--jsonl"):
        out = local(form, "-w", b"n\xe9", b"echo \xff").out
        # Surrogates alone are no text, and strict readers refuse them.
        assert b"\\ud" not in out.lower().replace(b"\\ufffd", b"")
        document = json.loads(out)
        record = document["nodes"][0] if form == "--json" else document
        assert base64.b64decode(record["node_base64"]) == b"n\xe9"
        assert base64.b64decode(record["stdout_base64"]) == b"\xff"
        if form == "--json":
            assert base64.b64decode(document["command_base64"]) == b"echo \xff"


def test_thousands_of_nodes_gathered() -> None:
    done = local("-b", "-w", "n[1-5000]", "echo parity $((%n %% 2)); exit $((%n / 4990))")
    headers = [line for line in done.lines if line.startswith("n")]
    assert [header.rpartition(" ")[2] for header in headers] == ["(2500)", "(2500)"]
    assert done.code == 1
    assert "mpshell: ok 4990, failed 10, in " in done.err
    assert "mpshell: exited with code 1: n[4991-5000]\n" in done.err


def test_json_of_nodes_that_were_not_run() -> None:
    done = local("--json", "-k", "1", "-f", "1", "-w", "n[1-9]", "exit 1")
    records = json.loads(done.out)["nodes"]
    assert len(records) == 9
    last = records[-1]
    assert (last["reason"], last["rc"], last["started_at"], last["engine"]) == (
        "not run", None, None, None,
    )  # fmt: skip


def test_json_with_stderr_in_stdout() -> None:
    (record,) = json.loads(local("-B", "--json", "-w", "n1", "echo a; echo b >&2").out)["nodes"]
    assert (record["stdout"], record["stderr"]) == ("a\nb", "")
