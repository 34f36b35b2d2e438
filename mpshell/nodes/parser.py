"""Own the syntax of node sets, ``a[1-3,05-09/2]b[1-2],c!a2``: text in, node names out.

Called by `mpshell.nodeset`, which names the errors for users.  Pure code without global state: it
may run in any process and any thread.

A *name* is a plain string that holds none of the characters of the syntax; it may hold a blank
(``"a1 a2"`` is one name) and an ``@`` that is not its first character (``user@host``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from itertools import product
from math import prod
from typing import Protocol

from mpshell.nodes.indexes import MAX_INDEXES, RangeSetParseError, parse_indexes

MAX_NAMES = MAX_INDEXES
"""The most names that one operand of a text may describe: more is taken for a slip of the pen."""

_BLANKS = " \t\n\r\v\f"
_SPECIAL = "[],!&^@*?\0" + _BLANKS
_HAS_SPECIAL = re.compile(f"[{re.escape(_SPECIAL)}]").search
_MARKS = re.compile(r"[\[\],!&^]")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_BAD_CHARACTERS = re.compile(r"[\n\r\v\f\0]")


class NodeSetException(Exception):
    """Base of the errors of node sets."""


class NodeSetError(NodeSetException):
    """An operation on a node set failed."""


class NodeSetParseError(NodeSetError):
    """A text is not a node set; `part` holds the bad piece of it."""

    def __init__(self, part: str, msg: str) -> None:
        """Keep both arguments in `args`, so that the error survives pickling."""
        super().__init__(part, msg)
        self.part = part
        self.msg = msg

    def __str__(self) -> str:
        """Return the message and the bad part."""
        return f'{self.msg}: "{self.part}"' if self.part else self.msg


class NodeSetParseRangeError(NodeSetParseError):
    """A text between brackets is not a range of indexes; `part` holds the bad range."""


class NodeSetExternalError(NodeSetError):
    """A text needs knowledge that it does not hold, such as the members of a group."""


class NameReader(Protocol):
    """Knows the nodes that groups and wildcards stand for (`mpshell.nodes.groups.GroupReader`)."""

    def resolve(self, names: Iterable[str]) -> Collection[str]:
        """Return the nodes of names that begin with ``@``, or that hold ``*`` or ``?``."""


Readers = Callable[[str], NameReader]
"""Makes the reader of a text, when a part of it is the first to need one; called with that part."""


def is_plain(text: str) -> bool:
    """Return whether `text` is exactly one name, or empty."""
    return _HAS_SPECIAL(text) is None


def are_plain(lines: str, count: int) -> bool:
    """Return whether each of a number of lines is exactly one name, or empty."""
    # One search per character through one long text is far faster than one match per name.
    return lines.count("\n") == max(count - 1, 0) and not any(
        character in lines for character in _SPECIAL if character != "\n"
    )


def parse(text: str, readers: Readers | None = None) -> dict[str, None]:
    """Return the names that `text` describes; see `parse_sorted`."""
    names = parse_sorted(text, readers)
    return dict.fromkeys(names) if isinstance(names, list) else names


def parse_sorted(text: str, readers: Readers | None = None) -> list[str] | dict[str, None]:
    """Return the names that `text` describes: a list, sorted and each once, or a dict in any order.

    Without `readers`, ``@``, ``*`` and ``?`` are characters of names.  Raise NodeSetParseError, and
    the errors of a reader.
    """
    text = text.strip(_BLANKS)
    if not text:
        return []
    if is_plain(text):
        return [text]
    if "," in text:
        # Most long texts are a plain list: spare them the search for brackets and operators.
        items = text.split(",")
        if "" not in items and are_plain("\n".join(items), len(items)):
            return dict.fromkeys(items)
    operands = _operands(text)
    if len(operands) == 1 and (readers is None or not _needs_reader(text)):
        return _expand(text)
    return _combined(operands, readers)


def _combined(operands: list[tuple[str, str]], readers: Readers | None) -> dict[str, None]:
    """Return the names of operands, each with the operator before it, from left to right."""
    names: dict[str, None] = {}
    reader: NameReader | None = None
    for operator, operand in operands:
        others: Collection[str] = _expand(operand)
        if readers is not None and _needs_reader(operand):
            reader = readers(operand) if reader is None else reader
            others = reader.resolve(others)
        if operator == ",":
            names.update(dict.fromkeys(others))
        elif operator == "!":
            for name in others:
                names.pop(name, None)
        else:
            common = names.keys() & others
            if operator == "&":
                names = {name: None for name in names if name in common}
            else:
                names.update(dict.fromkeys(others))
                for name in common:
                    del names[name]
    return names


def _needs_reader(operand: str) -> bool:
    """Return whether an operand is a group, or has a wildcard."""
    return operand[0] == "@" or "*" in operand or "?" in operand


def _operands(text: str) -> list[tuple[str, str]]:
    """Return each operand of a non-empty text with the operator before it, "," for the first."""
    operators, operands = [","], []
    start = 0
    inside = False
    for match in _MARKS.finditer(text):
        mark = match.group()
        if mark in "[]":
            inside = mark == "["
        elif not inside:
            operands.append(text[start : match.start()].strip(_BLANKS))
            operators.append(mark)
            start = match.end()
    operands.append(text[start:].strip(_BLANKS))
    for at, operand in enumerate(operands):
        if not operand:
            # Name the operator that lacks its left side; the last one can only lack its right.
            last = at == len(operands) - 1
            operator, part = (operators[at], at - 1) if last else (operators[at + 1], at + 1)
            message = f"missing nodeset operand with '{operator}' operator"
            raise NodeSetParseError(operands[part], message)
    return list(zip(operators, operands, strict=True))


def _expand(operand: str) -> list[str]:
    """Return the names of one operand, sorted, each once."""
    if is_plain(operand):
        return [operand]
    pieces = _BRACKETS.split(operand)
    literals, ranges = pieces[::2], pieces[1::2]
    _check_literals(operand, literals, ranges)
    if not ranges:
        return [operand]
    columns: list[list[str]] = []
    try:
        for text in ranges:
            columns.append(parse_indexes(text, MAX_NAMES // prod(map(len, columns))))
    except RangeSetParseError as error:
        message = f"bad range: {error.msg}"
        if ":" in text:
            message += " (an IPv6 address is written without brackets: ::1)"
        raise NodeSetParseRangeError(error.part or operand, message) from error
    parts = [
        [literal + index for index in indexes]
        for literal, indexes in zip(literals, columns, strict=False)
    ]
    if literals[-1]:
        parts[-1] = [name + literals[-1] for name in parts[-1]]
    return parts[0] if len(parts) == 1 else list(map("".join, product(*parts)))


def _check_literals(operand: str, literals: list[str], ranges: list[str]) -> None:
    """Raise the error of the text around the ranges of an operand, if there is one."""
    for literal in literals:
        if "]" in literal and "[" not in literal[: literal.index("]")]:
            raise NodeSetParseError(operand, "illegal closing bracket")
        if "[" in literal:
            raise NodeSetParseError(operand, "missing bracket")
        bad = _BAD_CHARACTERS.search(literal)
        if bad is not None:
            raise NodeSetParseError(operand, f"control character {bad.group()!r} in a node name")
    for literal, text in zip(literals[1:-1], ranges[1:], strict=True):
        if not literal.strip("0123456789"):
            raise NodeSetParseError(f"[{text}]", "illegal reopening bracket")
