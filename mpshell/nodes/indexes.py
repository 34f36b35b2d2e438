"""Own the text of node indexes, ``1-3,05-09/2``: its parsing, its folding and its errors.

An index is a string of ASCII digits in which leading zeros count: "5" and "05" are two indexes.
Callers: `mpshell.rangeset`, which names the errors for users, and the modules of node sets.
Pure code without global state: it may run in any process and any thread.

An index is often a *key*, the integer that is written "1" followed by the index ("05" is
105).  Keys are equal only where indexes are, they order indexes by width and then by value, and
within one width the next index is the next integer, so sorting and folding are plain arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

AUTOSTEP_DISABLED = 1e100
"""The autostep that never folds with a step, as None does."""

MAX_INDEXES = 10_000_000
"""The most indexes that one text may describe: more is taken for a slip of the pen."""

_RANGE = re.compile(r"([0-9]{1,1000})(?:\s*-\s*([0-9]{1,1000})(?:\s*/\s*([0-9]{1,1000}))?)?")
_STEP_ALONE = re.compile(r"[0-9]+\s*/\s*[0-9]+")

_TOO_MANY = f"total of more than {MAX_INDEXES:,} with range"

_T = TypeVar("_T")


class RangeSetException(Exception):
    """Base of the errors of this module."""


class RangeSetError(RangeSetException):
    """An operation on a range set failed."""


class RangeSetParseError(RangeSetError):
    """A text is not a range set; `part` holds the bad piece of it."""

    def __init__(self, part: str, msg: str) -> None:
        """Keep both arguments in `args`, so that the error survives pickling."""
        super().__init__(part, msg)
        self.part = part
        self.msg = msg

    def __str__(self) -> str:
        """Return the message and the bad part."""
        return f'{self.msg} : "{self.part}"' if self.part else self.msg


class RangeSetPaddingError(RangeSetParseError):
    """The two ends of a range disagree about leading zeros, as in ``01-3``."""


def check_autostep(autostep: float | None) -> float | None:
    """Return `autostep`, the least number of indexes that fold into ``first-last/step``.

    Raise TypeError if it is neither a number nor None, ValueError if it is under 2.
    """
    if autostep is not None:
        if not isinstance(autostep, (int, float)):
            raise TypeError(f"autostep is a number or None, not {autostep!r}")
        if autostep < 2:
            raise ValueError(f"autostep is 2 or more, or None, not {autostep!r}")
    return autostep


def known_autostep(kept: float | None, less: int = 0) -> float | None:
    """Return the autostep that an object of ClusterShell's keeps, which may be `less` than it was given."""
    return None if kept is None or kept >= AUTOSTEP_DISABLED else max(2, kept + less)


def index_key(index: str) -> int:
    """Return the key of an index."""
    return int("1" + index)


def key_index(key: int) -> str:
    """Return the index of a key."""
    return str(key)[1:]


def parse_indexes(text: str, limit: int = MAX_INDEXES) -> list[str]:
    """Return the indexes that `text` describes, sorted, each once.

    Raise RangeSetParseError with the bad part, also if there are more than `limit`.
    """
    indexes: list[str] = []
    parts = text.split(",")
    for part in parts:
        _expand_range(part.strip(), indexes, limit)
    if len(indexes) > limit:
        raise RangeSetParseError(text, _TOO_MANY)
    if len(parts) > 1:
        indexes = sorted(dict.fromkeys(indexes), key=index_key)
    return indexes


def _expand_range(part: str, indexes: list[str], limit: int) -> None:
    """Append the indexes of one range, such as ``5`` or ``01-09/2``, if `limit` allows it."""
    match = _RANGE.fullmatch(part)
    if match is None:
        raise RangeSetParseError(part, _complaint(part))
    first, last, step_text = match.groups()
    if last is None:
        indexes.append(first)
        return
    step = int(step_text or 1)
    low, high = int(first), int(last)
    if step == 0 or low > high:
        raise RangeSetParseError(part, "invalid values in range")
    padded = is_padded(first) or is_padded(last)
    if padded and len(first) != len(last) and (step_text or not _outgrows(first, last)):
        raise RangeSetPaddingError(part, "padding length mismatch")
    if len(indexes) + (high - low) // step + 1 > limit:
        # Before anything is built: the range may be longer than the memory.
        raise RangeSetParseError(part, _TOO_MANY)
    numbers = range(low, high + 1, step)
    if padded:
        width = len(first)
        indexes.extend([f"{number:0{width}d}" for number in numbers])
    else:
        indexes.extend(map(str, numbers))


def _outgrows(first: str, last: str) -> bool:
    """Return whether the numbers of a range gain a digit, ``08-100``, as Slurm writes it.

    Any other two widths are more likely a mistake, and Slurm never writes them.
    """
    return is_padded(first) and len(first) < len(last) and not is_padded(last)


def _complaint(part: str) -> str:
    """Raise the error that explains why `part` is not a range."""
    if not part:
        return "empty range"
    if _STEP_ALONE.fullmatch(part):
        return "invalid step usage"
    return "cannot convert string to integer"


def is_padded(index: str) -> bool:
    """Return whether an index has leading zeros."""
    return index[0] == "0" and len(index) > 1


def fold_keys(keys: Sequence[int], autostep: float | None = None) -> str:
    """Return the shortest text for sorted `keys`, such as ``1-3,05``."""
    return ",".join(
        [
            key_index(first)
            if first == last
            else f"{key_index(first)}-{key_index(last)}{f'/{step}' if step > 1 else ''}"
            for first, last, step in spans(keys, autostep)
        ]
    )


def spans(keys: Sequence[int], autostep: float | None = None) -> Iterator[tuple[int, int, int]]:
    """Yield (first key, last key, step) of each range that sorted `keys` fold into."""
    if autostep is None or autostep >= len(keys) + 1:
        return ((first, last, 1) for first, last in contiguous(keys))
    return _stepped(keys, autostep)


def contiguous(keys: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and last key of each range of step 1."""
    found: list[tuple[int, int]] = []
    if not keys:
        return found
    starts = [at for at, (key, after) in enumerate(pairwise(keys), 1) if after - key != 1]
    if len(starts) == len(keys) - 1 and len(str(keys[0])) == len(str(keys[-1])):
        # No two are neighbours, nor of different widths: the many short columns of sparse names.
        return list(zip(keys, keys, strict=True))
    for start, end in pairwise([0, *starts, len(keys)]):
        first, last = keys[start], keys[end - 1]
        # A range grows over a change of width only from 9 to 10, 99 to 100, ... : key 199 to 1100.
        # The equation alone would let some padded indexes through.
        if found and 2 * first == 11 * (found[-1][1] + 1) and not is_padded(key_index(first)):
            before = found[-1][0]
            if not is_padded(key_index(before)):
                found[-1] = (before, last)
                continue
        found.append((first, last))
    return found


def _stepped(keys: Sequence[int], autostep: float) -> Iterator[tuple[int, int, int]]:
    """Yield ranges from left to right, with a step where at least `autostep` keys share it."""
    indexes = [key_index(key) for key in keys]
    values = [int(index) for index in indexes]
    at, count = 0, len(keys)
    while at < count:
        end, step = at + 1, 1
        if end < count:
            step = values[end] - values[at]
        while (
            end < count
            and values[end] - values[end - 1] == step
            and _may_end(indexes[at], indexes[end])
        ):
            end += 1
        if end - at > 1 and step > 1 and end - at < autostep:
            # Too short.  Its last index may start a longer range, the others cannot.
            for key in keys[at : end - 1]:
                yield key, key, 1
            at = end - 1
        else:
            yield keys[at], keys[end - 1], step
            first, at = indexes[at], end
            if step > 1 and _is_lone(values, at) and _may_end(first, indexes[at]):
                # As in ClusterShell, so that texts are the same: indexes after a stepped range
                # immediately begins no other step.
                yield keys[at], keys[at], 1
                at += 1


def _is_lone(values: Sequence[int], at: int) -> bool:
    """Return whether the value at a position, if any, is 1 more than the previous one, and the next is not."""
    value, after = values[at : at + 1], values[at + 1 : at + 2]
    return value == [values[at - 1] + 1] and after != [values[at - 1] + 2]


def _may_end(first: str, last: str) -> bool:
    """Return whether a range that starts with `first` may hold `last`, with regard to leading zeros."""
    return len(first) == len(last) or not (is_padded(first) or is_padded(last))


def chunks(items: list[_T], nbr: int) -> Iterator[list[_T]]:
    """Yield `items` in order as at most `nbr` parts, whose sizes differ by at most one.

    Raise ValueError, at the call, if `nbr` is under 1, TypeError if it is not a whole number.
    """
    if not isinstance(nbr, int):
        raise TypeError(f"a number of parts is expected, not {nbr!r}")
    if nbr < 1:
        raise ValueError(f"cannot split into {nbr!r} parts: at least 1 is needed")
    size, larger = divmod(len(items), nbr)
    parts = nbr if size else larger
    bounds = [part * size + min(part, larger) for part in range(parts + 1)]
    return (items[start:end] for start, end in pairwise(bounds))
