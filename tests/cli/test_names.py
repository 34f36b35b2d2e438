"""Names of nodes are data: no terminal and no shell interprets their characters."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mpshell.cli.text import visible, visible_lines
from tests.cli.program import PROGRAM, Done, local, mpshell
from tests.cli.terminals import rest
from tests.cli.test_terminal import BARE, terminal
from tests.system.recorder import until

#: Escape sequences (names hold no brackets), C1 as a character, DEL, a backspace, text from right to left.
EVIL = ("n\x1bcx\x07", "n\x9b2J", "n\x7f\x08", "n\u202egnp", "n\u2066x\u061c")
BYTES = b"n\x9b2J\x80"

_RAW = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udc9f]"
)


def check_clean(done: Done, code: int) -> None:
    assert done.code == code, done.err
    text = done.out.decode(errors="surrogateescape") + done.err
    assert not _RAW.search(text), repr(text)


@pytest.fixture
def hosts(tmp_path: Path) -> str:
    path = tmp_path / "hosts"
    path.write_bytes("\n".join(EVIL).encode() + b"\n" + BYTES)
    return f"^{path}"


def test_escapes() -> None:
    assert visible("a\x1b\t\n\x9b\u202e\udc9b\x7f") == r"a\x1b\x09\x0a\x9b\u202e\x9b\x7f"
    assert visible_lines("a\t\x1b\nb") == "a\t\\x1b\nb"
    # Letters of any script, and bytes that are no control characters in any coding, stay.
    for text in ("node1", "n\u00e9\u05d0\u0639\u4e2d", "n\udce9\udcff"):
        assert visible(text) == visible_lines(text) == text


@pytest.mark.parametrize(
    "words",
    [
        ("echo out; echo err >&2; exit 3",), ("-b", "echo out; echo err >&2; exit 3"),
        ("-B", "echo out; exit 3"), ("-L", "echo out; exit 3"), ("-bL", "echo out; exit 3"),
        ("--diff", "echo out %n; exit 3"), ("--json", "exit 3"), ("--jsonl", "exit 3"),
        ("-v", "-d", "exit 3; : %h"), ("--color=never", "-v", "-k", "1", "-f", "1", "exit 3"),
        ("--outdir", "/proc", "exit 3"),
    ],
)  # fmt: skip
def test_no_control_character_reaches_the_output(words: tuple[str, ...], hosts: str) -> None:
    done = local("-w", hosts, *words)
    check_clean(done, 74 if "--outdir" in words else 3)
    if "--json" not in words and "--jsonl" not in words:
        assert r"n\x1bcx\x07" in done.out.decode() + done.err


def test_a_dry_run(hosts: str) -> None:
    for how in (("-R", "exec"), ("-R", "ssh")):
        check_clean(mpshell(*how, "-w", hosts, "--dry-run", "echo %h".replace("%h", "x")), 0)
    check_clean(local("-w", hosts, "--dry-run", "echo %h; echo %q"), 0)


def test_messages_of_the_library(hosts: str, tmp_path: Path) -> None:
    check_clean(local("-w", f"{EVIL[0]}[1-", "true"), 64)
    check_clean(local("-w", f"@{EVIL[0]}", "true"), 64)
    check_clean(local("-w", "n1", "-x", f"{EVIL[1]}*", "true"), 0)  # a pattern that no node has
    check_clean(local("-w", f"^{tmp_path}/{EVIL[0]}", "true"), 64)
    check_clean(mpshell(f"--{EVIL[0]}", "true"), 64)
    for transport in ("rsh", "pdsh", "ssh"):
        done = mpshell("-R", transport, "-w", f"a b{EVIL[0]}", "-c", "/etc/hosts")
        check_clean(done, 64)
    done = mpshell("-w", EVIL[0], "-o", "-oConnectTimeout=1 -oProxyCommand=false", "true")
    check_clean(done, 255)


def test_names_in_json_are_whole(hosts: str) -> None:
    done = local("--jsonl", "-w", hosts, "true")
    found = {json.loads(line)["node"] for line in done.lines}
    assert found >= set(EVIL)


@pytest.mark.parametrize("program", [None, BARE], ids=["tqdm", "plain"])
def test_progress_and_ctrl_c(program: list[str] | None, tmp_path: Path) -> None:
    names = f"x{EVIL[3]},x{EVIL[0]}"
    with terminal("-w", names, until(tmp_path / "go"), program=program or PROGRAM) as child:
        child.expect(r"waiting for xn\\x1bcx\\x07,xn\\u202egnp")
        child.sendintr()
        child.expect(r"running: xn\\x1bcx\\x07,xn\\u202egnp")
        (tmp_path / "go").touch()
        assert "\u202e" not in rest(child)


def test_a_name_is_text_for_the_shell_as_it_is_or_quoted(tmp_path: Path) -> None:
    names = ["$(touch ran)", "a'b", 'a"b', "`id`", "a;b", "a b", "~", "$HOME", "-n", "a\\b", "#"]
    (tmp_path / "list").write_text("")
    nodes = [w for name in names if not name.startswith("-") for w in ("-w", name)]
    done = local("-N", "-L", *nodes, "printf '%%s\\n' %q", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert sorted(done.lines) == sorted(set(names) - {"-n"})
    assert not (tmp_path / "ran").exists()
    # As it is, as with clush.
    done = local("-N", "-w", "$(touch ran)", "echo %h", cwd=tmp_path)
    assert done.code == 0 and (tmp_path / "ran").exists()


def test_the_quoted_placeholder_beside_others() -> None:
    done = local("-N", "-w", "a;b", "echo %{q}x-%n-%q %%q %hosts")
    assert done.code != 0 or done.lines == ["x-0-"]
    assert local("-N", "-w", "a$b", "echo %{q}x-%n-%q %%q").lines == ["a$bx-0-a$b %q"]
    done = local("-w", "n1", "-c", "/etc/hosts", "--dest", "/tmp/%q")
    assert done.code == 64 and "unknown placeholder '%q'" in done.err
    done = local("-w", "n1", "echo %x")
    assert done.code == 64 and "%h %host %hosts %n %rank %q %%" in done.err
