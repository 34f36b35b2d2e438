"""Targets: which connections share options, hosts on the way, and which nodes are left to ssh(1)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mpshell import WorkerError
from mpshell.ssh.algorithms import agreed, assemble, order_host_keys, weaker_kex
from mpshell.ssh.connecting import WINDOW
from mpshell.ssh.request import Request
from mpshell.ssh.setup import Fallback, Setup, Target, split_jump


def setup(
    tmp_path: Path, text: str, environ: dict[bytes, bytes] | None = None, user: str = ""
) -> Setup:
    config = tmp_path / "config"
    config.write_text(text)
    return Setup(Request(user, options=("-F", str(config))), environ or {}, str(tmp_path))


def target(made: Setup, node: str) -> Target:
    found = made.resolve(node)
    assert isinstance(found, Target), found
    return found


def reason(made: Setup, node: str = "node") -> str:
    found = made.resolve(node)
    assert isinstance(found, Fallback), found
    return found.reason


def test_targets_that_differ_in_host_and_port_alone_share_their_options(tmp_path: Path) -> None:
    made = setup(tmp_path, "Host b\n Port 3\nHost c\n User other\nHost d\n Compression yes\n")
    a, b, c, d = (target(made, name) for name in "abcd")
    assert a.options is b.options is target(made, "a").options
    assert len({id(t.options) for t in (a, c, d)}) == 3
    assert a.key == target(made, "a").key
    assert len({t.key for t in (a, b, c, d)}) == 4


def test_the_options_leave_nothing_to_asyncssh(tmp_path: Path) -> None:
    options = target(setup(tmp_path, ""), "a").options
    assert options.preferred_auth == ["publickey"]
    assert not (options.password_auth or options.kbdint_auth or options.host_based_auth)
    assert options.agent_path is None
    assert options.client_keys is None
    assert not options.gss_auth
    assert options.window == WINDOW
    offered = [*options.kex_algs, *options.mac_algs, *options.encryption_algs]
    names = [name.decode() for name in offered]
    assert not [
        n for n in names if "group14-sha1" in n or "rsa2048" in n or "md5" in n or "sha224" in n
    ]
    assert names[0] == "mlkem768x25519-sha256"


def test_hosts_on_the_way_have_their_own_part_of_the_configuration(tmp_path: Path) -> None:
    text = (
        "Host node\n ProxyJump first,joe@second:33\n User me\nHost first\n HostName 10.0.0.1\n User one\n"
        "Host second\n Port 44\n ProxyJump ignored\n"
    )
    found = target(setup(tmp_path, text, user="info"), "node")
    assert [(t.host, t.port, t.user) for t in found.jump] == [
        ("10.0.0.1", 22, "one"),
        ("second", 33, "joe"),
    ]
    assert found.user == "info"
    assert all(not hop.jump or hop is found.jump[-1] for hop in found.jump)


def test_a_host_on_the_way_has_one_itself(tmp_path: Path) -> None:
    found = target(setup(tmp_path, "Host node\n ProxyJump a\nHost a\n ProxyJump b\n"), "node")
    assert [hop.host for hop in found.jump] == ["b", "a"]


def test_hosts_on_the_way_in_a_circle(tmp_path: Path) -> None:
    text = "Host node\n ProxyJump a\nHost a\n ProxyJump b\nHost b\n ProxyJump a\n"
    assert "proxyjump" in reason(setup(tmp_path, text))


def test_a_host_on_the_way_that_only_ssh_can_take(tmp_path: Path) -> None:
    text = "Host node\n ProxyJump a\nHost a\n RevokedHostKeys /x\n"
    assert "revokedhostkeys" in reason(setup(tmp_path, text))
    assert target(setup(tmp_path, text), "other").jump == ()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a", ("", "a", "")),
        ("u@a:3", ("u", "a", "3")),
        ("ssh://u@a:3", ("u", "a", "3")),
        ("[::1]:3", ("", "::1", "3")),
        ("::1", ("", "::1", "")),
        ("u@dom@a", ("u@dom", "a", "")),
    ],
)
def test_the_parts_of_a_host_on_the_way(text: str, parts: tuple[str, str, str]) -> None:
    assert split_jump(text) == parts


def test_a_proxy_command_and_its_tokens(tmp_path: Path) -> None:
    text = "Host node\n ProxyCommand nc %h %p as %r for %n\n HostName 10.0.0.1\n Port 3\n User me\n"
    assert target(setup(tmp_path, text), "node").proxy_command == "nc 10.0.0.1 3 as me for node"
    assert "%d" in reason(setup(tmp_path, "ProxyCommand nc %d"))


def test_tokens_in_the_name_of_a_host_on_the_way(tmp_path: Path) -> None:
    text = "Host node\n ProxyJump %r@gw-%n:%p\n HostName 10.0.0.1\n Port 3\n User me\nHost gw-*\n Port 4\n"
    [hop] = target(setup(tmp_path, text), "node").jump
    assert (hop.host, hop.port, hop.user) == ("gw-node", 3, "me")
    assert "%C" in reason(setup(tmp_path, "ProxyJump gw-%C"))


@pytest.mark.parametrize(
    "text",
    [
        "ProxyCommand nc %h\nHostName a;b\n", "ProxyCommand nc %r\nUser $x\n",
        "ProxyCommand nc %n %h\nHostName $(reboot)\n", "ProxyJump $gw\n", "ProxyJump gw`id`\n",
    ],
)  # fmt: skip
def test_a_name_that_a_shell_would_change_is_for_ssh_to_judge(tmp_path: Path, text: str) -> None:
    """ssh(1) has a shell read it; which of such names it refuses differs from release to release."""
    assert "proxy" in reason(setup(tmp_path, text))


def test_such_a_name_is_harmless_where_no_shell_reads_it(tmp_path: Path) -> None:
    text = "ProxyCommand nc gateway\nHostName a;b\n"
    assert target(setup(tmp_path, text), "node").proxy_command == "nc gateway"


def test_tickets_of_kerberos_are_for_ssh(tmp_path: Path) -> None:
    environ = {b"KRB5CCNAME": b"KCM:"}
    text = "GSSAPIAuthentication yes\n"
    assert "gssapi" in reason(setup(tmp_path, text, environ))
    assert isinstance(setup(tmp_path, "", environ).resolve("node"), Target)
    off = text + "PreferredAuthentications publickey\n"
    assert isinstance(setup(tmp_path, off, environ).resolve("node"), Target)


def test_a_master_that_lives_is_for_ssh(tmp_path: Path) -> None:
    made = setup(tmp_path, f"ControlMaster auto\nControlPath {tmp_path}/m-%n\n")
    assert isinstance(made.resolve("node"), Target)
    (tmp_path / "m-node").touch()
    assert "controlpath" in reason(made)
    assert isinstance(made.resolve("other"), Target)


def test_a_security_key_is_for_ssh(tmp_path: Path) -> None:
    (tmp_path / "token.pub").write_text("sk-ssh-ed25519@openssh.com AAAA\n")
    assert "security key" in reason(setup(tmp_path, f"IdentityFile {tmp_path}/token\n"))
    assert isinstance(setup(tmp_path, f"IdentityFile {tmp_path}/other\n").resolve("a"), Target)


@pytest.mark.parametrize("keyword", ["IdentityFile", "UserKnownHostsFile", "GlobalKnownHostsFile"])
def test_a_file_of_another_directory_is_for_ssh(tmp_path: Path, keyword: str) -> None:
    assert "not an absolute path" in reason(setup(tmp_path, f"{keyword} somewhere/file\n"))


def test_a_letter_that_only_ssh_honours_is_for_all_nodes(tmp_path: Path) -> None:
    made = Setup(Request(options=("-A", "-F", "none")), {}, str(tmp_path))
    assert reason(made) == "option -A"


def test_bad_options_are_an_error_before_any_node(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="config line 2"):
        setup(tmp_path, "Host other\n Port abc\n")


def test_algorithms() -> None:
    assert assemble("kexalgorithms", None, ("a", "b")) == ("a", "b")
    assert assemble("kexalgorithms", "-a*", ("ab", "b")) == ("b",)
    assert assemble("kexalgorithms", "^b", ("a", "b")) == ("b", "a")
    assert agreed("ba", "ab") == "b"
    assert agreed("x", "ab") is None
    new, old, plain = "mlkem768x25519-sha256", "sntrup761x25519-sha512", "curve25519-sha256"
    assert weaker_kex((new, old, plain), (new, plain), (old, plain)) == old
    assert weaker_kex((new, old, plain), (new, plain), (new, old, plain)) is None
    assert weaker_kex((new, old, plain), (new, plain), (plain,)) is None
    assert weaker_kex((plain,), (plain,), (old, plain)) is None
    assert weaker_kex((old,), (), (old,)) == old


def test_the_order_of_host_key_algorithms() -> None:
    """As in order_hostkeyalgs() of sshconnect2.c."""
    cert, ed, ec, rsa = (
        "ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512",
    )  # fmt: skip
    plain = (cert, ed, ec, rsa)
    assert order_host_keys(plain, {"ssh-ed25519", "ssh-rsa"}, False) == plain
    assert order_host_keys(plain, {"ssh-rsa"}, False) == (rsa, cert, ed, ec)
    assert order_host_keys(plain, {"ecdsa-sha2-nistp256"}, True) == (cert, ec, ed, rsa)
    assert order_host_keys(plain, (), False) == plain


def test_a_request_is_checked_without_asyncssh() -> None:
    source = (
        "import sys; import mpshell.ssh.check, mpshell.ssh.accepted, mpshell.ssh.extra\n"
        "import mpshell.ssh.request, mpshell.ssh.password, mpshell.ssh.hostkeys\n"
        "print('asyncssh' in sys.modules, mpshell.ssh.extra.missing())"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "None"]
