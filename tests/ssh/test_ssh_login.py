"""Logging in: with each set of keys the outcome is ssh(1)'s own, with OpenSSH 9 and 10 on both sides."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpshell.wire.notices import NOTICE_REASON
from tests.ssh.conftest import SshServer, each_ssh_server
from tests.ssh.handshake import AUTH, OK, Login, Site, by_library, by_ssh

ssh_server = each_ssh_server

pytestmark = pytest.mark.needs("ssh", "sshd")

PASSPHRASE = "open sesame"


@pytest.fixture
def site(ssh_server: SshServer, tmp_path: Path) -> Site:
    """Give a server's key, and those of users; only `user` and keys signed by its authority are let in."""
    keys = ssh_server.directory / "keys"
    if not keys.exists():
        keys.mkdir(mode=0o700)
        make_keys(Site(keys, ssh_server))
    made = Site(tmp_path / "site", ssh_server)
    shutil.copytree(keys, made.directory)
    allow(made, "user", "user_rsa", "user_ecdsa", "locked")
    return made


def make_keys(site: Site) -> None:
    """Make the keys of all tests, once for a server."""
    for name in ("host_ed25519", "user", "user_ca", *(f"other{number}" for number in range(8))):
        site.key(name)
    site.key("user_rsa", "rsa", "-b", "2048")
    site.key("user_ecdsa", "ecdsa")
    site.keygen("-t", "ed25519", "-N", PASSPHRASE, "-f", "locked")


def allow(site: Site, *names: str) -> None:
    """Have the server let in only these keys, and those signed by the user's authority."""
    lines = [site.key(name) for name in names]
    lines.append(f'cert-authority,principals="root" {site.key("user_ca")}')
    (site.directory / "authorized_keys").write_text("\n".join(lines) + "\n")


def listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


@contextlib.contextmanager
def agent(site: Site, *names: str, locked: bool = False) -> Iterator[str]:
    """Give the socket of an agent that holds keys."""
    path = str(site.directory / "agent.socket")
    running = subprocess.Popen(
        ["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        environ = {
            **os.environ,
            "SSH_AUTH_SOCK": path,
            "DISPLAY": "none",
            "SSH_ASKPASS_REQUIRE": "force",
        }
        asker = site.directory / "asker"
        asker.write_text(f"#!/bin/sh\necho '{PASSPHRASE}'\n")
        asker.chmod(0o755)
        environ["SSH_ASKPASS"] = str(asker)
        while not listens(path):
            assert running.poll() is None
        for name in names:
            subprocess.run(
                ["ssh-add", "-q", str(site.directory / name)], env=environ, check=True, timeout=60,
                stdin=subprocess.DEVNULL, capture_output=True,
            )  # fmt: skip
        yield path
    finally:
        running.terminate()
        running.wait(60)


def both(site: Site, options: str, server: str = "") -> tuple[Login, str]:
    """Log in by ssh(1) and by the library; return the latter's, after a look that they agree."""
    config = site.directory / "config"
    config.write_text(
        options.replace("DIR", str(site.directory))
        + f"\nHost *\n UserKnownHostsFile {site.directory}/known\n KexAlgorithms curve25519-sha256\n"
        " IdentityAgent none\n"
    )
    (site.directory / "known").write_text(f"node {site.key('host_ed25519')}\n")
    sshd = site.sshd(["host_ed25519"], server)
    wanted, log = by_ssh(site, config, sshd)
    login = by_library(site, config, sshd)
    assert login.outcome == wanted, (login.error, login.connection.auth_notes, log)
    return login, log


@pytest.mark.parametrize("name", ["user", "user_rsa", "user_ecdsa"])
def test_a_key_of_each_type(site: Site, name: str) -> None:
    assert both(site, f"IdentityFile DIR/{name}")[0].outcome == OK


def test_a_wrong_key_and_then_the_right_one(site: Site) -> None:
    text = "IdentityFile DIR/other1\nIdentityFile DIR/nothing\nIdentityFile DIR/user"
    assert both(site, text)[0].outcome == OK


def test_no_key_that_is_let_in(site: Site) -> None:
    assert both(site, "IdentityFile DIR/other1")[0].outcome == AUTH


def test_another_user(site: Site) -> None:
    assert both(site, "IdentityFile DIR/user\nUser nobody-at-all")[0].outcome == AUTH


@pytest.mark.parametrize("place", [5, 6, 7])
def test_more_keys_than_the_server_takes(site: Site, place: int) -> None:
    """MaxAuthTries is 6: the sixth key is looked at, the seventh is not."""
    files = [f"other{number}" for number in range(7)]
    files.insert(place - 1, "user")
    text = "\n".join(f"IdentityFile DIR/{name}" for name in files)
    assert both(site, text)[0].outcome == (OK if place <= 6 else AUTH)


def test_a_key_with_a_passphrase_is_not_offered_and_nobody_is_asked(site: Site) -> None:
    login, _ = both(site, "IdentityFile DIR/locked")
    assert login.outcome == AUTH
    assert "locked: has a passphrase, so only an agent can use it" in login.connection.auth_notes


def test_a_key_with_a_passphrase_that_the_agent_holds(site: Site) -> None:
    with agent(site, "locked") as path:
        text = f"IdentityAgent {path}\nIdentityFile DIR/locked\nIdentitiesOnly yes"
        login, _ = both(site, text)
        assert login.outcome == OK


def test_a_key_that_others_may_read(site: Site) -> None:
    (site.directory / "user").chmod(0o644)
    login, _ = both(site, "IdentityFile DIR/user")
    assert login.outcome == AUTH
    assert "user: other users can read it" in login.connection.auth_notes


def test_the_agent_of_the_environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with agent(site, "user") as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        text = "IdentityAgent SSH_AUTH_SOCK\nIdentityFile DIR/nothing"
        assert both(site, text)[0].outcome == OK
        assert both(site, "IdentityFile DIR/nothing")[0].outcome == AUTH  # IdentityAgent none


def test_only_the_identities_that_are_named(site: Site) -> None:
    with agent(site, "user", "other1") as path:
        text = f"IdentityAgent {path}\nIdentityFile DIR/other1"
        assert both(site, text)[0].outcome == OK
        assert both(site, f"{text}\nIdentitiesOnly yes")[0].outcome == AUTH


def test_the_public_half_of_a_key_that_the_agent_holds(site: Site) -> None:
    with agent(site, "user") as path:
        (site.directory / "user").unlink()
        for name in ("user.pub", "user"):
            text = f"IdentityAgent {path}\nIdentityFile DIR/{name}\nIdentitiesOnly yes"
            assert both(site, text)[0].outcome == OK


def test_a_full_agent_and_a_named_key(site: Site) -> None:
    """The named key goes before the others of the agent, or the server would not come to it."""
    others = [f"other{number}" for number in range(8)]
    with agent(site, *others, "user") as path:
        assert both(site, f"IdentityAgent {path}\nIdentityFile DIR/user")[0].outcome == OK
        assert both(site, f"IdentityAgent {path}\nIdentityFile DIR/nothing")[0].outcome == AUTH


def test_an_agent_that_is_not_there(site: Site) -> None:
    text = "IdentityAgent DIR/no-agent\nIdentityFile DIR/user"
    assert both(site, text)[0].outcome == OK


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("principal", ["root", "nobody"])
def test_a_certificate(site: Site, explicit: bool, principal: str) -> None:
    allow(site)
    site.keygen("-s", "user_ca", "-I", "test", "-n", principal, "other1.pub")
    text = "IdentityFile DIR/other1"
    if explicit:
        os.rename(site.directory / "other1-cert.pub", site.directory / "elsewhere.pub")
        text += "\nCertificateFile DIR/elsewhere.pub"
    assert both(site, text)[0].outcome == (OK if principal == "root" else AUTH)


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_certificate_of_a_key_that_the_agent_holds(site: Site, kind: str) -> None:
    allow(site)
    site.key("signed", kind, *(["-b", "2048"] if kind == "rsa" else []))
    with agent(site, "signed") as path:
        site.keygen("-s", "user_ca", "-I", "test", "-n", "root", "signed.pub")
        os.rename(site.directory / "signed-cert.pub", site.directory / "elsewhere.pub")
        (site.directory / "signed").unlink()
        text = f"IdentityAgent {path}\nCertificateFile DIR/elsewhere.pub\nIdentityFile DIR/nothing"
        assert both(site, text)[0].outcome == OK


def test_methods_that_are_off(site: Site) -> None:
    assert both(site, "IdentityFile DIR/user\nPubkeyAuthentication no")[0].outcome == AUTH
    text = "IdentityFile DIR/user\nPreferredAuthentications password"
    assert both(site, text)[0].outcome == AUTH


def test_algorithms_that_are_off(site: Site) -> None:
    text = "IdentityFile DIR/user\nPubkeyAcceptedAlgorithms rsa-sha2-512"
    assert both(site, text)[0].outcome == AUTH
    text = "IdentityFile DIR/user_rsa\nPubkeyAcceptedAlgorithms rsa-sha2-512"
    assert both(site, text)[0].outcome == OK


@pytest.mark.parametrize("algorithm", ["rsa-sha2-256", "rsa-sha2-512"])
def test_a_server_that_takes_one_algorithm_of_signatures(site: Site, algorithm: str) -> None:
    """A server of OpenSSH 9 lists all algorithms that it has, not those that it accepts."""
    both(site, "IdentityFile DIR/user_rsa", f"PubkeyAcceptedAlgorithms {algorithm}")


def test_a_small_key_of_the_user(site: Site) -> None:
    assert both(site, "IdentityFile DIR/user_rsa\nRequiredRSASize 2048")[0].outcome == OK
    assert both(site, "IdentityFile DIR/user_rsa\nRequiredRSASize 3072")[0].outcome == AUTH


def test_variables_that_the_server_takes(site: Site) -> None:
    allowed = "AcceptEnv LC_TEST_*"
    login, _ = both(site, "IdentityFile DIR/user\nSetEnv LC_TEST_A=one", allowed)
    assert login.outcome == OK
    assert login.connection.target.options.env == {"LC_TEST_A": "one"}


@pytest.mark.parametrize("kex", ["prefer", "require"])
def test_a_quantum_safe_key_exchange_that_only_ssh_has(site: Site, kex: str) -> None:
    config = site.client_config(
        "KexAlgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256"
    )
    (site.directory / "known").write_text(f"node {site.key('host_ed25519')}\n")
    server = "KexAlgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256"
    login = by_library(site, config, site.sshd(["host_ed25519"], server), kex=kex)
    if kex == "require":
        assert login.outcome == "kex"
        assert "sntrup761x25519-sha512@openssh.com is needed" in login.detail
    else:
        assert login.outcome == OK
        [notice] = login.connection.notices
        head, _, exchanges = notice.partition(NOTICE_REASON)
        assert "not quantum-safe" in head and "ssh_kex" in head
        assert exchanges == "curve25519-sha256 in place of sntrup761x25519-sha512@openssh.com"
    plain = by_library(
        site, config, site.sshd(["host_ed25519"], "KexAlgorithms curve25519-sha256"), kex=kex
    )
    # ssh(1) has no better one with that server.
    assert (plain.outcome, plain.connection.notices) == (OK, [])
