"""--diff: two outputs as a unified diff.

Beside the texts it takes memory for the part in which they differ, some six times its size: lines are objects.
A part larger than `_LARGE` bytes is not compared line by line, but shown as removed and added whole.
"""

from __future__ import annotations

from collections.abc import Iterator

#: Lines shown before and after each difference.
_CONTEXT = 3

#: The number of different lines of an output after which a match is searched.
_KNOWN = 4096

#: Bytes of both outputs together that are compared line by line.
_LARGE = 64 << 20

#: Bytes that are compared at a time.
_STEP = 1 << 16


def unified(a: bytes | None, b: bytes | None, name_a: bytes, name_b: bytes) -> Iterator[bytes]:
    """Yield the lines of a unified diff of two outputs, None for one without a line, as difflib has it."""
    from difflib import SequenceMatcher

    # Lines take a multiple of the memory of their text: the equal parts at both ends are not split.
    begin, tail = (0, 0) if a is None or b is None else _ends(a, b)
    if a is not None and b is not None and len(a) + len(b) - 2 * (begin + tail) > _LARGE:
        yield from _replaced(a, b, begin, tail, name_a, name_b)
        return
    before, after = _lines(a, begin, tail), _lines(b, begin, tail)
    above = 0 if a is None else a.count(b"\n", 0, begin)
    named = False
    for group in SequenceMatcher(None, before, after).get_grouped_opcodes(_CONTEXT):
        if not named:
            yield b"--- " + name_a
            yield b"+++ " + name_b
            named = True
        _, first_a, _, first_b, _ = group[0]
        _, _, last_a, _, last_b = group[-1]
        place_a, place_b = _range(above, first_a, last_a), _range(above, first_b, last_b)
        yield b"@@ -%s +%s @@" % (place_a, place_b)
        for tag, from_a, to_a, from_b, to_b in group:
            if tag == "equal":
                yield from (b" " + line for line in before[from_a:to_a])
            else:
                yield from (b"-" + line for line in before[from_a:to_a])
                yield from (b"+" + line for line in after[from_b:to_b])


def _replaced(
    a: bytes, b: bytes, begin: int, tail: int, name_a: bytes, name_b: bytes
) -> Iterator[bytes]:
    """Yield the lines of a diff with one difference: all that is between the two ends."""
    above = a.count(b"\n", 0, begin)
    yield b"--- " + name_a
    yield b"+++ " + name_b
    sizes = [text.count(b"\n", begin, len(text) - tail) + 1 for text in (a, b)]
    yield b"@@ -%s +%s @@" % (_range(above, 0, sizes[0]), _range(above, 0, sizes[1]))
    same = _same_lines(_each_line(a, begin, len(a) - tail), _each_line(b, begin, len(b) - tail))
    for text, mark in ((a, b"-"), (b, b"+")):
        for at, line in enumerate(_each_line(text, begin, len(text) - tail)):
            if at >= same:
                yield mark + line
            elif mark == b"-":
                yield b" " + line


def _same_lines(before: Iterator[bytes], after: Iterator[bytes]) -> int:
    """Return how many lines are equal until the first that differs."""
    count = 0
    for one, other in zip(before, after, strict=False):
        if one != other:
            return count
        count += 1
    return count


def _lines(said: bytes | None, begin: int, tail: int) -> list[bytes]:
    if said is None:
        return []
    known: dict[bytes, bytes] = {}
    lines = []
    for line in _each_line(said, begin, len(said) - tail):
        # Equal lines are one object, of as many as do not take much themselves.
        lines.append(known.setdefault(line, line) if len(known) < _KNOWN else known.get(line, line))
    return lines


def _each_line(said: bytes, begin: int, end: int) -> Iterator[bytes]:
    while (at := said.find(b"\n", begin, end)) >= 0:
        yield said[begin:at]
        begin = at + 1
    yield said[begin:end]


def _range(above: int, first: int, last: int) -> bytes:
    """Return the lines of a part as diff(1) has it in the format -u: the first one and their number."""
    size = last - first
    if size == 1:
        return b"%d" % (above + first + 1)
    return b"%d,%d" % (above + first + (size > 0), size)


def _ends(a: bytes, b: bytes) -> tuple[int, int]:
    """Return how many bytes two outputs share at the beginning and end, in whole lines, except some context."""
    view_a, view_b = memoryview(a), memoryview(b)
    most = min(len(a), len(b))
    begin = a.rfind(b"\n", 0, _shared(view_a, view_b, most, 0)) + 1
    tail = _shared(view_a, view_b, most - begin, 1)
    # The newline that ends the last line that differs is shared, too.
    end = a.find(b"\n", len(a) - tail) if tail else -1
    for _ in range(_CONTEXT):
        begin = a.rfind(b"\n", 0, begin - 1) + 1 if begin else 0
        end = a.find(b"\n", end + 1) if end >= 0 else -1
    return begin, len(a) - end if end >= 0 else 0


def _shared(a: memoryview, b: memoryview, most: int, from_end: int) -> int:
    """Return how many bytes are equal from the begin, or the end, on, of the first or last `most`."""

    def equal(start: int, stop: int) -> bool:
        if from_end:
            return a[len(a) - stop : len(a) - start] == b[len(b) - stop : len(b) - start]
        return a[start:stop] == b[start:stop]

    done, step = 0, _STEP
    while step:
        stop = min(most, done + step)
        if stop > done and equal(done, stop):
            done = stop
        else:
            step //= 2
    return done
