"""Copies over the real scp and ssh: names, trees, atomic ones, and faults on the way."""

from __future__ import annotations

import filecmp
import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpshell import Task, WorkerError
from tests.copies import NAMES, check_killed_copy, leftovers
from tests.ssh.conftest import SshServer
from tests.ssh.forced import forced
from tests.support import eventually
from tests.system.recorder import Recorder

BOTH = pytest.mark.parametrize("atomic", [False, True], ids=["scp", "atomic"])

#: More than ssh, pipes and sockets hold on the way.
BIG = 40_000_000


def codes(worker: Any) -> dict[str, int]:
    return dict(worker.iter_node_retcodes())


@BOTH
@pytest.mark.parametrize("name", [name for name in NAMES if "%" not in name] + ["%h"])
def test_odd_names_are_copied_or_refused(
    name: str, atomic: bool, ssh_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(name)
    for place in ("out", "back"):
        Path(place).mkdir()
    copies: tuple[tuple[Any, ...], ...] = (
        (ssh_task.copy, name, tmp_path / "out", "node1"),
        (ssh_task.copy, name, tmp_path / "out" / f"{name}2", "node2"),
        (ssh_task.rcopy, tmp_path / name, "back", "node3"),
    )
    for call, *args in copies:
        if atomic and set(name) & {"\\", "!"}:
            with pytest.raises(WorkerError, match="atomic"):
                call(*args, atomic=atomic)
        else:
            call(*args, atomic=atomic)
    ssh_task.resume()
    if atomic and set(name) & {"\\", "!"}:
        assert not os.listdir("out") and not os.listdir("back")
        return
    assert sorted(os.listdir("out")) == sorted([name, f"{name}2"])
    assert os.listdir("back") == [f"{name}.node3"]
    for path in (*Path("out").iterdir(), *Path("back").iterdir()):
        assert path.read_text() == name


@BOTH
def test_the_user_of_a_node(atomic: bool, ssh_task: Task, source: Path) -> None:
    user = pwd.getpwuid(os.getuid()).pw_name
    back = source.parent / "back"
    back.mkdir()
    there = ssh_task.copy(source, source.parent / "there", f"{user}@node1", atomic=atomic)
    fetched = ssh_task.rcopy(source, back, f"{user}@node2,node3", atomic=atomic)
    nobody = ssh_task.copy(source, source.parent / "no", "no-such-user@node1", atomic=atomic)
    ssh_task.resume()
    assert (there.node_rc(f"{user}@node1"), set(codes(fetched).values())) == (0, {0})
    assert (source.parent / "there").read_bytes() == source.read_bytes()
    assert sorted(os.listdir(back)) == ["source.node3", f"source.{user}@node2"]
    assert nobody.node_rc("no-such-user@node1") != 0 and not (source.parent / "no").exists()


@BOTH
def test_preserve_and_modes(atomic: bool, ssh_task: Task, source: Path) -> None:
    (source.parent / "back").mkdir()
    ssh_task.copy(source, source.parent / "kept", "node1", preserve=True, atomic=atomic)
    ssh_task.copy(source, source.parent / "plain", "node2", atomic=atomic)
    ssh_task.rcopy(source, source.parent / "back", "node3", preserve=True, atomic=atomic)
    ssh_task.resume()
    for path in (source.parent / "kept", source.parent / "back" / "source.node3"):
        state = path.stat()
        assert (int(state.st_mtime), state.st_mode & 0o777) == (1_100_000_000, 0o751)
    state = (source.parent / "plain").stat()
    assert state.st_mtime > 1_200_000_000 and state.st_mode & 0o777 == 0o751


@BOTH
def test_home_and_relative_destinations(
    atomic: bool, ssh_task: Task, ssh_server: SshServer, source: Path
) -> None:
    home = ssh_server.directory / "home"
    ssh_task.copy(source, "~/tilde", "node1", atomic=atomic)
    ssh_task.copy(source, "relative", "node2", atomic=atomic)
    ssh_task.resume()
    for name in ("tilde", "relative"):
        # sftp takes ~ from the password file, a shell from the environment.
        places = (home / name, Path(pwd.getpwuid(os.getuid()).pw_dir) / name)
        found = [place for place in places if place.exists()]
        assert found and filecmp.cmp(found[0], source, shallow=False)
        for place in found:
            place.unlink()


def make_tree(root: Path) -> None:
    for number in range(12):
        folder = root / f"d{number % 3}" / f"e {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f:{number}").write_bytes(os.urandom(500 * number))
    (root / "empty").mkdir()


def same_tree(one: Path, other: Path) -> bool:
    compared = filecmp.dircmp(one, other)
    if compared.left_only or compared.right_only or compared.funny_files:
        return False
    _, mismatch, errors = filecmp.cmpfiles(one, other, compared.common_files, shallow=False)
    return not (mismatch or errors) and all(
        same_tree(one / name, other / name) for name in compared.common_dirs
    )


@pytest.mark.timeout(300)
def test_a_tree_to_200_nodes_and_back(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """All nodes share one disk: the way to nodes is a tree each, from a template of the node's."""
    make_tree(tmp_path / "tree")
    (tmp_path / "back").mkdir()
    ssh_task.set_info("fanout", 16)
    ssh_task.set_info("connect_timeout", 100)
    wrapper = tmp_path / "scp"
    # The last argument is [node]:PATH; each node gets a directory of its own at the end of PATH.
    wrapper.write_text(
        "#!/bin/bash\nlast=${!#}; node=${last#[}; node=${node%%]*}\n"
        'exec /usr/bin/scp "${@:1:$#-1}" "$last$node"\n'
    )
    wrapper.chmod(0o755)
    ssh_task.set_info("scp_path", str(wrapper))
    worker = ssh_task.copy(tmp_path / "tree", tmp_path / "to-", "node[1-200]")
    ssh_task.resume()
    assert set(codes(worker).values()) == {0} and len(codes(worker)) == 200
    for number in range(1, 201):
        assert same_tree(tmp_path / "tree", tmp_path / f"to-node{number}")
    ssh_task.set_info("scp_path", None)
    worker = ssh_task.rcopy(tmp_path / "tree", tmp_path / "back", "node[1-20]")
    ssh_task.resume()
    assert set(codes(worker).values()) == {0}
    for number in range(1, 21):
        assert same_tree(tmp_path / "tree", tmp_path / "back" / f"tree.node{number}")


@BOTH
def test_a_full_destination(atomic: bool, ssh_task: Task, source: Path, small_disk: Path) -> None:
    (small_disk / "target").write_bytes(b"old")
    seen = Recorder()
    worker = ssh_task.copy(source, small_disk / "target", "node1", handler=seen, atomic=atomic)
    good = ssh_task.copy(source, source.parent / "good", "node2", atomic=atomic)
    ssh_task.resume()
    assert codes(worker)["node1"] != 0 and codes(good) == {"node2": 0}
    assert seen.closes() == [False] and seen.rcs()["node1"] != 0
    if atomic:
        assert (small_disk / "target").read_bytes() == b"old"
        assert os.listdir(small_disk) == ["target"]


@BOTH
def test_a_full_place_here(atomic: bool, ssh_task: Task, source: Path, small_disk: Path) -> None:
    worker = ssh_task.rcopy(source, small_disk, "node1", atomic=atomic)
    ssh_task.resume()
    assert codes(worker)["node1"] != 0
    assert not atomic or os.listdir(small_disk) == []


@BOTH
def test_a_read_only_destination(
    atomic: bool, ssh_task: Task, source: Path, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    worker = ssh_task.copy(source, small_disk / "target", "node[1-3]", atomic=atomic)
    ssh_task.resume()
    assert len(codes(worker)) == 3 and 0 not in codes(worker).values()
    # sftp reports no more of it than "Failure".
    texts = [bytes(text) for text, _ in worker.iter_buffers()]
    assert all(b"target" in text or b"ead-only" in text for text in texts) and texts


@BOTH
def test_sources_that_vanish(atomic: bool, ssh_task: Task, source: Path) -> None:
    """The first copy's end takes the source away from those that come after it."""
    ssh_task.set_info("fanout", 1)
    ssh_task.set_info("engines", 1)
    gone = Recorder(hup=lambda *_: source.unlink(missing_ok=True))
    worker = ssh_task.copy(
        source, source.parent / "target", "node[1-6]", handler=gone, atomic=atomic
    )
    ssh_task.resume()
    assert sorted(gone.rcs()) == [f"node{i}" for i in range(1, 7)]
    assert codes(worker)["node1"] == 0 and codes(worker)["node6"] != 0
    missing = ssh_task.rcopy(source, source.parent, "node[1-2]", atomic=atomic)
    ssh_task.resume()
    assert 0 not in codes(missing).values()


def test_a_source_that_has_another_size_than_at_the_start(ssh_task: Task, source: Path) -> None:
    ssh_task.set_info("fanout", 1)
    ssh_task.set_info("engines", 1)
    (source.parent / "target").write_bytes(b"old")

    def grow(*_: object) -> None:
        with source.open("ab") as file:
            file.write(b"more")

    worker = ssh_task.copy(
        source, source.parent / "target", "node[1-6]", handler=Recorder(hup=grow), atomic=True
    )
    ssh_task.resume()
    assert codes(worker)["node1"] == 0 and codes(worker)["node6"] == 1
    assert b"bytes of 300000" in (worker.node_buffer("node6") or b"")
    assert (source.parent / "target").stat().st_size == 300_000
    assert not leftovers(source.parent)


# -- in the middle ----------------------------------------------------------------------------------


def server_side(path: Path) -> list[psutil.Process]:
    """Return the processes under the test server that have a file in `path` open for a copy."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(Path(file.path).is_relative_to(path) for file in process.open_files()):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.fixture
def slow_config(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> Iterator[subprocess.Popen[str]]:
    """Have node1 take 200 KB a second: a proxy before the server that holds it back, and which is given.

    Its sleep is the slow network, which nothing else here is.
    """
    host, port = ssh_server.address("node1")
    proxy = (
        "import socket, threading, time\n"
        "def copy(source, target, slow):\n"
        "    sent = 0\n"
        "    try:\n"
        "        while data := source.recv(32768):\n"
        "            target.sendall(data)\n"
        "            sent += len(data)\n"
        "            if slow and sent > 100_000:\n"
        # A connection of 200 kB a second: it is slow on purpose.
        "                time.sleep(len(data) / 200_000)\n"
        "        target.shutdown(socket.SHUT_WR)\n"
        "    except OSError:\n"
        # Reset: data on its way has no receiver.
        "        for end in (source, target):\n"
        "            try:\n"
        "                end.shutdown(socket.SHUT_RDWR)\n"
        "            except OSError:\n"
        "                pass\n"
        # Little is on its way when the client ends: as much as these hold is written behind it.
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)\n"
        "print(listener.getsockname()[1], flush=True)\n"
        "while True:\n"
        "    client, _ = listener.accept()\n"
        f"    server = socket.create_connection(({host!r}, {port}))\n"
        "    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)\n"
        "    for ends in ((client, server, True), (server, client, False)):\n"
        "        threading.Thread(target=copy, args=ends, daemon=True).start()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", proxy], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        text = f"Host node1\n  HostName 127.0.0.1\n  Port {process.stdout.readline()}\n"
        config = tmp_path / "config"
        config.write_text(text + Path(ssh_server.config).read_text())
        ssh_task.set_info("ssh_options", f"-F {config}")
        yield process
        process.kill()


@BOTH
def test_a_node_that_hangs_in_the_middle_times_out_alone(
    atomic: bool, ssh_task: Task, slow_config: subprocess.Popen[str], tmp_path: Path
) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(BIG))
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "slow").write_bytes(b"old")
    seen = Recorder()
    slow = ssh_task.copy(
        big, tmp_path / "to" / "slow", "node1", handler=seen, timeout=5, atomic=atomic
    )
    good = ssh_task.copy(tmp_path / "config", tmp_path / "to" / "good", "node2", atomic=atomic)
    ssh_task.resume()
    assert list(slow.iter_keys_timeout()) == ["node1"] and codes(slow) == {}
    assert seen.closes() == [True] and codes(good) == {"node2": 0}
    if atomic:
        assert eventually(lambda: not leftovers(tmp_path / "to"))
        assert (tmp_path / "to" / "slow").read_bytes() == b"old"
    assert eventually(lambda: not server_side(tmp_path / "to"))


def test_an_abort_leaves_nothing_of_an_atomic_copy(
    ssh_task: Task, slow_config: subprocess.Popen[str], tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(bytes(BIG))
    (tmp_path / "to").mkdir()
    worker = ssh_task.copy(tmp_path / "big", tmp_path / "to" / "slow", "node1", atomic=True)

    class Watch(Recorder):
        def ev_timer(self, timer: Any) -> None:
            if leftovers(tmp_path / "to"):
                timer.invalidate()
                worker.abort()

    ssh_task.timer(0.1, Watch(), interval=0.1)
    ssh_task.resume()
    assert codes(worker) == {}
    assert eventually(lambda: not leftovers(tmp_path / "to"))
    assert os.listdir(tmp_path / "to") == []


@BOTH
def test_a_cut_connection_is_never_a_success(
    atomic: bool, ssh_task: Task, slow_config: subprocess.Popen[str], tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(bytes(BIG))
    (tmp_path / "to").mkdir()
    worker = ssh_task.copy(tmp_path / "big", tmp_path / "to" / "slow", "node1", atomic=atomic)

    def cut() -> None:
        """End the proxy of the connection once something has arrived."""
        assert eventually(lambda: os.listdir(tmp_path / "to"), 30)
        slow_config.kill()

    thread = threading.Thread(target=cut)
    thread.start()
    ssh_task.resume()
    thread.join()
    assert codes(worker)["node1"] not in (0, None)
    if atomic:
        assert eventually(lambda: os.listdir(tmp_path / "to") == [])


def test_a_killed_program_leaves_nothing_on_the_node(
    ssh_task: Task, slow_config: subprocess.Popen[str], tmp_path: Path
) -> None:
    """SIGKILL of the program in the middle of an atomic copy: the node clears up by itself."""
    (tmp_path / "big").write_bytes(bytes(BIG))
    (tmp_path / "to").mkdir()
    check_killed_copy(
        ssh_task, "ssh", "copy", tmp_path / "big", tmp_path / "to" / "file", signal.SIGKILL
    )


@BOTH
def test_the_connection_s_own_failures(atomic: bool, ssh_task: Task, source: Path) -> None:
    (source.parent / "to").mkdir()
    bad = ssh_task.copy(source, source.parent / "to", "node1,127.0.0.1", atomic=atomic)
    back = ssh_task.rcopy(source, source.parent / "to", "node2,127.0.0.1", atomic=atomic)
    ssh_task.resume()
    assert codes(bad) == {"node1": 0, "127.0.0.1": 255}
    assert codes(back) == {"node2": 0, "127.0.0.1": 255}
    assert {o.node: o.reason for o in back.outcomes()}["127.0.0.1"] == "unreachable"
    assert sorted(os.listdir(source.parent / "to")) == ["source", "source.node2"]


def test_a_remote_directory_is_refused_by_an_atomic_rcopy(ssh_task: Task, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "here").mkdir()
    worker = ssh_task.rcopy(tmp_path / "tree", tmp_path / "here", "node1", atomic=True)
    ssh_task.resume()
    assert codes(worker) == {"node1": 1}
    assert b"is a directory" in (worker.node_buffer("node1") or b"")
    assert os.listdir(tmp_path / "here") == []


def test_a_failed_atomic_rcopy_keeps_the_old_file(ssh_task: Task, tmp_path: Path) -> None:
    (tmp_path / "gone.node1").write_bytes(b"old")
    worker = ssh_task.rcopy(tmp_path / "gone", tmp_path, "node1", atomic=True)
    ssh_task.resume()
    assert codes(worker)["node1"] != 0
    assert (tmp_path / "gone.node1").read_bytes() == b"old" and not leftovers(tmp_path)


def test_copies_do_not_follow_output_of_a_noisy_shell(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, source: Path
) -> None:
    """Output of a start-up file in front of the file is no file."""
    (tmp_path / "here").mkdir()
    with forced(ssh_server, tmp_path, 'echo "Welcome to node"') as options:
        ssh_task.set_info("ssh_options", options)
        worker = ssh_task.rcopy(source, tmp_path / "here", "node1", atomic=True)
        ssh_task.resume()
    assert codes(worker)["node1"] != 0 and os.listdir(tmp_path / "here") == []
