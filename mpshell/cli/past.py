"""The earlier runs in a journal, for the displays and the report; and --runs, which lists them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from typing import Any

from mpshell.cli.outcomes import Tally, never_run, worst
from mpshell.cli.records import text as text_members
from mpshell.cli.terminal import Terminal
from mpshell.cli.text import visible, visible_lines
from mpshell.errors import JournalError
from mpshell.journal.past import Past, PastAttempt, PastCommand, PastRun
from mpshell.journal.store import is_locked
from mpshell.nodeset import NodeSet
from mpshell.outcome import REASONS, NodeOutcome


class PastWorker:
    """A command of a run, with the outcomes and texts that a worker has."""

    def __init__(self, past: Past, run: PastRun, command: PastCommand, merges: bool) -> None:
        self._past = past
        self._merges = merges
        names = past.nodes(command.command)
        self.attempts: dict[str, PastAttempt] = {
            names[attempt.rank]: attempt for attempt in past.attempts(run, command.command)
        }
        #: Those that the run was for.
        self.nodes = NodeSet.fromnames(names[rank] for rank in past.chosen(run, command.command))
        self._is_incomplete = run.incomplete is not None
        self._texts: dict[int, bytes] = {}
        self._cut: set[int] = set()
        #: Nodes whose output is incomplete.
        self.cut: set[str] = set()

    def read(self, node: str, sname: str = "stdout") -> bytes | None:
        """Return the stored output of a node's stream, None if it is empty."""
        if not self._merges:
            return self._text(node, sname)
        if sname == "stderr":
            return None
        said = [
            text
            for text in (self._text(node, "stdout"), self._text(node, "stderr"))
            if text is not None
        ]
        return b"\n".join(said) if said else None

    def _text(self, node: str, sname: str) -> bytes | None:
        attempt = self.attempts.get(node)
        body = None if attempt is None else getattr(attempt, sname)
        if body is None:
            return None
        if body not in self._texts:
            content, size, digest = self._past.text(body)
            if len(content) < size:
                # Texts that begin alike are not taken for equal.
                note = f"[{size - len(content)} more bytes are not in the journal, SHA-256 {digest.hex()}]"
                content = content + b"\n" * bool(content) + note.encode()
                self._cut.add(body)
            self._texts[body] = content
        if body in self._cut:
            self.cut.add(node)
        return self._texts[body]

    def outcomes(self) -> Iterator[NodeOutcome]:
        """Yield how each node has ended, in the order of their ends."""
        found = sorted(
            self.attempts.items(),
            key=lambda item: (item[1].started_at or 0.0) + (item[1].duration or 0.0),
        )
        for node, attempt in found:
            yield outcome_of(node, attempt)
        if self._is_incomplete:
            for node in self.nodes:
                if (unattempted := self.unattempted(node)) is not None:
                    yield unattempted

    def unattempted(self, node: str) -> NodeOutcome | None:
        """Return the outcome of a node that has no attempt in the journal, None when it has surely not run."""
        if node in self.attempts or not self._is_incomplete:
            return None
        return _unknown(node, 0)


def outcome_of(node: str, attempt: PastAttempt) -> NodeOutcome:
    """Return an attempt as an outcome; JournalError for one that none can be."""
    if attempt.reason is None:
        return _unknown(node, attempt.attempt)
    if attempt.reason not in REASONS:
        raise JournalError(f"the journal is damaged: {attempt.reason!r} is not a reason")
    detail = os.fsdecode(attempt.detail) if isinstance(attempt.detail, bytes) else attempt.detail
    return NodeOutcome(
        node, attempt.reason, attempt.code, attempt.signal, attempt.started_at, attempt.duration or 0.0,
        attempt.reason == "timeout", detail, attempt.engine or 0, host=attempt.host or "",
        attempt=attempt.attempt,
    )  # fmt: skip


def _unknown(node: str, attempt: int) -> NodeOutcome:
    return NodeOutcome(node, "may have run", None, None, None, 0.0, False, None, 0, attempt=attempt)


def workers_of(past: Past, run: PastRun, merges: bool = False) -> list[PastWorker]:
    """Return the commands of a run that it was for any node of."""
    workers = [PastWorker(past, run, command, merges) for command in past.commands(run)]
    return [worker for worker in workers if worker.nodes] or workers[:1]


def command_line(commands: list[PastCommand]) -> str:
    """Return the command of a run, as in its command line."""
    if all(command.kind in ("command", "local") for command in commands):
        return "; ".join(str(command.text) for command in commands)
    option = "--rcopy" if commands[0].kind == "rcopy" else "-c"
    return " ".join([option, *(str(command.source) for command in commands)])


def took(past: PastRun, workers: list[PastWorker]) -> float:
    """Return how long a run took, in seconds: until its last outcome, if it was broken off."""
    if past.ended_at is not None:
        return max(0.0, past.ended_at - past.started_at)
    ends = [
        attempt.started_at + (attempt.duration or 0.0)
        for worker in workers
        for attempt in worker.attempts.values()
        if attempt.started_at is not None
    ]
    return max(0.0, max(ends, default=past.started_at) - past.started_at)


def list_runs(options: argparse.Namespace, terminal: Terminal) -> int:
    """List the runs of a journal, as lines, objects or one document; JournalError."""
    past = Past.open(options.runs)
    records = [_record(options.runs, past, run) for run in past.runs()]
    past.close()
    if options.json:
        terminal.out(json.dumps({"runs": records}).encode() + b"\n")
        return 0
    for record in records:
        line = json.dumps(record) if options.jsonl else _line(record)
        terminal.out(os.fsencode(line + "\n"))
    return 0


def _record(path: str, past: Past, run: PastRun) -> dict[str, Any]:
    commands = past.commands(run)
    workers = workers_of(past, run) if commands else []
    nodes = NodeSet()
    found: dict[str, list[NodeOutcome]] = {}
    for worker in workers:
        nodes.update(worker.nodes)
        for outcome in worker.outcomes():
            found.setdefault(outcome.node, []).append(outcome)
    tally = Tally(nodes)
    for node in nodes:
        outcomes = found.get(node, [])
        if len(outcomes) < sum(node in worker.nodes for worker in workers):
            outcomes.append(never_run(node))
        tally.end(worst(outcomes))
    state = "ended" if run.ended_at is not None else "broken off"
    return {
        "run": run.run,
        "root": run.root,
        "mode": run.mode,
        "state": "goes on" if state != "ended" and goes_on(path, run) else state,
        "started_at": run.started_at,
        "duration": round(took(run, workers), 6),
        "error": run.error,
        "incomplete": run.incomplete,
        "counts": tally.counts(),
        "user": run.user,
        "host": run.host,
        **text_members("directory", os.fsencode(run.directory)),
        **text_members("command", os.fsencode(command_line(commands)) if commands else b""),
    }


def _line(record: dict[str, Any]) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in record["counts"].items())
    notes = [counts]
    if record["mode"] != "run":
        notes.insert(0, f"{record['mode']} of {record['root']}")
    if record["state"] != "ended":
        notes.append(record["state"])
    if record["incomplete"]:
        notes.append("incomplete")
    head = f"{record['run']:>3}  {clock(record['started_at'])}  {record['duration']:>8.1f} s  "
    return head + f"{'; '.join(notes)}  {visible(visible_lines(record['command']))}"


def goes_on(path: str, run: PastRun) -> bool:
    """Return whether a run without an end goes on: no two do at once, so it is the last one."""
    past = Past.open(path)
    try:
        return past.run(None).run == run.run and is_locked(path)
    finally:
        past.close()


def clock(seconds: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
