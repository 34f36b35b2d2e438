"""The unified diff of two outputs is difflib's where it has one answer, and right in any case."""

from __future__ import annotations

import difflib
import random
import re

import pytest

from mpshell.cli import diff
from mpshell.cli.diff import unified


def lines_of(text: bytes | None) -> list[bytes]:
    return [] if text is None else text.split(b"\n")


def of_difflib(a: bytes | None, b: bytes | None) -> list[bytes]:
    found = difflib.diff_bytes(
        difflib.unified_diff, lines_of(a), lines_of(b), b"a", b"b", lineterm=b""
    )
    return list(found)


MANY = b"\n".join(b"line %d" % n for n in range(30))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (None, b"x"),
        (b"x", None),
        (b"", b"x"),
        (b"", None),
        (b"", b"\n"),
        (b"x", b"x\n"),
        (b"x\ny", b"x\ny\nz"),
        (b"y\nz", b"x\ny\nz"),
        (b"x\nend", b"x\nB\nend"),
        (b"x\nA\nend", b"x\nB\nend"),
        (b"xA", b"xB"),
        (b"Ax", b"Bx"),
        (MANY, MANY + b"\nmore"),
        (MANY, b"more\n" + MANY),
        (MANY, MANY.replace(b"line 15", b"another")),
        (MANY, MANY.replace(b"line 15\n", b"")),
        (MANY, MANY.replace(b"line 2\n", b"").replace(b"line 28\n", b"a\nb\n")),
        (MANY, MANY.replace(b"line", b"row")),
    ],
)
def test_it_is_as_difflib_has_it(a: bytes | None, b: bytes | None) -> None:
    assert list(unified(a, b, b"a", b"b")) == of_difflib(a, b)


def test_equal_outputs_have_none() -> None:
    for text in (None, b"", b"x", MANY):
        assert list(unified(text, text, b"a", b"b")) == []


@pytest.mark.parametrize("large", [diff._LARGE, 0])
@pytest.mark.parametrize("seed", range(40))
def test_it_makes_one_output_of_the_other(
    seed: int, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As patch(1) reads it: a diff other than difflib's is right too."""
    monkeypatch.setattr(diff, "_STEP", 16)
    monkeypatch.setattr(diff, "_LARGE", large)
    chance = random.Random(seed)
    a = [b"line %d" % chance.randrange(chance.choice([3, 1000])) for _ in range(200)]
    b = list(a)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(b))
        b[at : at + chance.randrange(3)] = [b"new %d" % n for n in range(chance.randrange(3))]
    found = list(unified(b"\n".join(a), b"\n".join(b), b"a", b"b"))
    assert (found == []) == (a == b)
    assert patched(a, found) == b


def patched(lines: list[bytes], found: list[bytes]) -> list[bytes]:
    """Return lines as a unified diff changes them; it has to fit exactly."""
    changed: list[bytes] = []
    done = 0
    for line in found[2:]:
        if (place := re.fullmatch(rb"@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@", line)) is not None:
            begin = int(place[1]) - (place[2] != b",0")
            changed += lines[done:begin]
            done = begin
            assert len(changed) == int(place[3]) - (place[4] != b",0")
        elif line[:1] == b"+":
            changed.append(line[1:])
        else:
            assert lines[done] == line[1:]
            done += 1
            changed += [line[1:]] * (line[:1] == b" ")
    return changed + lines[done:]
