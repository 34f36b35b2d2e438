"""The report in a real browser: it shows the run, filters, searches, opens, zooms and prints."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, Keys

from mpshell.cli.report.page import page as page_of
from mpshell.nodeset import NodeSet
from tests.report.browser import Page, chromium
from tests.support import eventually


def rows(page: Page) -> list[str]:
    return [element.text for element in page.all("#nodes tbody td:first-child")]


def box(page: Page, kind: str) -> Any:
    return page.one(f'#kinds input[data-kind="{kind}"]')


def test_the_page_loads_without_an_error_and_asks_for_nothing(page: Page) -> None:
    assert page.value("#matches") == "20 nodes"
    assert [label.text for label in page.all("#kinds label")] == [
        "ok: 15", "failed: 4", "timed out: 1",
    ]  # fmt: skip
    assert rows(page) == list(NodeSet("n[1-20]"))
    console, asked = page.drain()
    assert console == []
    assert asked == [page.path.as_uri()]


@pytest.mark.parametrize(
    "text",
    [
        "n[1-3]", "n[1-20/5]", "n[1-20]!n7", "n[1-5]&n[4-9]", "n[1-5]^n[4-9]", "n1,n2,n3", "n[1-3,18-20]", "n*",
        "n01", "n[01-03]", "m[1-5]",
    ],
)  # fmt: skip
def test_a_search_finds_the_nodes_of_a_node_set(text: str, page: Page) -> None:
    """As NodeSet has them; * stands for any part of a name."""
    expected = NodeSet("n[1-20]") if text == "n*" else NodeSet(text) & NodeSet("n[1-20]")
    page.search(text)
    assert rows(page) == list(expected)


def test_a_part_of_a_name_is_found_too(page: Page) -> None:
    assert page.search("9") == "2 of 20 nodes" and rows(page) == ["n9", "n19"]
    page.one("#reset").click()
    assert len(rows(page)) == 20


def test_outcomes_are_filtered(page: Page) -> None:
    box(page, "ok").click()
    assert len(rows(page)) == 5 and page.value("#matches") == "5 of 20 nodes"
    box(page, "timed out").click()
    assert rows(page) == ["n16", "n17", "n18", "n20"]
    box(page, "ok").send_keys(Keys.SPACE)
    assert len(rows(page)) == 19


def test_failures_stand_together_by_reason_and_last_line(page: Page) -> None:
    heads = [element.text for element in page.all("#failures summary")]
    assert heads == [
        "2 nodes: exited with code 3: disk of %h is full", "1 node: ended by SIGKILL",
        "1 node: exited with code 4", "1 node: timed out",
    ]  # fmt: skip
    page.open("failures", 0)
    assert "n[16-17]" in page.text("#failures details[open]")
    assert "disk of n16 is full" in page.text("#failures details[open] pre")


def test_outputs_stand_together_with_their_differences(page: Page) -> None:
    heads = [element.text for element in page.all("#outputs summary")]
    assert heads == [
        "10 nodes: 13 bytes, the output of most nodes", "5 nodes: 13 bytes", "5 nodes: no output",
    ]  # fmt: skip
    page.open("outputs", 1)
    opened = page.all("#outputs details[open] pre")
    assert [line for line in opened[0].text.splitlines() if line[:1] in "+-"][2:] == [
        "-kernel 6.1", "+kernel 6.0",
    ]  # fmt: skip
    assert page.one("#outputs details[open] pre .added").text.startswith("+++")


def test_groups_that_are_left_out_are_counted(
    report: Path, browser: Chrome, tmp_path: Path
) -> None:
    few = tmp_path / "few.html"
    few.write_text(report.read_text().replace('"outputs_left_out":0', '"outputs_left_out":1234', 1))
    text = Page(browser, few).text("#outputs > .hint")
    assert text.startswith("1,234 more groups") and "The table below has their nodes" in text


def test_a_node_opens_with_its_outputs_and_closes(page: Page) -> None:
    page.all("#nodes tbody button")[15].click()
    assert page.text("#detail-node") == "n16" and page.one("#detail").is_displayed()
    assert "exited with code 3; from 0." in page.text("#detail-about")
    assert page.text("#detail pre") == "disk of n16 is full"
    page.one("#detail").send_keys(Keys.ESCAPE)
    assert not page.one("#detail").is_displayed()


def test_columns_are_sorted_also_by_the_keyboard(page: Page) -> None:
    page.one('[data-sort="length"]').click()
    page.one('[data-sort="length"]').send_keys(Keys.ENTER)
    assert rows(page)[0] == "n19"
    assert page.one('th[aria-sort="descending"]').text == "duration, s"
    assert page.one("#slowest tbody button").text == "n19"


def test_durations_are_counted(page: Page) -> None:
    counts = [int(cell.text) for cell in page.all("#durations tbody td:nth-child(2)")]
    assert sum(counts) == 20 and counts[-1] == 1


def test_the_timeline_zooms_moves_and_shows_the_outcomes(page: Page) -> None:
    whole = page.value("#span")
    shown = page.colours()
    page.one("#zoom-in").click()
    assert page.run("return timeline.view.to - timeline.view.from < timeline.end")
    assert eventually(lambda: page.value("#span") != whole)
    part = page.value("#span")
    page.one("#later").click()
    assert eventually(lambda: page.value("#span") != part)
    page.one("#timeline").send_keys("0")
    assert eventually(lambda: page.value("#span") == whole)
    # Pale ones, ok, failed, timed out.
    assert len(shown) >= 4
    for kind in ("failed", "timed out"):
        box(page, kind).click()
    assert len(page.colours()) == 2


def test_it_is_for_a_phone_too(report: Path, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile", 500, 800) as driver:
        page = Page(driver, report)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
        )
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")
        assert page.run("return timeline.canvas.clientWidth") > 300


def test_it_is_printed_with_its_groups_open(page: Page) -> None:
    pdf = base64.b64decode(page.driver.print_page())
    assert pdf.startswith(b"%PDF") and len(pdf) > 10_000
    assert page.run("return document.querySelectorAll('details:not([open])').length") == 0
    assert "kernel 6.0" in page.text("#outputs")


# -- accessibility ---------------------------------------------------------------------------------


def test_headings_labels_and_focus(page: Page) -> None:
    levels = [int(tag[1]) for tag in page.run(
        "return [...document.querySelectorAll('body > :not(dialog) :is(h1, h2)')].map(e => e.tagName)"
    )]  # fmt: skip
    assert levels[0] == 1 and levels.count(1) == 1
    assert page.run("return document.documentElement.lang") == "en"
    assert page.run(
        "return [...document.querySelectorAll('input')].every(e => e.labels.length === 1)"
    )
    assert page.run("return [...document.querySelectorAll('button')].every(e => e.textContent)")
    reached = set()
    for _ in range(40):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        reached.add(page.run("const e = document.activeElement; return e.id || e.tagName"))
    assert {"search", "reset", "timeline", "zoom-in", "INPUT", "SUMMARY"} <= reached


def luminance(colour: tuple[int, int, int]) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    parts = [c / 255 for c in colour]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str, page: Page) -> None:
    """WCAG 2.2: 4.5 for text (1.4.3), 3 for graphics (1.4.11)."""
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    names = re.findall(r"(--[a-z-]+): #", Path("mpshell/cli/report/page.css").read_text())
    value = {
        name: rgb(page.run(
            "return getComputedStyle(document.documentElement).getPropertyValue(arguments[0]).trim()", name
        ))
        for name in set(names)
    }  # fmt: skip
    for ground in ("--page", "--panel"):
        for text in ("--text", "--soft", "--added", "--removed", "--focus"):
            assert contrast(value[text], value[ground]) >= 4.5, (text, ground)
    others = {"--page", "--panel", "--line", "--wait"}
    for name in value.keys() - others:
        assert contrast(value[name], value["--panel"]) >= 3, name
    assert (luminance(value["--page"]) > 0.5) == (scheme == "light")


def rgb(text: str) -> tuple[int, int, int]:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


# -- large -----------------------------------------------------------------------------------------


def large(count: int) -> dict[str, Any]:
    """The content of a page about many nodes, a few of which have failed."""
    return {
        "run": 1, "mode": "run", "root": 1, "command": "uname -r", "transport": "ssh", "fanout": 64,
        "started_at": 1.7e9, "duration": count / 500, "ended": True, "error": None, "incomplete": None,
        "user": "root", "host": "head", "directory": "/root", "version": "0", "ticks": 10_000,
        "kinds": ["ok", "failed", "unreachable"], "names": [f"node{n:06}" for n in range(count)],
        "kind": [2 if n % 997 == 0 else 1 if n % 101 == 0 else 0 for n in range(count)],
        "sentence": [2 if n % 997 == 0 else 1 if n % 101 == 0 else 0 for n in range(count)],
        "sentences": ["", "exited with code 1", "unreachable"], "hosts": [""],
        "start": [n * 20 for n in range(count)], "length": [500 + n * 7919 % 9000 for n in range(count)],
        "attempt": [1] * count, "engine": [1] * count, "on": [0] * count, "out": [0] * count,
        "err": [-1] * count, "texts": [{"text": "6.1", "size": 3, "left_out": 0}],
        "failures": [], "outputs": [
            {"out": 0, "count": count, "nodes": f"node[000000-{count - 1:06}]", "rows": list(range(count))}
        ],
    }  # fmt: skip


def test_a_hundred_thousand_nodes_are_shown_at_once(browser: Chrome, tmp_path: Path) -> None:
    path = tmp_path / "large.html"
    path.write_text(page_of(large(100_000)))
    page = Page(browser, path)
    milliseconds = "return document.documentElement.dataset.milliseconds"
    assert eventually(lambda: page.run(milliseconds) is not None)
    assert float(page.run(milliseconds)) < 2000
    took = float(
        page.run(
            "const t = performance.now(); timeline.draw(); timeline.zoom(0.5); timeline.draw();"
            "return performance.now() - t"
        )
    )
    # A turn of the wheel is smooth up to a tenth of a second.
    assert took < 1000
    assert page.search("node[000000-000999]") == "1,000 of 100,000 nodes"
    assert page.drain()[0] == []
