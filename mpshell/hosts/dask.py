"""The workers of a dask cluster as hosts: one task on each host leads to an outpost there."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mpshell.errors import EngineStartError, TaskSettingError
from mpshell.hosts.dasktask import unprotected
from mpshell.hosts.launcher import HostsLauncher, check_engines, check_ways
from mpshell.hosts.packets import Way

#: Seconds that a host has to answer: its worker may be busy, and the program here loads the library first.
PATIENCE = 60.0

#: Seconds for the scheduler to name its workers.
_CONNECT = 10

#: Of `distributed.Security`: the files, or their text, that authenticate this client.
_FILES = ("tls_ca_file", "tls_client_cert", "tls_client_key")
_OTHERS = ("tls_ciphers", "tls_min_version", "tls_max_version", "extra_conn_args")

# The paths of this program come behind its own.
_CODE = (
    "import json, sys; sys.path += json.loads(sys.argv[1]);"
    " from mpshell.hosts.daskbridge import main; sys.exit(main())"
)


def dask(cluster: Any, *, engines: int | None = None, python: str | None = None) -> HostsLauncher:
    """Return a launcher whose engines run on the hosts of a dask cluster, with one task on a worker of each.

    `cluster` is a `distributed.Client` or the address of a scheduler, `tls://HOST:PORT`; for an address the
    certificates are those of dask's configuration. The hosts are those of the workers that are connected now.
    `engines` is the number on each host, by default one per processor. `python` is the path of an interpreter
    there that has mpshell, by default that of the worker. Needs the extra `mpshell[dask]`.

    TaskSettingError for a bad value, also for a connection without TLS (except within this machine);
    EngineStartError for a scheduler that does not answer, or has no worker.
    """
    check_engines(engines)
    if python is not None and not isinstance(python, str):
        raise TaskSettingError(f"python is a text, not {python!r}")
    try:
        distributed = importlib.import_module("distributed")
    except ImportError as error:
        raise TaskSettingError(
            f"dask needs the package distributed: pip install 'mpshell[dask]' ({error})"
        ) from error
    address, security = _scheduler(cluster, distributed)
    if why := unprotected(address):
        raise TaskSettingError(f"dask: {why}")
    settings = json.dumps(
        {"address": address, "python": python, "security": _fields(security, address)}
    )
    argv = (sys.executable, "-P", "-c", _CODE, json.dumps([path for path in sys.path if path]))
    ways = [
        Way(host, argv, PATIENCE, (), host, settings)
        for host in _hosts(distributed, address, security)
    ]
    check_ways(ways)
    return HostsLauncher(ways, engines)


def _scheduler(cluster: Any, distributed: Any) -> tuple[str, Any]:
    """Return the address of the scheduler, and the keys for it."""
    if isinstance(cluster, distributed.Client):
        if cluster.scheduler is None or cluster.status == "closed":
            raise TaskSettingError(f"dask: {cluster!r} is not connected")
        return str(cluster.scheduler.address), cluster.security
    if isinstance(cluster, str) and cluster:
        try:
            return cluster, distributed.Security()
        except ValueError as error:
            raise TaskSettingError(f"dask: its configuration of TLS: {error}") from error
    raise TaskSettingError(
        f"dask: a distributed.Client or the address of a scheduler, not {cluster!r}"
    )


def _fields(security: Any, address: str) -> dict[str, object]:
    """Return the arguments for a `Security` in another process."""
    fields: dict[str, object] = {
        name: value
        for name in (*_FILES, *_OTHERS)
        if (value := getattr(security, name, None)) not in (None, {})
    }
    for name in _FILES:
        if isinstance(path := fields.get(name), str) and "\n" not in path:
            fields[name] = os.path.abspath(path)
    try:
        json.dumps(fields)
    except TypeError as error:
        raise TaskSettingError(f"dask: security of the client: {error}") from error
    return {**fields, "require_encryption": address.startswith("tls://")}


def _hosts(distributed: Any, address: str, security: Any) -> list[str]:
    """Return the hosts of the workers that are connected, each once; EngineStartError without any."""
    ask = functools.partial(asyncio.run, _identity(distributed, address, security))
    try:
        # In a thread: the caller's may be that of an event loop.
        with ThreadPoolExecutor(1) as pool:
            info = pool.submit(ask).result()
    except (OSError, TypeError, ValueError) as error:
        raise EngineStartError(
            f"the dask scheduler {address} does not answer: {error or type(error).__name__}"
        ) from error
    hosts = {str(worker["host"]): None for _, worker in sorted(info["workers"].items())}
    if not hosts:
        raise EngineStartError(
            f"no worker is connected to the dask scheduler {address}: wait for some first "
            "(Client.wait_for_workers)"
        )
    return list(hosts)


async def _identity(distributed: Any, address: str, security: Any) -> Any:
    connection = security.get_connection_args("client")
    async with distributed.rpc(address, connection_args=connection, timeout=_CONNECT) as scheduler:
        return await scheduler.identity()
