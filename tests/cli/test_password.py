"""--password: asked for once on the terminal, without an echo; the terminal is always restored."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.cli.program import PROGRAM, environment, mpshell
from tests.cli.terminals import on_a_terminal, rest
from tests.ssh.conftest import SshServer
from tests.ssh.passwords import RIGHT, counting_server, hosts
from tests.ssh.test_ssh_faults import write_config
from tests.support import eventually

SSH = ("-R", "asyncssh", "--password")


@contextmanager
def on_terminal(*words: str, shell: str = "") -> Iterator[pexpect.spawn[str]]:
    """Give the program on a terminal of its own, which keeps pending output when a signal comes."""
    line = ["sh", "-c", shell, *PROGRAM, *words] if shell else [*PROGRAM, *words]
    with on_a_terminal(line, environment(TERM="dumb"), echo=True) as child:
        yield child


def echoes(child: pexpect.spawn[str]) -> bool:
    return bool(termios.tcgetattr(child.child_fd)[3] & termios.ECHO)


@contextmanager
def nodes(server: SshServer, path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Give options for nodes that take a password, and the passwords that they have been sent."""
    with counting_server(server) as (port, sent):
        options = write_config(path, server, hosts("p*", port))
        yield [*SSH, "-o", options], sent


def test_it_is_asked_for_once_and_not_shown(ssh_server: SshServer, tmp_path: Path) -> None:
    with (
        nodes(ssh_server, tmp_path) as (options, sent),
        on_terminal(*options, "-w", "p[1-5]", "true") as child,
    ):
        child.expect_exact("Password: ")
        assert not echoes(child)
        child.sendline(RIGHT)
        shown = rest(child)
        assert child.exitstatus == 0 and echoes(child)
    assert sent == [RIGHT] * 5
    assert RIGHT not in shown and "Password" not in shown and shown.count("let in") == 5


def test_a_wrong_one_is_distinguished_from_other_failures(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    with (
        nodes(ssh_server, tmp_path) as (options, sent),
        on_terminal(*options, "-w", "p[1-9]", "true") as child,
    ):
        child.expect_exact("Password: ")
        child.sendline("wrong")
        shown = rest(child)
        assert child.exitstatus == 255
    assert sent == ["wrong"] * 3
    assert "refused 3 times, and is not sent any more" in shown and "wrong" not in shown


def test_it_is_asked_for_on_the_terminal_while_stdin_is_for_the_commands(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    with nodes(ssh_server, tmp_path) as (options, sent):
        shell = 'echo input | "$0" "$@"'
        with on_terminal(*options, "-w", "p1", "cat", shell=shell) as child:
            child.expect_exact("Password: ")
            child.sendline(RIGHT)
            assert "let in" in rest(child)
    assert sent == [RIGHT]


@pytest.mark.parametrize("key", ["\x03", "\x1c"], ids=["ctrl-c", "ctrl-backslash"])
def test_a_key_that_ends_it_leaves_the_terminal_as_it_was(key: str) -> None:
    with on_terminal(*SSH, "-w", "p1", "true") as child:
        child.expect_exact("Password: ")
        child.send(key)
        assert "Traceback" not in rest(child)
        assert child.exitstatus == {"\x03": 130, "\x1c": 131}[key]
        assert echoes(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(number: signal.Signals) -> None:
    with on_terminal(*SSH, "-w", "p1", "true") as child:
        child.expect_exact("Password: ")
        child.kill(number)
        assert "Traceback" not in rest(child)
        assert child.exitstatus == 128 + number and echoes(child)


def test_it_is_asked_for_again_after_a_stop(ssh_server: SshServer, tmp_path: Path) -> None:
    with nodes(ssh_server, tmp_path) as (options, sent):
        # Under a shell with job control: the leader of a session could not be continued.
        shell = 'set -m; "$0" "$@"; kill -l; fg'
        with on_terminal(*options, "-w", "p1", "true", shell=shell) as child:
            child.expect_exact("Password: ")
            child.send("half\x1a")
            child.expect_exact("Password: ")
            assert eventually(lambda: not echoes(child))
            child.sendline(RIGHT)
            assert "let in" in rest(child)
    assert sent == [RIGHT]


@pytest.mark.parametrize(
    ("typed", "message"),
    [("\n", "no password was given"), ("\x04", "no password was given"), ("caf\xe9\n", "UTF-8")],
)
def test_input_that_is_no_password(typed: str, message: str) -> None:
    with on_terminal(*SSH, "-w", "p1", "true") as child:
        child.expect_exact("Password: ")
        os.write(child.child_fd, typed.encode("latin-1"))
        assert message in rest(child)
        assert child.exitstatus == 64


def test_without_a_terminal_it_is_an_error() -> None:
    done = mpshell(*SSH, "-w", "p1", "true", start_new_session=True)
    assert (done.code, done.out) == (64, b"")
    assert "there is no terminal to ask for the password on" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-R", "ssh", "true"), "--password is for -R asyncssh: -R ssh cannot pass"),
        (("-R", "pdsh", "true"), "--password is for -R asyncssh: -R pdsh cannot pass"),
        (("-R", "exec", "true"), "--password is for -R asyncssh: -R exec cannot pass"),
        (("-R", "asyncssh", "--hosts", "gw1", "true"), "--password does not go with --hosts"),
    ],
)
def test_where_it_cannot_be_given(words: tuple[str, ...], message: str) -> None:
    done = mpshell("--password", "-w", "p1", *words, start_new_session=True)
    assert done.code == 64 and message in done.err


def test_a_dry_run_asks_for_nothing() -> None:
    done = mpshell(*SSH, "-w", "p1", "--dry-run", "true", start_new_session=True)
    assert done.code == 0 and b"p1: ssh" in done.out
