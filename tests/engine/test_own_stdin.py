"""Clients of one job with a stdin each: input for one is read by no other one."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path

from mpshell.wire import messages as m
from tests.engine.conftest import Driver, job
from tests.support import eventually


def test_each_client_reads_its_own(driver: Driver) -> None:
    spec = job("cat", stdin=True, stdin_each=True, report_written=True)
    driver.send(m.SetSlots(0, 1), m.Submit(1, spec, 0, ["n1", "n2", "n3"]))
    # The second and the third have not started: there is one slot.
    driver.send(m.Write(1, b"two\n", 1), m.Write(1, b"one\n", 0), m.CloseStdin(1, 2))
    driver.send(m.CloseStdin(1, 1), m.Write(1, b"more\n", 0), m.CloseStdin(1, 0), m.EndRun())
    driver.until(lambda: driver.of(m.RunEnded))
    assert [driver.text(i) for i in (0, 1, 2)] == [b"one\nmore\n", b"two\n", b""]
    sizes: dict[int, int] = {}
    for event in driver.of(m.Written):
        for client, size in event.writes:
            index = m.job_and_index(client)[1]
            sizes[index] = sizes.get(index, 0) + size
    assert sizes == {0: 9, 1: 4}


def test_a_dialogue_with_each_client(driver: Driver) -> None:
    spec = job(
        "while read -r x; do echo %h $x; done", stdin=True, stdin_each=True, stdout_mode=m.STREAM
    )
    driver.send(m.SetSlots(0, 2), m.Submit(1, spec, 0, ["a", "b"]))
    for number in range(3):
        for index in (0, 1):
            driver.send(m.Write(1, b"%d\n" % number, index))
            answer = f"{'ab'[index]} {number}\n".encode()
            driver.until(functools.partial(has_answered, driver, index, answer))
    driver.send(m.CloseStdin(1, 0), m.CloseStdin(1, 1))
    driver.until(lambda: len(driver.results()) == 2)
    assert output_of(driver, 0) == b"a 0\na 1\na 2\n"


def has_answered(driver: Driver, index: int, answer: bytes) -> bool:
    return answer in output_of(driver, index)


def output_of(driver: Driver, index: int) -> bytes:
    return b"".join(
        block
        for event in driver.of(m.Output)
        for client, _, block in event.blocks
        if m.job_and_index(client)[1] == index
    )


def test_what_comes_for_a_client_that_has_ended_is_dropped(driver: Driver) -> None:
    spec = job("read -r x; echo $x", stdin=True, stdin_each=True)
    driver.send(m.SetSlots(0, 2), m.Submit(1, spec, 0, ["a", "b"]), m.Write(1, b"x\n", 0))
    driver.until(driver.results)
    driver.send(
        m.Write(1, b"late\n", 0), m.CloseStdin(1, 0), m.CloseStdin(1, 0), m.Write(1, b"y\n", 1)
    )
    driver.until(lambda: len(driver.results()) == 2)
    driver.send(m.ForgetJob(1), m.EndRun())
    driver.until(lambda: driver.of(m.RunEnded))
    assert [driver.text(i) for i in (0, 1)] == [b"x\n", b"y\n"]
    assert not driver.gone


def test_one_that_reads_nothing_holds_up_no_other_one(driver: Driver, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    spec = job(
        f"case %h in a) echo $$ >{pids}; exec sleep 600 ;; *) exec wc -c ;; esac",
        stdin=True, stdin_each=True,
    )  # fmt: skip
    driver.send(m.SetSlots(0, 2), m.Submit(1, spec, 0, ["a"]))
    driver.send(m.Submit(1, None, 1, ["b"]))
    for _ in range(8):
        for index in (0, 1):
            driver.send(m.Write(1, bytes(1 << 18), index))
    driver.send(m.CloseStdin(1, 1))
    driver.until(driver.results)
    assert driver.text(1) == b"2097152\n"
    assert eventually(pids.exists)
    os.killpg(int(pids.read_text()), signal.SIGTERM)
    driver.until(lambda: len(driver.results()) == 2)


def test_a_second_attempt_reads_nothing_of_the_first(driver: Driver, tmp_path: Path) -> None:
    """The first one's process is still in its grace when the second is handed out."""
    go = tmp_path / "go"
    spec = job(
        f"test -e {go} || {{ trap '' TERM; touch {go}; sleep 600; }}; cat",
        stdin=True, stdin_each=True, timeout=1, grace=0.5,
    )  # fmt: skip
    driver.send(m.SetSlots(0, 1), m.Submit(1, spec, 0, ["n"]), m.Write(1, b"first\n", 0))
    driver.until(driver.results)
    driver.events.clear()
    driver.send(m.Submit(1, None, 0, ["n"]), m.Write(1, b"second\n", 0), m.CloseStdin(1, 0))
    driver.until(driver.results)
    assert driver.text(0) == b"second\n"
