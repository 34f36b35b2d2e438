"""The pages match the code: each state table is as there, and each named file exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mpshell
from mpshell.connect import pool
from mpshell.coordinator import engine, job, relaynode
from mpshell.engine import client, life
from mpshell.hosts import circuit, contact
from mpshell.launch import lifecycle
from mpshell.task import ports, threads

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

Table = dict[str, dict[str, str]]

#: By the file that a heading names: states, events, the table, events without a column.
TABLES: dict[str, tuple[tuple[str, ...], tuple[str, ...], Table, set[str]]] = {
    "task/threads.py": (threads.STATES, threads.EVENTS, threads.TABLE, set()),
    "task/ports.py": (ports.STATES, ports.EVENTS, ports.TABLE, set()),
    "coordinator/engine.py": (engine.STATES, engine.EVENTS, engine.TABLE, set()),
    "coordinator/job.py": (job.STATES, job.EVENTS, job.TABLE, set()),
    "coordinator/relaynode.py": (relaynode.STATES, relaynode.EVENTS, relaynode.TABLE, set()),
    "launch/lifecycle.py": (
        lifecycle.STATES, lifecycle.EVENTS, lifecycle.TABLE, {lifecycle.FENCE},
    ),
    "connect/pool.py": (pool.STATES, pool.EVENTS, pool.TABLE, set()),
    "hosts/circuit.py": (circuit.STATES, circuit.EVENTS, circuit.TABLE, set()),
    "hosts/contact.py": (contact.STATES, contact.EVENTS, contact.TABLE, set()),
    "engine/life.py": (life.STATES, life.EVENTS, life.TABLE, set()),
    "engine/client.py": (client.STATES, client.EVENTS, client.TABLE, set()),
}  # fmt: skip


def rows_below(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, its head first."""
    lines = page.partition(heading)[2].splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("|"))
    rows = [line for line in lines[first : lines.index("", first)] if not line.startswith("|--")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.parametrize("module", TABLES)
def test_the_page_has_the_table_of_states(module: str) -> None:
    states, events, table, unshown = TABLES[module]
    page = (DOCS / "architecture.md").read_text()
    [heading] = re.findall(rf"^## .*\(`{module}`\)$", page, re.M)
    head, *rows = rows_below(page, heading)
    assert set(head[1:]) | unshown == set(events) and not unshown.intersection(head)
    assert [row[0] for row in rows] == list(states)
    for state, *cells in rows:
        for event, cell in zip(head[1:], cells, strict=True):
            after = table[state].get(event)
            expected = {None: "\N{EN DASH}", state: "stay"}.get(after, after)
            assert cell == expected, (state, event)
    for event in unshown:
        assert all(table[state][event] == state for state in states)


def test_every_module_with_a_table_of_states_is_on_the_page() -> None:
    package = ROOT / "mpshell"
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"^TABLE\b", path.read_text(), re.M)
    }
    assert found == set(TABLES)


#: `a name` or `a/path`.
NAMED = re.compile(r"`([\w./]+)`")


def sections(page: str) -> list[str]:
    return (DOCS / page).read_text().split("\n## ")[1:]


@pytest.mark.parametrize("section", sections("changing.md"), ids=lambda text: text.splitlines()[0])
def test_how_to_change_it_names_files_and_names_that_there_are(section: str) -> None:
    """Each path is a file or a folder; each other name is in one of the files of its section."""
    named = [name for name in NAMED.findall(section) if not name.startswith("mpshell/worker/NAME")]
    paths = [ROOT / name for name in named if "/" in name]
    assert len(paths) >= 4
    assert [path for path in paths if not path.exists()] == []
    text = "\n".join(path.read_text() for path in paths if path.is_file())
    for name in {name for name in named if "/" not in name}:
        last = name.rpartition(".")[2]
        assert re.search(rf"\b{last}\b", text), name


def test_how_to_change_it_covers_the_usual_additions() -> None:
    heads = " ".join(section.splitlines()[0] for section in sections("changing.md"))
    for kind in ("message", "setting", "transport", "carrier", "launcher", "fault", "state"):
        assert kind in heads


def test_the_reference_has_every_public_name_once() -> None:
    named = re.findall(
        r"^\.\. auto(?:class|function|exception|data):: (\w+)$", (DOCS / "api.md").read_text(), re.M
    )
    assert sorted(named) == sorted(mpshell.__all__)
    assert "automodule:: mpshell.aio" in (DOCS / "api.md").read_text()


def test_the_pictures_of_the_readme_are_there() -> None:
    named = re.findall(r'(?:src|srcset)="([^"]+)"', (ROOT / "README.md").read_text())
    assert len(named) >= 4 and [name for name in named if not (ROOT / name).is_file()] == []


def test_every_page_is_on_the_site() -> None:
    """In the contents of index.md, which the build reads."""
    listed = re.findall(r"^([a-z-]+)$", (DOCS / "index.md").read_text(), re.M)
    assert sorted(listed) == sorted(path.stem for path in DOCS.glob("*.md") if path.stem != "index")
