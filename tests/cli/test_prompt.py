"""The prompt on a terminal: its commands, its signals, history and completion."""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pexpect
import pytest

from tests.cli.program import PROGRAM, environment, gone, mpshell
from tests.cli.terminals import rest
from tests.cli.test_terminal import terminal
from tests.groupfiles import write_groups
from tests.ssh.conftest import SshServer
from tests.support import eventually
from tests.system.recorder import until

PROMPT = "mpshell> "


@contextmanager
def session(
    state: Path, *words: str, nodes: str = "n[1-3]", env: dict[str, str] | None = None
) -> Iterator[pexpect.spawn[str]]:
    """Give a session at its first prompt."""
    # No bells between the typed and the completed text, no escapes around pasted text.
    inputrc = state / "inputrc"
    inputrc.write_text("set bell-style none\nset enable-bracketed-paste off\n")
    with terminal(
        "--color=never",
        "-w",
        nodes,
        *words,
        env={"XDG_STATE_HOME": str(state), "INPUTRC": str(inputrc), **(env or {})},
    ) as child:
        child.expect_exact(PROMPT)
        yield child


def answer(child: pexpect.spawn[str], line: str) -> str:
    """Type a line, and return what comes until the next prompt, without the echo."""
    child.sendline(line)
    if line.isprintable() and line:
        # A prompt before it is none of it.
        child.expect_exact(line[-20:])
    child.expect_exact(PROMPT)
    text = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", child.before or "")
    return text.replace("\r\n", "\n").partition("\n")[2]


def interrupt(child: pexpect.spawn[str]) -> None:
    """Press Ctrl-C at the prompt until there is another one.

    A key that comes after the prompt and before the interpreter waits is noted with the next one.
    """
    for _ in range(20):
        child.sendintr()
        if child.expect_exact([PROMPT, pexpect.TIMEOUT], timeout=5) == 0:
            return
    raise AssertionError(child.before)


def test_commands_run_on_the_nodes_of_the_moment(tmp_path: Path) -> None:
    with session(tmp_path) as child:
        assert "nodes: n[1-3] (3)" in str(child.before)
        assert sorted(answer(child, "echo on %h").splitlines()[:3]) == [
            "n1: on n1",
            "n2: on n2",
            "n3: on n3",
        ]
        assert "nodes: n[1-2] (2)" in answer(child, "-n3")
        assert "nodes: gw[7-8],n[1-2] (4)" in answer(child, "+ gw[7-8]")
        assert "nodes: N5 (1)" in answer(child, "@N5")
        assert "N5: x" in answer(child, "echo x")
        assert "nodes: N5 (1)" in answer(child, "?")
        assert answer(child, "") == "" and answer(child, "   ") == ""
        assert "nodes: none" in answer(child, "-N5")
        assert "no nodes: set them with @NODES" in answer(child, "echo x")
        child.sendline("QUIT")
        rest(child)
        assert child.exitstatus == 0


def test_the_output_is_gathered_or_not(tmp_path: Path) -> None:
    with session(tmp_path) as child:
        assert "output is gathered" in answer(child, "=")
        assert "---------------\nn[1-3] (3)\n---------------\nsame\n" in answer(child, "echo same")
        assert "lines are shown as they come" in answer(child, "=")
        assert "n2: same\n" in answer(child, "echo same")
    with session(tmp_path, "--diff") as child:
        assert "-x0\n+x1\n" in answer(child, "[ %n -gt 0 ]; echo x$?")
        answer(child, "=")
        assert "n2: same\n" in answer(child, "echo same")
        answer(child, "=")
        assert "@@" in answer(child, "[ %n -gt 0 ]; echo x$?")
    with session(tmp_path, "--jsonl") as child:
        assert "=: the output is JSON" in answer(child, "=")
        assert answer(child, "true").count('"reason"') == 3


def test_an_error_does_not_end_the_session(tmp_path: Path) -> None:
    with session(tmp_path) as child:
        for line, words in {
            "@n[": "@ 'n[': ",
            "@": "@: nodes must follow",
            "+@no:such": "+ '@no:such': ",
            "--x": "a node name cannot begin with '-'",
            "!": "!: a command must follow",
            "!exit 3": "exited with code 3",
            " ! exit 4": "exited with code 4: exit 4",
            " @n[": "@ 'n[': ",
            "%x %h": "",
            "kill -9 $$": "ended by SIGKILL: n[1-3]",
        }.items():
            assert words in answer(child, line), line
        assert "nodes: n[1-3] (3)" in answer(child, "?")
        answer(child, "exit %n")
        child.sendeof()
        rest(child)
        # As of a shell: that of the last command.
        assert child.exitstatus == 2


def test_a_command_runs_here_with_the_terminal(tmp_path: Path) -> None:
    with session(tmp_path) as child:
        assert answer(child, "!test -t 0 && test -t 1 && echo here $((6 * 7))") == "here 42\n"
        child.sendline(f"!trap 'exit 5' INT; echo begun; {until(tmp_path / 'never')}")
        child.expect("begun\r\n")
        child.sendintr()
        child.expect("exited with code 5")
        child.expect_exact(PROMPT)
        assert "n1: on" in answer(child, "echo on")


def test_ctrl_c_ends_the_command_and_not_the_session(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    begun = tmp_path / "begun"
    begun.mkdir()
    with session(tmp_path, env={"MPSHELL_TEST_MARK": mark}) as child:
        child.sendline(f"trap '' TERM; echo x > {begun}/%h; sleep 300; sleep 300")
        assert eventually(lambda: len(list(begun.iterdir())) == 3)
        child.sendintr()
        child.expect(r"stopped: n\[1-3\]")
        child.expect_exact(PROMPT)
        # A line that is typed is dropped; the next one runs.
        child.send("echo dropped")
        child.expect_exact("echo dropped")
        interrupt(child)
        assert "n1: on" in answer(child, "echo on")
        child.sendline("quit")
        rest(child)
        assert child.exitstatus == 0
    assert gone(mark)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("where", ["prompt", "command", "here"])
def test_a_signal_ends_the_session(tmp_path: Path, number: signal.Signals, where: str) -> None:
    mark = uuid.uuid4().hex
    with session(tmp_path, env={"MPSHELL_TEST_MARK": mark}) as child:
        if where == "command":
            child.sendline(f"echo x > {tmp_path}/%h; sleep 300; sleep 300")
            assert eventually(lambda: (tmp_path / "n1").exists())
        elif where == "here":
            child.sendline(f"!echo x > {tmp_path}/n1; {until(tmp_path / 'go')}")
            assert eventually(lambda: (tmp_path / "n1").exists())
        assert child.pid is not None
        for _ in range(10):
            # One that comes after the prompt and before the interpreter waits is noted with the next one.
            os.kill(child.pid, number)
            (tmp_path / "go").touch()
            if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=10) == 0:
                break
        child.wait()
        assert child.exitstatus == 128 + number
    assert gone(mark)


def test_the_terminal_that_goes_away_ends_the_session(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    with session(tmp_path, env={"MPSHELL_TEST_MARK": mark}) as child:
        cast(Any, child).ptyproc.fileobj.close()
        assert gone(mark)


def test_the_history(tmp_path: Path) -> None:
    file = tmp_path / "mpshell/history"
    with session(tmp_path, "-O", "history_size=3") as child:
        for line in ("echo 1", "echo 2", "echo 2", " echo secret", "echo 3", "echo 4"):
            answer(child, line)
        # From another session, which must not be lost.
        with session(tmp_path, "-O", "history_size=3") as other:
            answer(other, "echo other")
        # The line before the last one: readline draws only the differing part.
        assert "n1: 3" in answer(child, "\x1b[A\x1b[A")
    assert file.read_text().splitlines() == ["echo 4", "echo other", "echo 3"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    with session(tmp_path) as child:
        child.send("\x12oth")
        child.expect("echo other|er")
        # Not the end of a line (C-J), which ends the search alone.
        child.send("\r")
        child.expect_exact("n1: other")


def test_no_history_is_kept_with_a_size_of_nothing(tmp_path: Path) -> None:
    with session(tmp_path, "-O", "history_size=0") as child:
        answer(child, "echo 1")
        child.sendline("quit")
        rest(child)
    assert not (tmp_path / "mpshell").exists()


def test_a_history_that_cannot_be_kept_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "mpshell/history").mkdir(parents=True)
    with session(tmp_path) as child:
        assert f"no history is kept in {tmp_path}/mpshell/history: Is a directory" in str(
            child.before
        )
        assert "no history" not in answer(child, "echo 1") + answer(child, "echo 2")
        assert "n1: 1" in answer(child, "\x1b[A\x1b[A")


def test_without_readline_lines_are_read_as_the_terminal_has_them(tmp_path: Path) -> None:
    source = "import sys; sys.modules['readline'] = None\nfrom mpshell.cli.main import main\nsys.exit(main())"
    with terminal("--color=never", "-w", "n1", program=[sys.executable, "-c", source]) as child:
        child.expect_exact(PROMPT)
        child.sendline("echo on")
        child.expect_exact("n1: on")
        child.expect_exact(PROMPT)
        interrupt(child)
        child.sendline("exit 4")
        child.expect_exact("exited with code 4")
        child.expect_exact(PROMPT)
        child.sendeof()
        rest(child)
        assert child.exitstatus == 4


def test_completion(tmp_path: Path) -> None:
    conf = write_groups(tmp_path / "groups")
    with session(tmp_path, "--groupsconf", str(conf), nodes="node[11-12],x1") as child:
        for typed, completed in {
            "qu\t": "quit",
            "@no\t": "@node1",
            "-x\t": "-x1",
            "@@log\t": "@@login",
            "+node11,@co\t": "+node11,@compute",
            "+@ra\t": "+@racks:rack",
            f"!{conf.parent}/gr\t": f"!{conf.parent}/groups.",
        }.items():
            child.send(typed)
            child.expect_exact(completed)
            # Away with the line.
            child.send("\x15")
        assert "nodes: gw[1-2] (2)" in answer(child, "@@login")


def test_many_commands_leave_nothing_behind(tmp_path: Path) -> None:
    with session(tmp_path, nodes="n1") as child:
        answer(child, "true")
        before = len(os.listdir(f"/proc/{child.pid}/fd"))
        for number in range(8):
            assert f"n1: {number}" in answer(child, f"echo {number}")
        answer(child, "@n[")
        assert len(os.listdir(f"/proc/{child.pid}/fd")) <= before
        assert len(os.listdir(f"/proc/{child.pid}/task")) <= 2


def test_a_wrong_option_is_an_error_of_each_command(tmp_path: Path) -> None:
    with session(tmp_path, "--outdir", "/proc/none") as child:
        for _ in range(2):
            assert "/proc/none" in answer(child, "true")
        child.sendline("quit")
        rest(child)
        assert child.exitstatus in (64, 74)


@pytest.mark.parametrize("words", [(), ("-b",)])
def test_without_a_terminal_there_is_no_prompt(words: tuple[str, ...]) -> None:
    done = mpshell("-w", "n1", *words, stdin=b"echo x\n")
    assert done.code == 64 and "a command must be given (the prompt needs a terminal)" in done.err
    script = f"{' '.join(PROGRAM)} -R exec -w n1 {' '.join(words)} | cat"
    child = pexpect.spawn(
        "/bin/bash",
        ["-o", "pipefail", "-c", script],
        env=environment(),
        timeout=30,
        encoding="utf-8",
    )
    try:
        assert "a command must be given" in rest(child)
        assert child.exitstatus == 64
    finally:
        child.close(force=True)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("-n",), "-n does not go with the prompt"),
        (("-c",), "files to copy must be given"),
        (("",), "a command must be given"),
        (("-x", "n1"), "no node is left"),
    ],
)
def test_options_that_exclude_the_prompt(words: tuple[str, ...], error: str) -> None:
    with terminal("-w", "n1", *words) as child:
        assert error in rest(child)
        assert child.exitstatus == 64


def test_each_command_is_a_run_of_a_journal(tmp_path: Path) -> None:
    journal = tmp_path / "runs"
    with session(tmp_path, "--journal", str(journal)) as child:
        answer(child, "echo one")
        answer(child, "exit 2")
        child.sendline("quit")
        rest(child)
        assert child.exitstatus == 2
    shown = mpshell("--runs", str(journal)).out.decode()
    assert "echo one" in shown and "exit 2" in shown


def test_a_dry_run_at_the_prompt(tmp_path: Path) -> None:
    with session(tmp_path, "--dry-run") as child:
        assert answer(child, "rm x %h") == "n1: rm x n1\nn2: rm x n2\nn3: rm x n3\n"
        assert answer(child, "ls") == "n1: ls\nn2: ls\nn3: ls\n"


@pytest.mark.needs("ssh", "sshd")
@pytest.mark.parametrize(("words", "stays"), [((), True), (("-O", "ssh_keep=0"), False)])
def test_connections_stay_for_the_next_command(
    ssh_server: SshServer, tmp_path: Path, words: tuple[str, ...], stays: bool
) -> None:
    """sshd reports the connection's port, and its process."""
    options = ("-R", "asyncssh", "-o", f"-F {ssh_server.config}", *words)
    with session(tmp_path, *options, nodes="node[1-3]") as child:
        answers = [answer(child, "echo $SSH_CONNECTION $PPID") for _ in range(2)]
        # On a busy machine a progress line stands before one of them, and is cleared.
        lines = r"node\d: [\d.]+ \d+ [\d.]+ \d+ \d+"
        first, second = (sorted(re.findall(lines, text)) for text in answers)
        assert len(set(first)) == 3
        assert (first == second) is stays
