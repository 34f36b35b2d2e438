"""--json and --jsonl: one object for each node, without any loss.

A text that is not UTF-8 is shown with replacement characters, and completely as base64 under the
same key with the suffix `_base64`.
"""

from __future__ import annotations

import base64
import codecs
import json
import os
from collections.abc import Iterator
from itertools import chain
from typing import Any

from mpshell.cli.display import KeptDisplay
from mpshell.cli.outcomes import never_ran
from mpshell.outcome import NodeOutcome

#: Bytes of an output that are encoded at a time, a multiple of three for base64.
_STEP = 3 << 14


class JsonDisplay(KeptDisplay):
    """One document at the end."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._outcomes: dict[str, NodeOutcome] = {}

    def show(self, outcome: NodeOutcome) -> None:
        # First, so that an error while it is shown (no memory) does not take it away.
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
        before = f'{json.dumps(head)[:-1]}, "nodes": [\n'
        for node in self.tally.nodes:
            self.terminal.stream(chain((before.encode(),), record(self, self._outcomes[node])))
            before = ",\n"
        self.terminal.out(b"\n]}\n")


class JsonLinesDisplay(KeptDisplay):
    """An object for each node, on a line, as it finishes."""

    def show(self, outcome: NodeOutcome) -> None:
        super().show(outcome)
        self.terminal.stream(chain(record(self, outcome), (b"\n",)))


def record(display: KeptDisplay, outcome: NodeOutcome) -> Iterator[bytes]:
    """Yield the object of a node, in pieces: as a whole an output would take a multiple of its bytes."""
    yield object_of({
        **text("node", os.fsencode(outcome.node)),
        "reason": "not run" if never_ran(outcome) else outcome.reason,
        "rc": outcome.returncode,
        "signal": outcome.signal,
    })[:-1]  # fmt: skip
    for sname in ("stdout", "stderr"):
        said = display.read(outcome.node, sname)
        if said is None and outcome.node in display.unshown:
            yield f', "{sname}": null'.encode()
        else:
            yield from output(sname, said or b"")
    yield b", "
    yield object_of({
        "started_at": outcome.started_at,
        "duration": round(outcome.duration, 6),
        "engine": None if never_ran(outcome) else outcome.engine,
        "attempt": outcome.attempt,
        "host": outcome.host or None,
    })[1:]  # fmt: skip


def object_of(members: dict[str, Any]) -> bytes:
    """Return an object as JSON."""
    return json.dumps(members).encode()


def text(key: str, said: bytes) -> dict[str, str]:
    """Return a short text as members of an object."""
    try:
        return {key: said.decode()}
    except UnicodeDecodeError:
        return {
            key: said.decode(errors="replace"),
            f"{key}_base64": base64.b64encode(said).decode(),
        }


def output(key: str, said: bytes) -> Iterator[bytes]:
    """Yield the output of `text` for the text of a stream, after a comma, in pieces."""
    yield f', "{key}": "'.encode()
    for part in decoded(said, "replace"):
        yield json.dumps(part)[1:-1].encode()
    yield b'"'
    if not is_utf8(said):
        yield f', "{key}_base64": "'.encode()
        for begin in range(0, len(said), _STEP):
            yield base64.b64encode(said[begin : begin + _STEP])
        yield b'"'


def is_utf8(said: bytes) -> bool:
    """Return whether bytes are UTF-8, without a copy of all."""
    try:
        for _ in decoded(said, "strict"):
            pass
    except UnicodeDecodeError:
        return False
    return True


def decoded(said: bytes, errors: str) -> Iterator[str]:
    """Yield the characters of bytes in UTF-8, some thousands at a time."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    for begin in range(0, len(said), _STEP):
        yield decoder.decode(said[begin : begin + _STEP], begin + _STEP >= len(said))
