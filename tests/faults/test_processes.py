"""The fault table, first part: engines and the fork server come to harm."""

from __future__ import annotations

import contextlib
import functools
import pickle
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import mpshell
from mpshell import EventHandler, ExecWorker, Task
from mpshell.launch.pool import engine_pool
from mpshell.wire import messages as m
from mpshell.wire.codec import encode
from tests.faults.conftest import (
    STORM,
    Observer,
    Sweep,
    all_gone,
    engines,
    fork_servers,
    hurt,
    later,
    marked,
    running,
    send_as,
)
from tests.support import commands, end_warm_engines, eventually
from tests.system.recorder import alive, within

Fault = Callable[[], list[psutil.Process]]


def with_a_stopped_server(number: int) -> list[psutil.Process]:
    """The fork server is not among the victims: it is woken, as it has to clear up."""
    hurt(fork_servers(), signal.SIGSTOP)
    return hurt(engines(), number)


def awake(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    return False


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


#: fault -> its action, the numbers of finished nodes at which it comes, and how many times the fanout may be
#: lost: twice where its announcements of clients that were handed out ahead cannot be read any more.
FAULTS: dict[str, tuple[Fault, tuple[int, ...], int]] = {
    "one engine killed": (lambda: hurt(engines()[:1]), (10,), 1),
    "engines killed repeatedly": (lambda: hurt(engines()[:1]), (5, 15, 25, 35, 45), 5),
    "all engines killed": (lambda: hurt(engines()), (10,), 1),
    "fork server killed": (lambda: hurt(fork_servers()), (10,), 1),
    "fork server and engines killed": (lambda: hurt(fork_servers() + engines()), (10,), 1),
    "one engine stopped": (lambda: hurt(engines()[:1], signal.SIGSTOP), (10,), 1),
    "all engines stopped": (lambda: hurt(engines(), signal.SIGSTOP), (10,), 1),
    "fork server stopped, engines killed": (
        lambda: with_a_stopped_server(signal.SIGKILL), (10,), 1,
    ),
    "fork server and engines stopped": (
        lambda: with_a_stopped_server(signal.SIGSTOP), (10,), 1,
    ),
    "engines stopped, fork server killed": (
        lambda: hurt(engines(), signal.SIGSTOP) + hurt(fork_servers()), (10,), 1,
    ),
    "engine ended politely": (lambda: hurt(engines()[:1], signal.SIGTERM), (10,), 1),
    "garbage on a channel": (lambda: send_as(engines()[0], b"\xff" * 40), (10,), 2),
    "a frame of no message": (lambda: send_as(engines()[0], framed(pickle.dumps([1]))), (10,), 2),
    "a message that no engine sends": (
        lambda: send_as(engines()[0], framed(encode([m.EndRun()]))), (10,), 1,
    ),
    "a channel cut in the middle of a frame": (
        lambda: send_as(engines()[0], framed(b"x" * 100)[:50], cut=True), (10,), 1,
    ),
    "a channel cut between two frames": (lambda: send_as(engines()[0], b"", cut=True), (10,), 1),
}  # fmt: skip
FANOUT = 8

#: A fault of one engine costs no more than the slots of that engine.
OF_ONE = [fault for fault in FAULTS if not fault.startswith(("engines", "all", "fork server"))]


def is_dead(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_ZOMBIE)


def none(test: Callable[[psutil.Process], bool], processes: list[psutil.Process]) -> bool:
    return not any(map(test, processes))


def is_alive(process: psutil.Process) -> bool:
    return alive(process.pid)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_node_has_one_verdict_whatever_dies(fault: str, task: Task, ledger: Path) -> None:
    action, moments, times = FAULTS[fault]
    victims: list[psutil.Process] = []
    task.set_info("fanout", FANOUT)
    # An engine that spawns on a busy machine may be silent for a while.
    task.set_info("heartbeat", 1.5)
    act: dict[int, Callable[[], object]] = dict.fromkeys(moments, lambda: victims.extend(action()))
    sweep = Sweep(task, ledger, 80, Observer(act))
    with within(60):
        sweep.run()
    assert commands() == []
    slots = -(-FANOUT // int(task.info("engines"))) if fault in OF_ONE else FANOUT
    sweep.check(at_most_lost=times * slots)
    # Orphans too; with both killed in one moment no process is left to end them.
    assert fault == "fork server and engines killed" or eventually(lambda: not running(ledger))
    assert victims, "a process was hurt"
    assert eventually(lambda: not any(alive(victim.pid) for victim in victims))


@pytest.mark.parametrize(
    "fault", ["one engine killed", "all engines killed", "all engines stopped"]
)
def test_lost_nodes_run_again_where_that_is_asked_for(fault: str, task: Task, ledger: Path) -> None:
    action, moments, _ = FAULTS[fault]
    task.set_info("fanout", FANOUT)
    task.set_info("heartbeat", 0.4)
    task.set_info("retry_lost", True)
    body = "echo begun; sleep 0.05; echo out"
    sweep = Sweep(task, ledger, 60, Observer(dict.fromkeys(moments, action)), body)
    sweep.run()
    assert set(dict(sweep.worker.iter_node_retcodes()).values()) == {0}
    assert sweep.lost() == []
    assert {bytes(text) for text, _ in sweep.worker.iter_buffers()} == {b"begun\nout"}
    sweep.check(at_most_lost=0, once=False)


def test_a_command_that_kills_its_engine_is_not_run_for_ever(task: Task, tmp_path: Path) -> None:
    """Where lost nodes run again: it is lost in the end, and those beside it that end in time are not."""
    task.set_info("retry_lost", True)
    command = f"test %n != 7 || {{ echo x >> {tmp_path}/tries; kill -9 $PPID; sleep 60; }}"
    observer = Observer()
    worker = ExecWorker("n[1-30]", handler=observer, command=command)
    task.set_info("fanout", int(task.info("engines")))
    task.schedule(worker)
    task.resume()
    outcomes = {outcome.node: outcome for outcome in worker.outcomes()}
    assert len(outcomes) == 30
    assert (outcomes.pop("n8").reason, worker.node_retcode("n8")) == ("lost", 255)
    assert {outcome.reason for outcome in outcomes.values()} == {"exit"}
    assert {len(hups) for hups in observer.hups.values()} == {1} and len(observer.hups) == 30
    assert (observer.starts, observer.closes) == (1, [False])
    # The first try, and ten more.
    assert len((tmp_path / "tries").read_text().split()) == 11
    assert task.run("echo again").read() == b"again"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_output_of_a_dead_attempt_is_dropped(number: int, task: Task, tmp_path: Path) -> None:
    """Lines that were reported and recorded before the engine died are not in the results of the next try."""

    class Reader(Observer):
        begun = 0

        def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
            self.begun += msg == b"begun"
            if self.begun == 12 and msg == b"begun":
                assert worker.node_buffer(node) == worker.node_error(node) == b"begun"
                hurt(engines(), number)

    task.set_info("retry_lost", True)
    task.set_info("heartbeat", 1.5)
    task.set_info("fanout", 6)
    reader = Reader()
    # Its output proves that its mark is there: the kill may follow at once.
    begin = "echo begun; echo begun >&2"
    command = (
        f"mkdir {tmp_path}/%h 2>&- && hold=79; {begin}; sleep ${{hold-0}}; echo out; echo err >&2"
    )
    worker = ExecWorker("n[1-6]", handler=reader, command=command, stderr=True)
    task.schedule(worker)
    task.resume()
    assert reader.begun == 24, "each attempt of each node had printed on both streams"
    for texts, last in ((worker.iter_buffers(), b"out"), (worker.iter_errors(), b"err")):
        assert [(bytes(text), len(nodes)) for text, nodes in texts] == [(b"begun\n" + last, 6)]
    assert {outcome.reason for outcome in worker.outcomes()} == {"exit"}
    assert reader.hups == {f"n{i}": [0] for i in range(1, 7)}
    assert (reader.starts, reader.closes) == (1, [False])


def test_a_slow_handler_is_not_taken_for_a_dead_engine(task: Task, ledger: Path) -> None:
    task.set_info("heartbeat", 1.5)
    task.set_info("fanout", FANOUT)

    def be_slow() -> None:
        subprocess.run(["sleep", "2.5"], check=True)

    sweep = Sweep(task, ledger, 30, Observer(dict.fromkeys((5, 12), be_slow)))
    sweep.run()
    sweep.check(at_most_lost=0)


def test_a_fork_server_killed_between_runs_is_replaced(task: Task) -> None:
    for _ in range(3):
        assert task.run("echo ok", nodes="n[1-4]", remote=False).node_retcode("n4") == 0
        [server] = fork_servers()
        hurt([server])
        assert eventually(functools.partial(is_dead, server))
    assert task.run("echo ok").read() == b"ok"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("server_too", [False, True])
def test_an_engine_hurt_between_runs_costs_no_node(
    server_too: bool, number: int, task: Task
) -> None:
    task.set_info("heartbeat", 1.5)
    task.run("true")
    for _ in range(2):
        victims = hurt(engines(), number)
        assert victims
        if number == signal.SIGSTOP:
            # It takes effect when the engine is next on a processor, maybe in the run.
            assert eventually(functools.partial(none, awake, victims))
        if server_too:
            victims += hurt(fork_servers())
        worker = task.run("echo ok", nodes="n[1-40]", remote=False)
        ends = {(outcome.reason, outcome.detail or "") for outcome in worker.outcomes()}
        assert ends == {("exit", "")}
        assert len(dict(worker.iter_node_retcodes())) == 40
        assert eventually(functools.partial(none, is_alive, victims))


def test_a_stopped_engine_ends_with_its_fork_server_also_between_runs(task: Task) -> None:
    task.run("true")
    victims = hurt(engines(), signal.SIGSTOP)
    assert victims
    assert eventually(lambda: not any(awake(victim) for victim in victims))
    hurt(fork_servers())
    assert eventually(lambda: not any(alive(victim.pid) for victim in victims))


def test_engines_outlive_the_thread_that_started_them(task: Task) -> None:
    """A signal at the parent's death (prctl(2)) would come at the end of its thread already."""
    end_warm_engines()
    thread = later(lambda: Task(threading.current_thread()).run("true"))
    thread.join()
    before = fork_servers() + engines()
    assert len(before) == 2
    worker = task.run("sleep 0.3; echo ok", nodes="n[1-8]", remote=False)
    assert task.max_retcode() == 0
    assert {outcome.reason for outcome in worker.outcomes()} == {"exit"}
    assert all(process.is_running() and alive(process.pid) for process in before)


def test_a_killed_fork_server_leaves_nothing_of_the_commands(task: Task, tmp_path: Path) -> None:
    """Nor of processes that a command has started in a session of its own, with another parent."""
    pids = tmp_path / "pids"
    command = f"(setsid sh -c 'echo $$ >> {pids}; exec sleep 77' &); sleep 0.3; sleep 78"

    def kill(handler: object, timer: object) -> None:
        assert eventually(lambda: pids.exists() and len(pids.read_text().split()) == 4)
        hurt(fork_servers())

    task.timer(0.1, handler=type("Handler", (EventHandler,), {"ev_timer": kill})())
    task.set_info("fanout", 4)
    worker = ExecWorker("n[1-4]", command=command)
    task.schedule(worker)
    task.resume()
    assert {outcome.reason for outcome in worker.outcomes()} == {"lost"}
    assert eventually(lambda: not any(psutil.pid_exists(int(p)) for p in pids.read_text().split()))


def test_a_daemon_of_an_earlier_run_is_the_user_s(task: Task, tmp_path: Path) -> None:
    """A command that ended by itself may leave a process on purpose; the end of a later run leaves it alone."""
    pid_file = tmp_path / "pid"
    task.run(f"setsid sleep 60 >/dev/null 2>&1 & echo $! > {pid_file}")
    daemon = psutil.Process(int(pid_file.read_text()))
    try:
        task.schedule(ExecWorker("n[1-4]", command="sleep 79"))
        with pytest.raises(mpshell.TimeoutError):
            task.resume(0.3)
        end_warm_engines()
        assert daemon.is_running()
        assert commands() == []
    finally:
        daemon.kill()


@pytest.mark.parametrize("engines", [1], indirect=True)
@pytest.mark.parametrize("lost_first", [True, False])
def test_one_engine_s_daemons_are_not_taken_for_what_another_has_lost(
    lost_first: bool, task: Task, tmp_path: Path
) -> None:
    """One engine is killed and another ends cleanly between two looks: which orphan belongs to which?"""
    lost, kept = tmp_path / "lost", tmp_path / "kept"
    pids = tmp_path / "pids"
    leave = f"setsid sleep 60 >/dev/null 2>&1 & echo $! > {kept}"
    other = Task()
    other.set_info("heartbeat", None)
    other.set_info("engines", 1)
    hold = ExecWorker(
        "n1", command=f"setsid sleep 77 & echo $! $$ >> {pids}; touch {lost}; sleep 78"
    )
    other.schedule(hold)
    end_warm_engines()
    if lost_first:
        other.resume()
        assert eventually(lost.exists)
        task.run(leave)
        clean = engine_pool().lease()
    else:
        task.run(leave)
        clean = engine_pool().lease()
        other.resume()
        assert eventually(lost.exists)
    daemon = psutil.Process(int(kept.read_text()))
    try:
        hurt(fork_servers(), signal.SIGSTOP)
        both = engines()
        assert len(both) == 2
        hurt(both[:1] if lost_first else both[1:])
        engine_pool().discard(clean)
        assert eventually(lambda: not any(awake(engine) for engine in both))
        hurt(fork_servers(), signal.SIGCONT)
        other.join()
        assert [outcome.reason for outcome in hold.outcomes()] == ["lost"]
        assert not any(alive(int(pid)) for pid in pids.read_text().split())
        assert alive(daemon.pid)
    finally:
        daemon.kill()
        other.abort(kill=True)
        other.thread.join(20)


@pytest.mark.parametrize(
    ("victims", "number"),
    [(engines, signal.SIGKILL), (engines, signal.SIGSTOP), (fork_servers, signal.SIGKILL)],
)
def test_what_was_lost_in_a_storm_of_forks_is_gone_when_that_is_told(
    victims: Callable[[], list[psutil.Process]],
    number: int,
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark = uuid.uuid4().hex
    task.set_info("heartbeat", 1.5)
    task.run("true")
    monkeypatch.setenv("MPSHELL_TEST_MARK", mark)
    left: list[str] = []

    class Handler(EventHandler):
        def ev_read(self, *args: object) -> None:
            hurt(victims(), number)

        def ev_hup(self, worker: Any, node: str, rc: int | None) -> None:
            # Others may run on an engine that was not there yet at the last blow.
            left.extend(marked(mark, node))

    command = f"export MPSHELL_TEST_NODE=%h; {STORM}"
    worker = ExecWorker("n[1-4]", handler=Handler(), command=command)
    task.schedule(worker)
    task.resume()
    assert [outcome.reason for outcome in worker.outcomes()] == ["lost"] * 4
    assert not left
    assert all_gone(mark), marked(mark)


# -- many Tasks ------------------------------------------------------------------------------------


def test_tasks_of_many_threads_survive_a_kill(ledger: Path) -> None:
    """One pool serves all threads: a dead engine hurts only the run that leased it."""
    tasks = [Task() for _ in range(4)]
    workers = [ExecWorker("n[1-30]", command="sleep 0.02; echo %h") for _ in tasks]
    for task, worker in zip(tasks, workers, strict=True):
        task.set_info("engines", 2)
        task.schedule(worker)
        task.resume()
    thread = later(lambda: eventually(engines) and hurt(engines()[:1]))
    for task in tasks:
        task.join()
    thread.join()
    for worker in workers:
        assert len(dict(worker.iter_node_retcodes())) == 30
    for task in tasks:
        task.abort(kill=True)
        task.thread.join(20)
