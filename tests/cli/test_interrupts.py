"""Ctrl-C once and twice, SIGTERM from a batch system, a reader that goes away."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import PROGRAM, environment, gone, started
from tests.support import eventually

Program = subprocess.Popen[bytes]


@pytest.fixture
def mark() -> Iterator[str]:
    """Give a mark for the environment of the program; nothing with it runs after the test."""
    mark = uuid.uuid4().hex
    yield mark
    assert gone(mark)


def begun(folder: Path, count: int) -> bool:
    """Return whether `count` commands have begun; each makes a file."""
    return eventually(lambda: len(list(folder.iterdir())) >= count, 30)


def read_until(program: Program, *words: bytes) -> bytes:
    """Return the program's stderr until it contains one of `words`."""
    assert program.stderr is not None
    shown = b""
    while not any(word in shown for word in words):
        assert select.select([program.stderr], [], [], 30)[0], shown
        data = os.read(program.stderr.fileno(), 4096)
        assert data, shown
        shown += data
    return shown


def interrupt_twice(program: Program) -> bytes:
    """Send Ctrl-C, and again after each answer, until two were within a second; return the answers."""
    for _ in range(40):
        # Any but the first may be within a second of the one before.
        program.send_signal(signal.SIGINT)
        shown = read_until(program, b"stops everything\n", b"mpshell: stopped\n")
        if b"mpshell: stopped\n" in shown:
            return shown
    raise AssertionError("two within a second were never seen")


def test_ctrl_c_once_names_slow_nodes_and_goes_on(tmp_path: Path, mark: str) -> None:
    go = tmp_path.with_name("go")
    command = f"echo %h; until [ -e {go} ]; do sleep 0.05; done"
    with started(
        "-f", "2", "-w", "n[1-9]", command, env={"MPSHELL_TEST_MARK": mark}
    ) as program:  # fmt: skip
        assert program.stdout is not None
        # Output of a node proves that the program knows of its start.
        shown = [program.stdout.readline() for _ in range(2)]
        program.send_signal(signal.SIGINT)
        answer = read_until(program, b"stops everything\n").decode()
        assert "mpshell: 0 of 9 nodes done, 0 failed\n" in answer
        # Two engines may report their first in either order.
        assert re.search(r"mpshell: running: n\[1-2\] \(longest: n[12], for \d+\.\d s\)\n", answer)
        assert "mpshell: not started yet: n[3-9]\n" in answer
        go.touch()
        out, _ = program.communicate(timeout=60)
        assert program.returncode == 0
        assert sorted([*shown, *out.splitlines(True)]) == [
            b"n%d: n%d\n" % (i, i) for i in range(1, 10)
        ]


def test_ctrl_c_twice_in_more_than_a_second_stops_nothing(tmp_path: Path, mark: str) -> None:
    ran, go = tmp_path / "ran", tmp_path / "go"
    ran.mkdir()
    command = f"touch {ran}/%h; until [ -e {go} ]; do sleep 0.05; done; echo end"
    with started("-w", "n1", command, env={"MPSHELL_TEST_MARK": mark}) as program:
        assert begun(ran, 1) and program.stderr is not None
        for _ in range(2):
            program.send_signal(signal.SIGINT)
            read_until(program, b"stops everything\n")
            assert not select.select([program.stderr], [], [], 1.2)[0]
        go.touch()
        out, err = program.communicate(timeout=60)
        assert (program.returncode, out, err) == (0, b"n1: end\n", b"")


@pytest.mark.parametrize("words", [("-b",), ("--json",)])
def test_ctrl_c_twice_stops_and_shows_the_output_so_far(
    words: tuple[str, ...], tmp_path: Path, mark: str
) -> None:
    command = f"echo %h; touch {tmp_path}/%h; [ %n = 0 ] || sleep 300"
    with started(
        *words, "-f", "3", "-w", "n[1-9]", command, env={"MPSHELL_TEST_MARK": mark}
    ) as program:  # fmt: skip
        assert begun(tmp_path, 4)
        shown = interrupt_twice(program)
        out, err = program.communicate(timeout=60)
        assert program.returncode == 130
        err = shown + err
        assert b"ok 1, stopped 3, not run 5, in " in err
        assert b"mpshell: stopped: n[2-4]\nmpshell: not run: n[5-9]\n" in err
        if words == ("-b",):
            assert b"n1\n---------------\nn1\n" in out
        else:
            document = json.loads(out)
            assert document["exit_status"] == 130
            assert [r["reason"] for r in document["nodes"]] == [
                "exit", *["cancelled"] * 3, *["not run"] * 5,
            ]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_writes_the_output_so_far(number: int, tmp_path: Path, mark: str) -> None:
    ran, out = tmp_path / "ran", tmp_path / "out"
    ran.mkdir()
    command = f"trap '' TERM; echo %h; touch {ran}/%h; [ %n = 0 ] || sleep 300"
    with started(
        "-L", "--always-zero", "-f", "2", "--outdir", str(out), "-w", "n[1-3]", command,
        env={"MPSHELL_TEST_MARK": mark},
    ) as program:  # fmt: skip
        # The third begins only when the first is known to have ended.
        assert begun(ran, 3)
        program.send_signal(number)
        shown, err = program.communicate(timeout=60)
        assert program.returncode == 128 + number
        assert shown == b"n1: n1\nn2: n2\nn3: n3\n"
        assert b"mpshell: stopped: n[2-3]\n" in err
        assert {path.read_text() for path in out.iterdir()} == {"n1\n", "n2\n", "n3\n"}


def test_jsonl_has_a_line_for_each_node_after_sigterm(tmp_path: Path, mark: str) -> None:
    command = f"touch {tmp_path}/%h; sleep 300"
    with started(
        "--jsonl", "-f", "2", "-w", "n[1-4]", command, env={"MPSHELL_TEST_MARK": mark}
    ) as program:  # fmt: skip
        assert begun(tmp_path, 2)
        program.send_signal(signal.SIGTERM)
        shown, _ = program.communicate(timeout=60)
        assert program.returncode == 143
        reasons = {r["node"]: r["reason"] for r in map(json.loads, shown.splitlines())}
        assert reasons == {
            "n1": "cancelled", "n2": "cancelled", "n3": "not run", "n4": "not run",
        }  # fmt: skip


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    script = 'trap "" INT; exec "$@"'
    command = f"touch {tmp_path}/%h; sleep 0.5; echo ended"
    with subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", *PROGRAM, "-R", "exec", "-n", "-w", "n1", command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    ) as program:  # fmt: skip
        assert begun(tmp_path, 1)
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
        assert (program.returncode, out, err) == (0, b"n1: ended\n", b"")


def test_a_reader_that_goes_away_ends_everything(mark: str) -> None:
    command = "while echo line; do sleep 0.01; done"
    with started("-w", "n[1-5]", command, env={"MPSHELL_TEST_MARK": mark}) as program:
        assert program.stdout is not None and program.stderr is not None
        assert program.stdout.readline().endswith(b": line\n")
        program.stdout.close()
        assert program.wait(timeout=60) == 141
        assert program.stderr.read() == b""


@pytest.mark.parametrize(
    "words",
    [
        "-b -w n[1-2] 'seq 1 100000; exit %n'",
        "-w n[1-50] 'seq 1 10000'",
        "--json -w n1 'seq 30000'",
        "--help",
    ],
)
def test_head(words: str, mark: str) -> None:
    script = f"{shlex.join(PROGRAM)} -R exec -n {words} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, timeout=60, check=False,
        env=environment(MPSHELL_TEST_MARK=mark),
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and lines[1] in (b"141", b"0"), lines
    assert done.stderr == b""


def test_output_that_is_stuck_holds_nobody(tmp_path: Path, mark: str) -> None:
    command = f"touch {tmp_path}/%h; yes"
    with started("-w", "n[1-2]", command, env={"MPSHELL_TEST_MARK": mark}) as program:
        assert begun(tmp_path, 2)
        program.send_signal(signal.SIGTERM)

        # Asked for again, it does not wait for its output to be read.
        def gone() -> bool:
            program.send_signal(signal.SIGINT)
            return program.poll() is not None

        assert eventually(gone)
        assert program.returncode == 143


def redirected(words: str, where: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program with local commands and the redirections of a shell."""
    script = f"exec {shlex.join(PROGRAM)} -R exec {words} {where}"
    return subprocess.run(
        ["/bin/sh", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
        check=False, env=environment(),
    )  # fmt: skip


_NO_SPACE = b"mpshell: [Errno 28] No space left on device\n"
_CLOSED = b"mpshell: [Errno 9] Bad file descriptor\n"


@pytest.mark.parametrize(
    "words",
    [
        "-w n1 'echo x'", "-N -w n1 'echo x'", "-q -w n1 'echo x'", "-b -w n1 'echo x'",
        "-B -w n1 'echo x >&2'", "-L -w n1 'echo x'", "-bL -w n1 'echo x'", "--json -w n1 true",
        "--diff -w n[1-2] 'echo %h'", "--jsonl -w n1 true", "--version", "--help",
        "--dry-run -w n1 true", "--print-completion bash",
    ],
)  # fmt: skip
def test_a_stdout_that_takes_nothing_is_told(words: str) -> None:
    for where, message in ((">/dev/full", _NO_SPACE), (">&-", _CLOSED)):
        done = redirected(words, where)
        assert (done.returncode, done.stderr) == (74, message), where
        # The error message cannot be written either.
        for more in ("2>/dev/full", "2>&-", "<&- 2>&-"):
            assert redirected(words, f"{where} {more}").returncode == 74, more


@pytest.mark.parametrize("how", ["", "-N", "-b", "-L", "-bL", "--diff", "-q"])
@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-"])
def test_a_stderr_that_takes_nothing_of_the_nodes(how: str, where: str) -> None:
    assert redirected(f"{how} -w n[1-3] 'echo err >&2'", where).returncode == 74


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-", ">&- 2>&-"])
def test_what_the_program_says_itself_is_no_reason_to_stop(where: str, tmp_path: Path) -> None:
    """The exit status shows a failure as well; without a failure it shows that output is missing."""
    for words, code in (
        (f"-f 1 -w n[1-3] 'touch {tmp_path}/%h; exit 3'", 3), ("-v -w n1 true", 74),
        ("-d -w n1 true", 74), ("-w n1 true", 0), ("--no-such-option", 64), ("true", 64),
    ):  # fmt: skip
        assert redirected(words, where).returncode == code, words
    assert sorted(os.listdir(tmp_path)) == ["n1", "n2", "n3"]


def test_a_stdin_that_is_closed() -> None:
    done = redirected("-w n[1-3] 'cat; echo out'", "<&-")
    assert (done.returncode, done.stdout.count(b"out"), done.stderr) == (0, 3, b"")
    done = redirected("-w - true", "<&-")
    assert (done.returncode, done.stdout) == (64, b"")
    assert b"-w '-' cannot be read" in done.stderr


def test_stdin_that_never_ends_does_not_keep_it() -> None:
    reading, writing = os.pipe()
    try:
        with started("-w", "n[1-2]", "head -n 1", stdin=reading) as program:
            os.write(writing, b"line\n")
            out, _ = program.communicate(timeout=60)
            assert (program.returncode, out.count(b": line\n")) == (0, 2)
    finally:
        os.close(reading)
        os.close(writing)
