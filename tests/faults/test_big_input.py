"""More input than is kept in memory: bounded in every process, whole for every node, an error without room."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpshell import EventHandler, ExecWorker, Task
from mpshell.errors import InputStorageError
from mpshell.launch.local import LocalLink
from tests.cli.program import PROGRAM, environment
from tests.faults.conftest import engines as engines_now
from tests.faults.conftest import hurt, later
from tests.support import commands, eventually
from tests.system.recorder import until

#: The bytes of the input, and the bound of each process: 64 MiB beside the memory that it takes without input.
SIZE, MOST = 200_000_000, 125_000_000
PIECE = b"".join(b"line %d of the input\n" % i for i in range(50_000))

#: The sum of the input, then the most memory that the engine has taken.
SUM = "md5sum | cut -c 1-32; grep VmHWM /proc/$PPID/status"


def most_memory(process: str = "self") -> int:
    with open(f"/proc/{process}/status") as file:
        sizes = (int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))
        # A process that has ended and is not reaped yet has none (proc_pid_status(5)).
        return next(sizes, 0)


def parsed(text: bytes) -> tuple[str, int]:
    """Return the sum and the bytes of an answer to SUM."""
    digest, _, size, _ = text.decode().split()
    return digest, int(size) << 10


def yes(size: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sh", "-c", f"yes | head -c {size}"], stdout=subprocess.PIPE)


def limited(size: int) -> Callable[[], object]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def run(source: subprocess.Popen[bytes], *words: str, **options: Any) -> tuple[int, bytes, bytes]:
    """Run the program with that input; return its status, stdout and stderr."""
    assert source.stdout is not None
    program = subprocess.Popen(
        [*PROGRAM, "-R", "exec", *words], stdin=source.stdout, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment(**options.pop("env", {})), **options,
    )  # fmt: skip
    with program, source:
        source.stdout.close()
        out, err = program.communicate(timeout=120)
    return program.returncode, out, err


def test_the_command_gives_all_of_it_to_who_starts_late(tmp_path: Path) -> None:
    expected = hashlib.md5(b"y\n" * (SIZE // 2)).hexdigest()
    words = ("-N", "-w", "n[1-3]", "-f", "1", SUM)
    code, out, err = run(yes(SIZE), *words, env={"TMPDIR": str(tmp_path)})
    assert (code, err) == (0, b"")
    lines = out.splitlines()
    assert [line.decode() for line in lines[::2]] == [expected] * 3
    assert all(int(line.split()[1]) << 10 < MOST for line in lines[1::2])
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_little_memory_when_nobody_reads(tmp_path: Path) -> None:
    """However fast the input comes: the disk may be slower."""
    source = subprocess.Popen(["yes"], stdout=subprocess.PIPE)
    go = tmp_path / "go"
    program = subprocess.Popen(
        [*PROGRAM, "-R", "exec", "-N", "-w", "n[1-2]", f"{until(go)}; head -n 1"],
        stdin=source.stdout, stdout=subprocess.PIPE, env=environment(TMPDIR=str(tmp_path)),
    )  # fmt: skip
    assert source.stdout is not None
    with source, program:
        source.stdout.close()

        def stored() -> int:
            sizes = [0]
            for name in os.listdir(f"/proc/{program.pid}/fd"):
                try:
                    path = f"/proc/{program.pid}/fd/{name}"
                    if os.readlink(path).startswith(f"{tmp_path}/"):
                        sizes.append(os.stat(path).st_size)
                except FileNotFoundError:
                    pass
            return max(sizes)

        assert eventually(lambda: stored() > SIZE, 90)
        family = [program.pid, *(p.pid for p in psutil.Process(program.pid).children(True))]
        most = [most_memory(str(pid)) for pid in family]
        go.touch()
        out, _ = program.communicate(timeout=60)
    assert (program.returncode, out) == (0, b"y\ny\n")
    assert max(most) < MOST


def test_the_command_without_room_ends_with_one_sentence(tmp_path: Path) -> None:
    words = ("-w", "n[1-4]", f"wc -c > /dev/null; touch {tmp_path}/%h; sleep 77")
    code, out, err = run(
        subprocess.Popen(["yes"], stdout=subprocess.PIPE), *words, preexec_fn=limited(1 << 20)
    )
    assert (code, out) == (74, b"")
    assert err == b"mpshell: the input of commands cannot be stored: File too large\n"
    # No command took the failure for the end of its input.
    assert list(tmp_path.iterdir()) == []
    assert eventually(lambda: commands() == [])


def test_the_library_gives_all_of_it_to_who_starts_late(task: Task) -> None:
    """Written before the run, and while it goes on."""
    task.set_info("fanout", 2)
    digest = hashlib.md5()

    class More(EventHandler):
        fired = 0

        def ev_timer(self, timer: Any) -> None:
            for _ in range(8):
                worker.write(PIECE)
                digest.update(PIECE)
            self.fired += 1
            if self.fired > 10:
                timer.invalidate()
                worker.set_write_eof()

    worker = ExecWorker("n[1-4]", command=SUM)
    while worker._input.size < SIZE // 2:
        worker.write(PIECE)
        digest.update(PIECE)
    task.schedule(worker)
    task.timer(0.1, More(), interval=0.1)
    task.resume()
    answers = [parsed(bytes(text)) for _, text in worker.iter_node_buffers()]
    assert {answer for answer, _ in answers} == {digest.hexdigest()} and len(answers) == 4
    assert all(size < MOST for _, size in answers)


@pytest.mark.parametrize("engines", [2], indirect=True)
def test_a_second_try_gets_all_of_it(task: Task, tmp_path: Path) -> None:
    """From a new engine, after the first ones had stored and their commands read most of it."""
    task.set_info("retry_lost", True)

    class Blow(EventHandler):
        begun = 0

        def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
            self.begun += msg == b"begun"
            if msg == b"begun" and self.begun == 4:
                hurt(engines_now())

    first = "{ head -c 100000000 > /dev/null; echo begun; exec sleep 77; }"
    worker = ExecWorker(
        "n[1-4]", handler=Blow(), command=f"mkdir {tmp_path}/%h 2>&- && {first}; {SUM}"
    )
    digest = hashlib.md5()
    while worker._input.size < SIZE:
        worker.write(PIECE)
        digest.update(PIECE)
    worker.set_write_eof()
    task.schedule(worker)
    task.resume()
    assert [outcome.reason for outcome in worker.outcomes()] == ["exit"] * 4
    answers = [parsed(bytes(text)) for _, text in worker.iter_node_buffers()]
    assert {answer for answer, _ in answers} == {digest.hexdigest()} and len(answers) == 4


@pytest.mark.parametrize("where", ["program", "engine"])
def test_without_room_there_is_one_error_and_no_command_sees_an_end(
    where: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end of the input would have a command take a part for the whole."""
    # An engine writes a file of its own where it cannot have the program's: on another machine.
    monkeypatch.setattr(LocalLink, "passes_descriptors", where == "program")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Fill(EventHandler):
        error: Exception | None = None

        def ev_timer(self, timer: Any) -> None:
            if where == "engine":
                for engine in engines_now():
                    resource.prlimit(engine.pid, resource.RLIMIT_FSIZE, (1 << 20, before[1]))
            else:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
            try:
                for _ in range(100):
                    worker.write(PIECE)
            except InputStorageError as error:
                self.error = error
                raise

    handler = Fill()
    command = f"echo begun; wc -c > /dev/null; touch {tmp_path}/%h; sleep 77"
    worker = ExecWorker("n[1-4]", command=f"trap '' TERM; {command}")
    task.set_info("grace", 0.5)
    task.schedule(worker)
    task.timer(0.2, handler)
    try:
        with pytest.raises(InputStorageError, match="cannot be stored: File too large"):
            task.resume()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (handler.error is None) == (where == "engine")
    assert len(list(worker.outcomes())) == 4 and list(tmp_path.iterdir()) == []
    assert commands() == []
    assert task.run("echo again").read() == b"again"


def stored(pid: int) -> list[tuple[int, int]]:
    """Return inode and size of the big files that a process has open without a name."""
    found: list[tuple[int, int]] = []
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except FileNotFoundError:
        return found  # it has ended
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(f"/proc/{pid}/fd/{name}")
            if stat.S_ISREG(status.st_mode) and status.st_size > 1 << 20 and not status.st_nlink:
                found.append((status.st_ino, status.st_size))
    return found


@pytest.mark.parametrize("engines", [4], indirect=True)
@pytest.mark.parametrize("shared", [True, False])
def test_the_engines_of_a_machine_share_one_file(
    shared: bool, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any number of engines, the part beyond memory is on the disk once; two inputs are two files."""
    monkeypatch.setattr(LocalLink, "passes_descriptors", shared)
    task.set_info("fanout", 16)
    go, digests, workers = tmp_path / "go", [], []
    for letter in b"ab":
        worker = ExecWorker("n[1-8]", command=f"{until(go)}; md5sum | cut -c 1-32")
        digest = hashlib.md5()
        while worker._input.size < SIZE // 2:
            worker.write(bytes([letter]) + PIECE)
            digest.update(bytes([letter]) + PIECE)
        worker.set_write_eof()
        digests.append(digest.hexdigest().encode())
        task.schedule(worker)
        workers.append(worker)
    found: list[list[tuple[int, int]]] = []

    def look() -> None:
        def all_there() -> bool:
            # Each of them has clients of one of the two, which are handed out in their order.
            now = [stored(engine.pid) for engine in engines_now()]
            found[:] = [*now, stored(os.getpid())]
            sizes = [size for files in found for _, size in files]
            return len(sizes) == 6 and min(sizes) > SIZE // 2 - (1 << 26)

        eventually(all_there, 90)
        go.touch()

    thread = later(look)
    task.resume()
    thread.join()
    inodes = {inode for files in found for inode, _ in files}
    assert [len(files) for files in found] == [1, 1, 1, 1, 2]
    assert len(inodes) == (2 if shared else 6)
    for worker, expected in zip(workers, digests, strict=True):
        assert [bytes(text) for text, _ in worker.iter_buffers()] == [expected]
        assert len(list(worker.iter_node_buffers())) == 8
    assert eventually(lambda: not any(stored(engine.pid) for engine in engines_now()))


@pytest.mark.parametrize("engines", [1], indirect=True)
def test_an_engine_without_room_for_the_descriptor_is_one_error(task: Task, tmp_path: Path) -> None:
    class Fill(EventHandler):
        def ev_timer(self, timer: Any) -> None:
            [engine] = engines_now()
            used = {int(name) for name in os.listdir(f"/proc/{engine.pid}/fd")}
            first_free = min(set(range(max(used) + 2)) - used)
            limits = resource.prlimit(engine.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(engine.pid, resource.RLIMIT_NOFILE, (first_free, limits[1]))
            for _ in range(100):
                worker.write(PIECE)

    worker = ExecWorker("n1", command=f"wc -c > /dev/null; touch {tmp_path}/%h; sleep 77")
    task.set_info("grace", 0.5)
    task.schedule(worker)
    task.timer(0.2, Fill())
    with pytest.raises(InputStorageError, match="cannot be stored: Too many open files"):
        task.resume()
    assert list(tmp_path.iterdir()) == [] and commands() == []
    assert task.run("echo again").read() == b"again"


@pytest.mark.parametrize("engines", [1], indirect=True)
def test_what_fits_in_memory_makes_no_file(task: Task) -> None:
    """Neither here nor in the engine; the command looks at the engine's open files."""
    # The engine closes some meanwhile, of which find complains.
    files = "find -L /proc/$PPID/fd -type f -size +1000k 2>/dev/null | wc -l"
    worker = ExecWorker("n[1-2]", command=f"wc -c; {files}")
    worker.write(b"x" * 30_000_000)
    worker.set_write_eof()
    task.schedule(worker)
    task.resume()
    assert [bytes(text).split() for text, _ in worker.iter_buffers()] == [[b"30000000", b"0"]]
