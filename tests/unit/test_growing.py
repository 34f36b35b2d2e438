"""Output that grows, and becomes a text without a second copy in memory."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpshell.coordinator import growing
from mpshell.coordinator.growing import Growing


@pytest.mark.parametrize("pages_from", [1 << 12, growing._PAGES_FROM])
@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_it_equals_the_same_bytes(
    pages_from: int, newline: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "_PAGES_FROM", pages_from)
    monkeypatch.setattr(growing, "_PIECE", 1 << 14)
    chance = random.Random(pages_from)
    output, whole = Growing(), b""
    while len(whole) < 300_000:
        data = chance.randbytes(chance.choice([0, 1, 5, 3000, 40_000]))
        output.add(data)
        whole += data
        assert len(output) == len(whole)
        end = chance.randrange(len(whole) + 1)
        assert output.rfind(b"\n", end) == whole.rfind(b"\n", 0, end)
        assert output.copy(end // 2, end) == whole[end // 2 : end]
    output.add(b"x" + newline)
    assert output.text_size() == len(whole) + 1
    assert output.take(output.text_size()) == whole + b"x"
    assert len(output) == 0 and output.text_size() == 0
    output.add(b"again")
    assert output.take(5) == b"again"


def test_nothing_is_an_empty_text() -> None:
    output = Growing()
    assert (len(output), output.text_size(), output.take(0)) == (0, 0, b"")
    output.add(b"\n")
    assert (len(output), output.text_size(), output.take(0)) == (1, 0, b"")


#: Fills 40 MB, ends it, and prints the most memory that was taken above that of before.
PEAK = """
import resource
from mpshell.coordinator.growing import Growing
block = bytes(range(256)) * 4096
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
output = Growing()
for _ in range(40):
    output.add(block)
text = output.take(output.text_size())
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert text == block * 40
print((after - before) * 1024 / len(text))
"""


def test_the_text_is_no_second_copy_in_memory() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, cwd=root, text=True)
    assert done.stderr == "" and float(done.stdout) < 1.1


#: Grows until there is no room, and ends that: neither loses a byte.
FULL = """
import resource
from mpshell.coordinator.growing import Growing
import mmap
block = bytes(range(256)) * 4096
output = Growing()
used = int(open("/proc/self/statm").read().split()[0]) * mmap.PAGESIZE
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (60 << 20), limits[1]))
blocks = 0
try:
    while True:
        output.add(block)
        blocks += 1
except MemoryError:
    pass
try:
    output.take(output.text_size())
    print("there was room")
except MemoryError:
    pass
resource.setrlimit(resource.RLIMIT_AS, limits)
print(blocks > 30, output.take(output.text_size()) == block * blocks)
"""


def test_without_room_nothing_is_lost() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, cwd=root, text=True)
    assert (done.stdout, done.stderr) == ("True True\n", "")


def test_a_text_for_which_room_ends_half_way_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages that were given back are filled again."""

    class Small(io.BytesIO):
        written = 0

        def write(self, data: Any) -> int:
            self.written += 1
            if self.written == 4:
                raise MemoryError
            return super().write(data)

    block = bytes(range(251)) * 5000
    output = Growing()
    for _ in range(10):
        output.add(block)
    with monkeypatch.context() as patch:
        patch.setattr("mpshell.coordinator.growing.io.BytesIO", Small)
        with pytest.raises(MemoryError):
            output.take(output.text_size())
    assert output.take(output.text_size()) == block * 10
