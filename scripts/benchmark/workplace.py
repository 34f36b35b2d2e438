"""Where the benchmark runs: its directory, the programs it builds, how a driver is called."""

import compileall
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from scripts.benchmark.model import CLUSTERSHELL, LIMIT, MPSHELL, Contender, Invocation
from tests.ssh.openssh import OpenSsh, openssh

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]

T = TypeVar("T")


class Workplace:
    """A private directory, with programs and files for the runs; `quick` makes everything small."""

    def __init__(self, directory: Path, quick: bool) -> None:
        self.directory = directory
        self.quick = quick
        self.cores = len(os.sched_getaffinity(0))
        #: Lines for a reader about what was left out, and why.
        self.left_out: list[str] = []
        self._closing = contextlib.ExitStack()
        # As an installation does: what is not compiled beforehand starts late.
        compileall.compile_dir(_ROOT / "mpshell", quiet=1)
        self.tiny = self._build("tiny", "-static")
        self.limit_program = self._build("limit")
        self.rest = self._build("rest", "-static")
        self.walk = self._build("walk")

    def _build(self, name: str, *options: str) -> str:
        program = self.directory / name
        source = _HERE / "c" / f"{name}.c"
        subprocess.run(["cc", "-O2", *options, "-o", program, source], check=True)
        return str(program)

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def file(self, name: str, data: bytes) -> str:
        """Return the path of a file with these bytes."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.stat().st_size != len(data):
            path.write_bytes(data)
        return str(path)

    def leave_out(self, line: str) -> None:
        if line not in self.left_out:
            self.left_out.append(line)

    # -- contenders --

    def driver(
        self, library: str, operation: str, units: float, timeout: float = 180, **parameters: Any
    ) -> Invocation:
        """Return a run of `drivers/MODULE.py`'s FUNCTION; a plain operation is one of sweeps.py."""
        operation = operation if "." in operation else f"sweeps.{operation}"
        run = str(_HERE / "drivers" / "run.py")
        argv = [sys.executable, run, library, operation, json.dumps(parameters)]
        env = {"PYTHONPATH": str(_ROOT)}
        return Invocation(argv, units, env=env, timeout=timeout, driver=True)

    def mpshell(self, operation: str, units: float, **parameters: Any) -> Contender:
        return Contender(MPSHELL, self.driver("mpshell", operation, units, **parameters))

    def clustershell(
        self, operation: str, units: float, note: str = "", **parameters: Any
    ) -> Contender:
        run = self.driver("ClusterShell", operation, units, **parameters)
        return Contender(CLUSTERSHELL, run, note)

    def limit(self, nodes: int, fanout: int, command: list[str]) -> Contender:
        """Return the C program, once a core."""
        argv = [self.limit_program, str(self.cores), str(nodes), str(fanout), *command]
        return Contender(LIMIT, Invocation(argv, nodes))

    def program(
        self, label: str, argv: list[str], units: float, rounds: int = 3, **more: Any
    ) -> list[Contender]:
        """Return another program as a contender, or nothing when it is not here."""
        if shutil.which(argv[0]) is None:
            self.leave_out(f"{label}: not installed here.")
            return []
        return [Contender(label, Invocation(argv, units, **more), rounds=rounds)]

    # -- the private ssh server --

    @contextlib.contextmanager
    def _sshd(
        self, directory: Path, nodes: int, programs: str | None, more: Sequence[str] = ()
    ) -> Iterator[None]:
        server = [sys.executable, str(_ROOT / "scripts" / "sshd")]
        where = ["--dir", str(directory)]
        start = [*server, "start", *where, "--nodes", str(nodes), "--lifetime", "1800"]
        start += [*more, *([] if programs is None else ["--programs", programs])]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL, timeout=60)
        try:
            yield
        finally:
            subprocess.run([*server, "stop", *where], check=True, timeout=60)

    def ssh_server(self, nodes: int, programs: str | None = None) -> Path | None:
        """Return the directory of a running server that knows so many nodes, or None without one.

        Its `programs` are in a directory of their own where they are not the installed ones.
        """
        if not (shutil.which("ssh") and shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")):
            self.leave_out("ssh: no OpenSSH client and server here.")
            return None
        directory = self.directory / f"sshd-{nodes}{'' if programs is None else '-other'}"
        if not directory.exists():
            # As on a site's nodes: two shells more a command would be the largest part of a warm one.
            self._closing.enter_context(self._sshd(directory, nodes, programs, ["--login-shell"]))
        return directory

    def capped_nodes(self, nodes: int, mbit: int) -> Path | None:
        """Return the directory of a server whose nodes have links of a rate, or None without one."""
        if os.geteuid() != 0 or not (shutil.which("tc") and shutil.which("nsenter")):
            self.leave_out("copies over links with a cap: they need root, iproute2 and util-linux.")
            return None
        directory = self.directory / f"links-{nodes}"
        if not directory.exists():
            more = ["--netns", str(nodes), "--mbit", str(mbit)]
            self._closing.enter_context(self._sshd(directory, nodes, None, more))
        return directory

    def keep(self, context: AbstractContextManager[T]) -> T:
        """Enter a context, and leave it at the end."""
        return self._closing.enter_context(context)

    def openssh(self, version: int) -> OpenSsh | None:
        """Return the programs of an OpenSSH, or None where they cannot be had."""
        try:
            return openssh(version)
        except (RuntimeError, OSError) as error:
            self.leave_out(f"OpenSSH {version}: {error}")
            return None

    def background(self, argv: list[str]) -> None:
        """Keep a program running until the end."""
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def end() -> None:
            process.terminate()
            process.wait(10)

        self._closing.callback(end)

    def close(self) -> None:
        """End what runs in the background."""
        self._closing.close()
