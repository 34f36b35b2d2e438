"""The report as a file: its contents, its runs, and hostile output, which is only text in it."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selenium.webdriver import Chrome

from mpshell.cli.report import data
from mpshell.cli.report.page import embedded
from tests.cli.program import local, mpshell
from tests.report.browser import Page


def content(path: Path) -> dict[str, Any]:
    """Return the data of a page."""
    found = re.search(
        r'<script type="application/json" id="data">([^<]*)</script>', path.read_text()
    )
    assert found is not None
    document: dict[str, Any] = json.loads(found[1])
    return document


def test_a_past_run_has_the_report_that_it_had_at_its_end(tmp_path: Path) -> None:
    journal, live, past = (tmp_path / name for name in ("journal", "live.html", "past.html"))
    words = (
        "-w",
        "n[1-9]",
        "--journal",
        str(journal),
        "--report",
        str(live),
        "echo %h; test %n -lt 7",
    )
    assert local(*words).code == 1
    shown = mpshell("--show", str(journal), "--report", str(past), "-b")
    assert shown.code == 0 and b"n[1-9]" not in shown.out and len(shown.lines) == 9 * 4
    assert past.read_text() == live.read_text()
    local("-w", "m1", "--journal", str(journal), "true")
    assert mpshell("--show", str(journal), "--run", "1", "-q", "--report", str(past)).code == 0
    assert past.read_text() == live.read_text()
    again = mpshell("--rerun-failed", str(journal), "--run", "1", "-q", "--report", str(past))
    assert again.code == 1
    found = content(past)
    assert found["names"] == ["n8", "n9"] and found["mode"] == "rerun failed"


def test_a_run_that_goes_on_in_another_directory_has_its_page_here(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    assert local("-w", "n[1-2]", "--journal", "journal", "exit %n", cwd=there).code == 1
    done = mpshell("--rerun-failed", "../there/journal", "--report", "page.html", "-q", cwd=here)
    assert done.code == 1 and done.err == ""
    assert content(here / "page.html")["names"] == ["n2"]
    assert [path.name for path in there.iterdir()] == ["journal"]


def test_a_page_in_the_place_of_another_one_keeps_its_mode(tmp_path: Path) -> None:
    # As long as a name can be, which leaves no room for a suffix.
    target = tmp_path / f"{'x' * 250}.html"
    target.write_text("before")
    target.chmod(0o600)
    assert local("-w", "n1", "--report", str(target), "true").code == 0
    assert content(target)["names"] == ["n1"] and target.stat().st_mode & 0o777 == 0o600


def test_without_a_journal_nothing_stays_but_the_page(tmp_path: Path) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    target = tmp_path / "run.html"
    done = local("-w", "n[1-3]", "--report", str(target), "echo %h", env={"TMPDIR": str(place)})
    assert done.code == 0 and list(place.iterdir()) == []
    assert content(target)["names"] == ["n1", "n2", "n3"]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["run.html", "tmp"]


def test_an_interrupted_run_has_one(tmp_path: Path) -> None:
    target = tmp_path / "run.html"
    done = local("-w", "n[1-4]", "-f", "2", "-k", "1", "--report", str(target), "test %n -ne 1")
    assert done.code == 1
    found = content(target)
    kinds = [found["kinds"][kind] for kind in found["kind"]]
    assert kinds[1] == "failed" and "not run" in kinds
    assert {
        start for start, kind in zip(found["start"], kinds, strict=True) if kind == "not run"
    } == {-1}


@pytest.mark.parametrize("place", ["missing/run.html", "directory", "fifo", "link"])
def test_a_place_that_cannot_be_written_is_74_and_the_run_goes_on(
    place: str, tmp_path: Path
) -> None:
    import os

    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    target = tmp_path / place
    done = local("-w", "n[1-2]", "--report", str(target), "echo it is %h")
    assert done.code == 74 and sorted(done.lines) == ["n1: it is n1", "n2: it is n2"]
    assert f"--report file {str(target)!r} cannot be written: " in done.err
    assert not (tmp_path / "elsewhere").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def on_a_disk(disk: Path, size: str, script: str) -> list[str]:
    """Return a program that has a disk of its own, of that size, and lists its files at the end.

    The script is run there; mpshell is its arguments.
    """
    from tests.cli.program import PROGRAM

    disk.mkdir()
    script = f"mount -t tmpfs -o size={size} none {disk} && cd {disk} || exit 99; {script}; ls -A"
    return ["unshare", "-Urm", "sh", "-c", script, "sh", *PROGRAM]


@pytest.mark.needs("root")
def test_a_full_disk_is_74_and_the_earlier_report_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    before = "echo before > run.html; head -c 60000 /dev/zero > full"
    program = on_a_disk(disk, "64k", f'{before}; "$@"; echo "status $?"; cat run.html')
    done = mpshell(
        "-R", "exec", "-w", "n1", "--report", f"{disk}/run.html", "true", program=program
    )
    assert done.lines == ["status 74", "before", "full", "run.html"], done.err
    assert "No space left on device" in done.err


@pytest.mark.needs("root")
def test_without_room_for_its_journal_the_run_goes_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    program = on_a_disk(disk, "64k", 'head -c 40000 /dev/zero > full; "$@"; echo "status $?"')
    done = mpshell(
        "-R", "exec", "-w", "n1", "--report", str(tmp_path / "run.html"), "echo runs",
        program=program, env={"TMPDIR": str(disk)},
    )  # fmt: skip
    assert done.lines == ["n1: runs", "status 74", "full"], done.err
    assert f"--report file '{tmp_path}/run.html' cannot be written: " in done.err


@pytest.mark.needs("root")
def test_without_room_in_the_middle_the_page_is_not_whole(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    program = on_a_disk(disk, "600k", '"$@" > /dev/null; echo "status $?"')
    target = tmp_path / "run.html"
    done = mpshell(
        "-R", "exec", "-q", "-f", "4", "-w", "n[1-60]", "--report", str(target), "head -c 30000 /dev/urandom",
        program=program, env={"TMPDIR": str(disk)},
    )  # fmt: skip
    assert done.lines == ["status 74"], done.err
    found = content(target)
    assert len(found["names"]) == 60 and "full" in found["incomplete"]


def test_options_that_exclude_it(tmp_path: Path) -> None:
    for words in (("--runs", "x"), ("-R", "exec", "-w", "n1", "--dry-run", "true")):
        done = mpshell("--report", str(tmp_path / "run.html"), *words)
        assert done.code == 64 and "--report is about a run" in done.err


def test_a_foreign_file_is_refused_as_for_show(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    with closing(sqlite3.connect(foreign)) as made:
        made.execute("CREATE TABLE t (x)")
    (tmp_path / "text").write_text("no journal\n")
    for name in ("foreign", "text", "nothing"):
        words = ("--show", str(tmp_path / name))
        done = mpshell(*words, "--report", str(tmp_path / "run.html"))
        plain = mpshell(*words)
        assert (done.code, done.err) == (plain.code, plain.err) and done.code == 73
    assert not (tmp_path / "run.html").exists()


def test_large_and_many_outputs_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, target = tmp_path / "journal", tmp_path / "run.html"
    # One line of 10 MB, and texts that differ.
    command = "case %n in 0) head -c 10000000 /dev/zero | tr '\\0' x ;; *) echo %h ;; esac"
    done = local(
        "-w", "n[0-9]", "-q", "--outdir", str(tmp_path / "out"), "--journal", str(journal),
        "--report", str(target), command,
    )  # fmt: skip
    assert done.code == 0 and target.stat().st_size < 300_000
    found = content(target)
    text = found["texts"][found["out"][0]]
    assert text["size"] == 10_000_000 and text["left_out"] == 10_000_000 - data.HEAD - data.TAIL
    monkeypatch.setattr(data, "TEXTS", 5)
    from mpshell.journal.past import Past

    past = Past.open(str(journal))
    texts = data.collect(past, past.run(None))["texts"]
    assert sum(text["text"] is not None for text in texts) == 2 and len(texts) == 10
    assert (found["outputs_left_out"], found["failures_left_out"]) == (0, 0)
    monkeypatch.setattr(data, "GROUPS", 3)
    few = data.collect(past, past.run(None))
    past.close()
    assert len(few["outputs"]) == 3 and few["outputs_left_out"] == 7


def test_outputs_that_take_long_to_compare_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mpshell.journal.past import Past

    journal = tmp_path / "journal"
    # Lines that stand ten times in each output, in another order: of thousands difflib would think for minutes.
    many = "for line in $(seq 100); do echo $((line * (%n + 1) %% 10)); done"
    command = f"case %n in 9) echo few ;; *) {many} ;; esac"
    done = local(
        "-w", "n[0-9]", "-q", "--outdir", str(tmp_path / "out"), "--journal", str(journal), command
    )
    assert done.code == 0
    monkeypatch.setattr(data, "PAIRS", 2500)
    past = Past.open(str(journal))
    found = data.collect(past, past.run(None))["outputs"]
    past.close()
    texts = [output for output in found[1:] if output["nodes"] != "n9"]
    assert len(texts) > 2 and sum("diff" in output for output in texts) == 2
    [few] = [output for output in found if output["nodes"] == "n9"]
    assert few["diff"].endswith("\n+few")


# -- hostile texts ---------------------------------------------------------------------------------

HOSTILE = [
    "</script><script>hacked = 1</script>", "<!--<script>", "<img src=x onerror='hacked = 1'>", "]]>", "@DATA@",
    "@SCRIPT@", "&lt;b&gt;", "\x1b[31mred\x1b[0m", "\u202eright", "\ud800", "\u2028",
    "'\"`${hacked = 1}", "\x00",
]  # fmt: skip


@given(
    st.recursive(
        st.text() | st.sampled_from(HOSTILE),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_data_are_data_in_a_script_element(value: Any) -> None:
    """HTML, 4.12.1.3: a script element ends at `</script`, and `<!--` and `<script` change its meaning."""
    text = embedded(value)
    assert not set("<>&") & set(text) and json.loads(text) == value


def test_hostile_outputs_names_and_commands_are_text_and_nothing_else(
    browser: Chrome, tmp_path: Path
) -> None:
    target = tmp_path / "run.html"
    hostile = [text for text in HOSTILE if "\x00" not in text and "\ud800" not in text]
    for number, text in enumerate(hostile):
        (tmp_path / f"text{number}").write_text(f"{text}\nend")
    names = ["<b>bold</b>", "a%26;b", "x'y\"z"]
    command = f": {' '.join(hostile[:3])!r}; cat {tmp_path}/text*; cat {tmp_path}/text%n >&2; test %n -ne 1"
    words = [word for name in names for word in ("-w", name)]
    done = local(*words, "-q", "--report", str(target), command)
    assert done.code == 1, done.err
    page = Page(browser, target)
    assert page.run("return typeof hacked") == "undefined"
    assert page.run("return document.querySelectorAll('img, b, script').length") == 2
    shown = [element.text for element in page.all("#nodes tbody td:first-child")]
    assert sorted(shown) == sorted(names)
    page.open("outputs", 0)
    seen = page.text("#outputs pre")
    assert hostile[0] in seen and "\\x1b[31mred" in seen and "\\u202eright" in seen
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", seen)
    for element in page.all("#nodes tbody button"):
        element.click()
        page.one("#detail form button").click()
    console, asked = page.drain()
    assert console == [] and page.run("return typeof hacked") == "undefined"
    assert asked == [target.as_uri()]
