"""Shared by all tests: waiting for something, running a script, looking at processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

#: In the command line of the fork server, and of the engines that it forks.
ENGINE_MARK = "mpshell.engine.forkserver"


def eventually(predicate: Callable[[], object], timeout: float = 30.0) -> bool:
    """Return whether `predicate` comes true within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > deadline:
            return False
        # Files, processes of others, counts: nothing of that has a descriptor to wait for.
        time.sleep(0.01)
    return True


def run_script(
    source: str,
    *,
    stdin: str | None = None,
    args: Sequence[str] = (),
    env: dict[str, str] | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a Python script from a file in an interpreter of its own; its output is text."""
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "script.py"
        script.write_text(source)
        return subprocess.run(
            [sys.executable, str(script), *args],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env=env,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )


def is_engine(process: psutil.Process) -> bool:
    """Return whether a process is the fork server or an engine."""
    return any(ENGINE_MARK in word for word in command_line(process))


def command_line(process: psutil.Process) -> list[str]:
    """Return the arguments of a process that runs; empty for one that has ended, a zombie included.

    In the middle of its exec or of its exit a process has none for a moment, which is waited for; a process
    that goes on without any is a real one, and called "?".
    """
    words: list[str] = []

    def settled() -> bool:
        nonlocal words
        words = process.cmdline()
        return bool(words) or process.status() == psutil.STATUS_ZOMBIE

    try:
        return words if eventually(settled, 2) else ["?"]
    except psutil.NoSuchProcess:  # ZombieProcess is one
        return []


def has_children() -> bool:
    """Return whether this process has any. To list them psutil reads every process of the machine."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def commands() -> list[str]:
    """Return the processes that descend from this one and are neither fork server nor engine.

    The server of the tests over rsh stays for a whole session, and is none either.
    """
    found: list[str] = []
    if not has_children():
        return found
    for process in psutil.Process().children(recursive=True):
        words = command_line(process)
        if words and not any(ENGINE_MARK in word or word.endswith("rshd.py") for word in words):
            found.append(f"{process.pid} {' '.join(words)}")
    return found


def descriptors() -> dict[int, str]:
    """Return the open descriptors of this process, each with its target."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            what = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if "pytest" not in what:  # its capture files come and go
            found[int(name)] = what
    return found


def warm_descriptors() -> int:
    """Return how many descriptors lead to the engines and fork servers that run now.

    A fork server has a control socket, an engine a channel and a sentinel. Off by a few while one of them
    starts or ends.
    """
    warm = 0
    for server in filter(is_engine, psutil.Process().children() if has_children() else ()):
        try:
            warm += 1 + 2 * sum(map(is_engine, server.children()))
        except psutil.NoSuchProcess:
            continue
    return warm


def engines_rest() -> bool:
    """Return whether every engine of this process has no command and waits: its messages are in its socket."""
    for server in filter(is_engine, psutil.Process().children()):
        for engine in server.children():
            if engine.children() or engine.status() != psutil.STATUS_SLEEPING:
                return False
    return True


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def end_warm_engines() -> None:
    """End the engines that are kept for the next run, with the descriptors that lead to them."""
    pool = sys.modules.get("mpshell.launch.pool")
    if pool is not None:
        pool.shutdown()


def paths_below(folder: Path, pattern: str) -> list[Path]:
    """Return the paths below a folder that end as a pattern does, while others come and go.

    `Path.rglob` looks through links, and fails for one whose target is no name (up to Python 3.11.3), as for a
    directory that goes meanwhile.
    """
    return [
        path
        for top, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if (path := Path(top, name)).match(pattern)
    ]
