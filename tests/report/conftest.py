"""One browser for the tests of a module, and a journal that they look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.cli.program import local
from tests.report.browser import Page, chromium
from tests.support import eventually

#: Ends in each way, with two outputs.
COMMAND = """\
case %n in
    [0-9]) echo kernel 6.1; echo up ;;
    1[0-4]) echo kernel 6.0; echo up ;;
    15) echo "disk of %h is full" >&2; exit 3 ;;
    16) echo "disk of %h is full" >&2; exit 3 ;;
    17) kill -9 $$ ;;
    18) sleep 60 ;;
    *) exit 4 ;;
esac"""


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """In place of the suite's: processes of the browser come and go. `browser` looks at its end."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    profile = tmp_path_factory.mktemp("chromium")
    with chromium(profile) as driver:
        yield driver
    assert eventually(lambda: not users_of(profile)), users_of(profile)


def users_of(profile: Path) -> list[str]:
    """Return the processes that have a directory among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(profile).encode() in words:
            found.append(words.decode(errors="replace"))
    return found


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run on 20 nodes, from a run of now."""
    path = tmp_path_factory.mktemp("report") / "run.html"
    done = local("-w", "n[1-20]", "-u", "1", "-q", "--report", str(path), COMMAND)
    assert done.code == 255 and path.exists(), done.err
    return path


@pytest.fixture
def page(browser: Chrome, report: Path) -> Page:
    return Page(browser, report)
