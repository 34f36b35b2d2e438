"""Packing of a tree for relay copies: tar(1) itself says what is in the archive."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell.errors import WorkerError
from mpshell.worker import relaytree
from mpshell.worker.relaytree import PackedTree, survey
from tests.trees import contents, make_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


def unpack(packed: PackedTree, directory: Path) -> Path:
    directory.mkdir()
    subprocess.run(["tar", "-xpof", packed.path(), "-C", str(directory)], check=True)
    return directory


def test_tar_unpacks_all_of_it(tree: Path, tmp_path: Path) -> None:
    packed = PackedTree(str(tree), preserve=True)
    expected, found = (
        contents(tree, times=True),
        contents(unpack(packed, tmp_path / "out"), times=True),
    )
    del expected["."], found["."]
    assert found == expected
    packed.close()


def test_the_same_tree_gives_the_same_stream(tree: Path, tmp_path: Path) -> None:
    first = PackedTree(str(tree), preserve=False)
    data = Path(first.path()).read_bytes()
    again = tmp_path / "again"
    subprocess.run(["cp", "-a", str(tree), str(again)], check=True)
    os.utime(again / "file", (1, 1))
    second = PackedTree(str(again), preserve=False)
    assert (first.size, first.sha256, first.unpacked) == (
        second.size,
        second.sha256,
        second.unpacked,
    )
    assert len(data) == first.size and first.size % 512 == 0
    summed = subprocess.run(["sha256sum", first.path()], capture_output=True, check=True)
    assert summed.stdout.split()[0].decode() == first.sha256
    first.close()
    second.close()


def test_without_preserve_no_bit_is_of_the_owner_here(tree: Path, tmp_path: Path) -> None:
    packed = PackedTree(str(tree), preserve=False)
    out = unpack(packed, tmp_path / "out")
    assert (out / "deep" / "er" / "script").stat().st_mode & 0o7777 == 0o775
    assert (out / "closed").stat().st_mode & 0o777 == 0o555
    packed.close()


def test_the_room_of_the_tree_is_that_of_its_blocks(tmp_path: Path) -> None:
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    (tmp_path / "tree" / "one").write_bytes(b"1")
    (tmp_path / "tree" / "two").write_bytes(bytes(4097))
    packed = PackedTree(str(tmp_path / "tree"), preserve=False)
    assert packed.unpacked == 4096 * (1 + 1 + 1 + 2)
    packed.close()


def test_a_survey_tells_size_and_links(tree: Path, tmp_path: Path) -> None:
    assert survey(str(tree)).has_links
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").write_bytes(bytes(5000))
    found = survey(str(tmp_path / "plain"))
    packed = PackedTree(str(tmp_path / "plain"), preserve=False)
    assert not found.has_links and found.size == packed.size
    packed.close()


@pytest.mark.parametrize("call", [survey, lambda root: PackedTree(root, preserve=False)])
@pytest.mark.parametrize("kind", ["socket", "pipe", "device"])
def test_what_no_archive_of_a_tree_has(
    call: Callable[[str], object], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    path = tmp_path / "tree" / "deep" / "odd"
    with socket.socket(socket.AF_UNIX) as made:
        if kind == "socket":
            monkeypatch.chdir(path.parent)
            made.bind("odd")
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            subprocess.run(["mknod", str(path), "c", "1", "3"], check=True)
        with pytest.raises(ValueError, match=f"/tree': 'deep/odd' is a .*{kind}, and a tree"):
            call(str(tmp_path / "tree"))
    assert not has_open_files(tmp_path)


def has_open_files(directory: Path) -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue
    return [path for path in found if path.startswith(str(directory))]


PROGRAM = """
import os, sys
from mpshell.worker.relaytree import PackedTree, survey
os.setuid(65534)
for call in (survey, lambda root: PackedTree(root, False)):
    try:
        call(".")
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize("name", ["file", "directory"])
def test_what_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / name).chmod(0o311 if name == "directory" else 0)
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"source '.': '{name}' cannot be read: Permission denied\n" * 2


def test_a_disk_without_room(tree: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "more").write_bytes(os.urandom(300_000))
    monkeypatch.setenv("TMPDIR", str(small_disk))
    with pytest.raises(
        WorkerError, match=r"/tree' cannot be packed .*TMPDIR.*: No space left on device"
    ):
        PackedTree(str(tree), preserve=False)
    assert not has_open_files(small_disk) and not os.listdir(small_disk)


@pytest.mark.parametrize("change", ["longer", "shorter", "gone", "another", "pipe"])
def test_a_file_that_changes_while_it_is_packed(
    change: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tree / "file"
    write = PackedTree._write_header

    def changing(packed: PackedTree, info: Any) -> None:
        if getattr(info, "name", "") == "deep/same":
            if change == "longer":
                with path.open("ab") as file:
                    file.write(b"more")
            elif change == "shorter":
                os.truncate(path, 5000)
            else:
                (tree / "deep" / "same").unlink()
                if change == "another":
                    (tree / "deep" / "same").write_bytes(path.read_bytes())
                elif change == "pipe":
                    os.mkfifo(tree / "deep" / "same")
        write(packed, info)

    monkeypatch.setattr(PackedTree, "_write_header", changing)
    error = ValueError if change == "gone" else WorkerError
    with pytest.raises(
        error, match=r"'deep/same' (was changed while it was packed|cannot be read)"
    ):
        PackedTree(str(tree), preserve=False)


def test_a_directory_that_becomes_a_link_is_not_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("secret")
    members = relaytree._members(str(tree))
    found = []
    with pytest.raises(ValueError, match="'deep/er' cannot be read"):
        for member in members:
            found.append(member.path)
            if member.path == "deep/er":
                os.rename(tree / "deep" / "er", tree / "deep" / "moved")
                (tree / "deep" / "er").symlink_to(tmp_path / "elsewhere")
    assert not [path for path in found if "secret" in path]


def test_a_deep_tree_is_packed_and_its_descriptors_are_closed(tmp_path: Path) -> None:
    deep = tmp_path / "tree"
    folder = deep
    for _ in range(200):
        folder = folder / "d"
    folder.mkdir(parents=True)
    packed = PackedTree(str(deep), preserve=True)
    assert packed.size == 512 * 400 + 1024 + 2 * (512 + 512) * sum(
        len("d/" * n) > 100 for n in range(1, 201)
    )
    packed.close()
    assert not has_open_files(tmp_path)
