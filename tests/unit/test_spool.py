"""The log of bytes that go to memory, and then to a file without a name."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mpshell import EngineException
from mpshell.errors import InputStorageError
from mpshell.runtime.spool import BLOCK, Spool

MEMORY = 4 * BLOCK


def files() -> dict[int, str]:
    """Return the files without a name that this process has open, by descriptor."""
    links = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            links[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass  # that of the listing
    return {fd: link for fd, link in links.items() if link.endswith("(deleted)")}


def content(spool: Spool, most: int = 65536, start: int = 0) -> bytes:
    pieces = []
    while start < spool.size:
        piece = bytes(spool.piece(start, most))
        assert 0 < len(piece) <= most
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("largest", [1000, 70_000, 3 * BLOCK])
def test_all_can_be_read_at_any_time_from_any_place(largest: int, tmp_path: Path) -> None:
    chance = random.Random(largest)
    spool = Spool({b"TMPDIR": os.fsencode(tmp_path)}, in_memory=MEMORY)
    whole = bytearray()
    before = len(files())
    while len(whole) < 3 * MEMORY:
        data = chance.randbytes(chance.randrange(largest))
        spool.append(data)
        whole += data
        assert spool.size == len(whole)
        if chance.random() < 30 / (3 * MEMORY / largest):
            start = chance.randrange(len(whole))
            assert content(spool, chance.choice([4096, 65536, 2 * BLOCK]), start) == whole[start:]
        if len(whole) <= MEMORY:
            assert len(files()) == before
    assert content(spool) == whole
    assert len(files()) == before + 1 and list(tmp_path.iterdir()) == []
    spool.close()
    spool.close()
    assert len(files()) == before and spool.size == 0


def test_a_view_of_kept_data_does_not_keep_it_from_growing() -> None:
    spool = Spool(in_memory=MEMORY)
    views, whole = [], b""
    for number in range(64):
        data = bytes([number]) * (MEMORY // 50)
        spool.append(data)
        whole += data
        views.append((spool.piece(0, BLOCK), spool.piece(spool.size - 1, BLOCK), number))
    for first, last, number in views:
        assert whole.startswith(bytes(first)) and bytes(last) == bytes([number])
    spool.close()


@pytest.mark.parametrize("folder", ["gone", ""])
def test_a_folder_that_is_not_there_is_replaced(folder: str, tmp_path: Path) -> None:
    """As for tempfile, which falls back to /tmp."""
    variables = {b"TMPDIR": os.fsencode(tmp_path / folder)} if folder else {}
    spool = Spool(variables, in_memory=0)
    spool.append(b"abc")
    assert content(spool) == b"abc" and not list(tmp_path.iterdir())
    spool.close()


def test_a_file_system_without_unnamed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """open(2): EOPNOTSUPP where the file system does not support O_TMPFILE."""
    real = os.open

    def refusing(path: bytes, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no")
        assert flags & os.O_EXCL and mode == 0o600
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refusing)
    spool = Spool({b"TMPDIR": os.fsencode(tmp_path)}, in_memory=0)
    spool.append(b"abc")
    assert content(spool) == b"abc" and list(tmp_path.iterdir()) == []
    spool.close()


def test_without_room_none_of_the_bytes_are_added() -> None:
    """setrlimit(2): EFBIG beyond RLIMIT_FSIZE, as ENOSPC on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    spool = Spool(in_memory=10)
    spool.append(b"0123456")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5, before[1]))
        with pytest.raises(
            InputStorageError, match="input of commands cannot be stored: "
        ) as caught:
            spool.append(b"789abcdefgh")
        assert spool.size == 7
        spool.append(b"789abcde")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert caught.value.errno == errno.EFBIG
    assert isinstance(caught.value, OSError) and isinstance(caught.value, EngineException)
    assert content(spool) == b"0123456789abcde"
    spool.close()


def test_a_file_of_the_users_in_its_place_is_left_alone(tmp_path: Path) -> None:
    """A program may close every descriptor above 2, and these numbers are given out again."""
    spool = Spool({b"TMPDIR": os.fsencode(tmp_path)}, in_memory=0)
    spool.append(b"abc")
    [fd] = [fd for fd, path in files().items() if path.startswith(str(tmp_path))]
    theirs = os.open(tmp_path / "theirs", os.O_CREAT | os.O_RDWR)
    os.dup2(theirs, fd)
    with pytest.raises(InputStorageError, match="the program has closed its file"):
        spool.append(b"def")
    with pytest.raises(InputStorageError, match="the program has closed its file"):
        spool.piece(0, 3)
    spool.close()
    assert os.fstat(fd).st_ino == os.fstat(theirs).st_ino
    assert (tmp_path / "theirs").read_bytes() == b""
    os.close(fd)
    os.close(theirs)


def test_nothing_is_left_of_it_after_a_kill(tmp_path: Path) -> None:
    source = (
        "import os, sys; from mpshell.runtime.spool import Spool\n"
        "spool = Spool(in_memory=0); spool.append(bytes(1000))\n"
        "print(any('(deleted)' in os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')"
        " if os.path.lexists(f'/proc/self/fd/{n}')), flush=True)\n"
        "sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    with process:
        assert process.stdout is not None and process.stdout.readline() == b"True\n"
        process.kill()
    assert list(tmp_path.iterdir()) == []
