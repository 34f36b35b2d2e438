"""parallel-ssh: ssh in the process itself, no ssh(1)."""

import json
from pathlib import Path
from typing import Any

from meter import Meter


def sweep(
    library: str, server: str, nodes: int, port: int, user: str, command: str, fanout: int
) -> dict[str, float]:
    """Run a command on the nodes of a private server (scripts/sshd), with its key in `server`."""
    from pssh.clients import ParallelSSHClient

    hosts = [f"127.100.{node // 250}.{node % 250 + 1}" for node in range(1, nodes + 1)]
    meter = Meter()
    client: Any = ParallelSSHClient(
        hosts, user=user, port=port, pkey=str(Path(server) / "user_key"), pool_size=fanout,
        allow_agent=False, num_retries=3,
    )  # fmt: skip
    output = client.run_command(command)
    client.join(output)
    said = [list(host.stdout) for host in output]
    codes = [host.exit_code for host in output]
    result = meter.stop()
    if codes != [0] * len(hosts) or not all(said):
        raise RuntimeError(f"return codes: {json.dumps(codes)[:500]}")
    return result
