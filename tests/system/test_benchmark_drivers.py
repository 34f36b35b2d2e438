"""Every driver of scripts/bench, run once with little to do: each still measures its own subject.

The figures are only checked to be there.
"""

from __future__ import annotations

import ast
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.ssh.conftest import SshServer, call_script
from tests.ssh.conftest import ssh_server as ssh_server

ROOT = Path(__file__).parents[2]
DRIVERS = ROOT / "scripts" / "benchmark" / "drivers"

#: The arguments of each driver, by module and function; over ssh more come with the server.
LOCAL: dict[str, dict[str, Any]] = {
    "sweeps.sweep": {
        "nodes": 20, "command": "echo same", "engines": 2, "size": 4, "warm": 2, "ballast": 8192, "ideal": 1.0,
    },
    "sweeps.sweep_beside": {"nodes": 4, "command": "true", "others": [["sleep", "60"]], "fanout": 2},
    "sweeps.read_lines": {"nodes": 2, "command": "echo a; echo b", "lines": 4},
    "sweeps.broadcast": {"nodes": 3, "size": 1000},
    "sweeps.idle": {"nodes": 2, "seconds": 0.1},
    "sweeps.warm": {"runs": 2, "nodes": 2},
    "null_transport.million": {"nodes": 1000, "fanout": 64, "engines": 2},
    "names.node_sets": {
        "sizes": dict.fromkeys(("parse", "iterate", "fold", "split", "fromlist"), 1000)
    },
    "cold.start_up": {"times": 2},
    "wake.pieces": {"count": 3, "pause": 0.001},
    "hosts.sweep": {"nodes": 20, "command": "true", "where": "", "how": {"engines": 1}, "fanout": 4},
}  # fmt: skip
SSH: dict[str, dict[str, Any]] = {
    "sweeps.copy": {"nodes": 1},
    "kept.sweeps": {"nodes": 6, "command": "true", "keep": 60.0, "runs": 2, "fanout": 3},
    "parallel_ssh.sweep": {"nodes": 2, "port": 0, "user": "root", "command": "true", "fanout": 2},
}

#: Over links with a cap.
LINKS: dict[str, dict[str, Any]] = {"relays.copy": {"dest": "copied", "nodes": 2}}

#: As much of parallel-ssh as the driver uses: the library is in the extra `bench` alone.
PSSH = """
import collections
Output = collections.namedtuple("Output", "host stdout exit_code exception")
class ParallelSSHClient:
    def __init__(self, hosts, **options):
        self.hosts = hosts
    def run_command(self, command, **options):
        return [Output(host, iter(["said"]), 0, None) for host in self.hosts]
    def join(self, *args, **options):
        pass
"""


def measure(operation: str, parameters: dict[str, Any], path: Path) -> dict[str, float]:
    result = path / "result"
    done = subprocess.run(
        [sys.executable, str(DRIVERS / "run.py"), "mpshell", operation, json.dumps(parameters), str(result)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{path}"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    measured: dict[str, float] = json.loads(result.read_text())
    return measured


def is_measured(found: dict[str, float]) -> bool:
    return found["seconds"] > 0 and all(value >= 0 for value in found.values())


@pytest.mark.parametrize("operation", LOCAL)
def test_a_driver_measures(operation: str, tmp_path: Path) -> None:
    assert is_measured(measure(operation, LOCAL[operation], tmp_path))


def test_the_driver_of_a_sweep_measures_one_with_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for _ in range(2):
        parameters = {"nodes": 20, "command": "echo %h", "journal": str(path)}
        assert is_measured(measure("sweeps.sweep", parameters, tmp_path))
        with closing(sqlite3.connect(path)) as journal:
            found = journal.execute("SELECT run, count(*) FROM verdicts WHERE code = 0").fetchall()
        assert found == [(1, 20)]


def test_a_driver_measures_a_copy_over_ssh(ssh_server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(1000))
    copy = {
        "source": str(tmp_path / "file"), "dest": str(tmp_path / "copied"),
        "ssh_options": f"-F {ssh_server.config}",
    }  # fmt: skip
    assert is_measured(measure("sweeps.copy", {**SSH["sweeps.copy"], **copy}, tmp_path))


def test_a_driver_measures_connections_that_stay(ssh_server: SshServer, tmp_path: Path) -> None:
    parameters = {**SSH["kept.sweeps"], "ssh_options": f"-F {ssh_server.config}"}
    assert is_measured(measure("kept.sweeps", parameters, tmp_path))


def test_the_driver_of_parallel_ssh_measures_a_stand_in(tmp_path: Path) -> None:
    (tmp_path / "pssh").mkdir()
    (tmp_path / "pssh" / "__init__.py").write_text("")
    (tmp_path / "pssh" / "clients.py").write_text(PSSH)
    parameters = {**SSH["parallel_ssh.sweep"], "server": str(tmp_path)}
    assert is_measured(measure("parallel_ssh.sweep", parameters, tmp_path))


@pytest.mark.needs("root", "ssh", "sshd", "tc", "nsenter")
def test_the_driver_of_copies_measures_what_leaves_the_head(tmp_path: Path) -> None:
    links = tmp_path / "links"
    started = call_script("start", links, "--netns", "2", "--mbit", "100", "--lifetime", "300")
    assert started.returncode == 0, started.stderr
    try:
        (tmp_path / "file").write_bytes(os.urandom(1_000_000))
        words = [sys.executable, "-m", "mpshell", "-w", "node[1-2]", "-o", f"-F {links}/ssh_config"]
        words += ["-c", str(tmp_path / "file"), "--dest", "copied"]
        given = {"server": str(links), "words": words, "source": str(tmp_path / "file")}
        found = measure("relays.copy", {**LINKS["relays.copy"], **given}, tmp_path)
        assert is_measured(found) and 2 < found["head_sent"] < 3
        with pytest.raises(AssertionError, match="kill"):
            measure("relays.copy", {**LINKS["relays.copy"], **given, "fault": "kill", "victim": 1,
                                    "after": 60.0}, tmp_path)  # fmt: skip
    finally:
        assert call_script("stop", links).returncode == 0


def test_there_is_no_other_driver() -> None:
    found = {
        f"{module.stem}.{function.name}"
        for module in DRIVERS.glob("*.py")
        for function in ast.parse(module.read_text()).body
        if isinstance(function, ast.FunctionDef)
        and [arg.arg for arg in function.args.args[:1]] == ["library"]
    }
    assert found - {"libraries.load", "cold.one"} == {*LOCAL, *SSH, *LINKS}


def test_a_driver_that_measures_the_wrong_thing_fails(tmp_path: Path) -> None:
    """A run with failed nodes does not count as a fast one."""
    with pytest.raises(AssertionError, match=r"1, .*RuntimeError|assert \(1"):
        measure("sweeps.sweep", {"nodes": 2, "command": "exit 1"}, tmp_path)
