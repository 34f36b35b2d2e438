"""How often a login asks its server: what sshd has logged (LogLevel DEBUG3), with OpenSSH 9 and 10.

A server is asked first whether any proof is needed, then whether it would take a key, then it gets the
signature (RFC 4252, 5.2 and 7). Where the servers before it have taken the key, the signature comes first.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from mpshell import Task
from mpshell.ssh.request import Request
from mpshell.ssh.setup import Fallback, Setup
from tests.ssh.conftest import SshServer, each_ssh_server
from tests.ssh.handshake import AUTH, OK, Site, log_in
from tests.ssh.passwords import USER, password_sshd
from tests.ssh.test_ssh_faults import write_config
from tests.ssh.test_ssh_login import agent, allow

ssh_server = each_ssh_server

pytestmark = pytest.mark.needs("ssh", "sshd")

#: The whole way, and the short one.
ASKED, AT_ONCE = ["none", "publickey", "publickey"], ["publickey"]


@pytest.fixture
def site(ssh_server: SshServer, tmp_path: Path) -> Site:
    """Give the keys of a server that lets in `user`, and those of others."""
    made = Site(tmp_path, ssh_server)
    for name in ("host_ed25519", "user", "other", "user_ca"):
        made.key(name)
    allow(made, "user")
    return made


def logins(
    site: Site, config: Path, allowed: Sequence[str], extra: str = ""
) -> list[tuple[str, list[str]]]:
    """Log in once for each key, which the server then takes; return each outcome, and what was asked."""

    async def each() -> list[tuple[str, list[str]]]:
        setup = Setup(Request(options=("-F", str(config))), os.environb, str(site.directory))
        found = []
        for key in allowed:
            (site.directory / "log").write_text("")
            allow(site, key)
            target = setup.resolve("node")
            assert not isinstance(target, Fallback)
            sshd = site.sshd(extra=f"LogLevel DEBUG3\n{extra}")
            login = await log_in(setup, target, sshd)
            text = (site.directory / "log").read_text()
            asked = re.findall(r"userauth-request for user \S+ service \S+ method (\S+)", text)
            found.append((login.outcome, asked))
        setup.close()
        return found

    return asyncio.run(each())


def known(site: Site, text: str = "") -> Path:
    return site.client_config(text, f"node {site.key('host_ed25519')}\n")


def test_the_key_comes_first_where_the_last_server_has_taken_it(site: Site) -> None:
    assert logins(site, known(site), ["user"] * 3) == [(OK, ASKED), (OK, AT_ONCE), (OK, AT_ONCE)]


def test_a_server_that_does_not_take_it_is_asked_for_all_else(site: Site) -> None:
    """At the end whether any proof is needed at all, as ssh(1) asks at the beginning."""
    found = logins(site, known(site), ["user", "other", "user"])
    assert found == [(OK, ASKED), (AUTH, ["publickey", "none"]), (OK, AT_ONCE)]


def test_a_key_behind_another_one(site: Site) -> None:
    """It is signed with when it is its turn: the one before is asked for as ever."""
    config = known(site, f"Host node\n IdentityFile {site.directory}/other\n")
    asked = ["none", "publickey", *ASKED[1:]]
    found = logins(site, config, ["user", "user", "other", "other"])
    assert found == [(OK, asked), (OK, asked[:-1]), (OK, ASKED), (OK, AT_ONCE)]


def test_a_key_of_an_agent_signs_nothing_in_vain(site: Site) -> None:
    """Its user may be asked for each signature (ssh-add -c), also where a file has the key too."""
    with agent(site, "user") as path:
        config = known(site, f"Host node\n IdentityAgent {path}\n")
        assert logins(site, config, ["user"] * 2) == [(OK, ASKED)] * 2


def test_two_proofs(site: Site) -> None:
    """A server that wants a key twice (AuthenticationMethods) is given two."""
    config = known(site, f"Host node\n IdentityFile {site.directory}/other\n")
    extra = "AuthenticationMethods publickey,publickey\n"
    keys = (site.directory / "authorized_keys").read_text()
    (site.directory / "both").write_text(f"{keys}{site.key('other')}\n")
    extra += f"AuthorizedKeysFile {site.directory}/both\n"
    found = logins(site, config, ["user"] * 3, extra)
    assert [outcome for outcome, _ in found] == [OK] * 3
    assert len(found[2][1]) < len(found[0][1])


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes128-ctr", "aes128-cbc"])
def test_no_empty_packets_but_with_a_cipher_that_needs_them(site: Site, cipher: str) -> None:
    config = known(site, f"Host node\n Ciphers {cipher}\n")
    assert logins(site, config, ["user"], f"Ciphers {cipher}\n") == [(OK, ASKED)]
    text = (site.directory / "log").read_text()
    assert ("SSH2_MSG_IGNORE" in text) == cipher.endswith("-cbc")


@pytest.mark.needs("root")
@pytest.mark.parametrize("transport", ["asyncssh"], indirect=True)
def test_an_account_that_needs_no_proof(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """After nodes that have taken a key: as with ssh(1) it is let in."""
    text = "PermitEmptyPasswords yes\nAuthorizedKeysFile none\n"
    with password_sshd(ssh_server, tmp_path, text, password="") as port:
        config = f"Host open*\n  HostName 127.0.0.1\n  Port {port}\n  User {USER}\n"
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, config))
        ssh_task.set_info("engines", 1)
        ssh_task.set_info("fanout", 1)
        worker = ssh_task.run("true", nodes="node[1-2],open[1-2],node3")
    assert [(o.node, o.reason) for o in worker.outcomes() if not o.ok] == []
