"""Servers of sshd(8) with a configuration of their own, beside the one that all tests share."""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ssh.conftest import SshServer
from tests.support import eventually

#: Ports that are tried: another process may take one between its choice and the start of sshd.
_TRIES = 5


def answers(port: int) -> bool:
    """Return whether connections to a port here are taken."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _comes_up(sshd: subprocess.Popen[bytes], port: int, ready: Callable[[int], bool]) -> bool:
    """Wait until sshd is ready or has ended; return whether it runs."""
    assert eventually(lambda: sshd.poll() is not None or ready(port))
    return sshd.poll() is None


@contextmanager
def running_sshd(
    server: SshServer,
    path: Path,
    text: str,
    *,
    ready: Callable[[int], bool] = answers,
    wrap: Callable[[str], list[str]] = shlex.split,
) -> Iterator[int]:
    """Run the sshd of a server with other settings; give its port on 127.0.0.1.

    `ready` returns whether the server at a port is up; `wrap` turns the shell command of sshd into the
    arguments of the process to run, which has to become sshd.
    """
    config = path / "sshd_config"
    for _ in range(_TRIES):
        port = _free_port()
        config.write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {server.directory}/host_key\nPidFile none\n"
            f"StrictModes no\nUsePAM no\n{server.session_paths}{text}"
        )
        sshd = subprocess.Popen(wrap(shlex.join([server.programs.sshd, "-D", "-f", str(config)])))
        try:
            if _comes_up(sshd, port, ready):
                yield port
                return
        finally:
            sshd.terminate()
            sshd.wait(20)
    raise AssertionError(f"sshd has ended {_TRIES} times: {sshd.returncode}")


@contextmanager
def another_sshd(server: SshServer, path: Path, text: str) -> Iterator[int]:
    """Run the sshd of a server with more settings; give its port. It takes the same keys."""
    keys = f"AuthorizedKeysFile {server.directory}/authorized_keys\n"
    # In an empty home: bash reads the user's .bashrc for a command over ssh.
    home = f"PermitRootLogin yes\nSetEnv HOME={server.directory}/home\n"
    with running_sshd(server, path, f"{keys}{home}{text}") as port:
        yield port
