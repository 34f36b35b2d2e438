"""The options about a transport, from the command line to the server that they lead to."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from tests.cli.program import mpshell
from tests.ssh.conftest import SshServer

pytestmark = pytest.mark.needs("ssh", "sshd")

#: Transports over SSH, which have the same options.
OVER_SSH = ["ssh", "asyncssh"]


@pytest.mark.parametrize("transport", OVER_SSH)
def test_o_leads_to_the_nodes_of_its_configuration(ssh_server: SshServer, transport: str) -> None:
    options = ("-R", transport, "-o", f"-F {ssh_server.config}", "-w", "node[1-20]")
    done = mpshell(*options, "-b", "echo here")
    assert (done.code, done.lines[-1]) == (0, "here"), done.err


@pytest.mark.parametrize("transport", OVER_SSH)
def test_several_options(ssh_server: SshServer, transport: str) -> None:
    options = (
        "-R",
        transport,
        "-o",
        f"-F {ssh_server.config}",
        "-o",
        "-oSetEnv=A=b",
        "-w",
        "node1",
    )
    assert mpshell(*options, "echo here").code == 0


@pytest.mark.parametrize("transport", OVER_SSH)
def test_l_is_the_user(ssh_server: SshServer, tmp_path: Path, transport: str) -> None:
    config = tmp_path / "config"
    text = Path(ssh_server.config).read_text()
    config.write_text("".join(line for line in text.splitlines(True) if "  User " not in line))
    options = ("-R", transport, "-o", f"-F {config}", "-w", "node1")
    assert mpshell(*options, "-l", getpass.getuser(), "id -un").lines == [
        f"node1: {getpass.getuser()}"
    ]
    refused = mpshell(*options, "-l", "nobody-at-all", "id -un")
    assert refused.code != 0
    assert "Permission denied" in refused.err


@pytest.mark.parametrize("transport", OVER_SSH)
def test_a_word_that_is_no_option_is_an_error(transport: str) -> None:
    done = mpshell("-R", transport, "-o", "Port=422", "-w", "node1", "true")
    assert done.code == 64
    assert f"'Port=422' is not an option of {transport}" in done.err
