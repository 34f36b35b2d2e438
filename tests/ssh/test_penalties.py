"""OpenSSH 10, which holds failed logins against an address (sshd_config(5), PerSourcePenalties).

It refuses the address with the message, and at the moment, of MaxStartups: before anything is exchanged.
"""

from __future__ import annotations

import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpshell import Task
from tests.ssh.conftest import SshServer, running_server
from tests.ssh.openssh import openssh
from tests.ssh.servers import another_sshd
from tests.ssh.test_redial import MAX_STARTUPS, outcomes, point_at
from tests.support import eventually


@pytest.fixture(scope="module")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """Give a server of OpenSSH 10, with its programs as the clients too."""
    with running_server(tmp_path_factory.mktemp("sshd"), openssh(10)) as server:
        yield server


def test_its_drops_are_distinguished_from_other_ends(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """Its ssh writes that a connection was closed at the level VERBOSE: INFO does not show that line."""
    with another_sshd(ssh_server, tmp_path, MAX_STARTUPS) as port:
        for level in ("INFO", "ERROR", "QUIET"):
            point_at(ssh_task, ssh_server, tmp_path, port, f"LogLevel {level}\n")
            found = outcomes(ssh_task, "many[1-40]", "exit 3")
            reasons = Counter((each.reason, each.returncode) for each in found.values())
            assert reasons == {("exit", 3): 40}, level


def be_refused(ssh_server: SshServer, path: Path, port: int) -> None:
    """Fail to log in, and wait until sshd holds that against this address."""
    wrong = path / "wrong_key"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(wrong)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    done = subprocess.run(
        [ssh_server.programs.ssh, "-F", "none", "-oBatchMode=yes", "-oIdentitiesOnly=yes", "-i", str(wrong),
         "-oIdentityAgent=none", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null",
         "-oKexAlgorithms=curve25519-sha256", "-p", str(port), "127.0.0.1", "true"],
        capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip
    assert b"Permission denied" in done.stderr, done.stderr

    def is_refused() -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as probe:
            return probe.recv(100).startswith(b"Not allowed at this time")

    assert eventually(is_refused)


def test_an_address_that_is_refused_for_a_while_is_tried_until_it_is_not(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """A failed login is 9 seconds, in which every connection is refused."""
    text = "PerSourcePenalties authfail:9s noauth:0s min:1s max:9s\n"
    with another_sshd(ssh_server, tmp_path, text) as port:
        point_at(ssh_task, ssh_server, tmp_path, port)
        be_refused(ssh_server, tmp_path, port)
        found = outcomes(ssh_task, "many[1-20]", "exit 3")
    reasons = Counter((each.reason, each.returncode, each.attempt) for each in found.values())
    assert reasons == {("exit", 3, 1): 20}


def test_an_address_that_is_refused_for_longer_is_unreachable(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    with another_sshd(ssh_server, tmp_path, "PerSourcePenalties authfail:60s noauth:0s\n") as port:
        point_at(ssh_task, ssh_server, tmp_path, port)
        be_refused(ssh_server, tmp_path, port)
        ssh_task.set_info("connect_timeout", 4)
        with pytest.warns(RuntimeWarning, match="9 nodes not reached: .*PerSourcePenalties"):
            found = outcomes(ssh_task, "many[1-9]", "exit 3")
    assert Counter(each.reason for each in found.values()) == {"unreachable": 9}
