"""A dask cluster over TLS: a scheduler, and a worker on each of some addresses of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.engine.conftest import alive
from tests.support import eventually

#: Hosts are told apart by their addresses, and those of 127.0.0.0/8 are all this machine.
HOSTS = ("127.101.0.1", "127.101.0.2")


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60)


def _make_certificates(top: Path) -> None:
    """Make an authority, and one certificate of it for every role."""
    ca, own = f"{top}/ca", f"{top}/own"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl("req", "-x509", *curve, "-keyout", f"{ca}.key", "-out", f"{ca}.pem",
             "-days", "2", "-subj", "/CN=authority")  # fmt: skip
    _openssl("req", *curve, "-keyout", f"{own}.key", "-out", f"{own}.csr",
             "-subj", "/CN=cluster")  # fmt: skip
    _openssl("x509", "-req", "-in", f"{own}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key",
             "-CAcreateserial", "-days", "2", "-out", f"{own}.pem")  # fmt: skip


#: What costs processes of a cluster most of their time while they wait: looks at threads and at the loop.
_QUIET = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
}


class Cluster:
    """A running scheduler, and its workers by their host."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.workers: dict[str, psutil.Process] = {}
        self.tls = [
            f"--tls-ca-file={top}/ca.pem",
            f"--tls-cert={top}/own.pem",
            f"--tls-key={top}/own.key",
        ]
        _make_certificates(top)
        file = top / "scheduler.json"
        self.scheduler = self._start(
            "scheduler", "--protocol", "tls", "--host", "127.101.0.100", "--port", "0", "--no-show",
            f"--scheduler-file={file}",
        )  # fmt: skip
        assert eventually(lambda: file.exists() and file.read_text().endswith("}"), 60)
        self.address = str(json.loads(file.read_text())["address"])

    def _start(self, role: str, *words: str, env: dict[str, str] | None = None) -> psutil.Process:
        """Start a process that is no child of this one: a test may have to replace one that it has killed."""
        program = (sys.executable, "-m", f"distributed.cli.dask_{role}", *words, *self.tls)
        done = subprocess.run(
            ["sh", "-c", 'log=$1; shift; setsid "$@" </dev/null >>"$log" 2>&1 & echo $!', "sh",
             str(self.top / f"{role}.log"), *program, "--no-dashboard"],
            env={**os.environ, **_QUIET, **(env or {})}, stdout=subprocess.PIPE, text=True, timeout=60,
            check=True,
        )  # fmt: skip
        return psutil.Process(int(done.stdout))

    def start_worker(
        self, host: str, *words: str, env: dict[str, str] | None = None
    ) -> psutil.Process:
        """Start a worker of one thread on a host."""
        self.workers[host] = self._start(
            "worker", self.address, "--host", host, "--no-nanny", "--nthreads", "1",
            "--death-timeout", "60", "--local-directory", str(self.top), *words, env=env,
        )  # fmt: skip
        return self.workers[host]

    def configure(self) -> dict[str, str]:
        """Return the variables by which a client of this cluster has its certificates."""
        tls = "DASK_DISTRIBUTED__COMM__TLS"
        return {
            f"{tls}__CA_FILE": f"{self.top}/ca.pem",
            f"{tls}__CLIENT__CERT": f"{self.top}/own.pem",
            f"{tls}__CLIENT__KEY": f"{self.top}/own.key",
        }

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many workers are connected."""
        code = "import sys, distributed; distributed.Client(sys.argv[1]).wait_for_workers(int(sys.argv[2]), 60)"
        subprocess.run(
            [sys.executable, "-c", code, self.address, str(count)],
            env={**os.environ, **self.configure()}, capture_output=True, timeout=120, check=True,
        )  # fmt: skip

    def end(self, host: str) -> None:
        """End the worker of a host, if there is one."""
        if (worker := self.workers.pop(host, None)) is not None:
            _kill(worker)

    def stop(self) -> None:
        for process in (*self.workers.values(), self.scheduler):
            _kill(process)


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
    # It is no child of this process: some init takes seconds to reap it, which matters to nothing here.
    assert eventually(lambda: not (process.is_running() and alive(process.pid)), 60)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs and is not stopped."""
    try:
        return process.is_running() and process.status() not in ("zombie", "stopped")
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running_cluster(top: Path) -> Iterator[Cluster]:
    """Give a cluster without a worker."""
    cluster = Cluster(top)
    try:
        yield cluster
    finally:
        cluster.stop()
