"""Words of a command with marks in them, and the values of these for one client."""

from __future__ import annotations

import os

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from mpshell.wire.messages import Template

    #: A template with its text encoded.
    Pieces: TypeAlias = tuple[bytes | int, ...]


def encode_template(template: Template) -> Pieces:
    """Return a template with its text encoded for the system."""
    return tuple(part if isinstance(part, int) else os.fsencode(part) for part in template)


def fill(
    words: Iterable[Pieces], node: bytes, rank: int, part: bytes = b"", log: bytes = b""
) -> list[bytes]:
    """Return the words of a command for one client, given the values of its marks."""
    marked = (node, b"%d" % rank, part, log)
    return [
        b"".join(piece if isinstance(piece, bytes) else marked[piece] for piece in pieces)
        for pieces in words
    ]
