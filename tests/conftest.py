"""Fixtures of the whole suite, and the check that no test leaves anything behind."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mpshell import Task, task_cleanup, task_self, task_terminate
from tests.environment import settle
from tests.support import (
    commands,
    descriptors,
    end_warm_engines,
    eventually,
    threads,
    warm_descriptors,
)

pytest_plugins = ["tests.programs"]

settle()

# On a busy machine an example may take any time: its duration means nothing.
settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machine")


def check_descriptors(before: dict[int, str]) -> None:
    """Fail for a descriptor that was not there before, or was something else."""

    def new() -> set[tuple[int, str]]:
        return descriptors().items() - before.items()

    assert eventually(lambda: not new()), new()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test after which a thread, a command or a descriptor is left that was not there before."""
    old_threads, old_commands = threads(), set(commands())
    old_descriptors = descriptors()
    old_unexplained = len(old_descriptors) - warm_descriptors()
    yield
    assert eventually(lambda: threads() <= old_threads), threads() - old_threads
    assert eventually(lambda: set(commands()) <= old_commands), set(commands()) - old_commands
    if len(descriptors()) - warm_descriptors() > old_unexplained:
        # A descriptor that remains after the warm engines are ended is a leak.
        end_warm_engines()
        check_descriptors(old_descriptors)


@pytest.fixture(autouse=True, scope="module")
def nothing_left_of_a_module() -> Iterator[None]:
    """Fail the last test of a module that leaves a descriptor when the warm engines are ended."""
    end_warm_engines()
    before = descriptors()
    yield
    end_warm_engines()
    check_descriptors(before)


@pytest.fixture(params=[1, 2, 4], ids=lambda count: f"engines{count}")
def engines(request: pytest.FixtureRequest) -> int:
    """Give a number of engine processes: behaviour towards nodes is the same for each."""
    return int(request.param)


@pytest.fixture
def task(engines: int) -> Iterator[Task]:
    """Give a fresh Task of the main thread, and end it after the test."""
    task_terminate()
    task = task_self()
    task.set_info("engines", engines)
    yield task
    task_cleanup()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 256 KiB (which takes root)."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
