"""An engine that runs for another host: its lease, and the surroundings of this one."""

from __future__ import annotations

import os
from pathlib import Path

from mpshell.runtime.boottime import now
from mpshell.wire import messages as m
from tests.engine.conftest import Driver, alive, job
from tests.support import eventually


def run_sleep(driver: Driver, pid_file: Path) -> int:
    """Have it run a command that does not end by itself; return its pid."""
    driver.send(
        m.SetSlots(0, 1), m.Submit(1, job(f"echo $$ > {pid_file}; sleep 600; :"), 0, ["n1"])
    )
    driver.until(lambda: driver.of(m.Starting))
    assert eventually(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
    return int(pid_file.read_text())


def test_at_the_end_of_its_lease_it_ends_with_all_that_it_runs(
    driver: Driver, tmp_path: Path
) -> None:
    pid = run_sleep(driver, tmp_path / "pid")
    driver.send(m.Lease(now() + 0.2))
    driver.until(lambda: driver.gone)
    assert not alive(pid)
    assert driver.handle.certain and not driver.results()


def test_a_lease_that_is_over_is_the_end_at_once(driver: Driver) -> None:
    driver.send(m.Lease(now() - 3))
    driver.until(lambda: driver.gone)


def test_a_lease_is_renewed(driver: Driver) -> None:
    driver.send(m.Lease(now() + 0.2))
    driver.send(m.Lease(now() + 3600))
    driver.run(job("sleep 0.5; echo %h"), ["n1"])
    assert driver.text(0) == b"n1\n" and not driver.gone


def test_without_an_environment_it_keeps_its_own(driver: Driver) -> None:
    """Its directory is that of the same path, or the home directory where there is none."""
    driver.send(m.Configure(b"/nonexistent/of/the/head", None, None))
    driver.run(job('echo "$PATH"; pwd; echo "$PWD"'), ["n1"])
    home = os.environ["HOME"]
    assert driver.text(0).decode().split() == [os.environ["PATH"], home, home]
