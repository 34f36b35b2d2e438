"""The tests' environment is the same, however that of the process that runs them differs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

#: Run by a shell before it becomes the tests' process: cron, nohup, a daemon or a CI do the like.
HOSTILE = """
trap '' HUP INT QUIT TERM PIPE CHLD USR1 ALRM WINCH
umask 077
ulimit -Sn 64
exec "$@" <&- 2>&-
"""
LOOK = """
import json, os, resource, signal, tempfile
from tests.environment import settle
settle()
ignored = [s.name for s in signal.valid_signals() if signal.getsignal(s) == signal.SIG_IGN]
os.umask(mask := os.umask(0))
print(json.dumps({
    "environment": dict(os.environ), "ignored": ignored, "umask": mask, "temporary": tempfile.gettempdir(),
    "limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    "open": [os.path.exists(f"/proc/self/fd/{n}") for n in range(3)],
    "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
}))
"""
VARIABLES = {
    "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "latin-1", "LC_ALL": "POSIX",
    "SLURM_JOB_NODELIST": "x[1-3]", "SSH_AUTH_SOCK": "/none", "PDSH_RCMD_TYPE": "rsh", "WCOLL": "/none",
    "FANOUT": "3", "NO_COLOR": "1", "COLUMNS": "40", "TERM": "vt52", "HOME": "/nonexistent",
    "SHELL": "/bin/false", "SHELLOPTS": "xtrace", "TMOUT": "1", "INPUTRC": "/none", "XDG_STATE_HOME": "/none",
    "KRB5CCNAME": "/none", "RES_OPTIONS": "attempts:1", "DASK_SCHEDULER": "/none", "SLURMD_NODENAME": "x1",
}  # fmt: skip


def surroundings(shell: str, environment: dict[str, str]) -> Any:
    done = subprocess.run(
        ["/bin/sh", "-c", shell, "sh", sys.executable, "-c", LOOK],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize("environment", [{}, VARIABLES], ids=["empty", "full"])
def test_hostile_surroundings_are_settled(environment: dict[str, str], tmp_path: Path) -> None:
    if environment:
        (tmp_path / "a b").mkdir()
        environment = {**environment, "TMPDIR": str(tmp_path / "a b")}
    found = surroundings(HOSTILE, environment)
    # Python ignores these two itself.
    assert set(found["ignored"]) <= {"SIGPIPE", "SIGXFSZ"} and found["blocked"] == 0
    assert (found["umask"], found["open"], found["temporary"]) == (0o022, [True] * 3, "/tmp")
    assert found["limit"] >= 1024
    left = found["environment"].keys() - {"PWD", "OLDPWD", "SHLVL", "_"}
    assert left <= {"PATH", "LANG", "HOME", "TMPDIR", "LC_CTYPE"} and {"PATH", "LANG"} <= left


def test_the_tests_have_the_settled_environment() -> None:
    assert os.environ["LANG"] == "C.UTF-8"
    assert not {name for name in VARIABLES if name in os.environ} - {"HOME", "TMPDIR", "TERM"}
