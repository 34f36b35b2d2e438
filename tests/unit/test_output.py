"""From bytes to blocks of lines, however they are cut; equal bodies once."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpshell.engine import bodies as output
from mpshell.engine.bodies import BodyTable
from mpshell.wire import lines
from mpshell.wire.lines import StreamBuffer

TEXT = st.lists(
    st.sampled_from([b"a", b"bb", b"\n", b"\r", b"\r\n", b"\0", b"\xff\xfe", b"x" * 30]),
    max_size=40,
).map(b"".join)


def expected(data: bytes) -> bytes:
    data = data.replace(b"\r\n", b"\n")
    return data if not data or data.endswith(b"\n") else data + b"\n"


def blocks(chunks: list[bytes], every: bool) -> list[bytes]:
    """Feed chunks, taking after each when `every`, and return the blocks."""
    buffer = StreamBuffer()
    found = []
    for chunk in chunks:
        buffer.add(chunk)
        if every:
            found.append(buffer.take(final=False))
    found.append(buffer.take(final=True))
    return [block for block in found if block]


@given(TEXT, st.lists(st.integers(0, 200), max_size=10), st.booleans())
def test_any_cut_gives_the_same_lines(data: bytes, cuts: list[int], every: bool) -> None:
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    chunks = [data[a:b] for a, b in itertools.pairwise(edges)]
    found = blocks(chunks, every)
    assert b"".join(found) == expected(data)
    assert all(block.endswith(b"\n") for block in found)


@given(TEXT, st.integers(1, 20))
def test_long_lines_go_in_pieces(data: bytes, size: int) -> None:
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "LONG_LINE", 8)
        found = blocks(chunks, every=True)
    assert b"".join(found) == expected(data)
    assert not found or found[-1].endswith(b"\n")


@pytest.mark.parametrize(
    ("data", "block"),
    [(b"", b""), (b"\n", b"\n"), (b"a", b"a\n"), (b"a\r", b"a\r\n"), (b"a\rb\n", b"a\rb\n"),
     (b"a\r\r\n", b"a\r\n"), (b"a\n\n", b"a\n\n")],
)  # fmt: skip
def test_ends_of_lines(data: bytes, block: bytes) -> None:
    assert b"".join(blocks([data], every=True)) == block


def test_equal_bodies_are_shipped_once() -> None:
    table = BodyTable()
    assert [table.ref(body) for body in (b"a", b"b", b"a", b"b")] == [0, 1, 0, 1]
    assert table.take() == ([(0, b"a"), (1, b"b")], 0)
    assert table.ref(b"a") == 0
    assert table.take() == ([], 0)


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "REMEMBERED", 100)
    table = BodyTable()
    numbers = [table.ref(b"%010d" % n) for n in range(50)]
    assert numbers == list(range(50))
    assert table._size <= 100
    # Forgotten numbers are below the floor, known ones above it.
    assert table.ref(b"%010d" % 49) == 49 >= table.floor
    assert table.ref(b"%010d" % 0) == 50
    big = b"x" * 60
    assert table.ref(big) != table.ref(big), "too big to be remembered"


@given(st.lists(st.binary(max_size=12), max_size=20))
def test_the_bodies_that_a_frame_refers_to_are_known(frames: list[bytes]) -> None:
    """Also a body sent long ago, when the table starts anew within the frame that refers to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "REMEMBERED", 100)
        table = BodyTable()
        there: dict[int, bytes] = {}
        for bodies in frames:
            sent = [b"%020d" % (body % 31) for body in bodies]
            refs = [table.ref(body) for body in sent]
            new, floor = table.take()
            there = {number: body for number, body in there.items() if number >= floor}
            there.update(new)
            assert [there[ref] for ref in refs] == sent
        assert len(there) <= 5 + 12 + 12, "what is below the floor goes"
