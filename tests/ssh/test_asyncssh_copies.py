"""Copies over connections of the engines: where they could differ from scp(1), and faults in their middle."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import warnings
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpshell import DistantWorker, EventHandler, NodeOutcome, Task
from tests.copies import check_killed_copy, has_no_leftovers, holders
from tests.faults.test_data import MB, peak_memory
from tests.ssh.conftest import SshServer
from tests.ssh.servers import another_sshd
from tests.ssh.test_asyncssh_cuts import cut, proxy
from tests.ssh.test_copies import BOTH, codes
from tests.ssh.test_ssh_faults import write_config
from tests.support import eventually

#: The behaviour of scp(1) is OpenSSH's own.
pytestmark = [
    pytest.mark.needs("ssh", "sshd"),
    pytest.mark.parametrize("transport", ["asyncssh"], indirect=True),
]

#: More than windows and requests hold on the way.
BIG = 20_000_000


def warned(task: Task) -> list[str]:
    """Run, and return the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        task.resume()
    return [str(warning.message) for warning in caught]


def outcome_of(worker: Any, node: str = "node1") -> NodeOutcome:
    [found] = [outcome for outcome in worker.outcomes() if outcome.node == node]
    assert isinstance(found, NodeOutcome)
    return found


@BOTH
def test_no_program_is_executed_here(atomic: bool, ssh_task: Task, tmp_path: Path) -> None:
    """The children of the engines are looked at while something big is on its way."""
    (tmp_path / "big").write_bytes(os.urandom(1000) * (BIG // 1000))
    (tmp_path / "back").mkdir()
    names: set[str] = set()

    class Looking(EventHandler):
        def ev_timer(self, timer: Any) -> None:
            for engine in psutil.Process().children(recursive=True):
                names.update(child.name() for child in engine.children())

    ssh_task.timer(0.01, Looking(), interval=0.01, autoclose=True)
    ssh_task.copy(tmp_path / "big", tmp_path / "to", "node1", atomic=atomic)
    ssh_task.rcopy(tmp_path / "big", tmp_path / "back", "node2", atomic=atomic)
    ssh_task.resume()
    assert ssh_task.max_retcode() == 0
    for path in (tmp_path / "to", tmp_path / "back" / "big.node2"):
        assert path.read_bytes() == (tmp_path / "big").read_bytes()
    assert not names & {"ssh", "scp", "sh", "cat"}


def test_a_directory_goes_over_scp_and_one_line_has_it(
    ssh_task: Task, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("text")
    (tmp_path / "back").mkdir()
    ssh_task.copy(tmp_path / "tree", tmp_path / "there", "node1")
    ssh_task.rcopy(tmp_path / "tree", tmp_path / "back", "node[2-3]")
    ssh_task.copy(source, tmp_path / "file", "node[4-6]")
    assert warned(ssh_task) == ["3 nodes over ssh(1) in place of asyncssh: a directory"]
    assert ssh_task.max_retcode() == 0
    for path in ("there", "back/tree.node2", "back/tree.node3"):
        assert (tmp_path / path / "file").read_text() == "text"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("-l 8000", "1 node over ssh(1) in place of asyncssh: option -l of scp"),
        ("-O", "1 node over ssh(1) in place of asyncssh: option -O of scp"),
        ("-p", "1 node over ssh(1) in place of asyncssh: option -p of scp"),
        ("-q -B -s -C -4", None),
    ],
)
def test_options_that_only_scp_has(
    ssh_task: Task, source: Path, options: str, line: str | None
) -> None:
    ssh_task.set_info("scp_options", f"{options} {ssh_task.info('ssh_options')}")
    ssh_task.copy(source, source.parent / "to", "node1")
    assert warned(ssh_task) == ([] if line is None else [line])
    assert (source.parent / "to").read_bytes() == source.read_bytes()


def test_the_port_and_the_user_of_scp(ssh_task: Task, ssh_server: SshServer, source: Path) -> None:
    """-P is the port of scp(1) and -p that of ssh(1)."""
    port = ssh_server.address("node1")[1]
    ssh_task.set_info("scp_options", f"-P {port} {ssh_task.info('ssh_options')}")
    ssh_task.set_info("scp_user", "no-such-user")
    worker = ssh_task.copy(source, source.parent / "to", "node1")
    assert warned(ssh_task) == []
    assert outcome_of(worker).reason == "auth"
    ssh_task.set_info("scp_options", f"-P 1 {ssh_task.info('ssh_options')}")
    worker = ssh_task.copy(source, source.parent / "to", "node1")
    assert warned(ssh_task) == []
    assert outcome_of(worker).reason == "unreachable"


def test_another_users_home_is_known_to_scp_only(ssh_task: Task, source: Path) -> None:
    ssh_task.copy(source, "~no-such-user/to", "node1")
    assert warned(ssh_task) == ["1 node over ssh(1) in place of asyncssh: another user's home"]


def test_a_file_that_is_copied_to_itself_stays_whole(ssh_task: Task, source: Path) -> None:
    """A sweep over all hosts has this one among them: the target is not cut off before it is read."""
    before = source.read_bytes()
    worker = ssh_task.copy(source, source, "node[1-8]")
    assert warned(ssh_task) == []
    assert set(codes(worker).values()) == {0}
    assert source.read_bytes() == before


def test_a_shorter_file_in_place_of_a_longer_one(ssh_task: Task, source: Path) -> None:
    """In both directions; links to the file stay, and a mode that it has."""
    for name in ("to", "source.node2"):
        (source.parent / name).write_bytes(bytes(500_000))
        (source.parent / name).chmod(0o600)
    (source.parent / "link").symlink_to("to")
    (source.parent / "other").hardlink_to(source.parent / "to")
    ssh_task.copy(source, source.parent / "link", "node1")
    ssh_task.rcopy(source, source.parent, "node2")
    assert warned(ssh_task) == []
    for name in ("to", "source.node2", "other"):
        assert (source.parent / name).read_bytes() == source.read_bytes()
        assert (source.parent / name).stat().st_mode & 0o777 == 0o600
    assert (source.parent / "link").is_symlink()


def test_a_target_that_is_a_device(ssh_task: Task, source: Path) -> None:
    worker = ssh_task.copy(source, "/dev/null", "node1")
    assert warned(ssh_task) == []
    assert codes(worker) == {"node1": 0}


@BOTH
@pytest.mark.parametrize("size", [0, 1, 32767, 32768, 32769, 262144, 2_000_003])
def test_every_size(size: int, atomic: bool, ssh_task: Task, tmp_path: Path) -> None:
    """Those about one request, and about one call."""
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    ssh_task.copy(tmp_path / "file", tmp_path / "to", "node1", atomic=atomic)
    ssh_task.rcopy(tmp_path / "file", tmp_path, "node1", atomic=atomic)
    assert warned(ssh_task) == []
    assert (tmp_path / "to").read_bytes() == data == (tmp_path / "file.node1").read_bytes()


@BOTH
def test_a_mode_is_never_wider_than_that_of_the_source(
    atomic: bool, ssh_task: Task, tmp_path: Path
) -> None:
    """From the moment on when the file is made: it is looked at while it comes."""
    (tmp_path / "secret").write_bytes(bytes(BIG))
    (tmp_path / "secret").chmod(0o400)
    (tmp_path / "to").mkdir()
    (tmp_path / "back").mkdir()
    modes: set[int] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            # A directory that goes away meanwhile is passed over (os.walk), which Path.rglob does not.
            walked = chain(os.walk(tmp_path / "to"), os.walk(tmp_path / "back"))
            for path in (Path(folder, name) for folder, _, names in walked for name in names):
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                if path.is_file():
                    modes.add(found.st_mode & 0o777)

    thread = threading.Thread(target=look)
    thread.start()
    ssh_task.copy(tmp_path / "secret", tmp_path / "to", "node1", atomic=atomic)
    ssh_task.rcopy(tmp_path / "secret", tmp_path / "back", "node2", atomic=atomic)
    lines = warned(ssh_task)
    over.set()
    thread.join()
    assert lines == [] and ssh_task.max_retcode() == 0
    # The owner may write the file, as with scp(1).
    assert modes and modes <= {0o400, 0o600}


def test_a_source_that_is_no_regular_file(ssh_task: Task, tmp_path: Path) -> None:
    """Nothing waits for the other end of a FIFO."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "back").mkdir()
    here = ssh_task.copy(tmp_path / "fifo", tmp_path / "to", "node1")
    there = ssh_task.rcopy(tmp_path / "fifo", tmp_path / "back", "node2")
    assert warned(ssh_task) == []
    assert codes(here) == {"node1": 1} and codes(there) == {"node2": 1}
    for worker, node in ((here, "node1"), (there, "node2")):
        assert b"not a regular file" in (worker.node_buffer(node) or b"")
    assert os.listdir(tmp_path / "back") == []


@BOTH
def test_copies_through_another_host(
    atomic: bool, ssh_task: Task, ssh_server: SshServer, tmp_path: Path, source: Path
) -> None:
    options = write_config(tmp_path, ssh_server, "Host node1\n  ProxyJump node2\n")
    ssh_task.set_info("ssh_options", options)
    (tmp_path / "back").mkdir()
    ssh_task.copy(source, tmp_path / "to", "node1", atomic=atomic)
    ssh_task.rcopy(source, tmp_path / "back", "node1", atomic=atomic)
    assert warned(ssh_task) == []
    assert ssh_task.max_retcode() == 0
    for path in (tmp_path / "to", tmp_path / "back" / "source.node1"):
        assert path.read_bytes() == source.read_bytes()


# -- the node's side ---------------------------------------------------------------------------------


BAD_SUBSYSTEMS = {
    "ends at once": ("exit 0", {"lost"}),
    "ends with a failure": ("echo no sftp >&2; exit 3", {"lost"}),
    "prints something else": ("echo Welcome to this host; sleep 5", {"exit"}),
    "sends another version": (r"printf '\000\000\000\005\002\000\000\000\143'; sleep 5", {"exit"}),
    "a packet of nothing": (r"printf '\000\000\000\000'; sleep 5", {"exit"}),
    "answers that no request asked for": (
        r"printf '\000\000\000\005\002\000\000\000\003\000\000\000\005\145\000\000\000\377'; sleep 5",
        {"exit", "lost"},  # whether it comes before the first request
    ),
}


@pytest.mark.parametrize("name", BAD_SUBSYSTEMS)
def test_a_bad_subsystem_ends_one_node(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, source: Path, name: str
) -> None:
    script, reasons = BAD_SUBSYSTEMS[name]
    (tmp_path / "sftp").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "sftp").chmod(0o755)
    with another_sshd(ssh_server, tmp_path, f"Subsystem sftp {tmp_path}/sftp\n") as port:
        text = f"Host other\n  HostName 127.0.0.1\n  Port {port}\n"
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        ssh_task.set_info("engines", 1)
        worker = ssh_task.copy(source, tmp_path / "to", "other,node[1-3]", timeout=60)
        back = ssh_task.rcopy(source, tmp_path, "other,node[1-3]", timeout=60)
        assert warned(ssh_task) == []
    for found in (worker, back):
        assert outcome_of(found, "other").reason in reasons
        assert outcome_of(found, "other").returncode != 0
        assert {code for node, code in codes(found).items() if node != "other"} == {0}
    assert not (tmp_path / "source.other").exists()


@BOTH
@pytest.mark.parametrize("reverse", [False, True], ids=["to", "from"])
def test_a_connection_that_is_cut_after_any_number_of_bytes(
    reverse: bool, atomic: bool, ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """No cut copy is a success, an atomic one leaves the old file, and nothing else is left."""
    places = [1500, 2000, 2500, 2800, 3000, 3200, 3500, 4000, 6000, 60_000, 1_000_000, 10**9]
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    names = [f"bad{number}" for number in range(1, len(places) + 1)]
    with proxy(ssh_server, [partial(cut, place) for place in places]) as text:
        ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        ssh_task.set_info("connect_timeout", 0)
        for name in names:
            (tmp_path / name).mkdir()
            target = tmp_path / name / (f"file.{name}" if reverse else "file")
            target.write_bytes(b"old")
        workers = {}
        for name in names:
            call = ssh_task.rcopy if reverse else ssh_task.copy
            workers[name] = call(
                tmp_path / "file", tmp_path / name, name, atomic=atomic, timeout=60
            )
        assert warned(ssh_task) == []
    for name in names:
        [target] = [path for path in (tmp_path / name).iterdir() if path.name.startswith("file")]
        found = outcome_of(workers[name], name)
        assert found.reason in ("unreachable", "lost", "exit"), name
        if found.ok:
            assert target.read_bytes() == data
        elif atomic and reverse:
            assert target.read_bytes() == b"old"
        elif atomic:
            # The cut may have removed only the end of the script.
            assert target.read_bytes() in (b"old", data)
        place = tmp_path / name
        assert eventually(partial(has_no_leftovers, place)), name
    assert outcome_of(workers[names[-1]], names[-1]).ok


@pytest.mark.parametrize("reverse", [False, True], ids=["to", "from"])
def test_a_killed_program_leaves_nothing_of_an_atomic_copy(
    reverse: bool, ssh_task: Task, tmp_path: Path
) -> None:
    """SIGTERM and SIGKILL: the engines clear up local files, and the node its own."""
    (tmp_path / "big").write_bytes(b"")
    os.truncate(tmp_path / "big", 3_000_000_000)
    (tmp_path / "to").mkdir()
    for number in (signal.SIGTERM, signal.SIGKILL):
        way = "rcopy" if reverse else "copy"
        check_killed_copy(ssh_task, "asyncssh", way, tmp_path / "big", tmp_path / "to", number)


@pytest.mark.parametrize("how", ["timeout", "abort"])
@pytest.mark.parametrize("reverse", [False, True], ids=["to", "from"])
@BOTH
def test_an_ended_copy_leaves_nothing_that_is_not_whole(
    atomic: bool, reverse: bool, how: str, ssh_task: Task, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(b"")
    os.truncate(tmp_path / "big", 3_000_000_000)
    place = tmp_path / "to"
    place.mkdir()
    call = ssh_task.rcopy if reverse else ssh_task.copy
    worker = call(
        tmp_path / "big", place, "node1", atomic=atomic, timeout=3 if how == "timeout" else None
    )

    class Watch(EventHandler):
        def ev_timer(self, timer: Any) -> None:
            if any(path.is_file() and path.stat().st_size for path in place.rglob("*")):
                worker.abort()

    if how == "abort":
        ssh_task.timer(0.05, Watch(), interval=0.05, autoclose=True)
    assert warned(ssh_task) == []
    assert outcome_of(worker).reason == ("timeout" if how == "timeout" else "cancelled")
    if atomic:
        assert eventually(lambda: os.listdir(place) == [])
    else:
        # A part of it, as with scp(1); nothing writes to it any more.
        [left] = list(place.iterdir())
        assert eventually(lambda: not holders(left))
        assert left.stat().st_size < 3_000_000_000


def test_a_file_that_cannot_be_opened_yet_holds_up_no_other_node(
    ssh_task: Task, tmp_path: Path
) -> None:
    """The engine reads on while an open(2) of its own does not return, and the timeout of the copy holds.

    A process that opens a file with a lease waits in the kernel (fcntl(2), F_SETLEASE).
    """
    (tmp_path / "held").write_bytes(b"data")
    ssh_task.set_info("engines", 1)
    before = signal.signal(signal.SIGIO, lambda number, frame: None)
    fd = os.open(tmp_path / "held", os.O_RDWR)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        copy = ssh_task.copy(tmp_path / "held", tmp_path / "to", "node[1-2]", timeout=4)
        command = ssh_task.shell("echo here", nodes="node[3-6]", timeout=60)
        assert warned(ssh_task) == []
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, before)
    assert [outcome.reason for outcome in copy.outcomes()] == ["timeout"] * 2
    assert [outcome.ok for outcome in command.outcomes()] == [True] * 4
    again = ssh_task.copy(tmp_path / "held", tmp_path / "to", "node1")
    assert warned(ssh_task) == []
    assert codes(again) == {"node1": 0} and (tmp_path / "to").read_bytes() == b"data"


@pytest.mark.timeout(300)
@BOTH
@pytest.mark.parametrize("reverse", [False, True], ids=["to", "from"])
def test_the_memory_of_copies_does_not_grow_with_the_file(
    reverse: bool, atomic: bool, ssh_task: Task, tmp_path: Path
) -> None:
    """16 copies of 100 MB at once, of a file with a hole."""
    (tmp_path / "big").write_bytes(b"")
    os.truncate(tmp_path / "big", 100_000_000)
    place = tmp_path / "to"
    place.mkdir()
    call: Callable[..., DistantWorker] = ssh_task.rcopy if reverse else ssh_task.copy
    target = str(place) if reverse or atomic else "/dev/null"
    with peak_memory() as growth:
        worker = call(tmp_path / "big", target, "node[1-16]", atomic=atomic)
        ssh_task.resume()
    assert set(codes(worker).values()) == {0} and len(codes(worker)) == 16
    assert growth[0] < 200 * MB
