"""A command runs as `/bin/sh -c` started by this very process would run it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mpshell import ExecWorker, Task

Sweep = Callable[..., ExecWorker]

COMMANDS = [
    "true",
    "false",
    ":",
    "exit 3",
    "echo plain words",
    "echo -n no newline",
    "echo -e 'a\\tb'",
    "echo a\\tb",
    "echo 'a\\nb'",
    "printf '%s|' a 'b c' \"d e\"",
    "/bin/echo -n x",
    "/bin/echo 'single' \"double\" es\\ caped",
    "echo $HOME ~ ${UNSET_VARIABLE:-default}",
    "echo $0 $#",
    "echo *",
    "echo [a-b]* a? {a,b}",
    "echo a;echo b",
    "echo a && false || echo c",
    "echo a | tr a b",
    "echo a > /dev/null",
    "echo err >&2",
    "A=1 sh -c 'echo $A'",
    "A=1",
    "cd / && pwd",
    "cd /",
    "pwd",
    "test -d /",
    "[ -d / ]",
    "type cd",
    "command -v echo",
    "exec echo x",
    "kill -l 9",
    "umask",
    "ulimit -n",
    "ulimit -c",
    "set -- a b; echo $2",
    'read x; echo "[$x]"',
    "# only a comment",
    "echo a # comment",
    "echo a#b",
    "! true",
    "!",
    "if true; then echo yes; fi",
    "if",
    "echo 'unterminated",
    "echo `echo nested` $(echo more)",
    "echo \\\\ \\$HOME",
    " echo  leading   blanks ",
    "\techo tab\t",
    "echo a\necho b",
    "echo é ü",
    "nosuchcommand_ a b",
    "/no/such/path",
    "./nosuch",
    "/etc/passwd",
    "/",
    "a=b=c",
    "env -i /usr/bin/env",
    "time",
    "sleep 0",
    "=",
    "echo=1",
    "yes 2>&1 | head -n 1",
    "yes | head -n 1; true",
    "sh -c 'kill -TERM $$'",
    "kill -TERM $$",
    "/bin/cat /proc/self/comm",
    "ls -l /proc/self/fd | wc -l",
    "nice",
    "echo %h %n %",
    "export A=1; env | grep ^A=",
    "wait",
    ". /dev/null",
    "eval echo x",
    "alias",
    "jobs",
    "trap 'echo bye' EXIT; echo hi",
    "echo $PPID | grep -c .",
    'echo "$-"',
    "printf",
    "while false; do :; done",
    "{ echo group; }",
    "(echo subshell)",
    "case x in x) echo x;; esac",
    "f() { echo f; }; f",
    "echo '' | wc -c",
    "dirname /a/b",
    "'echo' quoted",
    '"/bin/echo" quoted',
    "ec'h'o quoted",
    "\\echo quoted",
]


def sh(command: str) -> tuple[bytes, int]:
    """Return the shell's result: output of both streams, code as the library gives it."""
    done = subprocess.run(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=20,
    )
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    lines = done.stdout.split(b"\n")
    return b"\n".join(lines if lines[-1] else lines[:-1]), code


def test_commands_have_the_results_of_the_shell(
    solo_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a1").touch()
    (tmp_path / "b 2").touch()
    monkeypatch.chdir(tmp_path)
    workers = [solo_task.shell(command, stdin=False) for command in COMMANDS]
    solo_task.resume()
    got = {worker.command: (worker.read() or b"", worker.retcode()) for worker in workers}
    assert {command: result for command, result in got.items() if result != sh(command)} == {}
    assert len(got) == len(COMMANDS)


def test_scripts_without_an_interpreter_line_are_run_by_the_shell(
    solo_task: Task, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("echo from script $1\nexit 3\n")
    script.chmod(0o755)
    plain, quoted = solo_task.shell(f"{script} x"), solo_task.shell(f"'{script}' y")
    solo_task.resume()
    assert (plain.read(), plain.retcode()) == (b"from script x", 3)
    assert (quoted.read(), quoted.retcode()) == (b"from script y", 3)


def test_a_program_is_found_in_the_path_of_the_moment(
    solo_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert solo_task.run("my_own_program_").retcode() == 127
    program = tmp_path / "my_own_program_"
    program.write_text("#!/bin/sh\necho mine\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert solo_task.run("my_own_program_").read() == b"mine"


def test_commands_have_the_environment_of_the_moment(
    task: Task, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = "echo ${COLOUR_OF_TEST-unset}"
    monkeypatch.delenv("COLOUR_OF_TEST", raising=False)
    assert sweep("n[1-4]", show).node_buffer("n3") == b"unset"
    monkeypatch.setenv("COLOUR_OF_TEST", "bleu é")
    assert sweep("n[1-4]", show).node_buffer("n3") == "bleu é".encode()
    assert task.run("printenv COLOUR_OF_TEST").read() == "bleu é".encode()
    monkeypatch.delenv("COLOUR_OF_TEST")
    assert task.run("printenv COLOUR_OF_TEST").retcode() == 1


def test_commands_have_the_working_directory_of_the_moment(
    task: Task, sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        worker = sweep("n[1-4]", "pwd; touch seen_%h")
        assert worker.node_buffer("n2") == str(folder).encode()
        assert sorted(path.name for path in folder.iterdir()) == [
            f"seen_n{i}" for i in (1, 2, 3, 4)
        ]


def test_commands_have_the_umask_of_the_moment(
    solo_task: Task, solo_sweep: Sweep, cwd_kept: None
) -> None:
    for mask in (0o077, 0o002):
        os.umask(mask)
        assert solo_sweep("n[1-3]", "umask").node_buffer("n3") == b"%04o" % mask


def test_commands_hold_no_descriptor_but_their_three(sweep: Sweep, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as own:
        os.set_inheritable(own.fileno(), True)
        worker = sweep("n[1-6]", "exec ls /proc/self/fd", stderr=True)
    # the fourth is the folder that ls reads
    assert {bytes(elem) for elem, _ in worker.iter_buffers()} == {b"0\n1\n2\n3"}


def test_commands_are_not_in_the_group_of_the_program(solo_task: Task) -> None:
    worker = solo_task.run("ps -o pgid= -p $$ || cut -d' ' -f5 /proc/$$/stat")
    assert int(worker.read() or 0) not in (0, os.getpgrp())


def test_the_signals_of_a_command_are_as_after_login(solo_sweep: Sweep) -> None:
    worker = solo_sweep("n[1-2]", "grep -E '^Sig(Blk|Ign)' /proc/self/status")
    ordinary = (1 << 31) - 1
    printed = worker.node_buffer("n1") or b""
    masks = [int(line.split()[1], 16) & ordinary for line in printed.splitlines()]
    assert masks == [0, 0]
