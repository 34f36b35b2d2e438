"""From bytes of a stream to blocks of whole lines. Used by engines, and by the coordinator's own streams.

A block is lines, each ended by a newline: `\\r\\n` is replaced by one, and a last line without one gets
one. A line longer than `LONG_LINE` is sent in pieces; a piece does not end with a newline.
"""

from __future__ import annotations

#: A line is sent in pieces from this length on (bytes), so that no line has to fit into memory here.
LONG_LINE = 1 << 20


class StreamBuffer:
    """Bytes that are read from one stream of one client and not yet passed on."""

    __slots__ = ("_chunks", "_open_line", "size")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._open_line = False
        self.size = 0

    def add(self, data: bytes) -> None:
        self._chunks.append(data)
        self.size += len(data)

    def take(self, final: bool) -> bytes:
        """Return the block that is complete, perhaps empty; with `final` the last line too."""
        chunks = self._chunks
        if not final and len(chunks) > 1 and self.size < LONG_LINE and b"\n" not in chunks[-1]:
            # Still the same incomplete line (earlier bytes were taken up to their last newline).
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        data, rest = (data, b"") if final else self._split(data)
        self._chunks = [rest] if rest else []
        self.size = len(rest)
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        if final and (data or self._open_line) and not data.endswith(b"\n"):
            data += b"\n"
        if data:
            self._open_line = not data.endswith(b"\n")
        return data

    def _split(self, data: bytes) -> tuple[bytes, bytes]:
        end = data.rfind(b"\n") + 1
        if len(data) - end < LONG_LINE:
            return data[:end], data[end:]
        # A carriage return at the very end may belong to a newline that has not arrived yet.
        end = len(data) - data.endswith(b"\r")
        return data[:end], data[end:]
