"""Whether ssh or the command has failed: ssh's own log decides; no command can write to it (ssh(1), -E)."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpshell import DistantWorker, NodeOutcome, Task, WorkerError, WorkerSsh
from tests.ssh.conftest import SshServer, each_ssh_server
from tests.ssh.servers import another_sshd
from tests.ssh.test_ssh_faults import write_config

#: All of it with OpenSSH 9 and 10, on both sides.
ssh_server = each_ssh_server

#: Last lines that a command may write: those of an ssh, git or rsync that it has run.
WORDS = [
    "ssh: connect to host other port 22: Connection refused",
    "ssh: Could not resolve hostname other: Name or service not known",
    "git@other: Permission denied (publickey).",
    "Host key verification failed.",
    "Connection to other closed by remote host.",
    "client_loop: send disconnect: Broken pipe",
    "kex_exchange_identification: Connection closed by remote host",
    "exec request failed on channel 0",
]


def more(task: Task, options: str) -> None:
    """Add options of ssh."""
    task.set_info("ssh_options", f"{options} {task.info('ssh_options')}")


def run(task: Task, node: str = "node1", command: str = "exit 255", **more: Any) -> NodeOutcome:
    worker: DistantWorker = task.run(command, nodes=node, stderr=True, **more)
    [outcome] = worker.outcomes()
    return outcome


def copy(task: Task, source: Path, node: str = "node1", **how: Any) -> NodeOutcome:
    worker = task.copy(source, source.with_name("there"), nodes=node, **how)
    task.resume()
    [outcome] = worker.outcomes()
    return outcome


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("separate", [True, False])
def test_a_command_s_255_is_its_exit_whatever_it_writes(
    ssh_task: Task, words: str, separate: bool
) -> None:
    command = f"echo {shlex.quote(words)} >&2; exit 255"
    worker = ssh_task.run(command, nodes="node1", stderr=separate)
    [outcome] = worker.outcomes()
    assert (outcome.reason, outcome.returncode) == ("exit", 255)
    assert (worker.node_error("node1") if separate else worker.read("node1")) == words.encode()


def test_a_real_ssh_that_fails_on_the_node(ssh_task: Task, ssh_server: SshServer) -> None:
    outcome = run(ssh_task, command=f"ssh -F {ssh_server.config} no-such-host.invalid true")
    assert (outcome.reason, outcome.returncode) == ("exit", 255)


@pytest.mark.parametrize("level", ["-q", "-oLogLevel=QUIET", "-oLogLevel=FATAL", "-v", "-vvv"])
def test_whatever_the_log_level_is(ssh_task: Task, level: str) -> None:
    more(ssh_task, level)
    assert run(ssh_task).reason == "exit"
    assert run(ssh_task, command="kill -9 $PPID; sleep 9").reason == "lost"
    assert run(ssh_task, "no-such-host.invalid").reason == "unreachable"
    more(ssh_task, "-l nobody")
    assert run(ssh_task).reason == "auth"


def test_a_level_of_the_configuration(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    text = "LogLevel QUIET\n"
    ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
    assert run(ssh_task).reason == "exit"
    assert run(ssh_task, "no-such-host.invalid").reason == "unreachable"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("-Z", "unknown option -- Z"),
        ("-oNoSuchOption=1", "Bad configuration option: nosuchoption"),
        ("-p 99999", "Bad port '99999'"),
        ("-c no-such-cipher", "Unknown cipher type 'no-such-cipher'"),
        ("-oCiphers=no-such-cipher", "Bad SSH2 cipher spec 'no-such-cipher'"),
        ("-oKexAlgorithms=no-such-kex", "Bad SSH2 KexAlgorithms 'no-such-kex'"),
        ("-oRemoteCommand=hostname", "Cannot execute command-line and remote command"),
        ("-F /no/such/file", "Can't open user config file /no/such/file"),
    ],
)
def test_a_wrong_option_is_one_error_for_the_run(ssh_task: Task, options: str, words: str) -> None:
    ssh_task.set_info("ssh_options", options)
    with pytest.raises(WorkerError) as error:
        ssh_task.run("exit 3", nodes="node[1-3]")
    assert words in str(error.value)
    assert list(ssh_task.outcomes()) == []


@pytest.mark.parametrize(
    "options", ["-oNoSuchOption=1", "-P 99999", "-c no-such-cipher", "-F /no/such/file"]
)
def test_a_wrong_option_of_scp_too(ssh_task: Task, source: Path, options: str) -> None:
    ssh_task.set_info("scp_options", options)
    ssh_task.copy(source, source.with_name("there"), nodes="node[1-3]")
    with pytest.raises(WorkerError):
        ssh_task.resume()
    assert list(ssh_task.outcomes()) == []


def test_what_is_wrong_for_one_node_is_that_node_s(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    text = "Host node1\n  RemoteCommand hostname\n"
    ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
    worker = ssh_task.run("exit 3", nodes="node[1-2]")
    found = {outcome.node: outcome for outcome in worker.outcomes()}
    assert (found["node1"].reason, found["node1"].returncode) == ("transport", 255)
    assert "Cannot execute command-line and remote command" in (found["node1"].detail or "")
    assert (found["node2"].reason, found["node2"].returncode) == ("exit", 3)


@pytest.mark.parametrize(
    "transport", ["ssh"], indirect=True
)  # the other one has no control sockets
def test_a_path_of_a_control_socket_that_is_too_long(ssh_task: Task, tmp_path: Path) -> None:
    more(ssh_task, f"-oControlMaster=auto -oControlPath={tmp_path}/{'x' * 120}")
    outcome = run(ssh_task)
    assert (outcome.reason, outcome.returncode) == ("transport", 255)
    assert "ControlPath" in (outcome.detail or "") and "too long" in (outcome.detail or "")


@contextlib.contextmanager
def master(server: SshServer, task: Task, path: Path) -> Iterator[None]:
    """Have the nodes of a task share a connection."""
    options = f"-oControlMaster=auto -oControlPersist=60 -oControlPath={path}/master"
    task.set_info("drain", 0.2)
    # The file forbids one, but is read after the options.
    more(task, options)
    words = [server.programs.ssh, *str(task.info("ssh_options")).split()]
    try:
        yield
    finally:
        subprocess.run([*words, "-O", "exit", "node1"], capture_output=True, check=False)


def test_a_client_of_a_master(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    with master(ssh_server, ssh_task, tmp_path):
        for _ in range(2):  # the one that becomes it, and a client of it
            assert (
                run(ssh_task, command="echo 'Host key verification failed.' >&2; exit 255").reason
                == "exit"
            )
        assert run(ssh_task, command="kill -9 $PPID; sleep 9").reason == "lost"


def test_a_dead_master_s_socket(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "master"))
    with master(ssh_server, ssh_task, tmp_path):
        assert run(ssh_task).reason == "exit"
        assert run(ssh_task, command="exit 3").returncode == 3


def test_through_a_jump_host(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    text = (
        "Host stranger\n  HostName 127.100.0.9\n  User nobody\n"
        "Host node1\n  ProxyJump node2\nHost node3\n  ProxyJump no-such-host.invalid\n"
        "Host node4\n  ProxyJump stranger\nHost node5\n  ProxyCommand false\n"
    )
    ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
    if not ssh_server.programs.installed:
        # ssh executes itself for the jump.
        assert os.access(ssh_server.programs.ssh, os.X_OK)
    worker = ssh_task.run(
        "echo 'Permission denied (publickey).' >&2; exit 255", nodes="node[1,3-5]"
    )
    assert {outcome.node: outcome.reason for outcome in worker.outcomes()} == {
        "node1": "exit", "node3": "unreachable", "node4": "auth", "node5": "unreachable",
    }  # fmt: skip


def test_a_command_that_a_signal_has_ended_there(ssh_task: Task, transport: str) -> None:
    """ssh(1) makes a 255 of it (ssh(1), EXIT STATUS)."""
    expected = {"ssh": ("exit", 255), "asyncssh": ("signal", 137)}
    outcome = run(ssh_task, command="kill -9 $$")
    assert (outcome.reason, outcome.returncode) == expected[transport]


def test_a_cut_connection_is_lost_whatever_the_command_has_written(ssh_task: Task) -> None:
    outcome = run(ssh_task, command=f"echo {shlex.quote(WORDS[0])} >&2; kill -9 $PPID; sleep 9")
    assert (outcome.reason, outcome.returncode) == ("lost", 255)


def test_a_session_that_the_server_refuses(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """After a login that succeeds (sshd_config(5), MaxSessions)."""
    with another_sshd(ssh_server, tmp_path, "MaxSessions 0\n") as port:
        text = f"Host other\n  HostName 127.0.0.1\n  Port {port}\n"
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        outcome = run(ssh_task, "other")
    assert (outcome.reason, outcome.returncode) == ("transport", 255)


def test_a_banner_and_a_forced_command(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """The user sees on stderr the lines of LogLevel, and none that serve the verdict."""
    (tmp_path / "banner").write_text("Permission denied (but not for you)\n")
    text = f"Banner {tmp_path}/banner\nForceCommand echo forced; exit 255\n"
    with another_sshd(ssh_server, tmp_path, text) as port:
        text = f"Host other\n  HostName 127.0.0.1\n  Port {port}\nLogLevel {{}}\nUserKnownHostsFile /dev/null\n"
        for level, shown in (("INFO", True), ("ERROR", False)):
            options = write_config(tmp_path, ssh_server, text.replace("{}", level))
            ssh_task.set_info("ssh_options", f"-oStrictHostKeyChecking=no {options}")
            outcome = run(ssh_task, "other", "true")
            assert (outcome.reason, outcome.returncode) == ("exit", 255)
            assert ssh_task.node_buffer("other") == b"forced"
            lines = (ssh_task.node_error("other") or b"").replace(b"\r", b"").splitlines()
            added = [line for line in lines if b"Permanently added" in line]
            assert (len(added), b"Permission denied (but not for you)" in lines) == (shown, shown)
            assert len(lines) == 2 * shown, lines


def test_the_user_s_v_shows_what_it_shows(ssh_task: Task, ssh_server: SshServer) -> None:
    more(ssh_task, "-v")
    assert run(ssh_task, command="true").ok
    seen = (ssh_task.node_error("node1") or b"").replace(b"\r", b"").splitlines()
    words = [
        ssh_server.programs.ssh,
        "-v",
        "-F",
        ssh_server.config,
        "-oBatchMode=yes",
        "node1",
        "true",
    ]
    own = subprocess.run(words, capture_output=True, check=True, stdin=subprocess.DEVNULL).stderr
    expected = own.replace(b"\r", b"").splitlines()

    def plain(lines: list[bytes]) -> list[bytes]:
        return [
            line
            for line in lines
            if line.startswith((b"debug1: Auth", b"Authenticated to", b"debug1: Exit"))
        ]

    assert plain(seen) == plain(expected) and len(plain(seen)) > 2
    assert not [line for line in seen if b"pid=" in line or line.startswith((b"debug2", b"debug3"))]


@pytest.mark.parametrize(
    ("first", "other"),
    [("INFO", "QUIET"), ("QUIET", "INFO"), ("ERROR", "FATAL"), ("INFO", "DEBUG1")],
)
def test_nodes_of_different_levels(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, first: str, other: str
) -> None:
    (tmp_path / "known").touch()
    text = (
        f"Host node1\n  LogLevel {first}\nHost node2 node3 node4\n  LogLevel {other}\n"
        "Host node2\n  User nobody\nHost node3\n  Port 9\nHost node4\n  HostKeyAlias wrong\n"
        f"  StrictHostKeyChecking yes\n  UserKnownHostsFile {tmp_path}/known\nHost *\n"
    )
    ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
    worker: DistantWorker = ssh_task.run("exit 255", nodes="node[1-4]", stderr=True)
    assert {outcome.node: outcome.reason for outcome in worker.outcomes()} == {
        "node1": "exit", "node2": "auth", "node3": "unreachable", "node4": "hostkey",
    }  # fmt: skip


def test_the_user_s_own_log_file(ssh_task: Task, tmp_path: Path) -> None:
    log = tmp_path / "log"
    more(ssh_task, f"-E {log}")
    assert run(ssh_task).reason == "exit"
    assert run(ssh_task, "no-such-host.invalid").reason == "unreachable"
    assert "Could not resolve hostname" in log.read_text() and "pid=" not in log.read_text()
    assert not ssh_task.node_error("no-such-host.invalid")
    ssh_task.set_info("ssh_options", f"{ssh_task.info('ssh_options')} -E {tmp_path}/no/such/log")
    with pytest.raises(WorkerError, match="-E"):
        ssh_task.run("true", nodes="node1")


def test_messages_to_syslog(ssh_task: Task) -> None:
    more(ssh_task, "-y")
    assert run(ssh_task).reason == "exit"
    assert run(ssh_task, "no-such-host.invalid").reason == "unreachable"
    assert not ssh_task.node_error("no-such-host.invalid")


def test_copies(ssh_task: Task, source: Path, ssh_server: SshServer) -> None:
    for atomic in (False, True):
        assert copy(ssh_task, source, atomic=atomic).ok
        assert copy(ssh_task, source, "no-such-host.invalid", atomic=atomic).reason == "unreachable"
        assert copy(ssh_task, source, "127.0.0.1", atomic=atomic).reason == "unreachable"
    options = ssh_task.info("ssh_options")
    ssh_task.set_info("ssh_options", f"-q {options}")
    assert copy(ssh_task, source, "no-such-host.invalid").reason == "unreachable"
    ssh_task.set_info("ssh_options", f"-oUser=nobody {options}")
    for atomic in (False, True):
        assert copy(ssh_task, source, atomic=atomic).reason == "auth"


@pytest.mark.parametrize("protocol", ["-s", "-O"])
def test_what_scp_fails_at_itself(ssh_task: Task, source: Path, protocol: str) -> None:
    ssh_task.set_info("scp_options", f"{protocol} {ssh_task.info('ssh_options')}")
    worker = ssh_task.copy(source, "/no/such/directory/at all", nodes="node1")
    ssh_task.resume()
    [outcome] = worker.outcomes()
    assert (outcome.reason, outcome.returncode) == ("exit", 1)
    outcome = copy(ssh_task, source, "no-such-host.invalid")
    assert outcome.reason == "unreachable" and outcome.returncode != 0


def test_a_copy_that_is_cut(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "sftp").write_text("#!/bin/sh\nkill -9 $PPID; sleep 9\n")
    (tmp_path / "sftp").chmod(0o755)
    (tmp_path / "file").write_text("data")
    with another_sshd(ssh_server, tmp_path, f"Subsystem sftp {tmp_path}/sftp\n") as port:
        text = f"Host other\n  HostName 127.0.0.1\n  Port {port}\n"
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        assert copy(ssh_task, tmp_path / "file", "other").reason == "lost"


def test_a_copy_without_the_subsystem(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("data")
    with another_sshd(ssh_server, tmp_path, "") as port:
        text = f"Host other\n  HostName 127.0.0.1\n  Port {port}\n"
        ssh_task.set_info("ssh_options", f"-q {write_config(tmp_path, ssh_server, text)}")
        assert copy(ssh_task, tmp_path / "file", "other").reason == "transport"


@pytest.mark.parametrize("transport", ["ssh"], indirect=True)  # the other one has no program
@pytest.mark.parametrize("kind", ["older", "another user's", "no OpenSSH"])
def test_a_program_in_the_place_of_ssh(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, kind: str
) -> None:
    """An ssh without LogVerbose (before 8.5), one that cannot open the log, and one that is none."""
    real = ssh_server.programs.ssh
    refusal = {
        "older": 'case "$*" in *LogVerbose*)'
        ' echo "command-line: line 0: Bad configuration option: logverbose" >&2; exit 255;; esac',
        "another user's": 'case "$*" in *-E*)'
        ' echo "Couldn\'t open logfile: Permission denied" >&2; exit 1;; esac',
        "no OpenSSH": 'case "$*" in *-G*) echo "unknown option -G" >&2; exit 2;; esac',
    }[kind]
    (tmp_path / "ssh").write_text(f'#!/bin/sh\n{refusal}\nexec {real} "$@"\n')
    (tmp_path / "ssh").chmod(0o755)
    ssh_task.set_info("ssh_path", str(tmp_path / "ssh"))
    assert run(ssh_task).reason == "exit"
    assert run(ssh_task, command="exit 3").returncode == 3
    assert run(ssh_task, command="kill -9 $PPID; sleep 9").reason == "lost"
    unknown = run(ssh_task, "no-such-host.invalid")
    # Without a log these lines may be the command's.
    assert unknown.reason == ("unreachable" if kind == "older" else "lost")
    assert "Could not resolve" in (unknown.detail or "")
    if kind == "older":
        assert run(ssh_task, command=f"echo {shlex.quote(WORDS[0])} >&2; exit 255").reason == "exit"
        assert (ssh_task.node_error("node1") or b"") == WORDS[0].encode()


def test_a_dry_run_shows_the_line_that_a_user_would_type(ssh_task: Task) -> None:
    worker = ssh_task.shell("hostname", nodes="node1")
    assert isinstance(worker, WorkerSsh)
    [(_, words)] = worker.command_lines(ssh_task)
    assert words[-2:] == ["node1", "hostname"]
    assert not [word for word in words if "LogVerbose" in word or word.startswith("-E")]
    worker.abort()
