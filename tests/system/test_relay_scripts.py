"""The scripts of relay copies alone: a small head drives them; a node is a home of its own on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from mpshell.worker import relay, relayserve
from tests.copies import NAMES
from tests.relays import SOON, Head, Place, busybox_path
from tests.support import eventually, paths_below
from tests.system.test_atomic_place import SHELLS

SIZE = 700_001


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Give a function that makes a place; its processes are ended when a test has failed."""
    made: list[Place] = []

    def make(**options: str) -> Place:
        made.append(Place(tmp_path, **options))
        return made[-1]

    yield make
    for place in made:
        for head in place.heads:
            head.abandon()


@pytest.fixture
def place(places: Callable[..., Place]) -> Place:
    return places()


def whole(head: Head, *names: str) -> None:
    """Copy in a line of nodes, and check the file of each."""
    nodes = head.ready(*names)
    feed = head.feed_rest(nodes[0], SIZE // 2)
    for parent, child in pairwise(nodes):
        head.pull(child, parent)
        # A parent that had the file before it is served would be gone, with its part.
        assert head.has(child, SIZE // 2 - 30_000)
    feed.write(head.data[SIZE // 2 :])
    assert feed.end() == 0
    head.check_done(*nodes)
    assert [node.end() for node in nodes] == [0] * len(nodes)
    head.close()


@pytest.mark.parametrize("sh", [*SHELLS, "busybox sh"])
@pytest.mark.needs("busybox")
def test_a_line_of_nodes_with_each_shell(
    sh: str, tmp_path: Path, source: Path, places: Callable[..., Place]
) -> None:
    head = Head(places(sh=sh), source)
    whole(head, "n1", "n2", "n3")
    assert head.target(head.nodes[2]).stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("shell", ["sh", "csh"])
def test_a_line_of_nodes_with_each_login_shell(
    shell: str, tmp_path: Path, source: Path, places: Callable[..., Place]
) -> None:
    whole(Head(places(shell=shutil.which(shell) or shell), source), "n1", "n2")


@pytest.mark.needs("busybox")
def test_a_line_of_nodes_with_the_programs_of_busybox_alone(
    tmp_path: Path, source: Path, places: Callable[..., Place]
) -> None:
    """There tail -f is of no use, and no tool of GNU is there."""
    whole(Head(places(path=busybox_path(tmp_path)), source), "n1", "n2", "n3")


def test_times_and_modes(place: Place, source: Path) -> None:
    head = Head(place, source)
    head.mode, head.times = 0o4751, ("200109090146.40", "200411091453.20")
    whole(head, "n1", "n2")
    for node in head.nodes:
        state = head.target(node).stat()
        assert (state.st_mode & 0o7777, state.st_mtime) == (0o4751, 1_100_012_000)


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 65_537, SIZE - 1, SIZE])
def test_a_pull_goes_on_from_the_bytes_there(place: Place, source: Path, offset: int) -> None:
    head = Head(place, source)
    one, two = head.ready("n1", "n2")
    assert head.feed_rest(two, offset).end() == 0
    if offset < SIZE:
        need = two.wait("need", 1)
        assert need[:2] == [str(offset), "cut"]
        head.pull(two, one)
        assert head.feed_rest(one).end() == 0
        one.wait("done")
    head.check_done(two)
    head.close()


def test_a_parent_that_is_behind_is_waited_for(place: Place, source: Path) -> None:
    head = Head(place, source)
    one, two = head.ready("n1", "n2")
    assert head.feed_rest(two, 500_000).end() == 0
    two.wait("need", 1, 500_000)
    feed, _ = head.feed(one)
    feed.write(head.data[:100_000])
    head.pull(two, one)
    feed.write(head.data[100_000:])
    feed.end()
    head.check_done(one, two)
    head.close()


def test_many_orders_at_once_have_one_writer(place: Place, source: Path) -> None:
    """Each order takes the place of the one before, wherever that is."""
    head = Head(place, source)
    one, two, three, four = head.ready("n1", "n2", "n3", "n4")
    feed, _ = head.feed(one)
    two.pull(one)
    three.pull(one)
    for turn in range(30):
        feed.write(head.data[turn * 20_000 : (turn + 1) * 20_000])
        four.pull((one, two, three)[turn % 3])
        if turn % 7 == 3:
            head.feed(four)
    four.pull(three)
    assert head.serves(three)
    feed.write(head.data[600_000:])
    feed.end()
    head.check_done(*head.nodes)
    head.close()


def test_a_node_that_is_done_serves_its_target_and_never_a_stale_one(
    place: Place, source: Path
) -> None:
    head = Head(place, source)
    one, two, three = head.ready("n1", "n2", "n3")
    # Until the coordinator's order the target stays another file.
    head.target(one).write_bytes(b"old")
    head.feed_rest(one, 1000).end()
    two.pull(one, "done")
    assert two.wait("need", 1)[:2] == ["0", "gone"]
    head.feed_rest(one).end()
    one.wait("done")
    one.end()
    # It has no part any more.
    two.pull(one, "part")
    assert two.wait("need", 2)[:2] == ["0", "gone"]
    two.pull(one, "done")
    two.wait("done")
    # Another file of another size has come to its place.
    head.target(one).write_bytes(b"new")
    three.pull(one, "done")
    assert three.wait("need", 1)[:2] == ["0", "gone"]
    three.pull(two, "done")
    head.check_done(three)
    head.close()


def test_a_child_gets_the_rest_when_its_parent_is_done(place: Place, source: Path) -> None:
    head = Head(place, source)
    one, two = head.ready("n1", "n2")
    feed, _ = head.feed(one)
    feed.write(head.data[:-1])
    two.pull(one)
    assert head.has(two, SIZE - 20_000)
    feed.write(head.data[-1:])
    feed.end()
    one.wait("done")
    assert one.end() == 0
    head.check_done(two)
    assert two.end() == 0
    head.close()


def test_a_wrong_sum_is_found_and_the_part_begins_anew(place: Place, source: Path) -> None:
    head = Head(place, source)
    [one] = head.ready("n1")
    feed, offset = head.feed(one)
    assert offset == 0
    feed.write(head.data[:-1] + bytes([head.data[-1] ^ 1]))
    feed.end()
    one.wait("bad", 1)
    assert not head.target(one).exists()
    feed, offset = head.feed(one)
    assert offset == 0
    feed.write(head.data)
    feed.end()
    head.check_done(one)
    head.close()


@pytest.mark.parametrize("killed", ["serve", "receive"])
def test_a_parent_that_is_killed_costs_its_child_nothing_but_a_new_one(
    killed: str, place: Place, source: Path
) -> None:
    head = Head(place, source)
    feed, (one, two, three) = head.line("n1", "n2", "n3", until=400_000)
    if killed == "receive":
        two.process.kill()
        two.process.wait()
    else:
        kill_serve(place, "n2")
    need = three.wait("need", 1)
    assert int(need[0]) >= 370_000 and need[1] == "cut"
    head.pull(three, one)
    feed.write(head.data[400_000:])
    feed.end()
    head.check_done(one, three)
    head.close()


def kill_serve(place: Place, node: str) -> None:
    """Kill the program that reads the part of a node for another one."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == str(place.home(node)) and process.name() == "tail":
                process.kill()
        except (psutil.Error, OSError):
            continue


@pytest.mark.parametrize("how", ["end", "TERM", "HUP", "KILL"])
@pytest.mark.parametrize("sh", [*(s for s in SHELLS if s not in ("mksh", "yash"))])
def test_the_end_of_a_control_connection_leaves_nothing(
    how: str, sh: str, tmp_path: Path, source: Path, places: Callable[..., Place]
) -> None:
    """The part, the puller, SERVE for a child, FEED: all of it is gone within two seconds."""
    place = places(sh=sh)
    head = Head(place, source)
    feed, _ = head.line("n1", "n2", "n3", until=400_000)
    for node in head.nodes:
        assert node.process.stdin is not None
        if how == "end":
            node.process.stdin.close()
        else:
            subprocess.run(["kill", f"-{how}", str(node.process.pid)], check=True)

    def over() -> bool:
        # An unreaped process seems to run, also to the processes that watch it.
        return all(node.process.poll() is not None for node in head.nodes) and not place.processes()

    assert eventually(over, 20), place.processes()
    assert not paths_below(tmp_path, ".mpshell-*")
    for node in head.nodes:
        code = node.process.wait()
        assert code == 1 or how != "end"
    head.feeds.clear()
    feed.process.kill()
    feed.end()


def test_a_full_disk_is_the_node_s_own_fault_and_known_at_once(
    place: Place, source: Path, small_disk: Path
) -> None:
    head = Head(place, source, str(small_disk / "target"))
    # Another program fills the disk after the check of its room.
    head.data = head.data[:100_000]
    [one] = head.ready("n1")
    (small_disk / "other").write_bytes(bytes(200_000))
    feed, _ = head.feed(one)
    feed.write(head.data)
    assert head.failure(one) == "no space left for 100000 bytes"
    assert os.listdir(small_disk) == ["other"]


def test_too_little_space_is_known_before_a_byte_is_sent(
    place: Place, source: Path, small_disk: Path
) -> None:
    head = Head(place, source, str(small_disk / "target"))
    assert head.failure(head.start("n1")) == f"no space left for {SIZE} bytes"
    assert not os.listdir(small_disk)


def test_a_target_that_nodes_share_is_seen(place: Place, source: Path, tmp_path: Path) -> None:
    head = Head(place, source, str(tmp_path / "shared"))
    [one] = head.ready("n1")
    two = head.start("n2")
    assert two.wait("shared") == ["0"]
    assert "on a file system that nodes share" in " ".join(two.wait("fail"))
    assert two.over() == 1
    head.feed_rest(one).end()
    one.wait("done")
    assert (tmp_path / "shared").read_bytes() == head.data
    head.close()


@pytest.mark.parametrize("name", [*(name.replace("%%", "%") for name in NAMES), "a\udcffb", "n\n"])
def test_a_name_may_hold_any_byte(name: str, place: Place, source: Path) -> None:
    for number in (1, 2):
        (place.home(f"n{number}") / "to").mkdir()
    head = Head(place, source, f"~/to/{name}")
    one, two = head.ready("n1", "n2")
    head.pull(two, one)
    head.feed_rest(one).end()
    for node in head.nodes:
        node.wait("done")
        assert node.over() == 0
        assert os.listdir(place.home(node.name) / "to") == [name]
        assert (place.home(node.name) / "to" / name).read_bytes() == head.data
    head.close()


def test_a_fifo_that_comes_at_the_end_is_removed(
    tmp_path: Path, source: Path, places: Callable[..., Place]
) -> None:
    """A node that begins to pull then has its parent make one beside the part."""
    programs = tmp_path / "programs"
    programs.mkdir()
    stand_in = programs / "rmdir"
    stand_in.write_text(
        "#!/bin/sh\n"
        "for i; do :; done\n"
        f'mkdir {tmp_path}/once 2>/dev/null && mkfifo "$i/serve.1"\n'
        f'exec {shutil.which("rmdir")} "$@"\n'
    )
    stand_in.chmod(0o755)
    head = Head(places(path=f"{programs}:{os.environ['PATH']}"), source)
    (node,) = head.ready("n1")
    head.feed_rest(node).end()
    node.wait("done")
    assert node.over() == 0
    assert (tmp_path / "once").exists()
    head.close()


@pytest.mark.parametrize("sh", [*SHELLS, "busybox sh"])
@pytest.mark.needs("busybox")
@pytest.mark.parametrize("number", ["TERM", "HUP"])
def test_a_signal_for_the_whole_group_while_a_node_begins_leaves_nothing(
    number: str, sh: str, tmp_path: Path, source: Path, places: Callable[..., Place]
) -> None:
    """sshd signals the group; the script of the node has no traps while it makes its fifos and forks.

    Without INT: while bash waits for a command, that ends it only if the command has ended of it too.
    """
    programs = tmp_path / "programs"
    programs.mkdir()
    stand_in = programs / "mkfifo"
    stand_in.write_text(
        "#!/bin/bash\n"
        f"case $1 in in.*) touch {tmp_path}/once; kill -{number} -- -$(ps -o pgid= -p $$); esac\n"
        f'exec {shutil.which("mkfifo")} "$@"\n'
    )
    stand_in.chmod(0o755)
    head = Head(places(sh=sh, path=f"{programs}:{os.environ['PATH']}"), source)
    (node,) = head.ready("n1")
    node.order("feed", 1)
    assert node.over() != 0
    assert (tmp_path / "once").exists()
    assert eventually(lambda: not paths_below(tmp_path, ".mpshell-*"), SOON)
    head.close()


def test_a_target_that_is_a_directory_gets_the_file_under_its_name(
    place: Place, source: Path
) -> None:
    (place.home("n1") / "target").mkdir()
    head = Head(place, source)
    one, two = head.ready("n1", "n2")
    two.pull(one)
    assert eventually(lambda: paths_below(place.home("n1"), "serve.*"))
    head.feed_rest(one).end()
    two.wait("done")
    one.wait("done")
    assert (head.target(one) / "source").read_bytes() == head.data
    assert head.target(two).read_bytes() == head.data
    head.close()


@pytest.mark.parametrize(
    ("dest", "reason"),
    [
        ("~/none/target", "no directory can be made beside it: No such file or directory"),
        ("~/twice", "/twice/source is a directory"),
    ],
)
def test_a_place_where_nothing_can_be_received(
    dest: str, reason: str, place: Place, source: Path
) -> None:
    (place.home("n1") / "twice" / "source").mkdir(parents=True)
    head = Head(place, source, dest)
    assert head.failure(head.start("n1")).endswith(reason)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (("ssh",), "no ssh here, which a relay copy needs"),
        (("mkfifo",), "no mkfifo here, which a relay copy needs"),
        (
            ("sha256sum", "shasum", "openssl", "cksum"),
            "no program for checksums here: sha256sum, shasum, openssl or cksum",
        ),
    ],
)
@pytest.mark.needs("busybox")
def test_a_program_that_a_node_lacks(
    missing: tuple[str, ...],
    reason: str,
    tmp_path: Path,
    source: Path,
    places: Callable[..., Place],
) -> None:
    path = busybox_path(tmp_path)
    for name in missing:
        (Path(path) / name).unlink(missing_ok=True)
    head = Head(places(path=path), source)
    assert head.failure(head.start("n1")) == reason


@pytest.mark.parametrize(
    ("tools", "algorithm"),
    [(("openssl",), "sha256"), (("shasum",), "sha256"), (("cksum",), "cksum")],
)
@pytest.mark.needs("busybox")
def test_whichever_program_makes_the_sum(
    tools: tuple[str, ...],
    algorithm: str,
    tmp_path: Path,
    source: Path,
    places: Callable[..., Place],
) -> None:
    path = busybox_path(tmp_path)
    (Path(path) / "sha256sum").unlink()
    for tool in tools:
        (Path(path) / tool).unlink(missing_ok=True)
        (Path(path) / tool).symlink_to(shutil.which(tool) or tool)
    head = Head(places(path=path), source)
    if algorithm == "cksum":
        head.sum = subprocess.run(
            ["cksum"], input=head.data, capture_output=True, check=True
        ).stdout.split()[0].decode()  # fmt: skip
    [one] = head.ready("n1")
    assert one.algorithm == algorithm
    feed, _ = head.feed(one)
    feed.write(bytes(SIZE))
    feed.end()
    one.wait("bad", 1)
    head.feed_rest(one).end()
    head.check_done(one)
    head.close()


def test_an_unknown_order_and_a_late_one_are_left_out(place: Place, source: Path) -> None:
    head = Head(place, source, way=relay.SSH)
    one, two = head.ready("n1", "n2")
    one.order("dance", 7)
    one.order("")
    head.feed_rest(one).end()
    one.wait("done")
    one.pull(two)
    assert one.over() == 0
    head.close()


def test_a_node_that_cannot_be_reached_is_named(place: Place, source: Path) -> None:
    head = Head(place, source)
    one, two = head.ready("n1", "n2")
    two.name = "elsewhere"
    one.pull(two)
    assert one.wait("need", 1) == ["0", "login", "ssh:", "no", "route", "to", "elsewhere"]
    head.close()


def test_what_a_start_up_file_writes_is_no_data(
    places: Callable[..., Place], source: Path, tmp_path: Path
) -> None:
    """Lines, and one that ends in the middle."""
    shell = tmp_path / "shell"
    # The end of a line is its own here: the small head of the tests reads whole lines.
    shell.write_text(
        '#!/bin/sh\necho "a start-up file"; [ -z "$ON_NODE" ] || printf "a prompt> "\n'
        'ON_NODE=y; export ON_NODE; exec /bin/sh "$@"\n'
    )
    shell.chmod(0o755)
    whole(Head(places(shell=str(shell)), source), "n1", "n2", "n3")


def test_output_of_a_start_up_file_is_no_answer_and_nothing_is_on_the_command_line(
    place: Place,
) -> None:
    """No script holds a character that a login shell may change."""
    for text in (relay._RECEIVE, relayserve.SERVE, relayserve.FEED):
        assert not set(text) & {"\n", "\\", "!"}
