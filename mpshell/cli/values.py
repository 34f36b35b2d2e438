"""The values of options and settings: each function takes a text and returns its value.

Called by argparse, which puts the option's name before the text of an ArgumentTypeError.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")


def count(text: str) -> int:
    """Return a whole number of at least 1."""
    return _whole(text, 1, "")


def fanout(text: str) -> int:
    """Return a fanout: at least 1, or -1 for no limit."""
    return -1 if text.strip() == "-1" else _whole(text, 1, ", or -1 for no limit")


def _whole(text: str, least: int, more: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number of at least {least}{more}"
        )
    return value


def seconds(text: str) -> float:
    """Return a span of 0 or more seconds, 0 being no limit."""
    return _at_least(text, 0, "a number of seconds, 0 (no limit) or more")


def span(text: str) -> float:
    """Return a span of 0 or more seconds."""
    return _at_least(text, 0, "a number of seconds, 0 or more")


def pulse(text: str) -> float:
    """Return a span in which an engine must answer: 0.1 seconds or more."""
    return _at_least(text, 0.1, "a number of seconds, 0.1 or more")


def _at_least(text: str, least: float, allowed: str) -> float:
    value = _number(text)
    if not least <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}")
    return value


def positive(text: str) -> float:
    """Return a number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


#: The shortest time between two starts that differs from none, in seconds.
_SHORTEST = 1e-9


def pause(text: str) -> float:
    """Return the time between two starts in seconds."""
    value = _number(text)
    if not _SHORTEST <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def size(text: str) -> int:
    """Return a number of bytes: 0 or more, with K, M, G or T for powers of 1024."""
    digits = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = digits[-1:] if digits[-1:] in _UNITS else ""
    number = digits.removesuffix(unit)
    if not (number.isascii() and number.isdigit()):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of bytes: 0 or more, with K, M, G or T behind it"
        )
    return int(number) << _UNITS[unit]


def given(text: str) -> str:
    """Return a text that is not empty, as that of an unset variable is."""
    if not text:
        raise argparse.ArgumentTypeError(f"{text!r} is empty: a value is needed, or no such option")
    return text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def reasons(text: str) -> frozenset[str]:
    """Return reasons for another attempt, a list with commas; "not-started" is one word for "not started"."""
    from mpshell import RetryPolicy

    found = frozenset(word.strip().replace("-", " ") for word in text.split(","))
    try:
        return RetryPolicy(on=found).on
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def autostep(text: str) -> int | float | str:
    """Return a number of nodes from 2 on, a share as a float, or "auto"."""
    if text == "auto":
        return text
    share = text.endswith("%")
    value = _number(text.removesuffix("%"))
    if not 0 <= value < math.inf or (not share and value != int(value)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of nodes, a share as 50% or auto"
        )
    return value / 100 if share else max(2, int(value))


def axes(text: str) -> tuple[int, ...]:
    """Return the numbers of names that are folded, the first as 0, the last as -1."""
    from mpshell.rangeset import RangeSet, RangeSetException

    try:
        if text.startswith("-"):
            return (int(text),)
        return tuple(axis - 1 for axis in RangeSet(text).intiter() if axis > 0)
    except (ValueError, RangeSetException):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of numbers, 1-2 for instance, or -1"
        ) from None


def words(text: str) -> str:
    """Return words, quoted as in a shell, unchanged."""
    import shlex

    try:
        shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of words, quoted as in a shell: {str(error).lower()}"
        ) from None
    return text


def path(text: str) -> str:
    """Return the path of a file; ~ is the home directory, as no shell has read it."""
    return os.path.expanduser(given(text))


def whole(text: str) -> int:
    """Return a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def verbosity(text: str) -> int:
    """Return how much is shown: 0 or more."""
    return _whole(text, 0, "")


#: Those of Python's ConfigParser, in lower case.
_FLAGS = {
    **dict.fromkeys(("1", "yes", "true", "on"), True),
    **dict.fromkeys(("0", "no", "false", "off"), False),
}


def flag(text: str) -> bool:
    """Return whether a text stands for yes."""
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(_FLAGS)}") from None


def choice(*allowed: str) -> Callable[[str], str]:
    """Return a function that takes one of some texts."""

    def chosen(text: str) -> str:
        if text not in allowed:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(allowed)}")
        return text

    return chosen


def or_none(read: Callable[[str], _Value]) -> Callable[[str], _Value | None]:
    """Return a function that takes the texts of another one, and `none`."""

    def value(text: str) -> _Value | None:
        if text.lower() == "none":
            return None
        try:
            return read(text)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"{error}, or none") from None

    return value


def or_empty(read: Callable[[str], _Value]) -> Callable[[str], _Value | None]:
    """Return a function that takes the texts of another one, and an empty text for nothing."""
    return lambda text: read(text) if text else None
