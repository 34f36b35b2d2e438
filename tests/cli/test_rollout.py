"""--retry, --canary and --batch: which nodes run, the output, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.program import environment, local, mpshell
from tests.system.recorder import Marks

#: A transport whose scripts report by their output that a node cannot be reached.
LINK = """\
from mpshell import Transport
from mpshell.worker.transport import NODE

class Link(Transport):
    def diagnose(detail):
        return {"unreachable": "unreachable", "auth": "auth"}.get(detail.split()[-1])
    diagnose = staticmethod(diagnose)

    def command_argv(self, task, command):
        return ["/bin/sh", "-c", command, (NODE,)]

WORKER_CLASS = Link
"""


@pytest.fixture
def link(tmp_path: Path) -> dict[str, str]:
    """Give the environment in which `-R link` is that transport."""
    (tmp_path / "link.py").write_text(LINK)
    return {"PYTHONPATH": f"{tmp_path}:{environment()['PYTHONPATH']}"}


def tries(folder: Path) -> str:
    return f"echo x >>{folder}/$0; n=$(wc -l <{folder}/$0); echo try $n;"


def test_retry(tmp_path: Path, link: dict[str, str]) -> None:
    command = (
        f"{tries(tmp_path)} [ $0$n != n22 ] && [ $n -gt 1 ] || {{ echo unreachable; exit 255; }}"
    )
    done = mpshell("-R", "link", "-w", "n[1-3]", "--retry", "2", "--json", command, env=link)
    found = {
        r["node"]: (r["reason"], r["attempt"], r["stdout"]) for r in json.loads(done.out)["nodes"]
    }
    assert found == {
        "n1": ("exit", 2, "try 2"),
        "n2": ("exit", 3, "try 3"),
        "n3": ("exit", 2, "try 2"),
    }
    assert done.code == 0 and done.err == ""


def test_a_retry_is_named_and_the_files_are_of_the_last_try(
    tmp_path: Path, link: dict[str, str]
) -> None:
    command = f"{tries(tmp_path)} [ $n -gt 1 ] || {{ echo unreachable; exit 255; }}"
    out = tmp_path / "out"
    done = mpshell(
        "-R", "link", "-v", "-w", "n1", "--retry", "1", "--outdir", str(out), command, env=link
    )
    assert done.code == 0
    assert "mpshell: n1: unreachable; try 2 in " in done.err and "ok 1, in" in done.err
    assert done.lines == ["n1: try 1", "n1: unreachable", "n1: try 2"]
    assert (out / "n1").read_text() == "try 2\n"


@pytest.mark.parametrize(
    ("reasons", "expected"), [((), 1), (("--retry-on", "unreachable, auth"), 2)]
)
def test_a_reason_that_is_not_named_is_not_tried_again(
    reasons: tuple[str, ...], expected: int, tmp_path: Path, link: dict[str, str]
) -> None:
    command = f"{tries(tmp_path)} echo auth; exit 255"
    done = mpshell("-R", "link", "-w", "n1", "--retry", "1", *reasons, command, env=link)
    assert done.code == 255 and done.lines.count("n1: auth") == expected
    assert "refused: n1" in done.err


def test_reasons_without_a_number_are_one_more_try(tmp_path: Path) -> None:
    command = f"echo x >>{tmp_path}/n; echo try $(wc -l <{tmp_path}/n); exit 3"
    done = local("--retry-on", "exit", "-w", "n1", command)
    assert done.code == 3 and done.lines == ["n1: try 1", "n1: try 2"]


def test_not_started_is_one_word_or_two(tmp_path: Path) -> None:
    for words in ("not started", "not-started"):
        done = mpshell(
            "-o-F/dev/null", "-w", "n1", "--retry", "1", "--retry-on", words, "--json", "true",
            env={"PATH": str(tmp_path)},
        )  # fmt: skip
        (record,) = json.loads(done.out)["nodes"]
        assert (record["reason"], record["attempt"]) == ("not started", 2), done.err


def test_a_canary_that_fails_is_all_that_runs(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    done = local("--canary", "2", "-w", "n[1-9]", marks.command("true") + "; [ %h != n2 ]")
    assert sorted(marks.begun()) == ["n1", "n2"] and done.code == 1
    assert "mpshell: ok 1, failed 1, not run 7, in" in done.err
    assert "mpshell: not run (1 of 2 nodes of the canary failed): n[3-9]\n" in done.err


def test_a_canary_that_is_ok(tmp_path: Path) -> None:
    done = local("--canary", "1", "-b", "-w", "n[1-9]", "echo %n")
    assert done.code == 0 and len(done.lines) == 9 * 4


def test_batches_do_not_overlap(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    done = local("--batch", "4", "-f", "3", "-E", "2", "-w", "n[1-10]", marks.command("sleep 0.05"))
    assert done.code == 0 and marks.peak() <= 3
    waves = [[f"n{i}" for i in wave] for wave in (range(1, 5), range(5, 9), range(9, 11))]
    entries = marks.entries()
    for wave in waves:
        part, entries = entries[: 2 * len(wave)], entries[2 * len(wave) :]
        assert sorted(part) == sorted(f"{sign}{node}" for sign in "+-" for node in wave)


def test_a_batch_of_which_none_is_ok_is_the_last(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    run = ("--batch", "2", "-w", "n[1-9]", marks.command("true") + "; [ %n -lt 1 ]")
    done = local(*run)
    assert sorted(marks.begun()) == ["n1", "n2", "n3", "n4"]
    assert "not run (no node of the batch before was ok): n[5-9]" in done.err
    # With -k it is the limit that counts, over all batches, and at once.
    marks.path.write_text("")
    done = local("-k", "4", "-f", "1", *run)
    assert marks.begun() == ["n1", "n2", "n3", "n4", "n5"]
    assert (
        "mpshell: ok 1, failed 4, not run 4, in" in done.err
        and "\nmpshell: not run: n[6-9]\n" in done.err
    )


def test_a_retry_is_waited_for_before_the_next_batch(tmp_path: Path, link: dict[str, str]) -> None:
    (tmp_path / "tries").mkdir()
    log = tmp_path / "log"
    command = f"{tries(tmp_path / 'tries')} [ $0$n != n11 ] || {{ echo unreachable; exit 255; }}; "
    command += f"echo $0 >>{log}"
    done = mpshell(
        "-R", "link", "-w", "n[1-4]", "--batch", "2", "-k", "1", "--retry", "1", command, env=link
    )
    assert done.code == 0, done.err
    order = log.read_text().split()
    assert set(order[:2]) == {"n1", "n2"} and len(order) == 4


def test_copies_of_several_files_are_in_the_same_waves(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    for node in ("n2", "n3"):
        (tmp_path / node).mkdir()
    done = local(
        "--canary", "1", "-w", "n[1-3]", "-c", f"{tmp_path}/one", f"{tmp_path}/two",
        "--dest", f"{tmp_path}/%h",
    )  # fmt: skip
    assert done.code == 1 and not list((tmp_path / "n2").iterdir())
    assert "failed 1, not run 2" in done.err


def test_json_of_nodes_that_were_not_run(tmp_path: Path) -> None:
    done = local("--json", "--canary", "1", "-w", "n[1-2]", "exit 3")
    document = json.loads(done.out)
    assert document["counts"] == {"ok": 0, "failed": 1, "not run": 1} and done.code == 3
    assert [(r["reason"], r["attempt"], r["engine"]) for r in document["nodes"]] == [
        ("exit", 1, 1),
        ("not run", 0, None),
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--canary", "0"), ("--canary", "'0'", "at least 1")),
        (("--batch", "x"), ("--batch", "'x'", "at least 1")),
        (("--retry", "-1"), ("--retry", "'-1'", "at least 1")),
        (("--retry", "1", "--retry-on", "lost,gone"), ("--retry-on", "'gone'", "unreachable")),
        (("--retry", "1", "--retry-on", "cancelled"), ("--retry-on", "'cancelled'")),
        (("--retry", "1", "--retry-on", ""), ("--retry-on", "''")),
        (("-R", "pdsh", "--canary", "1"), ("--canary", "-R pdsh")),
        (("-R", "pdsh", "--batch", "1"), ("--batch", "-R pdsh")),
    ],
)
def test_values_that_are_not_allowed(words: tuple[str, ...], error: tuple[str, ...]) -> None:
    done = local(*words, "-w", "n1", "true")
    assert done.code == 64 and done.out == b""
    assert all(word in done.err for word in error), done.err
