"""The command line of ssh, seen by a program in its place; no server needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mpshell import NodeSet, Task, WorkerError, WorkerSsh
from tests.system.recorder import Recorder

Scheduled = Callable[..., WorkerSsh]
SECURITY = ["-oForwardAgent=no", "-oForwardX11=no"]


@pytest.fixture
def fake_ssh(solo_task: Task, tmp_path: Path) -> Path:
    """Put a program in the place of ssh that prints its arguments, one a line."""
    path = tmp_path / "fake-ssh"
    path.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done\n')
    path.chmod(0o755)
    solo_task.set_info("ssh_path", str(path))
    return path


def argv(task: Task, nodes: str = "n1", command: str = "uptime") -> list[str]:
    worker = task.shell(command, nodes=nodes)
    task.resume()
    assert type(worker) is WorkerSsh
    return (worker.node_buffer(NodeSet(nodes)[0]) or b"").decode().split("\n")


def test_the_default_command_line(solo_task: Task, fake_ssh: Path) -> None:
    end = ["-oConnectTimeout=10", "-oBatchMode=yes", "n1", "uptime"]
    assert argv(solo_task) == [*SECURITY, *end]


def test_user_options_and_connect_timeout(solo_task: Task, fake_ssh: Path) -> None:
    solo_task.set_info("ssh_user", "ada")
    solo_task.set_info("ssh_options", "-oLogLevel=QUIET -p 2222 -o 'ProxyCommand nc a b'")
    solo_task.set_info("connect_timeout", 3)
    assert argv(solo_task) == [
        *("-oLogLevel=QUIET", "-p", "2222", "-o", "ProxyCommand nc a b"),
        *SECURITY,
        *("-l", "ada", "-oConnectTimeout=3", "-oBatchMode=yes", "n1", "uptime"),
    ]


@pytest.mark.parametrize(
    ("limit", "whole"), [(0.3, "=1"), (2.5, "=3"), (1e300, "=2000000"), (0, "")]
)
def test_a_time_to_connect_is_in_whole_seconds_and_never_none(
    limit: float, whole: str, solo_task: Task, fake_ssh: Path
) -> None:
    solo_task.set_info("connect_timeout", limit)
    words = [word for word in argv(solo_task) if word.startswith("-oConnectTimeout")]
    assert words == ([f"-oConnectTimeout{whole}"] if whole else [])


def test_the_path_may_carry_arguments(solo_task: Task, fake_ssh: Path) -> None:
    solo_task.set_info("ssh_path", f"{fake_ssh} -C 'two words'")
    assert argv(solo_task)[:3] == ["-C", "two words", SECURITY[0]]


def test_the_path_may_begin_with_a_tilde(
    solo_task: Task, fake_ssh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(fake_ssh.parent))
    solo_task.set_info("ssh_path", "~/fake-ssh")
    assert argv(solo_task)[-1] == "uptime"


def test_ssh_is_found_in_the_path(
    solo_task: Task, fake_ssh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ssh.rename(fake_ssh.parent / "ssh")
    solo_task.set_info("ssh_path", None)
    monkeypatch.setenv("PATH", f"{fake_ssh.parent}:/usr/bin:/bin")
    assert argv(solo_task)[-2:] == ["n1", "uptime"]


def test_the_command_is_one_unchanged_argument(solo_task: Task, fake_ssh: Path) -> None:
    for command in ("echo 'a b' \"$HOME\" | cat", "echo %h %n %x %", "  a   b "):
        assert argv(solo_task, command=command)[-1] == command


def test_every_node_gets_its_own_line(solo_task: Task, fake_ssh: Path) -> None:
    worker = solo_task.shell("uptime", nodes="n[1-20]")
    solo_task.resume()
    assert worker.command == "uptime" and worker.nodes == NodeSet("n[1-20]")
    for node in NodeSet("n[1-20]"):
        printed = worker.node_buffer(node) or b""
        assert printed.split(b"\n")[-2:] == [node.encode(), b"uptime"]


def test_handler_and_timeout_are_optional(solo_task: Task, fake_ssh: Path) -> None:
    worker = WorkerSsh("node3", command="/bin/echo alright")
    solo_task.schedule(worker)
    solo_task.resume()
    assert (worker.node_buffer("node3") or b"").endswith(b"node3\n/bin/echo alright")
    seen = Recorder()
    positional = WorkerSsh("node3", seen, 30, command="uptime")
    solo_task.schedule(positional)
    solo_task.resume()
    assert seen.rcs() == {"node3": 0} and seen.closes() == [False]


def running_ssh(path: Path) -> None:
    """Make the program in the place of ssh run the command on this machine."""
    path.write_text('#!/bin/sh\nfor last in "$@"; do :; done\nexec sh -c "$last"\n')


def test_output_codes_and_input_of_the_remote_command(solo_task: Task, fake_ssh: Path) -> None:
    running_ssh(fake_ssh)
    seen = Recorder()
    worker = solo_task.shell("cat; echo err >&2; exit 3", nodes="n[1-5]", handler=seen, stderr=True)
    worker.write(b"input\n")
    worker.set_write_eof()
    solo_task.resume()
    assert seen.rcs() == {f"n{i}": 3 for i in range(1, 6)}
    assert worker.node_buffer("n5") == b"input" and worker.node_error("n5") == b"err"
    assert solo_task.run("false", nodes="n1").node_retcode("n1") == 1


def test_stderr_is_merged_unless_asked_for(solo_task: Task, fake_ssh: Path) -> None:
    running_ssh(fake_ssh)
    for stderr, expected in ((True, (None, b"alright")), (False, (b"alright", None))):
        worker = WorkerSsh("n1", command="echo alright >&2", stderr=stderr)
        solo_task.schedule(worker)
        solo_task.resume()
        assert (worker.node_buffer("n1"), worker.node_error_buffer("n1")) == expected


def test_settings_are_those_of_the_start_of_the_run(solo_task: Task, fake_ssh: Path) -> None:
    worker = solo_task.shell("uptime", nodes="n1")
    solo_task.set_info("ssh_user", "late")
    solo_task.resume()
    assert b"-l\nlate\n" in (worker.node_buffer("n1") or b"")


def test_a_worker_without_nodes_runs_nothing(solo_task: Task, fake_ssh: Path) -> None:
    worker = WorkerSsh(NodeSet(), command="uptime")
    solo_task.schedule(worker)
    solo_task.resume()
    assert list(worker.iter_buffers()) == [] and solo_task.max_retcode() is None


def test_an_unscheduled_worker_has_no_results(solo_task: Task) -> None:
    worker = WorkerSsh("n1", command="uptime")
    with pytest.raises(WorkerError):
        worker.node_buffer("n1")
