"""Trees in relay copies, by the scripts alone: a small head drives them; a node is a home of its own here."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.relays import Head, Node, Place, busybox_path
from tests.support import eventually, paths_below
from tests.system.test_atomic_place import SHELLS
from tests.trees import contents, make_tree

#: How a tar may hang, or fail, that has unpacked half.
HANGS = "#!/bin/sh\n: >half; exec sleep 600\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "source")


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Give a way to make a place, whose processes are ended when a test has failed."""
    made: list[Place] = []

    def make(directory: Path = tmp_path, **options: str) -> Place:
        made.append(Place(directory, **options))
        return made[-1]

    before = os.umask(0o027)
    yield make
    os.umask(before)
    for place in made:
        for head in place.heads:
            head.abandon()


def tree_head(
    place: Place, source: Path, dest: str = "~/target", *, preserve: bool = False
) -> Head:
    head = Head(place, source, dest, preserve=preserve)
    head.mode = source.stat().st_mode & 0o7777
    head.times = ("200001010000.00", "200001010000.00") if preserve else None
    return head


def in_line(head: Head, *names: str) -> list[Node]:
    """Copy in a line of nodes; each has it then, or has failed."""
    nodes = head.ready(*names)
    for parent, child in pairwise(nodes):
        child.pull(parent)
    head.feed_rest(nodes[0]).end()
    return nodes


def umasked(root: Path) -> dict[str, tuple[object, ...]]:
    """Return a tree as it arrives without `preserve`, with the umask of these tests."""
    found = contents(root)
    for path, (*kind, mode) in found.items():
        if kind[0] != "link":
            found[path] = (*kind, oct(int(str(mode), 8) & 0o750))
    return found


@pytest.mark.parametrize("sh", [*SHELLS, "busybox sh"])
@pytest.mark.needs("busybox")
def test_a_tree_in_a_line_of_nodes_whatever_their_shell_is(
    sh: str, source: Path, places: Callable[..., Place]
) -> None:
    place = places(sh=sh)
    head = tree_head(place, source)
    (place.home("n2") / "target").mkdir()
    one, two = in_line(head, "n1", "n2")
    for node in (one, two):
        node.wait("done")
    # Its target is a directory now, and the archive is still where it was.
    [three] = head.ready("n3")
    three.pull(two, "done")
    three.wait("done")
    # The head does not ask for it when it has `done`; that of yash is 1 at times.
    assert [node.end() for node in head.nodes] == [0, 0, 0] or sh == "yash"
    expected = contents(source, modes=False)
    for path in (place.home("n1") / "target", place.home("n2") / "target" / "source"):
        assert contents(path, modes=False) == expected
    assert contents(place.home("n3") / "target") == umasked(source)
    head.close()


def test_links_of_one_file_are_one_file(source: Path, places: Callable[..., Place]) -> None:
    place = places()
    head = tree_head(place, source)
    in_line(head, "n1")[0].wait("done")
    target = place.home("n1") / "target"
    assert (target / "file").samefile(target / "deep" / "same")
    head.close()


def test_preserve_keeps_modes_and_times(source: Path, places: Callable[..., Place]) -> None:
    place = places()
    head = tree_head(place, source, preserve=True)
    in_line(head, "n1")[0].wait("done")
    os.utime(source, (0, 946_684_800))
    assert contents(place.home("n1") / "target", times=True) == contents(source, times=True)
    head.close()


@pytest.mark.needs("busybox")
def test_a_tree_with_the_programs_of_busybox_alone(
    source: Path, tmp_path: Path, places: Callable[..., Place]
) -> None:
    place = places(path=busybox_path(tmp_path))
    shutil.copytree(source / "deep", place.home("n2") / "target" / "source" / "deep", symlinks=True)
    head = tree_head(place, source)
    for node in in_line(head, "n1", "n2"):
        node.wait("done")
    expected = contents(source, modes=False)
    assert contents(place.home("n1") / "target", modes=False) == expected
    assert contents(place.home("n2") / "target" / "source", modes=False) == expected
    head.close()


@pytest.mark.parametrize("dest", ["~/target", "~/target/", "~/target//", "~/"])
def test_where_a_tree_goes(dest: str, source: Path, places: Callable[..., Place]) -> None:
    place = places()
    head = tree_head(place, source, dest)
    in_line(head, "n1")[0].wait("done")
    home = place.home("n1")
    assert eventually(lambda: head.nodes[0].end() == 0)
    assert os.listdir(home) == (["source"] if dest == "~/" else ["target"])
    assert contents(next(home.iterdir()), modes=False) == contents(source, modes=False)
    head.close()


def test_a_tree_of_that_name_gets_what_it_lacks_and_keeps_the_rest(
    source: Path, places: Callable[..., Place]
) -> None:
    place = places()
    there = place.home("n1") / "target" / "source"
    (there / "deep" / "own").mkdir(parents=True, mode=0o700)
    (there / "deep" / "own" / "kept").write_text("kept")
    (there / "file").write_text("old")
    # Links to elsewhere in the place of files: these are replaced, and nothing is written through them.
    (there / "deep" / "wide").symlink_to(place.home("n1") / "victim")
    (there / "link").symlink_to(place.home("n1"))
    (place.home("n1") / "victim").write_text("victim")
    head = tree_head(place, source)
    in_line(head, "n1")[0].wait("done")
    assert head.nodes[0].end() == 0
    expected = contents(source, modes=False)
    expected.update({"deep/own": ("directory",), "deep/own/kept": ("file", b"kept")})
    assert contents(there, modes=False) == expected
    assert (place.home("n1") / "victim").read_text() == "victim"
    head.close()


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ("file target", "target is there and no directory"),
        ("file target/source", "target/source is there and no directory"),
        ("link target/source", "target/source is a symbolic link, through which no tree is copied"),
        ("dangling target", "target is a symbolic link, through which no tree is copied"),
        ("link target/source/deep/er", "target/source: deep/er is a symbolic link there"),
        ("file target/source/deep/er", "target/source: deep/er is no directory there"),
        ("directory target/source/deep/wide", "target/source: deep/wide is a directory there"),
    ],
)
def test_what_is_in_the_way_is_left_as_it_was(
    made: str, reason: str, source: Path, places: Callable[..., Place]
) -> None:
    place = places()
    home = place.home("n1")
    kind, _, path = made.partition(" ")
    (home / path).parent.mkdir(parents=True, exist_ok=True)
    (home / "victim").mkdir()
    if kind == "file":
        (home / path).write_text("old")
    elif kind == "directory":
        (home / path).mkdir()
    else:
        (home / path).symlink_to(home / ("victim" if kind == "link" else "nothing"))
    before = contents(home)
    head = tree_head(place, source)
    node = head.start("n1")
    if "/deep" in path:
        node.algorithm, node.port = node.wait("ready")
        node.order("sum", node.algorithm, head.sum)
        head.feed_rest(node).end()
    assert " ".join(node.wait("fail")).endswith(reason)
    assert node.over() == 1
    assert contents(home) == before
    head.close()


def test_what_comes_to_its_place_meanwhile_is_left_alone(
    source: Path, places: Callable[..., Place]
) -> None:
    """A directory of another user's, which has in it all that the way of the archive leads through."""
    place = places()
    head = tree_head(place, source)
    [one] = head.ready("n1")
    target = place.home("n1") / "target"
    planted = target / head.part(one).parent.name
    planted.mkdir(parents=True)
    os.mkfifo(planted / "in.1")
    os.chown(planted, 65534, 65534)
    before = contents(target)
    head.feed_rest(one).end()
    assert " ".join(one.wait("fail")).endswith("target: something has come to its place")
    assert one.over() == 1
    assert contents(target) == before
    shutil.rmtree(target)
    head.close()


@pytest.mark.needs("busybox")
def test_a_node_without_tar(source: Path, tmp_path: Path, places: Callable[..., Place]) -> None:
    path = busybox_path(tmp_path)
    (Path(path) / "tar").unlink()
    head = tree_head(places(path=path), source)
    one = head.start("n1")
    assert " ".join(one.wait("fail")) == "no tar here, which a relay copy of a tree needs"
    assert one.over() == 1
    head.close()


def test_room_is_for_the_archive_and_the_tree(
    tmp_path: Path, small_disk: Path, places: Callable[..., Place]
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "half").write_bytes(bytes(150_000))
    head = tree_head(places(), tmp_path / "tree", str(small_disk / "target"))
    one = head.start("n1")
    room = len(head.data) + (head.unpacked or 0)
    assert room > 300_000
    assert " ".join(one.wait("fail")) == f"no space left for {room} bytes"
    assert one.over() == 1 and not os.listdir(small_disk)
    head.close()


def test_a_disk_that_is_full_when_it_is_unpacked(
    tmp_path: Path, small_disk: Path, places: Callable[..., Place]
) -> None:
    (tmp_path / "tree").mkdir()
    for number in range(10):
        (tmp_path / "tree" / f"{number}").write_bytes(bytes(8000))
    head = tree_head(places(), tmp_path / "tree", str(small_disk / "target"))
    [one] = head.ready("n1")
    (small_disk / "other").write_bytes(bytes(120_000))
    head.feed_rest(one).end()
    assert " ".join(one.wait("fail")).startswith("no space left for ")
    assert one.over() == 1
    assert os.listdir(small_disk) == ["other"]
    head.close()


@pytest.mark.parametrize("tar", ["echo 'tar: Bad thing' >&2; exit 2", "exit 3"])
def test_a_tar_that_fails(
    tar: str, source: Path, tmp_path: Path, places: Callable[..., Place]
) -> None:
    head = tree_head(places(path=with_tar(tmp_path, f"#!/bin/sh\n: >half\n{tar}\n")), source)
    # Each from the head: a node that fails is gone, and serves no other one any more.
    for node in head.ready("n1", "n2"):
        head.feed_rest(node).end()
        reason = " ".join(node.wait("fail"))
        assert reason.endswith(
            "target: tar: Bad thing" if "echo" in tar else "target: tar has status 3"
        )
        assert node.over() == 1
    head.close()


def with_tar(directory: Path, text: str) -> str:
    """Return a PATH with another tar."""
    (directory / "other").mkdir()
    (directory / "other" / "tar").write_text(text)
    (directory / "other" / "tar").chmod(0o755)
    return f"{directory}/other:{os.environ['PATH']}"


@pytest.mark.parametrize("how", ["end", "TERM", "KILL"])
@pytest.mark.parametrize("sh", SHELLS[:2])
def test_an_end_while_it_is_unpacked_leaves_nothing(
    how: str, sh: str, source: Path, tmp_path: Path, places: Callable[..., Place]
) -> None:
    place = places(sh=sh, path=with_tar(tmp_path, HANGS))
    head = tree_head(place, source)
    one, two = head.ready("n1", "n2")
    two.pull(one)
    feed = head.feed_rest(one)
    feed.end()
    head.feeds.clear()
    homes = place.directory / "homes"
    assert eventually(lambda: len(paths_below(homes, "tree/half")) == 2)
    for node in (one, two):
        assert node.process.stdin is not None
        if how == "end":
            node.process.stdin.close()
        else:
            node.process.send_signal(getattr(signal, f"SIG{how}"))
    assert eventually(lambda: one.process.poll() is not None and two.process.poll() is not None, 20)
    assert eventually(lambda: not place.processes(), 20), place.processes()
    assert not [path for path in paths_below(homes, "*") if path.name not in ("n1", "n2")]


def test_an_order_while_it_is_unpacked_begins_anew(
    source: Path, tmp_path: Path, places: Callable[..., Place]
) -> None:
    once = (
        f"#!/bin/sh\nmkdir {tmp_path}/once 2>/dev/null && {{ : >half; exec sleep 600; }}\n"
        'exec /usr/bin/tar "$@"\n'
    )
    place = places(path=with_tar(tmp_path, once))
    head = tree_head(place, source)
    one, two = head.ready("n1", "n2")
    head.feed_rest(one).end()
    assert eventually(lambda: paths_below(place.home("n1"), "tree/half"))
    one.pull(two)
    one.wait("done")
    assert contents(place.home("n1") / "target") == umasked(source)
    head.close()


def test_directories_that_their_owner_may_not_write_to(places: Callable[..., Place]) -> None:
    """As another user than root, who may do anything: new, moved into a tree that is there, and removed."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        source = make_tree(folder / "source")
        plain = folder / "plain"
        plain.write_text(
            '#!/bin/sh\n[ $(id -u) = 0 ] || exec /bin/sh "$@"\n'
            'exec setpriv --reuid=65534 --regid=65534 --clear-groups /bin/sh "$@"\n'
        )
        plain.chmod(0o755)
        place = places(folder, shell=str(plain))
        for name in ("n1", "n2", "n3"):
            os.chown(place.home(name), 65534, 65534)
        (folder / "homes").chmod(0o755)
        for path in ("target", "target/source"):
            (place.home("n2") / path).mkdir()
            os.chown(place.home("n2") / path, 65534, 65534)
        head = tree_head(place, source)
        one, two, three = in_line(head, "n1", "n2", "n3")
        for node in (one, two, three):
            node.wait("done")
        assert contents(place.home("n1") / "target") == umasked(source)
        assert contents(place.home("n2") / "target" / "source", modes=False) == contents(
            source, modes=False
        )
        assert (place.home("n2") / "target" / "source" / "closed").stat().st_mode & 0o777 == 0o550
        head.close()
    finally:
        shutil.rmtree(folder)
