"""Run modes (-m): their settings, the prefix of commands, and the password that each command reads first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.cli.program import PROGRAM, environment, mpshell
from tests.cli.terminals import on_a_terminal, rest
from tests.ssh.conftest import SshServer
from tests.ssh.passwords import RIGHT, hosts, password_sshd
from tests.ssh.test_ssh_faults import write_config

#: clush of ClusterShell, where these modes come from.
CLUSH = [sys.executable, "-c", "from ClusterShell.CLI.Clush import main; main()"]

#: Reads a password from stdin byte by byte, as sudo -S does, and executes the rest of its words.
SUDO = """#!/bin/sh
[ "$1 $2 $3" = "-S -p ''" ] || { echo "words: $*" >&2; exit 2; }
shift 3
read -r password
[ "$password" = "correct horse" ] || { echo "Sorry, try again." >&2; exit 1; }
exec "$@"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a directory of settings with the modes of ClusterShell's examples, and a stand-in for sudo."""
    sudo = tmp_path / "sudo"
    sudo.write_text(SUDO.replace("-p ''", "-p "))
    sudo.chmod(0o755)
    (tmp_path / "clush.conf.d").mkdir()
    (tmp_path / "clush.conf").write_text("[Main]\nconfdir: $CFGDIR/clush.conf.d\n")
    write_mode(tmp_path, "sudo", f"command_prefix: {sudo} -S -p \"''\"")
    return tmp_path


def write_mode(folder: Path, name: str, *settings: str) -> None:
    """Write a mode with a password into a directory of settings."""
    lines = [f"[mode:{name}]", "password_prompt: yes", *settings, ""]
    (folder / "clush.conf.d" / f"{name}.conf").write_text("\n".join(lines))


@pytest.fixture
def password_options(ssh_server: SshServer, tmp_path: Path) -> Iterator[str]:
    """Give options of ssh for nodes p1 and so on: a real sshd that takes the right password, and no key."""
    place = tmp_path / "server"
    place.mkdir()
    with password_sshd(ssh_server, place) as port:
        yield write_config(tmp_path, ssh_server, hosts("p*", port))


@contextmanager
def asked(
    folder: Path,
    *words: str,
    program: list[str] = PROGRAM,
    shell: str = 'exec "$0" "$@"',
    password: str = RIGHT,
) -> Iterator[pexpect.spawn[str]]:
    """Give a program on a terminal, which has asked for a password and got it."""
    line = ["sh", "-c", shell, *program, *words]
    env = environment(TERM="dumb", NO_COLOR="1", CLUSTERSHELL_CFGDIR=str(folder))
    with on_a_terminal(line, env) as child:
        child.expect_exact("Password: ")
        child.sendline(password)
        yield child


def lines_left(child: pexpect.spawn[str]) -> list[str]:
    """Return the lines until the end, in the order of the alphabet."""
    return sorted(line for line in rest(child).splitlines() if line.strip())


@pytest.mark.parametrize(
    ("words", "shell"),
    [
        (("-m", "sudo", "echo", "done"), 'exec "$0" "$@" < /dev/tty'),
        (("--mode=sudo", "cat"), 'printf "a\\nb" | "$0" "$@"'),
        (("-m", "sudo", "-b", "echo", "'two  words'"), 'exec "$0" "$@" < /dev/tty'),
    ],
)
def test_a_mode_does_what_it_does_in_clush(
    folder: Path, words: tuple[str, ...], shell: str
) -> None:
    """One question for all nodes; the password comes before the stdin of the user."""
    seen = []
    for program in (PROGRAM, CLUSH):
        with asked(
            folder, "-R", "exec", "-w", "n[1-3]", *words, program=program, shell=shell
        ) as child:
            seen.append(lines_left(child))
            assert child.exitstatus == 0
    ours = [line for line in seen[0] if not line.startswith("mpshell: ok")]
    assert ours == seen[1]
    assert len(seen[0]) >= 3 and not any(RIGHT in line for line in seen[0])


def test_a_wrong_password_is_the_program_s_to_refuse(folder: Path) -> None:
    words = ("-R", "exec", "-w", "n[1-2]", "-m", "sudo", "id")
    with asked(folder, *words, password="wrong") as child:
        shown = lines_left(child)
        assert child.exitstatus == 1
    assert "n1: Sorry, try again." in shown and "n2: Sorry, try again." in shown


def test_no_argument_environment_journal_or_trace_has_the_password(folder: Path) -> None:
    """Neither the commands, as they see each other, nor anything that the program writes shows it."""
    look = (
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | "
        "tr '\\\\0' '\\\\n' | grep -c 'correct[ ]horse'; true"
    )
    words = (
        "-R",
        "exec",
        "-w",
        "n1",
        "-d",
        "-v",
        "--journal",
        str(folder / "journal"),
        "-m",
        "sudo",
    )
    with asked(folder, *words, f'sh -c "{look}"') as child:
        shown = lines_left(child)
        assert child.exitstatus == 0
    assert "n1: 0" in shown and not any(RIGHT in line for line in shown)
    for file in folder.glob("journal*"):
        assert RIGHT.encode() not in file.read_bytes()


def test_a_run_of_a_journal_asks_again(folder: Path) -> None:
    journal = str(folder / "journal")
    words = ("-R", "exec", "-w", "n[1-2]", "-m", "sudo", "--journal", journal)
    with asked(folder, *words, f"sh -c '[ -e {folder}/go ]'") as child:
        lines_left(child)
        assert child.exitstatus == 1
    (folder / "go").touch()
    with asked(folder, "--rerun-failed", journal, "-m", "sudo") as child:
        lines_left(child)
        assert child.exitstatus == 0
    refused = mpshell("--rerun-failed", journal, env={"CLUSTERSHELL_CFGDIR": str(folder)})
    assert refused.code == 0, "no node is left to run"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-m", "doas", "true"), "-m: there is no run mode 'doas' (run modes: sudo)"),
        (("-m", "sudo", "-n", "true"), "sudo.conf:2: password_prompt does not go with -n"),
        (("-m", "sudo", "-R", "pdsh", "true"), "password_prompt does not go with -R pdsh"),
        (("-m", "sudo", "--hosts", "gw", "true"), "password_prompt does not go with --hosts"),
        (("-m", "sudo", "-c", "/etc/passwd"), "password_prompt does not go with copies"),
        (("-m", "sudo", "true"), "there is no terminal to ask for the password on"),
        (
            ("-R", "asyncssh", "-O", "password_prompt=yes", "-O", "ssh_path=sshpass ssh", "true"),
            "-O: ssh_path is for -R ssh",
        ),
    ],
)
def test_where_a_mode_cannot_be_used(folder: Path, words: tuple[str, ...], message: str) -> None:
    done = mpshell(
        "-w", "n1", *words, env={"CLUSTERSHELL_CFGDIR": str(folder)}, start_new_session=True
    )
    assert done.code == 64 and message in done.err, done.err


def test_a_dry_run_shows_the_prefix_and_asks_for_nothing(folder: Path) -> None:
    done = mpshell(
        "-R", "exec", "-w", "n1", "-m", "sudo", "--dry-run", "id",
        env={"CLUSTERSHELL_CFGDIR": str(folder)}, start_new_session=True,
    )  # fmt: skip
    assert done.lines == [f"n1: {folder}/sudo -S -p '' id"]


@pytest.mark.needs("sshpass", "root")
def test_sshpass_logs_in_with_the_password(folder: Path, password_options: str) -> None:
    """The mode of ClusterShell's example, with the host key checked, over a real sshd that takes no key."""
    write_mode(folder, "sshpass", "ssh_path: sshpass ssh", "ssh_options: -oBatchMode=no")
    options = f"ssh_options=-oBatchMode=no {password_options}"
    with asked(folder, "-m", "sshpass", "-O", options, "-w", "p[1-3]", "id -u") as child:
        shown = lines_left(child)
        assert child.exitstatus == 0, shown
    assert [line for line in shown if ": " in line and "4242" in line] == [
        "p1: 4242", "p2: 4242", "p3: 4242"
    ]  # fmt: skip


@pytest.mark.needs("sudo", "root")
def test_one_question_serves_the_login_and_sudo(folder: Path, password_options: str) -> None:
    """-m sudo with --password: the login over asyncssh, to a real sshd, and the real sudo there."""
    write_mode(folder, "sudo", "command_prefix: sudo -S -p \"''\"")
    words = ("-R", "asyncssh", "--password", "-m", "sudo", "-o", password_options, "-w", "p[1-3]")
    with asked(folder, *words, "sh", "-c", "'id -u; cat'") as child:
        shown = lines_left(child)
        assert child.exitstatus == 0, shown
    with asked(folder, *words, "id", "-u", password="wrong") as child:
        refused = lines_left(child)
        assert child.exitstatus != 0, refused
    assert [line for line in shown if line.startswith("p")] == ["p1: 0", "p2: 0", "p3: 0"]
    assert not any("Password" in line or RIGHT in line for line in shown)
