"""--doctor: the figures are those of the system, and a sweep that does not fit is named with its remedy."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import PROGRAM, Done, mpshell

#: An ssh that has these settings, and connects nowhere.
SSH = """\
#!/bin/sh
case $1 in
    -V) echo 'OpenSSH_9.2p1 Debian' >&2 ;;
    -G) printf 'kexalgorithms %s\\nuserknownhostsfile %s\\n' "$KEX" "$KNOWN" ;;
esac
"""


def findings(done: Done) -> dict[str, Any]:
    return {finding["subject"]: finding for finding in json.loads(done.out)["findings"]}


def under(limits: str, *words: str, **options: Any) -> Done:
    """Run the program below limits of a shell."""
    return mpshell(*words, program=["sh", "-c", f'{limits}; exec "$@"', "sh", *PROGRAM], **options)


def test_open_files_are_those_of_the_shell() -> None:
    done = under("ulimit -n 1024", "--doctor", "--json", "-E", "2")
    # getrlimit(2); 24 of an engine's own, and 4 for a command over ssh.
    assert findings(done)["open files"]["fanout"] == 2 * ((1024 - 24) // 4) and done.code == 0
    assert "1,024 (soft), 1,024 (hard)" in findings(done)["open files"]["figure"]


def test_a_sweep_that_does_not_fit_is_1_with_its_remedy() -> None:
    done = under("ulimit -n 1024", "--doctor", "-E", "1", "-w", "n[1-5000]", "-f", "300")
    assert done.code == 1
    assert "TOO SMALL  open files: 1,024" in done.out.decode()
    assert "    remedy: raise the hard limit: `nofile` in limits.conf(5)" in done.out.decode()
    assert done.lines[-1].startswith("5,000 nodes, fanout 300: too small: open files")
    small = under("ulimit -n 1024", "--doctor", "-E", "1", "-w", "n[1-9]", "-f", "300")
    # No more than 9 run at once.
    assert small.code == 0 and small.lines[-1] == "9 nodes, fanout 9: this machine has room for it"


def test_without_a_fanout_the_nodes_are_needed() -> None:
    done = mpshell("--doctor", "-f", "-1")
    assert done.code == 0
    assert done.lines[-1] == "no fanout: give the nodes with -w to see whether they fit"
    with_nodes = mpshell("--doctor", "-f", "-1", "-w", "n[1-3]")
    assert with_nodes.lines[-1] == "3 nodes, fanout 3: this machine has room for it"
    assert json.loads(mpshell("--doctor", "--jsonl").out)["nodes"] is None


def test_figures_of_the_kernel() -> None:
    found = findings(mpshell("--doctor", "--json"))
    for subject, path in (
        ("kernel.pid_max (sysctl)", "/proc/sys/kernel/pid_max"),
        ("neighbour table, IPv4", "/proc/sys/net/ipv4/neigh/default/gc_thresh3"),
    ):
        number = int(Path(path).read_text())
        assert found[subject]["figure"].startswith(f"{number:,}")
    assert found["neighbour table, IPv4"]["nodes"] == int(
        Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3").read_text()
    )


@pytest.mark.needs("root")
def test_processes_of_an_ordinary_user_are_limited_and_those_of_root_are_not() -> None:
    """getrlimit(2): RLIMIT_NPROC is not enforced for root."""
    limited = ["prlimit", "--nproc=5000"]
    as_root = findings(mpshell("--doctor", "--json", program=[*limited, *PROGRAM]))
    assert as_root["processes of the user"]["fanout"] is None
    # With that capability also where this interpreter is below a directory of root's own.
    access = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    as_other = [*limited, "setpriv", "--reuid", "12345", "--clear-groups", *access, *PROGRAM]
    found = findings(mpshell("--doctor", "--json", program=as_other))["processes of the user"]
    assert found["figure"].startswith("5,000, of which ") and 0 < found["fanout"] <= 2000


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """An environment with an ssh of its own."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "ssh").write_text(SSH)
    (place / "ssh").chmod(0o755)
    known = tmp_path / "known_hosts"
    known.write_text("# none\n\nn1 ssh-ed25519 AAAA\n" + "|1|aaaa|bbbb= ssh-ed25519 AAAA\n" * 3)
    return {
        "PATH": f"{place}:{os.environ['PATH']}", "KNOWN": str(known), "SSH_AUTH_SOCK": "",
        "KEX": "curve25519-sha256,ecdh-sha2-nistp256",
    }  # fmt: skip


def test_known_hosts_are_counted(machine: dict[str, str]) -> None:
    found = findings(mpshell("--doctor", "--json", env=machine))
    assert found[f"known hosts, {machine['KNOWN']}"]["figure"] == "4 entries, 3 of them hashed"


@pytest.mark.parametrize(
    ("kex", "remedy"),
    [("curve25519-sha256", ""), ("sntrup761x25519-sha512@openssh.com", "asyncssh")],
)
def test_a_key_exchange_that_is_slow_has_a_remedy(
    kex: str, remedy: str, machine: dict[str, str]
) -> None:
    machine["KEX"] = f"{kex},ecdh-sha2-nistp256"
    found = findings(mpshell("--doctor", "--json", env=machine))["key exchange"]
    assert found["figure"] == f"{kex} (OpenSSH_9.2p1 Debian)"
    assert remedy in found["remedy"] and bool(found["remedy"]) == bool(remedy)


@contextmanager
def agent(place: Path, answer: bytes) -> Iterator[str]:
    """An agent that answers each request so (draft-ietf-sshm-ssh-agent, 3)."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(64)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(place)
        thread.join()


@pytest.mark.parametrize(
    ("answer", "figure"),
    [
        (struct.pack(">IBI", 5, 12, 0), "0 keys"),
        (struct.pack(">IBI", 5, 12, 2), "2 keys"),
        (struct.pack(">IBI", 5, 12, 9), "9 keys"),
        (struct.pack(">IBI", 5, 5, 0), "refuses"),
        (b"", "closes the connection"),
    ],
)
def test_the_agent_is_asked(
    answer: bytes, figure: str, machine: dict[str, str], tmp_path: Path
) -> None:
    with agent(tmp_path / "agent", answer) as path:
        found = findings(mpshell("--doctor", "--json", env={**machine, "SSH_AUTH_SOCK": path}))
    finding = found["ssh agent"]
    assert figure in finding["figure"] and finding["advised"] == (figure != "2 keys")


def test_an_agent_that_is_gone_is_reported(machine: dict[str, str], tmp_path: Path) -> None:
    environment = {**machine, "SSH_AUTH_SOCK": str(tmp_path / "nothing")}
    found = findings(mpshell("--doctor", "--json", env=environment))["ssh agent"]
    assert "No such file" in found["figure"] and found["remedy"].startswith("start an agent")


def test_extras_that_are_missing_are_named_with_the_command() -> None:
    """An interpreter without the packages of the environment."""
    script = "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
    script += "from mpshell.cli.main import main; sys.exit(main())"
    from sys import executable

    found = findings(mpshell("--doctor", "--json", program=[executable, "-S", "-c", script]))
    assert found["extra asyncssh"]["remedy"] == "pip install 'mpshell[asyncssh]'"
    assert {"extra groups", "extra dask", "extra cli"} <= found.keys()


def test_nothing_runs_with_it() -> None:
    for words in (["--doctor", "true"], ["--doctor", "--show", "x"]):
        done = mpshell(*words)
        assert done.code == 64 and "--doctor runs nothing" in done.err
    wrong = mpshell("--doctor", "-w", "n[1-")
    assert wrong.code == 64 and "n[1-" in wrong.err
