"""Signals to an engine that is no child: a stranger with its number gets none."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from mpshell.launch import force


@pytest.fixture
def tree() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that leads a session, with a child in that."""
    with subprocess.Popen(
        ["sh", "-c", "sleep 70 & echo; wait; exit 3"],
        start_new_session=True,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_an_engine_is_killed(tree: subprocess.Popen[bytes]) -> None:
    force.kill_commands(tree.pid, tree.pid)
    assert tree.wait(60) == 3, "its child is gone, so it goes on"


def test_a_stopped_process_gets_the_signals_that_wait_for_it(tree: subprocess.Popen[bytes]) -> None:
    tree.send_signal(signal.SIGSTOP)
    force.kill_commands(tree.pid, tree.pid)
    force.wake(tree.pid, tree.pid)
    assert tree.wait(60) == 3


@pytest.mark.parametrize("measure", [force.kill_commands, force.kill, force.wake])
def test_a_process_of_another_session_is_left_alone(
    measure: object, tree: subprocess.Popen[bytes]
) -> None:
    """Its number was the engine's once."""
    assert callable(measure)
    measure(tree.pid, tree.pid + 1)
    with pytest.raises(subprocess.TimeoutExpired):
        tree.wait(0.2)
    force.kill_commands(tree.pid, tree.pid)
    force.kill(tree.pid, tree.pid)
    assert tree.wait(60) in (3, -9)
    measure(tree.pid, tree.pid)
