"""A private Slurm on loopback: munged, slurmctld and a slurmd for each of four nodes, under one directory."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.support import eventually

NODES = 4

CONF = """ClusterName=mp
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={top}/munge/s
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={top}/state
SlurmdSpoolDir={top}/spool%n
SlurmctldPidFile={top}/ctld.pid
SlurmdPidFile={top}/d%n.pid
SlurmctldLogFile={top}/log/ctld
SlurmdLogFile={top}/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SwitchType=switch/none
MpiDefault=none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmdParameters=config_overrides
KillWait=2
SlurmdTimeout=30
{nodes}PartitionName=p Nodes=c[1-{count}] Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


def _free_ports(count: int) -> int:
    """Return the first of so many neighbouring ports that are free."""
    # Another process of a test run may look at the same moment.
    begin = 20100 + os.getpid() % 1000 * count
    for first in range(begin, 32000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as sock:
                    sock.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise OSError("no free ports")


class Slurm:
    """A running cluster: nodes c1 to c4."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.conf = top / "slurm.conf"
        self.env = {**os.environ, "SLURM_CONF": str(self.conf)}
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *argv: str) -> None:
        with open(self.top / "log" / f"{name}.out", "wb") as out:
            self.started.append(
                subprocess.Popen(
                    argv, env=self.env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
                )
            )

    def ask(self, *argv: str) -> str:
        done = subprocess.run(
            argv, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout

    def idle(self) -> bool:
        return f"idle {NODES}" in self.ask("sinfo", "-h", "-o", "%T %D")

    def allocate(self) -> str:
        """Allocate all nodes and return the number of the job."""
        done = subprocess.run(
            ["salloc", f"-N{NODES}", "--no-shell", "--no-kill", "--overcommit"],
            env=self.env, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return done.stderr.split("job allocation ")[1].split()[0]


@contextmanager
def running_slurm(top: Path) -> Iterator[Slurm]:
    """Give a cluster with idle nodes."""
    for name in ("state", "log", "munge", *(f"spool{n}" for n in range(1, NODES + 1))):
        (top / name).mkdir(parents=True)
    for path in (top, *top.parents[:2]):
        path.chmod(0o755)
    (top / "munge").chmod(0o711)
    key = top / "munge/key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host, port = socket.gethostname(), _free_ports(NODES + 1)
    nodes = "".join(
        f"NodeName=c{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={port + n} CPUs=4 State=UNKNOWN\n"
        for n in range(1, NODES + 1)
    )
    slurm = Slurm(top)
    slurm.conf.write_text(CONF.format(host=host, port=port, top=top, nodes=nodes, count=NODES))
    munge = top / "munge"
    try:
        slurm.start(
            "munged", "/usr/sbin/munged", "-F", "--force", f"--key-file={key}", f"--socket={munge}/s",
            f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
            "--num-threads=4",
        )  # fmt: skip
        assert eventually((munge / "s").exists)
        slurm.start("slurmctld", "/usr/sbin/slurmctld", "-D", "-c")
        for n in range(1, NODES + 1):
            slurm.start(f"slurmd{n}", "/usr/sbin/slurmd", "-D", "-N", f"c{n}")
        assert eventually(slurm.idle), slurm.ask("sinfo")
        yield slurm
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in reversed(slurm.started):
                if process.poll() is None:
                    process.send_signal(number)
            for process in slurm.started:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    continue
        _end_steps(top)
        shutil.rmtree(top, ignore_errors=True)


def _end_steps(top: Path) -> None:
    """End the steps of a cluster whose controller is gone: they go on to report to it for ever."""
    for process in psutil.process_iter():
        # It is nobody's child, and its log is the daemon's.
        with suppress(psutil.Error):
            if process.name() == "slurmstepd" and any(
                Path(file.path).is_relative_to(top) for file in process.open_files()
            ):
                process.kill()
