"""The differences on a terminal: progress, colours, Ctrl-C as a key."""

from __future__ import annotations

import re
import shlex
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from mpshell.cli import progress
from tests.cli.program import PROGRAM, environment, gone
from tests.cli.terminals import on_a_terminal, rest
from tests.support import eventually
from tests.system.recorder import until

BASH = ["bash", "--norc", "--noediting"]

#: The program in an interpreter that has no tqdm and no shtab.
BARE = [
    sys.executable,
    "-c",
    "import sys; sys.modules['tqdm'] = sys.modules['shtab'] = None\n"
    "from mpshell.cli.main import main\nsys.exit(main())",
]

#: The program for which any run is a short one, also on a machine that is busy.
PATIENT = [
    sys.executable,
    "-c",
    "import sys\nfrom mpshell.cli import main, run\nrun.FIRST = 60.0\nsys.exit(main.main())",
]


@contextmanager
def terminal(
    *words: str, program: list[str] = PROGRAM, env: dict[str, str] | None = None
) -> Iterator[pexpect.spawn[str]]:
    """Give the program on a terminal of its own, with local commands."""
    line = [*program, "-R", "exec", *words]
    given = environment(**{"TERM": "xterm", **(env or {})})
    with on_a_terminal(
        line, given, timeout=30, dimensions=(24, 120), codec_errors="replace"
    ) as child:
        yield child


@pytest.mark.parametrize("program", [PROGRAM, BARE], ids=["tqdm", "plain"])
def test_progress(program: list[str], tmp_path: Path) -> None:
    slow = f"[ %n -ne 0 ] || exit 3; [ %n -ne 1 ] || {{ {until(tmp_path / 'go')}; }}"
    with terminal("-w", "n[1-9]", slow, program=program) as child:
        child.expect("8/9")
        child.expect("failed 1")
        child.expect("waiting for n2")
        (tmp_path / "go").touch()
        last = rest(child)
        assert child.exitstatus == 3
    assert "mpshell: ok 8, failed 1, in " in last
    # The line is taken away before the last ones.
    assert re.search(r"\r\x1b\[Jmpshell: ok", last), repr(last)


def test_progress_shows_rate_and_time_left(tmp_path: Path) -> None:
    command = f"[ %n -lt 78 ] || {{ {until(tmp_path / 'go')}; }}"
    with terminal("-f", "2", "-w", "n[1-80]", command) as child:
        child.expect(r"\d/80 [^\r]* nodes/s, \d\d:\d\d left")
        (tmp_path / "go").touch()
        rest(child)
        assert child.exitstatus == 0


@pytest.mark.parametrize(
    ("program", "words", "env"),
    [
        (PROGRAM, ("-q", "sleep 1.5"), {}),
        (PATIENT, ("true",), {}),
        (PROGRAM, ("sleep 1.5",), {"TERM": "dumb"}),
    ],
    ids=["quiet", "short", "dumb"],
)
def test_no_progress(program: list[str], words: tuple[str, ...], env: dict[str, str]) -> None:
    assert progress.FIRST >= 0.3, "which a short run does not reach"
    with terminal("-w", "n[1-2]", *words, program=program, env=env) as child:
        shown = rest(child)
    assert "0/2" not in shown and "\033[K" not in shown and "\033[J" not in shown


@pytest.mark.parametrize("option", ["-P", "--progress"])
def test_progress_where_it_is_asked_for(option: str, tmp_path: Path) -> None:
    with terminal("-q", option, "-w", "n[1-2]", until(tmp_path / "go")) as child:
        child.expect("0/2")
        (tmp_path / "go").touch()
        rest(child)
        assert child.exitstatus == 0


def test_slow_nodes_are_named_while_others_wait(tmp_path: Path) -> None:
    command = f"[ %n -gt 1 ] || {{ {until(tmp_path / 'go')}; }}"
    with terminal("-f", "2", "-w", "n[1-9]", command) as child:
        child.expect("0/9.*waiting for n\\[1-2\\]")
        (tmp_path / "go").touch()
        rest(child)
        assert child.exitstatus == 0


@pytest.mark.parametrize("program", [PROGRAM, BARE], ids=["tqdm", "plain"])
def test_progress_names_a_node_that_is_not_utf8(program: list[str], tmp_path: Path) -> None:
    (tmp_path / "hosts").write_bytes(b"n\xe9")
    command = until(tmp_path / "go")
    with terminal("-w", f"^{tmp_path}/hosts", command, program=program) as child:
        child.expect(r"waiting for n\\udce9")
        (tmp_path / "go").touch()
        rest(child)
        assert child.exitstatus == 0


def test_in_the_background(tmp_path: Path) -> None:
    """It leaves the terminal to the shell: it reads nothing, and shows no progress."""
    script = f"{shlex.join(PROGRAM)} -R exec -w n[1-2] 'cat; sleep 1.5; echo end'"
    with on_a_terminal(BASH, environment(TERM="xterm", PS1="> ")) as shell:
        shell.setecho(False)
        shell.sendline(f"{script} & wait $!; echo status $?")
        shell.sendline("echo the shell is there")
        shell.expect(r"status (\d+)")
        assert isinstance(shell.match, re.Match) and shell.match.group(1) == "0"
        shown = shell.before or ""
        assert shown.count("\033[0m end") == 2 and "0/2" not in shown
        shell.expect("the shell is there")


@pytest.mark.parametrize("how", ["", "-q"])
def test_nothing_remains_of_ctrl_z(how: str, tmp_path: Path) -> None:
    """Neither the line nor the ^Z that the terminal shows; the line is there again when the program goes on."""
    script = f"{shlex.join(PROGRAM)} -R exec -w n[1-2] {how} 'echo begun; {until(tmp_path / 'go')}; echo end'"
    with on_a_terminal(BASH, environment(TERM="xterm", PS1="> ")) as shell:
        # The key would discard output of the terminal that is not read yet.
        shell.sendline("stty noflsh; set +H")
        shell.sendline(f"{script}; echo stopped with $?")
        shell.expect(r"n\d:\S* begun.*n\d:\S* begun" if how else "0/2")
        shell.sendcontrol("z")
        # On a busy machine the line may be drawn once more before the signal arrives.
        redrawn = r"(\r\x1b\[J\x1b\[\?7l[^\x1b]*\x1b\[\?7h\r)*"
        shell.expect(rf"\^Z{redrawn}\r\x1b\[J[^\x1b]*Stopped")
        shell.expect("stopped with 148")
        shell.sendline("fg; echo status $?")
        shell.expect("mpshell" if how else r"\x1b\[\?7l0/2")
        (tmp_path / "go").touch()
        shell.expect(r"status (\d+)")
        assert isinstance(shell.match, re.Match) and shell.match.group(1) == "0"
        assert (shell.before or "").count("end\r\n") == 2


def test_lines_and_progress_do_not_mix() -> None:
    command = "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.3; done"
    with terminal("-w", "n[1-2]", command) as child:
        screen = rest(child)
    for node in ("n1", "n2"):
        for i in range(1, 7):
            # Before a line stand only the escapes that clear the progress, and its label's colour.
            assert re.search(rf"(^|\n|\x1b\[J)(\x1b\[34m){node}:\x1b\[0m line {i}\r\n", screen)


#: The line, and what follows it: something that is written next, or a new line in its place.
_LINE = re.compile(r"\x1b\[\?7l([^\x1b]*)\x1b\[\?7h\r(.{0,4})", re.DOTALL)


def lines_of(screen: str) -> list[str]:
    """Return the texts of the progress line; each must be taken away before anything else is written."""
    found = _LINE.findall(screen)
    assert found and all(after in ("\r\x1b[J", "") for _, after in found), repr(screen)
    return [text for text, _ in found]


@pytest.mark.parametrize("program", [PROGRAM, BARE], ids=["tqdm", "plain"])
def test_the_line_is_taken_away_before_anything_else(program: list[str]) -> None:
    command = "for i in 1 2 3 4 5 6; do echo line $i; echo err >&2; sleep 0.3; done; exit 3"
    with terminal("-w", "n[1-2]", command, program=program) as child:
        screen = rest(child)
    assert "0/2" in lines_of(screen)[0]
    assert screen.count("\x1b[J") > screen.count("\x1b[?7l")


@pytest.mark.parametrize("program", [PROGRAM, BARE], ids=["tqdm", "plain"])
def test_the_line_keeps_within_a_terminal_that_gets_narrow(
    program: list[str], tmp_path: Path
) -> None:
    nodes = "node[1-9]x[1-9]y"
    with terminal(
        "-w", nodes, until(tmp_path / "go"), program=program, env={"COLUMNS": "200"}
    ) as child:
        child.expect(r"waiting for node.*\x1b\[\?7h\r")
        child.setwinsize(24, 40)
        child.expect(r"\x1b\[\?7l0/81[^\x1b]{0,35}\x1b\[\?7h\r")
        (tmp_path / "go").touch()
        lines_of(f"{child.after}{rest(child)}")


@pytest.mark.parametrize("where", ["| cat", "2>&1 | cat"])
def test_no_progress_over_a_reader_of_the_output(where: str, tmp_path: Path) -> None:
    """A pager writes to the terminal itself."""
    script = f"{shlex.join(PROGRAM)} -R exec -w n[1-2] 'sleep 1.5; echo end' {where}"
    with on_a_terminal(["/bin/sh", "-c", script], environment(TERM="xterm")) as child:
        shown = rest(child)
    assert shown.count("end\r\n") == 2
    assert not re.search(r"0/2|\x1b\[\??[0-9]*[JKlh]", shown), repr(shown)


def test_progress_beside_a_file(tmp_path: Path) -> None:
    command = f"{until(tmp_path / 'go')}; echo end"
    script = f"{shlex.join(PROGRAM)} -R exec -w n[1-2] '{command}' >{tmp_path}/out"
    with on_a_terminal(["/bin/sh", "-c", script], environment(TERM="xterm")) as child:
        child.expect(r"\x1b\[\?7l0/2")
        (tmp_path / "go").touch()
        assert "0/2" in lines_of(f"{child.after}{rest(child)}")[0]
    assert sorted((tmp_path / "out").read_text().splitlines()) == ["n1: end", "n2: end"]


@pytest.mark.parametrize("how", [(), ("-q",), ("-b",)])
def test_nothing_remains_of_ctrl_c(how: tuple[str, ...], tmp_path: Path) -> None:
    """Neither the line nor the ^C that the terminal shows, however often it is pressed."""
    command = f'trap "" TERM; echo x >{tmp_path}/%h; sleep 300; sleep 300'
    mark = uuid.uuid4().hex
    with terminal(*how, "-w", "n[1-3]", command, env={"MPSHELL_TEST_MARK": mark}) as child:
        assert eventually(lambda: len(list(tmp_path.iterdir())) == 3)
        child.sendintr()
        child.expect(r"\^C([^\n]*)mpshell: 0 of 3 nodes done")
        assert isinstance(child.match, re.Match) and child.match.group(1).endswith("\r\x1b[J")
        shown = ""
        for _ in range(40):
            # Two within a second stop the run; one more ends the program, when the run has not ended before.
            child.sendintr()
            done = child.expect([pexpect.EOF, r"\^C"]) == 0
            shown += child.before or ""
            if done:
                break
        child.wait()
        assert child.exitstatus == 130
        assert shown.endswith("\r\x1b[J") or "\r\x1b[Jmpshell: stopped" in shown, repr(shown)
    assert gone(mark)


def test_colors_on_a_terminal() -> None:
    with terminal("-w", "n1", "echo out; echo err >&2") as child:
        shown = rest(child)
    assert "\033[34mn1:\033[0m out" in shown and "\033[31mn1:\033[0m err" in shown
    plain: list[tuple[tuple[str, ...], dict[str, str]]] = [
        (("--color=never",), {}),
        ((), {"NO_COLOR": "1"}),
        ((), {"TERM": "dumb"}),
    ]
    for words, env in plain:
        with terminal(*words, "-w", "n1", "echo out", env=env) as child:
            assert "\033[" not in rest(child)


def test_a_summary_on_a_terminal() -> None:
    with terminal("-w", "n[1-2]", "true") as child:
        assert re.search(r"mpshell: ok 2, in \d+\.\d s \([\d.]+/s\)\r\n", rest(child))
    with terminal("-q", "-w", "n[1-2]", "exit 1") as child:
        assert rest(child) == ""
        assert child.exitstatus == 1


def test_typed_text_is_not_for_the_commands() -> None:
    with terminal("-w", "n1", "cat; echo end") as child:
        child.sendline("typed")
        shown = rest(child)
    assert "n1:\033[0m end" in shown and "n1:\033[0m typed" not in shown


def test_ctrl_c_as_a_key(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    command = "echo %h; sleep 300"
    with terminal("-b", "-w", "n[1-3]", command, env={"MPSHELL_TEST_MARK": mark}) as child:
        child.expect("0/3")
        for _ in range(40):
            # Any but the first may be within a second of the one before.
            child.sendintr()
            if child.expect(["again within a second stops everything", "mpshell: stopped"]):
                break
        shown = rest(child)
        assert child.exitstatus == 130
    assert "mpshell: stopped: n[1-3]" in str(shown)
    assert gone(mark)


def test_completion_without_its_library_names_the_package() -> None:
    with terminal("--print-completion", "bash", program=BARE) as child:
        assert "pip install 'mpshell[cli]'" in rest(child)
        assert child.exitstatus == 64
