"""Local files that copies over connections read and write: whole ones, and ones that change meanwhile."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell.connect.files import SourceFile, TargetFile, WholeFile
from tests.support import eventually


def whole(path: Path, mode: int = 0o640) -> WholeFile:
    return WholeFile(os.fsencode(path), mode, b".mpshell-test")


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    before = descriptors()
    file = whole(tmp_path / "file")
    file.open()
    file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    # Nobody else can look into the directory that it is in meanwhile.
    [own] = [path for path in tmp_path.iterdir() if path.name != "file"]
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    file.finish(3, None)
    file.close()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"] and descriptors() == before


def test_one_that_is_not_whole_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    file = whole(tmp_path / "file")
    file.open()
    file.write(b"ne")
    with pytest.raises(OSError, match="got 2 bytes of 3"):
        file.finish(3, None)
    file.close()
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"old"


def test_the_mode_is_less_the_umask_or_that_which_is_kept(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for name, kept in (("plain", None), ("kept", (0o4755, (1_000_000_000, 1_100_000_000)))):
            file = whole(tmp_path / name, 0o755)
            file.open()
            file.finish(0, kept)
            file.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o750
    state = (tmp_path / "kept").stat()
    assert stat.S_IMODE(state.st_mode) == 0o4755
    assert (state.st_atime, state.st_mtime) == (1_000_000_000, 1_100_000_000)


def test_a_directory_in_the_place_of_the_target_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    file = whole(tmp_path / "file")
    with pytest.raises(IsADirectoryError):
        file.open()
    file.close()
    # One that comes while the file is written too.
    file = whole(tmp_path / "late")
    file.open()
    (tmp_path / "late").mkdir()
    with pytest.raises(IsADirectoryError):
        file.finish(0, None)
    file.close()
    assert sorted(os.listdir(tmp_path)) == ["file", "late"]


def link_to_theirs(own: Path, theirs: Path) -> None:
    own.symlink_to(theirs)


def their_directory(own: Path, theirs: Path) -> None:
    own.mkdir(mode=0o700)
    os.chown(own, 65534, 65534)


def one_that_they_can_write_to(own: Path, theirs: Path) -> None:
    own.mkdir()
    own.chmod(0o777)


@pytest.mark.parametrize(
    "replace",
    [link_to_theirs, their_directory, one_that_they_can_write_to],
    ids=lambda f: f.__name__,
)
def test_another_user_puts_something_in_the_place_of_its_directory(
    replace: Callable[[Path, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between mkdir(2) and open(2), in a directory that all may write to (this takes root)."""
    place, theirs = tmp_path / "place", tmp_path / "theirs"
    for path in (place, theirs):
        path.mkdir()
        path.chmod(0o777)
    real = os.mkdir

    def mkdir(path: Any, *args: Any, **kwargs: Any) -> None:
        real(path, *args, **kwargs)
        if isinstance(path, bytes) and b".mpshell-test" in path:
            os.rename(path, place / "moved")
            replace(Path(os.fsdecode(path)), theirs)

    monkeypatch.setattr(os, "mkdir", mkdir)
    file = whole(place / "file")
    with pytest.raises(OSError, match=r"other users|Not a directory|symbolic links"):
        file.open()
    monkeypatch.undo()
    file.close()
    assert not (place / "file").exists() and os.listdir(theirs) == []


@pytest.mark.parametrize("rights", [0o755, 0o777])
def test_a_file_system_without_modes(
    rights: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows 0755 for all: then the directory of the target must be one that only this user may write to."""
    tmp_path.chmod(rights)
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        found = real(fd)
        if stat.S_ISDIR(found.st_mode):
            return os.stat_result((stat.S_IFDIR | 0o755, *tuple(found)[1:]))
        return found

    monkeypatch.setattr(os, "fstat", fstat)
    file = whole(tmp_path / "file")
    if rights == 0o755:
        file.open()
        file.finish(0, None)
    else:
        with pytest.raises(PermissionError, match="other users"):
            file.open()
    file.close()
    assert os.listdir(tmp_path) == (["file"] if rights == 0o755 else [])


def test_a_file_in_place_is_no_link_to_another_one(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "file").symlink_to("other")
    file = TargetFile(os.fsencode(tmp_path / "file"), 0o644)
    with pytest.raises(OSError) as raised:
        file.open()
    assert raised.value.errno == errno.ELOOP
    file.close()
    assert (tmp_path / "other").read_bytes() == b"other"


def test_a_file_is_not_closed_below_a_call(tmp_path: Path) -> None:
    """A thread reads when the copy is given up: the number of its descriptor is given to no other file then."""
    os.mkfifo(tmp_path / "fifo")
    file = SourceFile(os.fsencode(tmp_path / "fifo"))
    read, write = os.pipe()
    file._fd = read
    got: list[bytes] = []
    reading = threading.Thread(target=lambda: got.append(file.read(10)))
    reading.start()
    assert eventually(file._lock.locked)
    closing = threading.Thread(target=file.close)
    closing.start()
    os.fstat(read)
    os.write(write, b"data")
    reading.join()
    closing.join()
    assert got == [b"data"]
    os.close(write)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read)
    assert file.read(10) == b""


def test_a_closed_file_is_not_opened(tmp_path: Path) -> None:
    """The copy was given up before a thread was free."""
    before = descriptors()
    for file in (TargetFile(os.fsencode(tmp_path / "a"), 0o600), whole(tmp_path / "b")):
        file.close()
        file.open()
        file.write(b"data")
        file.finish(4, None)
        file.close()
    assert descriptors() == before and os.listdir(tmp_path) == []
