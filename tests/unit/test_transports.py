"""Commands from templates, and which of them need no shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpshell.engine.argv import Command, PathCache
from mpshell.engine.libc import Environment
from mpshell.wire.messages import GATHER, LOG_END, NODE, RANK, JobSpec, Template
from mpshell.worker.exec import parse_template
from mpshell.worker.pdsh import diagnose_pdsh
from mpshell.worker.ssh_log import diagnose_ssh, diagnose_words


def job(shell: Template | None, argv: tuple[Template, ...] = ()) -> JobSpec:
    return JobSpec(shell, argv, None, True, False, GATHER, GATHER, False, 1.0, None, False, 0)


def test_a_line_for_the_shell_has_node_and_rank_filled_in() -> None:
    command = Command(job(("echo ", NODE, ":", RANK, " é")), Environment({}))
    assert command.argv("n\udcff1", 7) == [b"/bin/sh", b"-c", b"echo n\xff1:7 \xc3\xa9"]


def test_words_to_execute_are_not_changed() -> None:
    command = Command(job(None, (("ssh",), (NODE,), ("echo %h; $x",))), Environment({}))
    assert command.argv("n1", 0) == [b"ssh", b"n1", b"echo %h; $x"]
    assert command.direct(command.argv("n1", 0)) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("true", [b"true"]),
        ("/bin/echo a  b", [b"/bin/echo", b"a", b"b"]),
        ("echo a -n", [b"echo", b"a", b"-n"]),
        ("uname -s", [b"uname", b"-s"]),
        ("dd if=x", [b"dd", b"if=x"]),
        *[
            (line, None)
            for line in (
                "", " true", "true ", "echo -n", "echo -e x", "a=b", "a=b c", "cd /", "exit 3", "env",
                "printf x", "test -e x", "if true", "sleep 1 &", "a|b", "echo $x", "echo 'a'", 'echo "a"',
                "echo *", "echo ?", "echo ~", "echo `a`", "a;b", "a\nb", "echo #", "echo \\a", "echo {a,b}",
                "[ a ]", "! true", "echo é", "(a)", "a>b", "a<b", "%1", "-x", ". ./x", ": x", "echo a\tb\x0b",
            )
        ],
    ],
)  # fmt: skip
def test_only_plain_words_are_executed_without_a_shell(
    line: str, words: list[bytes] | None
) -> None:
    command = Command(job((line,)), Environment({}))
    assert command.direct(command.argv("n1", 0)) == words


def test_functions_in_the_environment_need_the_shell() -> None:
    command = Command(job(("uname",)), Environment({b"BASH_FUNC_uname%%": b"() { :; }"}))
    assert command.direct(command.argv("n1", 0)) is None


def test_programs_are_found_on_the_path(tmp_path: Path) -> None:
    for place, mode in (("a", 0o644), ("b", 0o755), ("c", 0o755)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "tool").write_text("")
        (tmp_path / place / "tool").chmod(mode)
    (tmp_path / "a" / "dir").mkdir()
    path = b":".join(bytes(tmp_path / place) for place in "abc")
    cache = PathCache({b"PATH": path})
    assert cache.find(b"tool") == bytes(tmp_path / "b" / "tool")
    assert cache.find(b"dir") is None
    assert cache.find(b"x/tool") == b"x/tool"
    assert cache.find(b"no-such") is None
    assert PathCache({}).find(b"sh") == b"/bin/sh"


def test_templates_of_the_user() -> None:
    from mpshell import NodeSet, WorkerError

    nodes = NodeSet("n[1-3]")
    assert parse_template("%h %{n} 5%%", nodes) == ((NODE, " ", RANK, " 5", "%"), False)
    assert parse_template("x %hosts", nodes) == (("x ", "n[1-3]"), True)
    assert parse_template("%host%rank", nodes) == ((NODE, RANK), False)
    for bad in ("date +%s", "50%", "%{x}", "%{h"):
        with pytest.raises(WorkerError, match="placeholder"):
            parse_template(bad, nodes)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("ssh: Could not resolve hostname x: Name or service not known\r\n", "unreachable"),
        ("ssh: connect to host x port 22: Connection refused\r\n", "unreachable"),
        ("ssh: connect to host 10.0.0.1 port 22: Connection timed out", "unreachable"),
        ("kex_exchange_identification: Connection closed by remote host", "unreachable"),
        ("Connection closed by 127.0.0.1 port 2222", "unreachable"),
        ("root@x: Permission denied (publickey).", "auth"),
        ("Host key verification failed.", "hostkey"),
        ("Connection to x closed by remote host.", "lost"),
        ("client_loop: send disconnect: Broken pipe", "lost"),
        ("Timeout, server x not responding.", "lost"),
        ("grep: no such file", None),
    ],
)
def test_the_reason_comes_from_ssh_s_message(words: str, reason: str | None) -> None:
    assert diagnose_words(words) == reason
    # Without a log they may be the command's, which has run then.
    assert diagnose_ssh(words) == diagnose_pdsh(f"{LOG_END}{words}") == (reason and "lost")
