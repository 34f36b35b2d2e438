"""mpshell-nodeset: the lines that ClusterShell's nodeset writes, and where it is better not to."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import ROOT, Done, environment, mpshell
from tests.groupfiles import write_groups

PROGRAM = [sys.executable, "-m", "mpshell.cli.nodeset"]

SETS = (
    "n[1-9]", "n[3-12]", "n5", "n[01-05]", "a[1-3]b[1-2]", "a[2-4]b[1-2]", "x", "n[1-20/2]", "n[1-5]!n3",
    "n[1-9]&n[4-20]", "n[1-4]^n[3-6]", "@compute", "@gpu", "@racks:rack1", "@racks:rack[1-2]", "gw*",
    "n[1-3],x,y", "n10", "@*", "n[100-110/3]", "@compute!@gpu", "r[1-2]c[1-3]n[1-2]", "b-[1-3]-ib0", "n1\nn2",
)  # fmt: skip
#: Their names come in another order: by numbers, and not by folded vectors.
NOT_RECTANGULAR = ("a1b1,a2b2", "r1c[1-3]n[2-3],r2c1n1")
RANGES = ("1-9", "3-12", "5", "01-05", "1-20/2", "7,9", "1,3,5,7")

#: Runs command lines of ClusterShell's nodeset: [arguments, stdin] a line in, [status, stdout] a line out.
PEER = """
import io, json, sys
from ClusterShell.CLI import Nodeset
lines, out = sys.stdin.read().splitlines(), sys.stdout
for line in lines:
    words, text = json.loads(line)
    sys.argv = ["nodeset", *words]
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(text), io.StringIO(), io.StringIO()
    try:
        Nodeset.main()
    except SystemExit as end:
        print(json.dumps([end.code or 0, sys.stdout.getvalue()]), file=out)
"""

#: The same of mpshell-nodeset, each with descriptors of its own.
OURS = """
import json, os, sys, tempfile
from mpshell.cli.nodeset import main
lines, out = sys.stdin.read().splitlines(), os.fdopen(os.dup(1), "w")
for line in lines:
    words, text = json.loads(line)
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout:
        stdin.write(text.encode())
        stdin.seek(0)
        os.dup2(stdin.fileno(), 0)
        os.dup2(stdout.fileno(), 1)
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
        stdout.seek(0)
        print(json.dumps([status, stdout.read().decode()]), file=out)
"""


def nodeset(*words: str, stdin: str | None = None, **options: Any) -> Done:
    data = None if stdin is None else stdin.encode()
    return mpshell(*words, stdin=data, program=PROGRAM, **options)


def drawn(draw: random.Random, groups: str) -> tuple[list[str], str]:
    """Return a command line and its stdin."""
    ranges = draw.random() < 0.15
    sets = RANGES if ranges else SETS
    commands = ("-e", "-f", "-f", "-c", "--index")
    command = draw.choice(
        commands if ranges else (*commands, "-r", "-l", "-ll", "-lll", "-L", "-LLL")
    )
    words = ["--groupsconf", groups, command]
    listing = command[:2] in ("-l", "-L")
    if command == "--index":
        words.append("5" if ranges else draw.choice(("n5", "n4", "x", "a2b1")))
    words += ["-R"] if ranges else []
    offers: list[tuple[float, list[list[str]]]] = []
    if not listing:
        offers += [
            (0.2, [["-S", "\\n"], ["-S,"], ["--separator=\\t"], ["-S", " ; "]]),
            (0.2, [["-O", "%s-ib0"], ["--output-format", "<%s>"], ["-Ox%sy"]]),
            (0.2, [["-I", "0"], ["-I1-3"], ["--slice=0-9/2"], ["-I", "2,4"], ["-I", "50"]]),
        ]
        if command != "--index":
            offers.append(
                (0.2, [["--split", "3"], ["--split=2"], ["--contiguous"], ["--split", "1"]])
            )
    if command == "-f":
        offers.append((0.3, [["--autostep", text] for text in ("3", "4", "50%", "auto", "100%")]))
        if not ranges:
            offers.append((0.2, [["--axis", text] for text in ("1", "2", "-1", "1-2", "1,3")]))
    if not ranges:
        offers += [(0.1, [["-a"]]), (0.1, [["-G"]])]
        if command[:2] != "-L":
            offers.append((0.1, [["-s", "racks"], ["-slocal"]]))
    offers += [(0.2, [["-q"], ["-d"]])]
    if not listing:
        offers.append(
            (0.2, [["-i", sets[0]], ["-x", sets[2]], ["-X", sets[3]], ["--xor=" + sets[1]]])
        )
    for chance, forms in offers:
        words += draw.choice(forms) if draw.random() < chance else []
    operands = draw.choice((0, 1, 1, 2, 3))
    stdin = ""
    if operands == 0 or draw.random() < 0.1:
        stdin = " ".join(
            draw.choice(sets).replace("\n", " ") for _ in range(draw.choice((1, 2, 3)))
        )
        stdin += draw.choice(("\n", "\n# comment\n", "\n\n"))
        words += ["-"] if operands else []
    for number in range(operands):
        if number and not listing and draw.random() < 0.4:
            words.append(draw.choice(("-i", "-x", "-X", "--intersection", "--exclude", "--xor")))
        words.append(draw.choice(sets))
    if (
        not {"-e", "--split", "--split=2", "--contiguous", "--index", "-I", "-I1-3"} & set(words)
        and not ranges
    ):
        words += draw.choice(((), (NOT_RECTANGULAR[0],), (NOT_RECTANGULAR[1],)))
    return words, stdin


def outcomes(program: str, lines: list[tuple[list[str], str]]) -> list[tuple[bool, str]]:
    """Return, for each command line, whether it succeeds, and its output if so."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input="\n".join(map(json.dumps, lines)),
        capture_output=True, text=True, env=environment(), check=True, timeout=300,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(lines), done.stderr
    return [(status == 0, text if status == 0 else "") for status, text in found]


@pytest.mark.parametrize("seed", range(4))
def test_the_lines_are_those_of_clustershell(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    groups = str(write_groups(tmp_path))
    lines = [drawn(draw, groups) for _ in range(120)]
    theirs, ours = outcomes(PEER, lines), outcomes(OURS, lines)
    assert sum(good for good, _ in theirs) > 100
    for line, their, our in zip(lines, theirs, ours, strict=True):
        assert our == their, line


@pytest.mark.parametrize(
    ("words", "stdin", "text"),
    [
        # The examples of nodeset(1).
        ("-c node[0-7,32-159] node[160-163]", "", "140"),
        ("-f", "node3 node6 node1 node2 node7 node5\n", "node[1-3,5-7]"),
        ("--axis=1 -f dc1n2 dc2n2 dc1n1 dc2n1", "", "dc[1-2]n1,dc[1-2]n2"),
        ("-e", "dc[1-2]n[2-6/2]\n", "dc1n2 dc1n4 dc1n6 dc2n2 dc2n4 dc2n6"),
        ("-f node[32-159] -x node33", "", "node[32,34-159]"),
        ("-f node[33-159] --xor node[32-33,156-159]", "", "node[32,34-155]"),
        ("--split=3 -e node[1-9]", "", "node1 node2 node3\nnode4 node5 node6\nnode7 node8 node9"),
        ("--contiguous -f node2 node3 node4 node8 node9", "", "node[2-4]\nnode[8-9]"),
        # Options may follow the operands; there they are names of nodes.
        ("n[1-4] -x n2 -f", "", "n[1,3-4]"),
        ("-f n[1-4] --split 2", "", "n[1-2]\nn[3-4]"),
        # A last line without its end is whole; there it loses a character.
        ("-f", "node12", "node12"),
        # Nothing in common with nothing; there the operation is left out.
        ("-f n[1-3] -i -", "", ""),
        ("-c n[1-3] -x -", "", "3"),
        ("-f -- n1", "", "n1"),
        ("-e -S : a b", "", "a:b"),
        ("-c", "", "0"),
        ("-f -", "n1,\nn2 # n3\n", "n[1-2]"),
    ],
)  # fmt: skip
def test_command_lines(words: str, stdin: str, text: str) -> None:
    done = nodeset(*words.split(), stdin=stdin)
    assert (done.code, done.out.decode(), done.err) == (0, f"{text}\n", "")


def test_no_groups_for_no_nodes(tmp_path: Path) -> None:
    groups = str(write_groups(tmp_path))
    assert nodeset("--groupsconf", groups, "-l", "n1", "-x", "n1").out == b""
    assert nodeset("--groupsconf", groups, "-l", "-", stdin="").out == b""
    assert b"@compute\n" in nodeset("--groupsconf", groups, "-l").out


def test_sources(tmp_path: Path) -> None:
    groups = str(write_groups(tmp_path))
    first, *others = nodeset("--groupsconf", groups, "--list-sources").lines
    assert first == "local (default)" and "racks" in others
    assert (
        nodeset("--groupsconf", groups, "--groupsources", "-q", "-s", "racks").lines[0] == "racks"
    )
    warned = nodeset("--groupsconf", groups, "--list-all")
    assert warned.code == 0 and 'group source "fresh"' in warned.err
    assert nodeset("--groupsconf", groups, "-L", "--quiet").err == ""


def test_nodes_at_random() -> None:
    done = nodeset("-e", "--pick", "3", "n[1-100]")
    assert len(set(done.out.split())) == 3 and {word[:1] for word in done.out.split()} == {b"n"}
    assert nodeset("-c", "--pick", "300", "n[1-100]").out == b"100\n"
    assert len(nodeset("-e", "-R", "--pick=2", "1-9").out.split()) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "a command must be given, one of -e, -f, -c, -r, -l, -L, --index, --list-sources"),
        ("-e -f n1", "-e and -f do not go together"),
        ("-f n[1-", 'missing bracket: "n[1-"'),
        ("-f n[5-1]", "bad range: invalid values in range"),
        ("-f -R 5-1", 'invalid values in range : "5-1"'),
        ("-f @nonsense:a", '"@nonsense:a": there is no group source "nonsense"'),
        ("-f -s nonsense @a", "-s: "),
        (
            "-f --groupsconf /no/such/file n1",
            "--groupsconf '/no/such/file' cannot be read: No such file",
        ),
        ("-f --split 0 n1", "argument --split: '0' is not a whole number of at least 1"),
        ("-f --split 2 --contiguous n1", "--split does not go with --contiguous"),
        ("-c --axis 1 n1", "--axis is for folding: -f must be given with it"),
        ("-f --axis x n1", "--axis: 'x' is not a list of numbers"),
        (
            "-f --autostep x n1",
            "argument --autostep: 'x' is not a number of nodes, a share as 50% or auto",
        ),
        ("-e -I x n1", "-I 'x': cannot convert string to integer"),
        ("-e -O %d n1", "-O '%d': "),
        ("-e -S \\x n1", "-S '\\\\x' has an escape that does not exist"),
        ("--index n5 n1", "--index: 'n5' is not in nodeset"),
        ("--index n1 --pick 1 n1", "--index does not go with --pick"),
        ("-r -R 1", "-r is for nodes, and does not go with -R"),
        ("-f --nonsense n1", "there is no option --nonsense"),
        ("-f n1 -x", "option -x needs a value"),
    ],
)
def test_an_error_is_one_message_and_status_64(words: str, message: str) -> None:
    done = nodeset(*words.split(), stdin="")
    assert (done.code, done.out) == (64, b"")
    assert done.err.startswith("mpshell-nodeset: ") and message in done.err, done.err
    assert done.err.endswith("Try 'mpshell-nodeset --help'.\n")


def test_warnings() -> None:
    done = nodeset("-f", "-x", "n1", "n1")
    assert done.out == b"n1\n" and "nothing to the left of 'n1'" in done.err
    assert nodeset("-f", "-q", "-x", "n1", "n1").err == ""
    done = nodeset("-f", "-R", "-s", "racks", "1-3")
    assert done.out == b"1-3\n" and "-s racks has no effect with -R" in done.err


def test_an_output_that_cannot_be_written_is_74() -> None:
    line = " ".join(["exec", *PROGRAM, '"$@"'])
    for redirection in (">&-", ">/dev/full"):
        done = subprocess.run(
            ["sh", "-c", f"{line} {redirection}", "sh", "-f", "n[1-3]"],
            env=environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 74 and done.stderr.startswith("mpshell-nodeset: "), done


def test_nobody_reads_the_output() -> None:
    read, write = os.pipe()
    os.close(read)
    child = subprocess.run(
        [*PROGRAM, "-e", "n[1-9]"], stdout=write, stderr=subprocess.PIPE, env=environment(), timeout=60,
        check=False,
    )  # fmt: skip
    os.close(write)
    assert (child.returncode, child.stderr) == (141, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_in_the_middle(unbuffered: str) -> None:
    child = subprocess.Popen(
        [*PROGRAM, "-e", "n[1-100000]"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(PYTHONUNBUFFERED=unbuffered), bufsize=0,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.read(3) == b"n1 "
    # The one write that waits ends, and has written a part.
    child.stdout.close()
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (141, b"")


def test_an_output_that_nobody_waits_for_comes_whole() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    child = subprocess.Popen(
        [*PROGRAM, "-e", "n[1-100000]"], stdout=write, env=environment(PYTHONUNBUFFERED="1")
    )
    os.close(write)
    with open(read, "rb") as output:
        assert (
            output.read() == " ".join(f"n{number}" for number in range(1, 100_001)).encode() + b"\n"
        )
    assert child.wait(60) == 0


def test_an_interrupt_while_stdin_is_read() -> None:
    child = subprocess.Popen(
        [*PROGRAM, "-f"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(), bufsize=0,
    )  # fmt: skip
    assert child.stdin is not None
    # More than a pipe holds: when all is taken the program reads.
    child.stdin.write(b"n1 " * 100_000)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (130, b"", b"")


def test_names_that_are_no_text() -> None:
    done = nodeset("-e", "-S", "\\n", stdin=None)
    assert done.code == 0
    raw = mpshell("-e", stdin=b"n\xff1 n\xff2\n", program=PROGRAM)
    assert (raw.code, raw.out) == (0, b"n\xff1 n\xff2\n")


def test_many_names() -> None:
    names = "\n".join(f"node{number}" for number in range(100_000))
    assert nodeset("-f", stdin=names).out == b"node[0-99999]\n"
    assert nodeset("-e", "-S", "\\n", "node[0-99999]").out.decode() == names + "\n"


def test_without_clustershell_everything_but_groups_is_there(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["ClusterShell"] = None
from mpshell.cli.nodeset import main
sys.exit(main())
"""
    words = [sys.executable, "-c", program]
    assert mpshell("-f", "n[1-3]!n2", program=words).out == b"n[1,3]\n"
    done = mpshell("-f", "@a", program=words)
    assert done.code == 64 and "pip install 'mpshell[groups]'" in done.err


def test_every_option_is_in_the_page_and_in_a_test() -> None:
    from mpshell.cli.nodesetparser import build_parser

    page = (ROOT / "docs" / "nodeset.md").read_text()
    manual = (ROOT / "docs" / "mpshell-nodeset.1").read_text().replace("\\-", "-")
    source = Path(__file__).read_text()
    shown = nodeset("--help").out.decode()
    assert nodeset("-h").out.decode() == shown
    assert re.fullmatch(r"mpshell-nodeset \d.*\n", nodeset("--version").out.decode())
    for action in build_parser()._actions:
        for name in action.option_strings:
            assert f"`{name}" in page and f"\\fB{name}" in manual and name in shown, name
        forms = [rf"[\"' ]{re.escape(name)}[\"'= ]" for name in action.option_strings]
        forms += [rf"[\"']{name}" for name in action.option_strings if len(name) == 2]
        assert any(re.search(form, source) for form in forms), action.option_strings


def test_completion() -> None:
    for shell in ("bash", "zsh"):
        script = nodeset("--print-completion", shell)
        assert (
            script.code == 0 and b"--contiguous" in script.out and b"mpshell-nodeset" in script.out
        )
