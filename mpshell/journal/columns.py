"""The columns of a journal as they are read: which values each may have.

SQLite keeps any value in any column, whatever its type, and any program can change a journal. So each row is
checked before it is used: a value that mpshell never writes is a JournalError that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mpshell.errors import JournalError

_Check = Callable[[Any], bool]

Columns = Mapping[str, _Check]
"""The check of each column, by its name, in the order in which a row is read."""

#: The first second that is no time of day any more: the year 9999 is the last one that has a date.
_LAST = 253402300800 - 2 * 86400

#: Seconds that no command runs.
_FOREVER = 1e11


def _text(value: Any) -> bool:
    return isinstance(value, (str, bytes))


def _words(value: Any) -> bool:
    return isinstance(value, str)


def _bytes(value: Any) -> bool:
    return isinstance(value, bytes)


def _whole(value: Any) -> bool:
    return isinstance(value, int)


def _from_0(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _time(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < _LAST


def _span(value: Any) -> bool:
    return isinstance(value, (int, float)) and -_FOREVER < value < _FOREVER


def _or_null(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


RUN: Columns = {
    "run": _from_0, "root": _from_0, "mode": _words, "started_at": _time, "ended_at": _or_null(_time),
    "error": _or_null(_text), "incomplete": _or_null(_words), "host": _words, "user": _words,
    "directory": _text, "settings": _words,
}  # fmt: skip
COMMAND: Columns = {
    "command": _from_0, "kind": _words, "text": _or_null(_text), "source": _or_null(_text),
    "dest": _or_null(_text), "transport": _words, "options": _words, "stdin": _whole,
    "size": _or_null(_from_0), "modified": _or_null(_whole),
}  # fmt: skip
NODE: Columns = {"rank": _from_0, "node": _text}
ATTEMPT: Columns = {
    "rank": _from_0, "run": _from_0, "attempt": _from_0, "reason": _or_null(_words),
    "code": _or_null(_whole), "signal": _or_null(_whole), "started_at": _or_null(_time),
    "duration": _or_null(_span), "detail": _or_null(_text), "engine": _or_null(_from_0),
    "host": _or_null(_words), "stdout": _or_null(_from_0), "stderr": _or_null(_from_0),
}  # fmt: skip
BODY: Columns = {"content": _bytes, "size": _from_0, "digest": _bytes}


def names(columns: Columns) -> str:
    """Return the names of columns, as a statement has them."""
    return ", ".join(columns)


def check(path: str, columns: Columns, row: Sequence[Any]) -> None:
    """Raise JournalError for a value that its column cannot have."""
    for (name, is_right), value in zip(columns.items(), row, strict=True):
        if not is_right(value):
            raise JournalError(f"journal {path!r} is damaged: {repr(value)[:80]} is no {name}")
