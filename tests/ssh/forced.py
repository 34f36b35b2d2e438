"""A server that does more than run the command: it knows the node, and may print or wait before.

A program in the place of ssh(1) could do that for the transport `ssh` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ssh.conftest import SshServer
from tests.ssh.servers import another_sshd
from tests.ssh.test_ssh_faults import write_config


@contextmanager
def forced(server: SshServer, path: Path, script: str, nodes: int = 10) -> Iterator[str]:
    """Give options of ssh for nodes that execute a script before anything else, with $NODE as their name."""
    (path / "force").write_text(f'{script}\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
    text = (
        f"Subsystem sftp {server.programs.programs['sftp-server']}\nAcceptEnv NODE\nMaxStartups 100\n"
        f"ForceCommand exec /bin/sh {path}/force\n"
    )
    with another_sshd(server, path, text) as port:
        hosts = "".join(f"Host node{n}\n  SetEnv NODE=node{n}\n" for n in range(1, nodes + 1))
        place = f"Host node*\n  HostName 127.0.0.1\n  Port {port}\n"
        yield write_config(path, server, hosts + place)
