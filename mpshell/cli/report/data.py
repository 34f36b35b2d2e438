"""The content of a report, read from a journal: columns with an entry for each node, and groups of nodes.

Each text of a node, a command or a user passes through `visible` or `visible_lines` here, and through
`page.embedded` afterwards; the scripts of the page set texts, never markup.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from mpshell import __version__
from mpshell.cli.diff import unified
from mpshell.cli.outcomes import ORDER, kind, never_run, sentence
from mpshell.cli.past import PastWorker, command_line, outcome_of, took, workers_of
from mpshell.cli.text import visible, visible_lines
from mpshell.journal.past import Past, PastAttempt, PastRun
from mpshell.nodeset import NodeSet

#: Bytes that are shown of one text, from its begin and from its end.
HEAD, TAIL = 48 << 10, 16 << 10

#: Bytes of all texts in a page. Of further texts only the size is shown.
TEXTS = 16 << 20

#: Groups of outputs and of failures in a page; and how many outputs are compared with that of most nodes.
GROUPS, COMPARED = 500, 50

#: The most pairs of equal lines in all comparisons of a page: difflib takes some seconds for these.
PAIRS = 2_000_000

#: The most lines of a comparison, and characters of a last line.
DIFF_LINES, WORDS = 400, 200

#: Times are whole numbers of this many a second.
TICKS = 10_000


class Row(NamedTuple):
    """A node and how its command has ended; `attempt` is None where nothing was handed out."""

    node: str
    attempt: PastAttempt | None
    kind: str
    sentence: str


class Texts:
    """The distinct texts of a run by their number in the journal, within the bounds of a page."""

    def __init__(self, past: Past, uses: Counter[int]) -> None:
        self._past = past
        self._last: dict[int, str] = {}
        self.shown: list[dict[str, Any]] = []
        #: The place in `shown` by number.
        self.places: dict[int, int] = {}
        room = TEXTS
        for body, _ in uses.most_common():
            content, size, _ = past.text(body)
            left_out = size - len(content)
            if len(content) > HEAD + TAIL:
                left_out += len(content) - HEAD - TAIL
                content = content[:HEAD] + b"\n" + content[-TAIL:]
            text = readable(content) if len(content) <= room else None
            room -= len(content) if text is not None else 0
            self.places[body] = len(self.shown)
            self.shown.append({"text": text, "size": size, "left_out": left_out})

    def place(self, body: int | None) -> int:
        """Return the place of a text in the page, -1 for none."""
        return -1 if body is None else self.places[body]

    def last_line(self, body: int | None) -> str:
        """Return the last line of a text that is not empty, "" without one."""
        if body is None:
            return ""
        if body not in self._last:
            content, _, _ = self._past.text(body)
            line = content.rstrip()[-4 * WORDS :].rpartition(b"\n")[2]
            self._last[body] = readable(line.strip())[-WORDS:]
        return self._last[body]


def readable(said: bytes) -> str:
    """Return the output of a node as text without control characters."""
    return visible_lines(said.decode(errors="replace"))


def collect(past: Past, run: PastRun) -> dict[str, Any]:
    """Return the content of a run's page, as JSON can have it; JournalError for a damaged journal."""
    commands = past.commands(run)
    workers = workers_of(past, run)
    rows = [row for worker in workers for row in rows_of(worker)]
    texts = Texts(past, Counter(uses(rows)))
    kinds = [name for name in ORDER if any(row.kind == name for row in rows)]
    return {
        "run": run.run,
        "mode": run.mode,
        "root": run.root,
        "command": visible_lines(command_line(commands)) if commands else "",
        "transport": ", ".join(sorted({visible(command.transport) for command in commands})),
        "fanout": run.settings.get("fanout"),
        "started_at": run.started_at,
        "duration": took(run, workers),
        "ended": run.ended_at is not None,
        "error": None if run.error is None else visible_lines(run.error),
        "incomplete": None if run.incomplete is None else visible_lines(str(run.incomplete)),
        "user": visible(run.user),
        "host": visible(run.host),
        "directory": visible(run.directory),
        "version": __version__,
        "ticks": TICKS,
        "kinds": kinds,
        **columns(rows, kinds, run, texts),
        "texts": texts.shown,
        **failures(rows, texts),
        **outputs(rows, texts),
    }


def rows_of(worker: PastWorker) -> Iterator[Row]:
    """Yield the nodes that a command of a run was for, in node-set order."""
    for node in worker.nodes:
        attempt = worker.attempts.get(node)
        if attempt is not None:
            outcome = outcome_of(node, attempt)
        else:
            outcome = worker.unattempted(node) or never_run(node)
        named = kind(outcome)
        yield Row(node, attempt, named, visible("" if outcome.ok else sentence(outcome)))


def uses(rows: list[Row]) -> Iterator[int]:
    """Yield the number of each text, once for each use."""
    for row in rows:
        if row.attempt is not None:
            yield from (b for b in (row.attempt.stdout, row.attempt.stderr) if b is not None)


def columns(rows: list[Row], kinds: list[str], run: PastRun, texts: Texts) -> dict[str, list[Any]]:
    """Return the columns of a page; -1 means not known."""
    index = {name: at for at, name in enumerate(kinds)}
    sentences: dict[str, int] = {}
    hosts: dict[str, int] = {}
    found: dict[str, list[Any]] = {
        name: []
        for name in (
            "names", "kind", "sentence", "start", "length", "attempt", "engine", "on", "out", "err",
        )
    }  # fmt: skip
    for row in rows:
        attempt = row.attempt
        start = -1 if attempt is None else _ticks(attempt.started_at, run.started_at)
        for name, value in (
            ("names", visible(row.node)),
            ("kind", index[row.kind]),
            ("sentence", sentences.setdefault(row.sentence, len(sentences))),
            ("start", start),
            (
                "length",
                -1 if attempt is None or start < 0 else round((attempt.duration or 0) * TICKS),
            ),
            ("attempt", 0 if attempt is None else attempt.attempt),
            ("engine", -1 if attempt is None or attempt.engine is None else attempt.engine),
            ("on", hosts.setdefault(visible((attempt and attempt.host) or ""), len(hosts))),
            ("out", texts.place(attempt and attempt.stdout)),
            ("err", texts.place(attempt and attempt.stderr)),
        ):
            found[name].append(value)
    return {**found, "sentences": list(sentences), "hosts": list(hosts)}


def _ticks(moment: float | None, begin: float) -> int:
    return -1 if moment is None else max(0, round((moment - begin) * TICKS))


# -- groups ----------------------------------------------------------------------------------------


def failures(rows: list[Row], texts: Texts) -> dict[str, Any]:
    """Return the nodes that are not ok, by outcome and last line, the largest group first.

    Also `failures_left_out`, the number of groups that are not in the page.
    """
    groups: dict[tuple[str, str, str], list[int]] = {}
    for at, row in enumerate(rows):
        if row.kind != "ok":
            groups.setdefault((row.kind, row.sentence, last_words(row, texts)), []).append(at)
    ordered = sorted(groups.items(), key=lambda item: (ORDER.index(item[0][0]), -len(item[1])))
    found = [
        {"kind": named, "sentence": said, "words": words, **_members(rows, members)}
        for (named, said, words), members in ordered[:GROUPS]
    ]
    return {"failures": found, "failures_left_out": len(ordered) - len(found)}


def last_words(row: Row, texts: Texts) -> str:
    """Return the last line of a node's stderr, else of its stdout, with %h for its own name."""
    if row.attempt is None:
        return ""
    line = texts.last_line(row.attempt.stderr) or texts.last_line(row.attempt.stdout)
    name = re.escape(visible(row.node))
    return re.sub(rf"(?<![\w.-]){name}(?![\w-])", "%h", line)


def outputs(rows: list[Row], texts: Texts) -> dict[str, Any]:
    """Return the groups of nodes with the same standard output, the largest first, and the differences.

    Beside them `outputs_left_out`, how many groups are in no page.
    """
    groups: dict[int | None, list[int]] = {}
    for at, row in enumerate(rows):
        if row.attempt is not None and row.attempt.reason is not None:
            groups.setdefault(row.attempt.stdout, []).append(at)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    found: list[dict[str, Any]] = []
    room = PAIRS
    for rank, (body, members) in enumerate(ordered[:GROUPS]):
        group = {"out": texts.place(body), **_members(rows, members)}
        if 0 < rank <= COMPARED and (both := _both(ordered[0][0], body, texts)) is not None:
            pairs = _equal_lines(*both)
            if pairs <= room:
                room -= pairs
                group["diff"] = _difference(*both)
        found.append(group)
    return {"outputs": found, "outputs_left_out": len(ordered) - len(found)}


def _members(rows: list[Row], members: list[int]) -> dict[str, Any]:
    names = NodeSet.fromnames({rows[at].node for at in members})
    return {"count": len(members), "nodes": visible(str(names)), "rows": members}


def _both(
    majority: int | None, body: int | None, texts: Texts
) -> tuple[bytes | None, bytes | None] | None:
    """Return the output of most nodes and another one, None for an empty one; None if one is incomplete."""
    both: list[bytes | None] = []
    for number in (majority, body):
        shown = None if number is None else texts.shown[texts.place(number)]
        if shown is not None and (shown["text"] is None or shown["left_out"]):
            return None
        both.append(None if shown is None else os.fsencode(shown["text"]))
    return both[0], both[1]


def _equal_lines(most: bytes | None, other: bytes | None) -> int:
    """Return how many pairs of equal lines two outputs have."""
    lines = Counter((other or b"").splitlines())
    return sum(lines[line] for line in (most or b"").splitlines())


def _difference(most: bytes | None, other: bytes | None) -> str:
    """Return a diff from the output of most nodes to another one."""
    lines = list(unified(most, other, b"the output of most nodes", b"this output"))
    if len(lines) > DIFF_LINES:
        lines[DIFF_LINES:] = [b"... (%d more lines)" % (len(lines) - DIFF_LINES)]
    return b"\n".join(lines).decode(errors="replace")
