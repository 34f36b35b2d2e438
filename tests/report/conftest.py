"""One browser for the tests of a process, and a journal that they look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.cli.program import local
from tests.report.browser import Page, chromium

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


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


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
