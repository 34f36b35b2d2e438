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
        super().show(outcome)
        self._outcomes[outcome.node] = outcome

    def show_rest(self, seconds: float, status: int) -> None:
        """Write the document, the nodes in their order."""
        head = {
            **text("command", os.fsencode(" ".join(self.options.command))),
            "duration": round(seconds, 6),
            "exit_status": status,
            "counts": self.tally.counts(),
        }
        nodes = ",\n".join(json.dumps(record(self, self._outcomes[n])) for n in self.tally.nodes)
        self.terminal.out(f'{json.dumps(head)[:-1]}, "nodes": [\n{nodes}\n]}}\n'.encode())


class JsonLinesDisplay(KeptDisplay):
    """An object for each node, on a line, as it finishes."""

    def show(self, outcome: NodeOutcome) -> None:
        super().show(outcome)
        self.terminal.out(json.dumps(record(self, outcome)).encode() + b"\n")


def record(display: KeptDisplay, outcome: NodeOutcome) -> dict[str, Any]:
    """Return what is to be said of a node."""
    return {
        **text("node", os.fsencode(outcome.node)),
        "reason": "not run" if never_ran(outcome) else outcome.reason,
        "rc": outcome.returncode,
        "signal": outcome.signal,
        **text("stdout", display.read(outcome.node, "stdout")),
        **text("stderr", display.read(outcome.node, "stderr")),
        "started_at": outcome.started_at,
        "duration": round(outcome.duration, 6),
        "engine": None if never_ran(outcome) else outcome.engine,
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
