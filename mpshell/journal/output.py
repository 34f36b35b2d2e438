"""The output of nodes on its way into a journal: each distinct text once, within a bound of bytes.

    said, said, ... ─► Text ┐
    has_said ───────────────┴─► StoredTexts ─► a row for each text that is new

In the thread of the run.
"""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any

#: Bytes of output that has not ended which are kept in memory, over all nodes.
_IN_MEMORY = 1 << 26

#: The part of the bound that one text may take.
_SHARE = 16

#: Bytes of texts that are known again without their digest.
_KNOWN = 1 << 20


class Text:
    """A text without its last newline, as its beginning, its size and the digest of all of it."""

    __slots__ = ("_digest", "_newline", "content", "size")

    def __init__(self) -> None:
        self.content: bytes | bytearray = b""
        #: Bytes in all.
        self.size = 0
        #: Over all of it, from when on not all of it is kept.
        self._digest: Any = None
        #: A newline that has come, and is none of the text's unless more follows.
        self._newline = False

    @classmethod
    def of(cls, said: bytes) -> Text:
        """Return a text that has come as a whole, without its last newline."""
        text = cls()
        text.content, text.size = said, len(said)
        return text

    def add(self, block: bytes, room: int) -> int:
        """Add a block; return how many bytes of it are kept, `room` at most."""
        newline = block.endswith(b"\n")
        piece = (b"\n" if self._newline else b"") + (block[:-1] if newline else block)
        self._newline = newline
        if not isinstance(self.content, bytearray):
            self.content = bytearray(self.content)
        self.size += len(piece)
        if self._digest is None and len(piece) > room:
            self._digest = hashlib.sha256(self.content)
        if self._digest is None:
            self.content += piece
            return len(piece)
        # Nothing is kept behind a gap.
        first = self.size - len(piece) == len(self.content)
        self._digest.update(piece)
        kept = piece[:room] if first else b""
        self.content += kept
        return len(kept)

    def digest(self) -> bytes:
        """Return the SHA-256 of the whole text."""
        return (self._digest or hashlib.sha256(self.content)).digest()


class OpenTexts:
    """The texts that have not ended, by their keys."""

    def __init__(self, bound: int) -> None:
        self._most = bound // _SHARE
        self._texts: dict[tuple[object, object, int], Text] = {}
        #: Bytes of them that are kept.
        self._size = 0

    def add(self, key: tuple[object, object, int], block: bytes) -> None:
        """Add output."""
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = Text()
        room = min(self._most - len(text.content), _IN_MEMORY - self._size)
        self._size += text.add(block, max(0, room))

    def put(self, key: tuple[object, object, int], said: bytes) -> None:
        """Take a text that has arrived as a whole, and is in memory elsewhere already."""
        self._texts[key] = Text.of(said)

    def take(self, key: tuple[object, object, int]) -> Text | None:
        """Return the text, which has ended; None if it is empty."""
        text = self._texts.pop(key, None)
        if text is not None and isinstance(text.content, bytearray):
            self._size -= len(text.content)
        return text


class StoredTexts:
    """The texts in the tables, each once."""

    def __init__(self, bound: int) -> None:
        #: Bytes that may still be stored in this run.
        self._room = bound
        self._most = bound // _SHARE
        self._known: dict[bytes, int] = {}
        self._known_size = 0
        #: Texts that the bound has cut.
        self.cut = 0

    def number(self, connection: sqlite3.Connection, text: Text | None) -> int | None:
        """Return the number of a text, stored if it is new; sqlite3.Error."""
        if text is None:
            return None
        whole = text.content if text.size == len(text.content) else None
        if isinstance(whole, bytes) and (known := self._known.get(whole)) is not None:
            return known
        number = self._store(connection, text)
        if isinstance(whole, bytes):
            self._remember(whole, number)
        return number

    def _store(self, connection: sqlite3.Connection, text: Text) -> int:
        digest, content = text.digest(), text.content
        room = max(0, min(self._most, self._room))
        kept = content if len(content) <= room else memoryview(content)[:room]
        cursor = connection.execute(
            "INSERT OR IGNORE INTO bodies (digest, size, content) VALUES (?, ?, ?)",
            (digest, text.size, kept),
        )
        if cursor.rowcount:
            self._room -= len(kept)
            self.cut += len(kept) < text.size
            return int(cursor.lastrowid or 0)
        [[number]] = connection.execute(
            "SELECT body FROM bodies WHERE digest = ? AND size = ?", (digest, text.size)
        )
        return int(number)

    def _remember(self, whole: bytes, number: int) -> None:
        if self._known_size + len(whole) > _KNOWN:
            self._known.clear()
            self._known_size = 0
        if len(whole) <= _KNOWN:
            self._known[whole] = number
            self._known_size += len(whole)
