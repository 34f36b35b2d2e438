"""The program as a process, for the tests of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import eventually

PROGRAM = [sys.executable, "-m", "mpshell"]
ROOT = Path(__file__).parents[2]


def environment(**changes: str) -> dict[str, str]:
    """Return an environment without the variables that the program reads, but for `changes`."""
    dropped = ("SLURM_JOB_NODELIST", "NO_COLOR", "TERM", "COLUMNS", "PYTHONHOME")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return {**kept, "PYTHONPATH": str(ROOT), **changes}


class Done:
    """A run of the program that has ended: its exit status and its output."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.code = done.returncode
        self.out: bytes = done.stdout
        self.err: str = done.stderr.decode(errors="surrogateescape")
        assert "Traceback" not in self.err, self.err

    @property
    def lines(self) -> list[str]:
        return self.out.decode(errors="surrogateescape").splitlines()


def mpshell(
    *words: str | bytes,
    stdin: bytes | None = None,
    env: dict[str, str] | None = None,
    program: Sequence[str] = PROGRAM,
    **options: Any,
) -> Done:
    """Run the program to its end."""
    return Done(
        subprocess.run(
            [*program, *words],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env=environment(**(env or {})),
            timeout=60,
            capture_output=True,
            check=False,
            **options,
        )
    )


def local(*words: str | bytes, **options: Any) -> Done:
    """Run the program with local commands."""
    return mpshell("-R", "exec", *words, **options)


@contextmanager
def started(*words: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Give the running program, with local commands; it is killed at the end when it still runs."""
    process = subprocess.Popen(
        [*PROGRAM, "-R", "exec", *words],
        stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        env=environment(**options.pop("env", {})),
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def gone(mark: str, timeout: float = 30) -> bool:
    """Return whether no process has an environment with the mark `MPSHELL_TEST_MARK` any more."""
    from tests.faults.conftest import marked

    return eventually(lambda: not marked(mark), timeout)
