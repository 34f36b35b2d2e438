"""Host keys: the verdict on each is ssh(1)'s own, with OpenSSH 9 and 10 on both sides."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mpshell.ssh.hostkeys import AT_ONCE, hash_name
from tests.ssh.conftest import SshServer, each_ssh_server
from tests.ssh.handshake import OK, Site, by_library, by_ssh

ssh_server = each_ssh_server

pytestmark = pytest.mark.needs("ssh", "sshd")

#: Files of host keys: the known keys, and the options of client and server that differ from a plain one's.
#: ED, RSA, EC are the server's keys, WRONG and WRONG_RSA others; CA has signed CERT, WRONG_CA nothing.
PLAIN: dict[str, tuple[str, str, str, str]] = {
    # name: known_hosts, client's configuration, server's keys, node
    "known": ("node ED", "", "ed25519", "node"),
    "unknown": ("", "", "ed25519", "node"),
    "unknown, ask": ("", "StrictHostKeyChecking ask", "ed25519", "node"),
    "unknown, yes": ("", "StrictHostKeyChecking yes", "ed25519", "node"),
    "unknown, no": ("", "StrictHostKeyChecking no", "ed25519", "node"),
    "unknown, accept-new": ("", "StrictHostKeyChecking accept-new", "ed25519", "node"),
    "for another name": ("other ED", "", "ed25519", "node"),
    "changed": ("node WRONG", "", "ed25519", "node"),
    "changed, accept-new": ("node WRONG", "StrictHostKeyChecking accept-new", "ed25519", "node"),
    "changed, no": ("node WRONG", "StrictHostKeyChecking no", "ed25519", "node"),
    "one of two": ("node WRONG\nnode ED", "", "ed25519", "node"),
    "revoked": ("node ED\n@revoked node ED", "", "ed25519", "node"),
    "revoked first": ("@revoked * ED\nnode ED", "", "ed25519", "node"),
    "revoked, accept-new": ("@revoked * ED", "StrictHostKeyChecking accept-new", "ed25519", "node"),
    "revoked, no": ("@revoked * ED", "StrictHostKeyChecking no", "ed25519", "node"),
    "revoked for another": ("@revoked other ED\nnode ED", "", "ed25519", "node"),
    "another type is known": ("node RSA", "", "ed25519", "node"),
    "another type, accept-new": ("node RSA", "StrictHostKeyChecking accept-new", "ed25519", "node"),
    "two types, rsa known": ("node RSA", "", "ed25519 rsa", "node"),
    "two types, ecdsa known": ("node EC", "", "rsa ecdsa ed25519", "node"),
    "two types, wrong rsa": ("node WRONG_RSA", "", "ed25519 rsa", "node"),
    "two types, both known": ("node RSA\nnode ED", "", "ed25519 rsa", "node"),
    "own order": ("node RSA", "HostKeyAlgorithms ssh-ed25519,rsa-sha2-512", "ed25519 rsa", "node"),
    "added order": ("node RSA", "HostKeyAlgorithms +ssh-rsa", "ed25519 rsa", "node"),
    "hashed": ("HASH(node) ED", "", "ed25519", "node"),
    "hashed, other name": ("HASH(other) ED", "", "ed25519", "node"),
    "hashed, changed": ("HASH(node) WRONG", "", "ed25519", "node"),
    "hashed, changed, accept-new": (
        "HASH(node) WRONG", "StrictHostKeyChecking accept-new", "ed25519", "node",
    ),
    "hashed, two types": ("HASH(node) RSA", "", "ed25519 rsa", "node"),
    "hashed and revoked": ("HASH(node) ED\n@revoked HASH(node) ED", "", "ed25519", "node"),
    "hashed, port": ("HASH([node]:2200) ED", "Port 2200", "ed25519", "node"),
    "alias": ("plain ED", "HostKeyAlias plain", "ed25519", "node"),
    "alias, name alone": ("node ED", "HostKeyAlias plain", "ed25519", "node"),
    "alias in capitals": ("plain ED", "HostKeyAlias PLAIN", "ed25519", "node"),
    "alias and port": ("plain ED", "HostKeyAlias plain\nPort 2200", "ed25519", "node"),
    "alias with a port": ("[plain]:2200 ED", "HostKeyAlias plain\nPort 2200", "ed25519", "node"),
    "port": ("[node]:2200 ED", "Port 2200", "ed25519", "node"),
    "port, name alone": ("node ED", "Port 2200", "ed25519", "node"),
    "port, changed, name known": ("[node]:2200 WRONG\nnode ED", "Port 2200", "ed25519", "node"),
    "port, name changed": ("node WRONG", "Port 2200", "ed25519", "node"),
    "port, name changed, new": (
        "node WRONG", "Port 2200\nStrictHostKeyChecking accept-new", "ed25519", "node",
    ),
    "port, name revoked, new": (
        "@revoked node ED", "Port 2200\nStrictHostKeyChecking accept-new", "ed25519", "node",
    ),
    "other port": ("[node]:22 ED", "Port 2200", "ed25519", "node"),
    "hostname": ("10.1.1.1 ED", "HostName 10.1.1.1", "ed25519", "node"),
    "hostname, node alone": ("node ED", "HostName 10.1.1.1", "ed25519", "node"),
    "in capitals": ("NODE ED", "", "ed25519", "Node"),
    "patterns": ("n*,!nobody ED", "", "ed25519", "node"),
    "negated": ("n*,!node ED", "", "ed25519", "node"),
    "question mark": ("nod? ED", "", "ed25519", "node"),
    "list": ("a,node,b ED", "", "ed25519", "node"),
    "comment and spaces": ("# x\n\n  node   ED  a comment", "", "ed25519", "node"),
    "wrong type named": ("node ssh-rsa BLOB", "", "ed25519", "node"),
    "type of a signature": ("node rsa-sha2-512 RSABLOB", "", "rsa", "node"),
    "no key": ("node ssh-ed25519", "", "ed25519", "node"),
    "no base64": ("node ssh-ed25519 AAAA%%", "", "ed25519", "node"),
    "unknown marker": ("@future node WRONG\nnode ED", "", "ed25519", "node"),
    "second file": ("", "UserKnownHostsFile DIR/known DIR/second", "ed25519", "node"),
    "file of all": ("", "GlobalKnownHostsFile DIR/second", "ed25519", "node"),
    "no file": ("node ED", "UserKnownHostsFile none", "ed25519", "node"),
    "small rsa": ("node RSA1024", "RequiredRSASize 2048", "rsa1024", "node"),
    "small rsa allowed": ("node RSA1024", "RequiredRSASize 1024", "rsa1024", "node"),
    "empty line end": ("node ED\r", "", "ed25519", "node"),
    "ipv6": ("::1 ED", "HostName ::1", "ed25519", "node"),
}  # fmt: skip


@pytest.fixture
def site(ssh_server: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give the keys of a server and of others; made once for a server."""
    directory = ssh_server.directory / "site"
    made = Site(directory, ssh_server)
    if not directory.exists():
        directory.mkdir(mode=0o700)
    for name, kind, *more in (
        ("host_ed25519", "ed25519"), ("host_rsa", "rsa", "-b", "2048"), ("host_ecdsa", "ecdsa"),
        ("wrong", "ed25519"),
        ("wrong_rsa", "rsa", "-b", "2048"), ("ca", "ed25519"), ("wrong_ca", "ed25519"), ("user", "ed25519"),
        ("host_rsa1024", "rsa", "-b", "1024"), ("host_signed", "ed25519"),
    ):  # fmt: skip
        made.key(name, kind, *more)
    (directory / "authorized_keys").write_text(made.key("user") + "\n")
    (directory / "second").write_text(f"node {made.key('host_ed25519')}\n")
    return made


def lines(site: Site, text: str) -> str:
    """Return lines of known_hosts with the keys in place of their names."""
    names = {
        "RSABLOB": site.key("host_rsa").split()[1], "BLOB": site.key("host_ed25519").split()[1],
        "RSA1024": site.key("host_rsa1024"), "WRONG_RSA": site.key("wrong_rsa"),
        "WRONG_CA": site.key("wrong_ca"), "WRONG": site.key("wrong"), "SIGNED": site.key("host_signed"),
        "CA": site.key("ca"), "ED": site.key("host_ed25519"), "RSA": site.key("host_rsa"),
        "EC": site.key("host_ecdsa"),
    }  # fmt: skip
    text = re.sub(r"HASH\(([^)]*)\)", lambda found: hash_name(found[1]).decode(), text)
    return re.sub(r"\b(" + "|".join(names) + r")(?=\s|$)", lambda f: names[f[1]], text) + "\n"


def client_config(site: Site, text: str, known: str) -> Callable[[], Path]:
    """Return how the client's files are written: anew for each login, as a login may add to them."""
    options = text.replace("DIR", str(site.directory))
    known = lines(site, known)
    return lambda: site.client_config(options, known)


@pytest.mark.parametrize("name", PLAIN)
def test_the_verdict_is_that_of_ssh(site: Site, name: str) -> None:
    known, options, keys, node = PLAIN[name]
    write = client_config(site, options, known)
    sshd = site.sshd([f"host_{kind}" for kind in keys.split()])
    wanted, log = by_ssh(site, write(), sshd, node)
    login = by_library(site, write(), sshd, node)
    assert login.outcome == wanted, (login.detail, log)
    added = "Permanently added" in log
    assert (login.connection.accepted is not None) == added


@pytest.mark.parametrize("name", [name for name in PLAIN if "hashed" in name or "known" in name])
def test_a_long_file_gives_the_same_verdict(site: Site, name: str) -> None:
    """More hashed lines than are compared at once: a key that is not found needs a look at all."""
    known, options, keys, node = PLAIN[name]
    long = "\n".join(f"HASH(filler{n}) WRONG" for n in range(AT_ONCE + 40))
    write = client_config(site, options, f"{long}\n{known}")
    sshd = site.sshd([f"host_{kind}" for kind in keys.split()])
    wanted, log = by_ssh(site, write(), sshd, node)
    login = by_library(site, write(), sshd, node)
    assert login.outcome == wanted, (login.detail, log)
    assert (login.connection.accepted is not None) == ("Permanently added" in log)


#: Certificates of the server: the known keys, how the certificate is made, the client's options.
SIGNED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "for the name": ("@cert-authority * CA", ("-h", "-n", "node"), ""),
    "for all names": ("@cert-authority * CA", ("-h",), ""),
    "for another name": ("@cert-authority * CA", ("-h", "-n", "other"), ""),
    "for a pattern": ("@cert-authority * CA", ("-h", "-n", "no*"), ""),
    "in capitals": ("@cert-authority * CA", ("-h", "-n", "NODE"), ""),
    "for an alias": ("@cert-authority * CA", ("-h", "-n", "plain"), "HostKeyAlias plain"),
    "not for the alias": ("@cert-authority * CA", ("-h", "-n", "node"), "HostKeyAlias plain"),
    "expired": ("@cert-authority * CA", ("-h", "-n", "node", "-V", "20200101:20200102"), ""),
    "expired, key known": (
        "@cert-authority * CA\nnode SIGNED", ("-h", "-n", "node", "-V", "20200101:20200102"), "",
    ),
    "not yet": ("@cert-authority * CA", ("-h", "-n", "node", "-V", "20990101:20990102"), ""),
    "another authority": ("@cert-authority * WRONG_CA", ("-h", "-n", "node"), ""),
    "authority of others": ("@cert-authority other CA", ("-h", "-n", "node"), ""),
    "no authority, key known": ("node SIGNED", ("-h", "-n", "node"), ""),
    "no authority, key changed": ("node WRONG", ("-h", "-n", "node"), ""),
    "nothing known, accept-new": ("", ("-h", "-n", "node"), "StrictHostKeyChecking accept-new"),
    "other name, accept-new": (
        "@cert-authority * CA", ("-h", "-n", "other"), "StrictHostKeyChecking accept-new",
    ),
    "authority revoked": ("@cert-authority * CA\n@revoked * CA", ("-h", "-n", "node"), ""),
    "key revoked": ("@cert-authority * CA\n@revoked * SIGNED", ("-h", "-n", "node"), ""),
    "authority as a plain key": ("* CA", ("-h", "-n", "node"), ""),
    "of a user": ("@cert-authority * CA", ("-n", "node"), ""),
    "with a port": ("@cert-authority [node]:2200 CA", ("-h", "-n", "node"), "Port 2200"),
    "port, name alone": ("@cert-authority node CA", ("-h", "-n", "node"), "Port 2200"),
    "signed in a way that is off": (
        "@cert-authority * CA", ("-h", "-n", "node"), "CASignatureAlgorithms rsa-sha2-512",
    ),
    "hashed authority": ("@cert-authority HASH(node) CA", ("-h", "-n", "node"), ""),
    "certificates off": (
        "@cert-authority * CA", ("-h", "-n", "node"), "HostKeyAlgorithms ssh-ed25519",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNED)
def test_the_verdict_on_a_certificate_is_that_of_ssh(site: Site, name: str) -> None:
    known, how, options = SIGNED[name]
    site.keygen("-s", "ca", "-I", "test", *how, "host_signed.pub")
    certificate = f"HostCertificate {site.directory}/host_signed-cert.pub"
    sshd = site.sshd(["host_signed"], certificate)
    write = client_config(site, options, known)
    wanted, log = by_ssh(site, write(), sshd)
    login = by_library(site, write(), sshd)
    assert login.outcome == wanted, (login.detail, log)
    assert (login.connection.accepted is not None) == ("Permanently added" in log)


def test_a_refusal_names_the_line(site: Site) -> None:
    sshd = site.sshd()
    write = client_config(site, "", "# first\nnode WRONG")
    assert f"has changed ({site.directory}/known line 2)" in by_library(site, write(), sshd).detail
    write = client_config(site, "", "node ED\n@revoked * ED")
    assert f"is revoked ({site.directory}/known line 2)" in by_library(site, write(), sshd).detail
    write = client_config(site, "Port 2200", "")
    assert "no host key is known for [node]:2200" in by_library(site, write(), sshd).detail


def test_a_key_that_was_accepted_is_written_as_ssh_writes_it(site: Site) -> None:
    sshd = site.sshd()
    options = "StrictHostKeyChecking accept-new\nHashKnownHosts HASHED\nPort 2200"
    for hashed in ("no", "yes"):
        write = client_config(site, options.replace("HASHED", hashed), "")
        login = by_library(site, write(), sshd)
        assert login.outcome == OK
        line = login.connection.accepted
        assert line is not None
        assert line.startswith("|1|") == (hashed == "yes")
        # ssh(1) takes it for the host's own.
        again = client_config(site, "Port 2200", line)
        assert by_ssh(site, again(), sshd)[0] == OK
