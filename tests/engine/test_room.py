"""An engine without room for another command; a fork server that waits for an engine."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mpshell.engine import client as states
from mpshell.engine.core import Engine
from mpshell.engine.work import Execution
from mpshell.runtime.loop import EventLoop
from mpshell.runtime.procfs import children_of
from mpshell.wire import messages as m
from mpshell.wire.channel import Channel, channel_pair
from mpshell.wire.codec import encode
from mpshell.wire.logformat import LogFormat
from tests.engine.conftest import Driver, job
from tests.support import eventually


def pid_of(driver: Driver) -> int:
    driver.until(lambda: driver.of(m.Ready))
    [ready] = driver.of(m.Ready)
    assert isinstance(ready, m.Ready)
    return ready.pid


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


@contextmanager
def no_room(pid: int) -> Iterator[None]:
    """Leave a process no descriptor more than it has now."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = next(fd for fd in range(soft) if fd not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def holding(driver: Driver, go: Path, nodes: list[str]) -> None:
    """Run commands that end when the file `go` is there, and see them run."""
    folder = go.with_name("begun")
    folder.mkdir()
    command = f"touch {folder}/%h; until [ -e {go} ]; do sleep 0.05; done"
    driver.send(m.SetSlots(0, 4), m.Submit(1, job(command), 0, nodes))
    driver.until(lambda: eventually(lambda: len(list(folder.iterdir())) == len(nodes), 0.05))


def test_room_that_others_make_is_seen_while_a_command_runs(driver: Driver, tmp_path: Path) -> None:
    """No message reaches the engine, and none of its commands ends."""
    engine = pid_of(driver)
    go = tmp_path / "go"
    holding(driver, go, ["a"])
    with no_room(engine):
        driver.send(m.Submit(2, job("echo %h"), 1, ["b"]))
        driver.until(lambda: driver.of(m.Warn))
        assert not driver.results()
    driver.until(lambda: 1 in driver.results())
    assert driver.text(1) == b"b\n"
    assert 0 not in driver.results()
    go.touch()
    driver.until(lambda: 0 in driver.results())


@pytest.mark.parametrize(("logs", "fits"), [(False, 77), (True, 58)])
def test_a_log_is_a_descriptor_more_for_each_client(driver: Driver, logs: bool, fits: int) -> None:
    """Three pipes a client, and the log of those that have one; the engine keeps 24 for itself."""
    _, hard = resource.prlimit(pid_of(driver), resource.RLIMIT_NOFILE)
    resource.prlimit(pid_of(driver), resource.RLIMIT_NOFILE, (256, min(256, hard)))
    log = LogFormat(None, (), ()) if logs else None
    spec = job("cat", stdin=True, separate_stderr=True, log=log)
    driver.send(m.SetSlots(0, fits), m.Submit(1, spec, 0, ["a"]), m.CloseStdin(1))
    driver.until(driver.results)
    assert not driver.of(m.Warn)
    driver.send(m.SetSlots(0, fits + 1), m.Ping())
    driver.until(lambda: driver.of(m.Warn))
    [warning] = driver.of(m.Warn)
    assert f"open files has room for {fits} commands" in str(warning)


def test_who_is_behind_one_that_waited_for_room_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the next look for room only: here no time passes, so there is none."""
    channel, theirs = channel_pair()
    loop = EventLoop(clock=lambda: 0.0)
    engines_end = Channel(theirs)
    engine = Engine(engines_end, loop)
    runs: dict[str, Execution] = {}
    room = True

    def start(run: Execution, last_try: bool) -> OSError | None:
        if not room:
            return OSError(errno.EMFILE, "no room")
        runs[run.node] = run
        run.handle(states.SPAWNED)
        return None

    monkeypatch.setattr(engine.clients, "start", start)

    def turn() -> None:
        loop.call_soon(lambda: None)
        loop.run_once()

    def send(*commands: m.Message) -> None:
        channel.send(encode(list(commands)))
        turn()
        turn()

    send(m.SetSlots(0, 3), m.Submit(1, job("true"), 0, ["a", "b"]))
    assert list(runs) == ["a", "b"]
    room = False
    send(m.Submit(2, job("true"), 2, ["c"]))
    send(m.Submit(3, job("true"), 3, ["d"]))
    room = True
    for node in ("a", "b"):
        engine.clients.carry_out(runs[node], runs[node].exited(0, False))
    for _ in range(3):
        turn()
    assert list(runs) == ["a", "b", "c", "d"]
    loop.close()
    channel.close()
    engines_end.close()


@pytest.mark.parametrize("others", [1, 3])
def test_a_fork_server_that_waits_for_an_engine_does_nothing(others: int, driver: Driver) -> None:
    """Others have ended, which has woken it; it takes 10 to 40 ms of CPU from its start to its end."""
    engine = pid_of(driver)
    server = psutil.Process(engine).ppid()
    handles = [driver.launcher.start() for _ in range(others)]
    assert eventually(lambda: len(children_of(server)) == 1 + others)
    os.kill(engine, signal.SIGSTOP)
    os.kill(server, signal.SIGSTOP)
    for handle in handles:
        handle.channel.close()
    assert eventually(lambda: [state_of(pid) for pid in children_of(server)].count("Z") == others)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    driver.launcher.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for handle in handles:
        handle.close()
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 0.5
