"""Connections that a password has opened, and that stay (`ssh_keep_password`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpshell import Task, task_cleanup
from tests.ssh.conftest import SshServer
from tests.ssh.keeping import outcomes
from tests.ssh.passwords import RIGHT, counting_server, hosts
from tests.ssh.test_ssh_faults import write_config

pytestmark = [
    pytest.mark.needs("ssh", "sshd"),
    pytest.mark.parametrize("transport", ["asyncssh"], indirect=True),
]


@pytest.fixture(params=["password", "keyboard-interactive"])
def sent(
    request: pytest.FixtureRequest, ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> Iterator[list[str]]:
    """Give the passwords that the nodes p1, p2 ... have been sent."""
    with counting_server(ssh_server, request.param) as (port, passwords):
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, hosts("p*", port)))
        ssh_task.set_info("ssh_keep", 600)
        ssh_task.set_info("ssh_password", RIGHT)
        yield passwords
        # Before the server: it waits for its clients.
        task_cleanup()


@pytest.fixture
def reasons(ssh_task: Task) -> Callable[[], set[str]]:
    """Give a function that runs a command on four nodes, and returns how it has ended."""
    return lambda: {outcome.reason for outcome in outcomes(ssh_task, "p[1-4]").values()}


def test_none_stays_unless_that_is_asked_for(
    sent: list[str], reasons: Callable[[], set[str]]
) -> None:
    for number in (1, 2):
        assert reasons() == {"exit"}
        assert sent == [RIGHT] * 4 * number


def test_the_next_run_with_the_same_password_logs_in_nowhere(
    ssh_task: Task, sent: list[str], reasons: Callable[[], set[str]]
) -> None:
    ssh_task.set_info("ssh_keep_password", True)
    for _ in range(3):
        assert reasons() == {"exit"}
        assert sent == [RIGHT] * 4
    ssh_task.set_info("ssh_keep_password", False)
    assert reasons() == {"exit"}
    assert sent == [RIGHT] * 8


@pytest.mark.parametrize("other", ["wrong", None])
def test_a_run_with_another_one_or_none_has_no_part_in_them(
    ssh_task: Task, sent: list[str], reasons: Callable[[], set[str]], other: str | None
) -> None:
    ssh_task.set_info("ssh_keep_password", True)
    assert reasons() == {"exit"}
    ssh_task.set_info("ssh_password", other)
    assert reasons() == {"auth"}
    assert sent == [RIGHT] * 4 + ([] if other is None else [other] * 3)
    ssh_task.set_info("ssh_password", RIGHT)
    assert reasons() == {"exit"}
    assert sent[-4:] == [RIGHT] * 4
