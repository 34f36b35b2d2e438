"""Recorded output as results show it: messages of bytes lines, and the keys that have each message."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

Key = Hashable

MODE_DEFER = 0
MODE_SHIFT = 1
MODE_TRACE = 2


class MsgTreeElem:
    """A message: the output of a command, without a last newline.

    It compares with bytes and other messages, has the length of its bytes, and iterates over lines. A message
    made without an argument has no line, one made of b"" has an empty one.

    With a `parent` it is one line, which follows the lines of the parent; `append` returns the next one. So
    messages with the same beginning share it. `keys` are the keys whose messages end here; with `trace`, the
    keys whose messages begin with these lines. A copy or a pickle contains only the message itself.
    """

    __slots__ = ("_children", "_text", "_trace", "keys", "parent")

    def __init__(
        self, msgline: bytes | None = None, parent: MsgTreeElem | None = None, trace: bool = False
    ) -> None:
        #: A line after those of the parent; without a parent, the whole text.
        self._text = msgline
        self.parent = parent
        self.keys: set[Key] | None = None
        self._children: dict[bytes, MsgTreeElem] | None = None
        self._trace = bool(trace)

    @property
    def msgline(self) -> bytes | None:
        """The last line, None for a message made of nothing."""
        if self._text is None or self.parent is not None:
            return self._text
        return self._text[self._text.rfind(b"\n") + 1 :]

    @property
    def children(self) -> dict[bytes, MsgTreeElem]:
        """The messages that continue from here, by their next line."""
        if self._children is None:
            self._children = {}
        return self._children

    def append(self, msgline: bytes, key: Key = None) -> MsgTreeElem:
        """Return the message that continues with a line; `key` moves on to it, if given."""
        after = self.children.get(msgline)
        if after is None:
            after = self.children[msgline] = type(self)(msgline, self, self._trace)
        if key is not None:
            if self.keys and not self._trace:
                self.keys.discard(key)
            after.keys = {*(after.keys or ()), key}
        return after

    def message(self) -> bytes:
        """Return the whole text."""
        if self.parent is None:
            return self._text or b""
        return b"\n".join(self.splitlines())

    __bytes__ = message

    def lines(self) -> Iterator[bytes]:
        """Yield the lines, without their newlines."""
        return iter(self.splitlines())

    __iter__ = lines

    def splitlines(self) -> list[bytes]:
        """Return the lines, without their newlines."""
        lines: list[bytes] = []
        elem: MsgTreeElem | None = self
        while elem is not None and elem._text is not None:
            # Only the beginning of a message may be more than one line.
            lines += [elem._text] if elem.parent is not None else elem._text.split(b"\n")[::-1]
            elem = elem.parent
        return lines[::-1]

    def __getitem__(self, index: int) -> bytes:
        return self.splitlines()[index]

    def __len__(self) -> int:
        return len(self.message())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, MsgTreeElem):
            return self.message() == other.message()
        if isinstance(other, (bytes, bytearray, memoryview)):
            return self.message() == other
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.message())

    def __reduce__(self) -> tuple[type[MsgTreeElem], tuple[bytes | None]]:
        return type(self), (self.message() if self.splitlines() else None,)

    def __str__(self) -> str:
        raise TypeError("a message is bytes: use bytes(message), and decode it for text")

    def __repr__(self) -> str:
        return f"MsgTreeElem({self.message()!r})"


class _Traced:
    """A line with all lines before it: the keys whose messages begin with these, and the lines that follow."""

    __slots__ = ("follow", "keys", "line")

    def __init__(self, line: bytes) -> None:
        self.line = line
        self.keys: list[Key] = []
        self.follow: dict[bytes, _Traced] = {}


class MsgTree:
    """Lines by key, and the keys of equal messages.

    With MODE_TRACE it also shows how messages branch: walks yield every beginning of a message, with all
    keys whose messages begin so. The two other modes, different strategies in ClusterShell, are the same here:
    the lines of a key are kept unchanged, and equal messages are found when they are requested.
    """

    def __init__(self, mode: int = MODE_DEFER) -> None:
        if mode not in (MODE_DEFER, MODE_SHIFT, MODE_TRACE):
            raise ValueError(f"a mode is MODE_DEFER, MODE_SHIFT or MODE_TRACE, not {mode!r}")
        self.mode = mode
        self._lines: dict[Key, list[bytes]] = {}

    def add(self, key: Key, msgline: bytes) -> None:
        """Add a line (bytes, without its newline) to a key's message."""
        self._lines.setdefault(key, []).append(msgline)

    def get(self, key: Key, default: Any = None) -> Any:
        """Return a key's message, or `default`."""
        return self[key] if key in self._lines else default

    def __getitem__(self, key: Key) -> MsgTreeElem:
        return MsgTreeElem(b"\n".join(self._lines[key]))

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._lines))

    keys = __iter__

    def items(
        self, match: Callable[[Any], bool] | None = None, mapper: Callable[[Any], Any] | None = None
    ) -> Iterator[tuple[Any, MsgTreeElem]]:
        """Yield (key, message) for each key."""
        for key in self:
            if match is None or match(key):
                yield key if mapper is None else mapper(key), self[key]

    def messages(self, match: Callable[[Any], bool] | None = None) -> Iterator[MsgTreeElem]:
        """Yield the distinct messages."""
        return (message for message, _ in self.walk(match))

    def walk(
        self, match: Callable[[Any], bool] | None = None, mapper: Callable[[Any], Any] | None = None
    ) -> Iterator[tuple[MsgTreeElem, list[Any]]]:
        """Yield (message, keys) for each distinct message; with MODE_TRACE, for each beginning of one."""
        if self.mode == MODE_TRACE:
            for text, _, keys, _ in self._traces(match, mapper):
                yield MsgTreeElem(text), keys
            return
        self.mode = MODE_SHIFT  # as in the first walk in ClusterShell
        groups: dict[MsgTreeElem, list[Any]] = {}
        for key, message in self.items(match, mapper):
            groups.setdefault(message, []).append(key)
        yield from groups.items()

    def walk_trace(
        self, match: Callable[[Any], bool] | None = None, mapper: Callable[[Any], Any] | None = None
    ) -> Iterator[tuple[bytes, list[Any], int, int]]:
        """Yield (line, keys, depth, number of different next lines), lines before those that follow them.

        Depth counts from 1. Raise ValueError without MODE_TRACE.
        """
        if self.mode != MODE_TRACE:
            raise ValueError(
                f"walk_trace() needs the mode {MODE_TRACE} (MODE_TRACE), not {self.mode}"
            )
        return (
            (traced.line, keys, depth, len(traced.follow))
            for _, traced, keys, depth in self._traces(match, mapper)
        )

    def _traces(
        self, match: Callable[[Any], bool] | None, mapper: Callable[[Any], Any] | None
    ) -> Iterator[tuple[bytes, _Traced, list[Any], int]]:
        """Yield (text so far, last line, keys, depth), depth first, of those that have keys that `match`."""
        root = _Traced(b"")
        for key, lines in self._lines.items():
            traced = root
            for line in lines:
                traced = traced.follow.setdefault(line, _Traced(line))
                traced.keys.append(key)
        stack = [(line, traced, 1) for line, traced in root.follow.items()]
        while stack:
            text, traced, depth = stack.pop()
            keys = [key for key in traced.keys if match is None or match(key)]
            if keys:
                yield text, traced, keys if mapper is None else list(map(mapper, keys)), depth
                follow = traced.follow.items()
                stack += [(text + b"\n" + line, after, depth + 1) for line, after in follow]

    def remove(self, match: Callable[[Any], bool] | None = None) -> None:
        """Drop the messages of the keys that `match`, of all without it."""
        for key in self:
            if match is None or match(key):
                del self._lines[key]

    def clear(self) -> None:
        """Drop everything."""
        self._lines.clear()
