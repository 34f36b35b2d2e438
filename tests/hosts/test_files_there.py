"""Data of this host that engines on other hosts read: input and the sources of copies, once a host."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from pathlib import Path

import pytest

from mpshell import (
    EngineClientNotSupportedError,
    ExecWorker,
    InputStorageError,
    Task,
    WorkerError,
)
from mpshell.hosts.launcher import HostsLauncher
from mpshell.hosts.packets import Way
from tests.hosts.conftest import OUTPOST, Chain, Ledger, local_hosts
from tests.ssh.conftest import SshServer, ssh_server
from tests.support import eventually

__all__ = ["ssh_server"]

SIZE = 6 << 20


def counted_hosts(directory: Path, engines: int = 2) -> tuple[HostsLauncher, list[Path]]:
    """Return two hosts, and files that get all that goes to each."""
    files = [directory / f"sent-to-{n}" for n in range(2)]
    ways = [
        Way(f"gw{n}", ("sh", "-c", 'tee "$0" | "$@" | cat', str(file), *OUTPOST), 60.0)
        for n, file in enumerate(files)
    ]
    return HostsLauncher(ways, engines), files


def call(task: Task, launcher: HostsLauncher) -> None:
    """Have engines ready on every host: a run that is short may be over before the second one answers."""
    task.set_info("launcher", launcher)
    task.set_info("fanout", 4)
    wanted = {way.name for way in launcher.ways}
    for _ in range(50):
        worker = task.run("sleep 0.1", nodes="n[1-16]", remote=False)
        if {outcome.host for outcome in worker.outcomes()} == wanted:
            return
    raise AssertionError(launcher.unanswered)


def sizes(files: list[Path]) -> list[float]:
    """Return how often SIZE bytes have gone to each host."""
    return [file.stat().st_size / SIZE for file in files]


def write_source(directory: Path, size: int = SIZE) -> Path:
    source = directory / "a source's name"
    source.write_bytes(os.urandom(size))
    source.chmod(0o640)
    os.utime(source, (1_000_000_000, 1_100_000_000))
    return source


def copy(
    task: Task,
    source: Path,
    dest: str | Path,
    nodes: str,
    preserve: bool = False,
    atomic: bool = False,
) -> ExecWorker:
    """Schedule a copy by cp(1) on the hosts."""
    worker = ExecWorker(nodes, source=source, dest=dest, preserve=preserve, atomic=atomic)
    task.schedule(worker)
    return worker


def test_input_crosses_once_a_host(task: Task, tmp_path: Path) -> None:
    launcher, files = counted_hosts(tmp_path)
    call(task, launcher)
    worker = task.shell("sleep 0.3; md5sum", nodes="n[1-24]", remote=False)
    data = os.urandom(1 << 16) * (SIZE >> 16)
    worker.write(data)
    worker.set_write_eof()
    task.resume()
    assert {text.message() for text, _ in worker.iter_buffers()} == {
        hashlib.md5(data).hexdigest().encode() + b"  -"
    }
    assert {outcome.host for outcome in worker.outcomes()} == {"gw0", "gw1"}
    assert all(1 <= times < 1.2 for times in sizes(files)), sizes(files)


def test_input_that_comes_little_by_little(task: Task) -> None:
    task.set_info("launcher", local_hosts(2, engines=2))
    worker = task.shell("cat", nodes="n[1-8]", remote=False)

    def write() -> None:
        for number in range(30):
            worker.write(b"%d\n" % number)
            threading.Event().wait(0.01)
        worker.set_write_eof()

    thread = threading.Thread(target=write)
    thread.start()
    task.resume()
    thread.join()
    wanted = b"\n".join(b"%d" % number for number in range(30))
    assert {text.message() for text, _ in worker.iter_buffers()} == {wanted}


def test_an_engine_that_keeps_the_input_is_killed(task: Task, ledger: Ledger) -> None:
    """Another one of its host goes on where the file ends."""
    task.set_info("launcher", local_hosts(1, engines=2))
    task.set_info("engines", 2)
    task.set_info("retry_lost", True)
    task.set_info("fanout", 8)
    found: set[bytes] = set()
    while len(found) < 2:
        # Until both are there.
        ready = task.run("echo $PPID; sleep 0.1", nodes="n[1-24]", remote=False)
        found = {text.message() for text, _ in ready.iter_buffers()}
    worker = task.shell(f"{ledger.command}; md5sum", nodes="n[1-8]", remote=False)
    data = os.urandom(1 << 16) * 64

    def act() -> None:
        worker.write(data)
        assert eventually(lambda: len({engine for _, engine, _ in ledger.lines()}) == 2)
        os.kill(min(engine for _, engine, _ in ledger.lines()), signal.SIGKILL)
        worker.write(data)
        worker.set_write_eof()

    thread = threading.Thread(target=act)
    thread.start()
    task.resume()
    thread.join()
    assert {text.message() for text, _ in worker.iter_buffers()} == {
        hashlib.md5(data + data).hexdigest().encode() + b"  -"
    }
    assert len(ledger.lines()) > 8


@pytest.mark.parametrize("atomic", [False, True])
def test_a_copy_crosses_once_a_host(atomic: bool, task: Task, tmp_path: Path) -> None:
    launcher, files = counted_hosts(tmp_path)
    source = write_source(tmp_path)
    (tmp_path / "to").mkdir()
    call(task, launcher)
    worker = copy(task, source, f"{tmp_path}/to/%h", "n[1-24]", preserve=True, atomic=atomic)
    task.resume()
    assert {(o.reason, o.returncode) for o in worker.outcomes()} == {("exit", 0)}
    for node in range(1, 25):
        copied = tmp_path / "to" / f"n{node}"
        assert copied.read_bytes() == source.read_bytes()
        status = copied.stat()
        assert (status.st_mode & 0o7777, status.st_mtime) == (0o640, 1_100_000_000)
    # A host that has not all of it in time has no node.
    used = {outcome.host for outcome in worker.outcomes()}
    for number, times in enumerate(sizes(files)):
        assert times < 1.2 and (times >= 1 or f"gw{number}" not in used), (used, sizes(files))


@pytest.mark.parametrize("atomic", [False, True])
def test_a_copy_over_ssh_from_there(
    atomic: bool, task: Task, tmp_path: Path, ssh_server: SshServer
) -> None:
    """It has the name and the times of the file here, also in a directory."""
    source = write_source(tmp_path, 100_000)
    task.set_info("launcher", local_hosts(1, engines=1))
    task.set_info("ssh_options", f"-F {ssh_server.config}")
    task.set_info("connect_timeout", 60)
    (tmp_path / "to").mkdir()
    worker = task.copy(source, tmp_path / "to", nodes="node3", preserve=True, atomic=atomic)
    task.resume()
    [outcome] = worker.outcomes()
    assert (outcome.reason, outcome.returncode, outcome.host) == ("exit", 0, "gw1")
    [copied] = (tmp_path / "to").iterdir()
    assert copied.name == source.name
    assert copied.read_bytes() == source.read_bytes()
    assert copied.stat().st_mtime == 1_100_000_000


def test_a_source_that_is_not_brought_there_is_refused_at_the_call(
    task: Task, tmp_path: Path
) -> None:
    task.set_info("launcher", local_hosts(1))
    (source := tmp_path / "%h").write_text("x")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(EngineClientNotSupportedError, match=r"only a file can be sent there"):
        task.copy(tmp_path, "/tmp/", nodes="n1")
    with pytest.raises(EngineClientNotSupportedError, match=r"would arrive on those hosts"):
        task.rcopy("/etc/hostname", tmp_path, nodes="n1")
    with pytest.raises(ValueError, match=r"relay is for engines on this host, .*'launcher'"):
        task.copy(source, "/tmp/", nodes="n1", relay=True)
    with pytest.raises(EngineClientNotSupportedError, match=r"has a placeholder"):
        copy(task, source, "/tmp/", "n1")
    for name, why in (("absent", "No such file"), ("fifo", "no regular file")):
        with pytest.raises(WorkerError, match=rf"{name}.* cannot be sent .*{why}"):
            task.copy(tmp_path / name, "/tmp/", nodes="n1")


def test_a_copy_may_be_scheduled_before_the_launcher_is_set(task: Task, tmp_path: Path) -> None:
    source = write_source(tmp_path, 1000)
    launcher, targets = local_hosts(1, engines=1), [tmp_path / "1", tmp_path / "2"]
    there = copy(task, source, targets[0], "n1")
    task.set_info("launcher", launcher)
    task.resume()
    assert [outcome.host for outcome in there.outcomes()] == ["gw1"]
    here = copy(task, source, targets[1], "n1")
    task.set_info("launcher", None)
    task.resume()
    assert [outcome.host for outcome in here.outcomes()] == [""]
    assert [target.read_bytes() for target in targets] == [source.read_bytes()] * 2


def stages(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.startswith("mpshell-outpost-")]


def test_nothing_is_left_of_files_there(task: Task, ledger: Ledger, tmp_path: Path) -> None:
    """Not after a run, and not of an outpost that was killed once there is another one."""
    place = tmp_path / "temporary"
    place.mkdir()
    way = Way("gw1", OUTPOST, 60.0, (("TMPDIR", str(place)),))
    task.set_info("launcher", HostsLauncher([way], 1))
    task.set_info("retry_lost", True)
    worker = task.shell(f"{ledger.command}; cat", nodes="n1", remote=False)
    worker.write(b"x\n")
    killed: list[str] = []

    def act() -> None:
        assert eventually(lambda: bool(ledger.lines()))
        killed.extend(stages(place))
        os.kill(Chain(ledger.lines()[0][1]).of("outpost").pid, signal.SIGKILL)
        worker.set_write_eof()

    thread = threading.Thread(target=act)
    thread.start()
    task.resume()
    thread.join()
    assert worker.node_buffer("n1") == b"x"
    [left] = stages(place)
    assert [left] != killed and len(killed) == 1
    # A job that is closed has no file any more.
    assert eventually(lambda: not list((place / left).iterdir()))
    from mpshell import task_cleanup

    task_cleanup()
    assert eventually(lambda: not stages(place))


def test_a_host_without_room_ends_the_run_and_is_named(task: Task, small_disk: Path) -> None:
    way = Way("gw1", OUTPOST, 60.0, (("TMPDIR", str(small_disk)),))
    task.set_info("launcher", HostsLauncher([way], 1))
    worker = task.shell("cat >/dev/null", nodes="n1", remote=False)
    worker.write(b"x" * (1 << 20))
    worker.set_write_eof()
    with pytest.raises(InputStorageError, match=r"gw1 cannot store .*No space left"):
        task.resume()
