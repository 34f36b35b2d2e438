"""--json and --jsonl: one object for each node, without any loss.

A text that is not UTF-8 is shown with replacement characters, and is there in full, as base64, under the
same key with `_base64` at its end.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from mpshell.cli.display import KeptDisplay
from mpshell.cli.outcomes import never_ran
from mpshell.outcome import NodeOutcome


class JsonDisplay(KeptDisplay):
    """One document at the end."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._outcomes: dict[str, NodeOutcome] = {}

    def show(self, outcome: NodeOutcome) -> None:
        # First: an error in showing it (no memory) does not take it away.
        self._outcomes[outcome.node] = outcome
        super().show(outcome)

    def show_rest(self, seconds: float, status: int) -> None:
        """Write the document, the nodes in their order."""
        head = {
            **text("command", os.fsencode(" ".join(self.options.command))),
            "duration": round(seconds, 6),
            "exit_status": status,
            "counts": self.tally.counts(),
        }
        # Node by node: as text an output takes a multiple of its bytes.
        before = f'{json.dumps(head)[:-1]}, "nodes": [\n'
        for node in self.tally.nodes:
            self.terminal.out(before.encode(), self._encoded(node))
            before = ",\n"
        self.terminal.out(b"\n]}\n")

    def _encoded(self, node: str) -> bytes:
        outcome = self._outcomes[node]
        try:
            return json.dumps(record(self, outcome)).encode()
        except MemoryError:
            if self.unshown is None:
                raise
            self.unshown.add(node)
        return json.dumps(record(self, outcome, "")).encode()


class JsonLinesDisplay(KeptDisplay):
    """An object for each node, on a line, as it finishes."""

    def show(self, outcome: NodeOutcome) -> None:
        super().show(outcome)
        self.terminal.out(json.dumps(record(self, outcome)).encode() + b"\n")


def record(
    display: KeptDisplay, outcome: NodeOutcome, snames: str = "stdout stderr"
) -> dict[str, Any]:
    """Return what is known of a node, with the output of the streams that are named."""
    said = {sname: display.read(outcome.node, sname) for sname in snames.split()}
    return {
        **text("node", os.fsencode(outcome.node)),
        "reason": "not run" if never_ran(outcome) else outcome.reason,
        "rc": outcome.returncode,
        "signal": outcome.signal,
        **text("stdout", said.get("stdout")),
        **text("stderr", said.get("stderr")),
        "started_at": outcome.started_at,
        "duration": round(outcome.duration, 6),
        "engine": None if never_ran(outcome) else outcome.engine,
        "attempt": outcome.attempt,
    }


def text(key: str, said: bytes | None) -> dict[str, str]:
    """Return a text, of a stream without its last newline, as members of an object."""
    said = said or b""
    try:
        return {key: said.decode()}
    except UnicodeDecodeError:
        return {
            key: said.decode(errors="replace"),
            f"{key}_base64": base64.b64encode(said).decode(),
        }
