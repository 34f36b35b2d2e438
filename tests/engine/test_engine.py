"""One engine: its commands, its messages, and the processes it leaves."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path

import psutil
import pytest

from mpshell.wire import messages as m
from tests.engine.conftest import Driver, alive, job
from tests.support import eventually

NODES = [f"n{i}" for i in range(1, 21)]


def pids(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def test_its_first_message_names_it(driver: Driver) -> None:
    driver.until(lambda: driver.events)
    [ready] = driver.of(m.Ready)
    assert isinstance(ready, m.Ready)
    assert psutil.Process(ready.pid).ppid() != os.getpid()
    assert ready.engine_id == driver.handle.engine_id


def test_the_contract_of_events(driver: Driver) -> None:
    driver.run(job("echo %h", stdout_mode=m.STREAM), NODES, slots=3)
    state = dict.fromkeys(range(len(NODES)), "new")
    for event in driver.events:
        if isinstance(event, m.Starting):
            for client in event.client_ids:
                index = m.job_and_index(client)[1]
                assert state[index] == "new"
                state[index] = "starting"
        elif isinstance(event, m.Output):
            for client, _, _ in event.blocks:
                assert state[m.job_and_index(client)[1]] == "starting"
        elif isinstance(event, m.Finished):
            for result in event.results:
                index = m.job_and_index(result[0])[1]
                assert state[index] == "starting"
                state[index] = "finished"
    assert set(state.values()) == {"finished"}
    assert isinstance(driver.events[-1], m.RunEnded)
    assert [driver.text(i) for i in range(3)] == [b"n1\n", b"n2\n", b"n3\n"]


def test_nothing_starts_before_it_was_announced(driver: Driver, tmp_path: Path) -> None:
    """With the coordinator not reading, nothing that was not announced in time can have run."""
    ledger = tmp_path / "ledger"
    big = "x" * 100_000
    driver.send(
        m.SetSlots(0, 2),
        m.Submit(1, job(f"echo {big}; echo %h >> {ledger}", stdout_mode=m.STREAM), 0, NODES),
    )
    driver.until(lambda: len(driver.results()) >= 4)
    os.kill(driver_pid(driver), signal.SIGKILL)
    driver.until(lambda: driver.gone)
    announced = {
        NODES[m.job_and_index(client)[1]]
        for event in driver.events
        if isinstance(event, m.Starting)
        for client in event.client_ids
    }
    ran = ledger.read_text().split()
    assert set(ran) <= announced
    assert len(ran) == len(set(ran))


def driver_pid(driver: Driver) -> int:
    driver.until(lambda: driver.of(m.Ready))
    ready = driver.of(m.Ready)[0]
    assert isinstance(ready, m.Ready)
    return ready.pid


def test_equal_output_is_shipped_once(driver: Driver) -> None:
    driver.run(job("echo same"), NODES)
    bodies = [body for event in driver.of(m.Bodies) for body in event.bodies]
    assert bodies == [(0, b"same\n")]
    assert {result[3] for result in driver.results().values()} == {0}


def test_codes_and_signals(driver: Driver) -> None:
    driver.run(job("case %h in n1) exit 3;; n2) kill -9 $$;; esac"), ["n1", "n2", "n3"])
    found = {i: result[1:3] for i, result in driver.results().items()}
    assert found == {0: (m.EXITED, 3), 1: (m.SIGNALED, 9), 2: (m.EXITED, 0)}


def test_a_program_that_is_not_there_is_its_own_outcome(driver: Driver) -> None:
    driver.run(job(argv=(("/no/such/program",), (m.NODE,))), ["n1", "n2"])
    for result in driver.results().values():
        assert result[1] == m.SPAWN_FAILED
        assert "/no/such/program" in (result[7] or "")


def test_streams_apart_and_together(driver: Driver) -> None:
    driver.run(job("echo out; echo err >&2", separate_stderr=True), ["n1"])
    assert (driver.text(0), driver.text(0, m.STDERR)) == (b"out\n", b"err\n")


def test_a_timeout_is_reported_before_the_group_is_gone(driver: Driver, tmp_path: Path) -> None:
    command = f"trap '' TERM; echo $$ >> {tmp_path}/pid; printf part; sleep 60"
    driver.send(m.SetSlots(0, 1), m.Submit(1, job(command, timeout=3, grace=4), 0, ["n1"]))
    driver.until(driver.results)
    assert driver.results()[0][1] == m.TIMED_OUT
    assert driver.text(0) == b"part\n"
    [pid] = pids(tmp_path / "pid")
    assert alive(pid)
    driver.send(m.EndRun())
    driver.until(lambda: driver.of(m.RunEnded))
    assert not alive(pid)


def test_a_group_is_ended_as_a_whole(driver: Driver, tmp_path: Path) -> None:
    command = f"sh -c 'trap \"\" TERM; echo $$ >> {tmp_path}/pid; sleep 60' & sleep 60"
    driver.send(m.SetSlots(0, 1), m.Submit(1, job(command, grace=0.2), 0, ["n1"]))
    driver.until(lambda: eventually(lambda: pids(tmp_path / "pid"), 0.05) or driver.results())
    driver.send(m.Cancel(1, m.CANCELLED, False), m.EndRun())
    driver.until(lambda: driver.of(m.RunEnded))
    assert driver.results()[0][1] == m.CANCELLED
    assert not any(alive(pid) for pid in pids(tmp_path / "pid"))


def test_clients_that_have_not_started_are_cancelled_too(driver: Driver) -> None:
    driver.send(m.SetSlots(0, 1), m.Submit(1, job("sleep 60"), 0, NODES))
    driver.until(lambda: driver.of(m.Starting))
    driver.send(m.Cancel(None, m.TIMED_OUT, True), m.EndRun())
    driver.until(lambda: driver.of(m.RunEnded))
    reasons = [result[1] for _, result in sorted(driver.results().items())]
    assert reasons == [m.TIMED_OUT] + [m.CANCELLED] * (len(NODES) - 1)


def test_a_process_that_a_command_leaves_holds_the_output_for_the_drain_time(
    driver: Driver,
) -> None:
    driver.run(job("echo now; (sleep 0.2; echo late; sleep 5) &", drain=2), ["n1"])
    assert driver.results()[0][1:3] == (m.EXITED, 0)
    assert driver.text(0) == b"now\nlate\n"


def test_input_for_all_also_reaches_later_clients(driver: Driver) -> None:
    spec = job("cat", stdin=True, report_written=True)
    driver.send(m.SetSlots(0, 1), m.Submit(1, spec, 0, ["n1", "n2"]))
    driver.send(m.Write(1, b"a\n"), m.Write(1, b"b\n"), m.CloseStdin(1), m.EndRun())
    driver.until(lambda: driver.of(m.RunEnded))
    assert [driver.text(i) for i in (0, 1)] == [b"a\nb\n"] * 2
    written = [write for event in driver.of(m.Written) for write in event.writes]
    assert sum(size for _, size in written) == 8


def test_output_before_the_end_is_kept(driver: Driver, tmp_path: Path) -> None:
    """Also where the order to end reaches the engine first."""
    begun, go, written_all = (tmp_path / name for name in ("begun", "go", "written_all"))
    command = f"touch {begun}; until [ -e {go} ]; do sleep 0.05; done; echo word; touch {written_all}; sleep 60"
    driver.send(m.SetSlots(0, 1), m.Submit(1, job(command), 0, ["n"]))
    engine = driver_pid(driver)
    driver.until(lambda: driver.of(m.Starting))
    assert eventually(begun.exists)
    os.kill(engine, signal.SIGSTOP)
    try:
        driver.send(m.Cancel(1, m.CANCELLED, False))
        go.touch()
        assert eventually(written_all.exists)
    finally:
        os.kill(engine, signal.SIGCONT)
    driver.until(driver.results)
    assert (driver.results()[0][1], driver.text(0)) == (m.CANCELLED, b"word\n")


def test_input_written_in_a_grace_is_not_reported(driver: Driver, tmp_path: Path) -> None:
    """The outcome was reported: nothing of the client may follow."""
    go = tmp_path / "go"
    command = f"trap '' TERM; touch {go}; cat"
    spec = job(command, stdin=True, report_written=True, timeout=3, grace=6)
    driver.send(m.SetSlots(0, 1), m.Submit(1, spec, 0, ["n"]), m.Write(1, b"early"))
    driver.until(lambda: driver.of(m.Written))
    assert eventually(go.exists)
    driver.until(driver.results)
    driver.send(m.Write(1, b"late"), m.Ping())
    driver.until(lambda: driver.of(m.Pong))
    assert driver.of(m.Written) == [m.Written([(m.client_id(1, 0), 5)])]
    assert driver.results()[0][1] == m.TIMED_OUT


def test_fewer_slots_are_answered_when_they_are_held(driver: Driver) -> None:
    driver.send(m.SetSlots(0, 4), m.Submit(1, job("sleep 0.3"), 0, NODES[:6]))
    driver.until(lambda: driver.of(m.Starting))
    driver.send(m.SetSlots(0, 1))
    driver.until(lambda: driver.of(m.SlotsHeld))
    assert len(driver.results()) >= 3
    assert driver.of(m.SlotsHeld) == [m.SlotsHeld(0, 1)]
    driver.until(lambda: len(driver.results()) == 6)


def test_a_ping_is_answered(driver: Driver) -> None:
    driver.send(m.Ping())
    driver.until(lambda: driver.of(m.Pong))


@pytest.mark.parametrize(
    "end", ["engine killed", "channel closed", "garbage", "fork server killed"]
)
def test_however_it_ends_its_commands_end_first(end: str, driver: Driver, tmp_path: Path) -> None:
    command = f"echo $$ >> {tmp_path}/pid; sh -c 'echo $$ >> {tmp_path}/pid; sleep 61' & sleep 60"
    driver.send(m.SetSlots(0, 4), m.Submit(1, job(command), 0, NODES[:4]))
    engine = driver_pid(driver)
    driver.until(lambda: eventually(lambda: len(pids(tmp_path / "pid")) == 8, 0.05))
    if end == "engine killed":
        os.kill(engine, signal.SIGKILL)
    elif end == "fork server killed":
        os.kill(psutil.Process(engine).ppid(), signal.SIGKILL)
    elif end == "garbage":
        driver.handle.channel.send(b"no frame")
    else:
        driver.handle.detach()
        driver.handle.channel.close()
        assert eventually(lambda: not any(alive(pid) for pid in pids(tmp_path / "pid")))
        return
    driver.until(lambda: driver.gone)
    assert not any(alive(pid) for pid in pids(tmp_path / "pid"))
    assert eventually(lambda: not alive(engine))
    assert not driver.results()


def test_a_job_that_is_forgotten_in_a_grace_is_forgotten_after_it(driver: Driver) -> None:
    """Input written to it is not kept to the end of the run."""
    driver.until(lambda: driver.of(m.Ready))
    [ready] = driver.of(m.Ready)
    engine = psutil.Process(ready.pid)
    before = engine.memory_info().rss

    def has_ended(number: int) -> bool:
        return len(driver.of(m.Finished)) == number

    command = job("trap '' TERM; sleep 0.3", timeout=0.05, stdin=True, grace=0.1, own_slots=True)
    for number in range(1, 51):
        submit = m.Submit(number, command, 0, ["n"])
        driver.send(m.SetSlots(number, 1), submit, m.Write(number, bytes(4 << 20)))
        driver.until(functools.partial(has_ended, number))
        driver.send(m.ForgetJob(number))
    assert eventually(lambda: engine.memory_info().rss - before < 50 << 20)
    driver.send(m.EndRun())
    driver.until(lambda: driver.of(m.RunEnded))


def test_a_part_comes_with_its_client(driver: Driver) -> None:
    """Each slice brings the texts of its own clients, at any place in the job."""
    spec = job(argv=(("/bin/echo",), (m.NODE, "-", m.PART)))
    driver.send(m.SetSlots(0, 4), m.Submit(1, spec, 5, ["a", "b"], ("x", "y")))
    driver.send(m.Submit(1, None, 9, ["c"], ("z",)), m.Submit(1, None, 12, ["d"]))
    driver.until(lambda: len(driver.results()) == 4)
    texts = [driver.text(index) for index in (5, 6, 9, 12)]
    assert texts == [b"a-x\n", b"b-y\n", b"c-z\n", b"d-\n"]
