"""Trees to be copied: one with all kinds of entries, and how two of them are compared."""

from __future__ import annotations

import os
import stat
from pathlib import Path

#: Names in a tree that a shell, an option parser or tar would take for something else; the last is no UTF-8.
ODD = [
    "a b", "-x", "a\nb", "$HOME", "*", "a'b", 'a"b', "a\\b", "a!b", "...", "{}", "#x", "ü", " ", "~", "n" * 200,
    os.fsdecode(b"\xff\xfe"),
]  # fmt: skip


def make_tree(root: Path) -> Path:
    """Make a tree with links, empty and closed directories, modes, times, and odd names."""
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "closed").mkdir()
    (root / "file").write_bytes(bytes(range(256)) * 400)
    (root / "closed" / "in").write_text("in a directory that nobody may write to")
    (root / "deep" / "er" / "script").write_text("#!/bin/sh\n")
    (root / "deep" / "er" / "script").chmod(0o4775)
    (root / "deep" / "wide").write_text("for all")
    (root / "deep" / "wide").chmod(0o666)
    os.link(root / "file", root / "deep" / "same")
    for name in ODD:
        (root / name).write_text(f"named {os.fsencode(name)!r}")
        (root / "deep" / name).mkdir()
    (root / "link").symlink_to("deep/er")
    (root / "dangling").symlink_to("nowhere")
    (root / "out").symlink_to("/etc/passwd")
    (root / "deep" / "up").symlink_to("../../..")
    (root / "long").symlink_to("l" * 300)
    (root / "closed").chmod(0o555)
    for number, (folder, _, files) in enumerate(os.walk(root, topdown=False)):
        for name in files:
            os.utime(os.path.join(folder, name), (0, 1_000_000_000 + number), follow_symlinks=False)
        os.utime(folder, (0, 1_100_000_000 + number))
    root.chmod(0o750)
    return root


def contents(
    root: Path, *, modes: bool = True, times: bool = False
) -> dict[str, tuple[object, ...]]:
    """Return all that is in a tree, by the path from its top, which is `.`."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files, *(["."] if folder == str(root) else [])]:
            path = os.path.join(folder, name)
            state = os.lstat(path)
            kind: tuple[object, ...] = ("directory",)
            if stat.S_ISLNK(state.st_mode):
                kind = "link", os.readlink(path)
            elif stat.S_ISREG(state.st_mode):
                kind = "file", Path(path).read_bytes()
            if modes and kind[0] != "link":
                kind = *kind, oct(stat.S_IMODE(state.st_mode))
            if times:
                kind = *kind, int(state.st_mtime)
            found[os.path.relpath(path, root)] = kind
    return found


def check_all_or_nothing(target: Path, source: Path, *, arrived: bool) -> None:
    """Check that a node has all of a file or tree; one on which its copy has failed may have nothing."""
    if not arrived and not target.exists():
        return
    if source.is_dir():
        assert contents(target, modes=False) == contents(source, modes=False)
    else:
        assert target.read_bytes() == source.read_bytes()
