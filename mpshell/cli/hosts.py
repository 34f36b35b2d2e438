"""--hosts, --srun and --dask: engines on other hosts, and the report about those hosts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mpshell.cli.effective import origin

if TYPE_CHECKING:
    from mpshell.cli.terminal import Terminal
    from mpshell.hosts.launcher import HostsLauncher
    from mpshell.task.task import Task


def configure_hosts(task: Task, options: argparse.Namespace) -> None:
    """Run a Task's engines on the hosts of the options; TaskSettingError or ValueError for bad values.

    The Tasks of a session at the prompt share the connections to the hosts.
    """
    if options.launcher is None:
        options.launcher = _launcher(options)
    task.set_info("launcher", options.launcher)


def _launcher(options: argparse.Namespace) -> HostsLauncher:
    more = " ".join(options.hosts_options) or None
    if options.hosts is not None:
        from mpshell.hosts.ssh import ssh_hosts
        from mpshell.nodeset import NodeSet, NodeSetException

        try:
            hosts = NodeSet(options.hosts)
        except NodeSetException as error:
            name = origin(options, "hosts", "--hosts")
            raise ValueError(f"{name} {options.hosts!r}: {error}") from error
        return ssh_hosts(hosts, python=options.hosts_python, options=more)
    if options.dask is not None:
        from mpshell.hosts.dask import dask

        return dask(options.dask, python=options.hosts_python)
    from mpshell.hosts.srun import srun

    return srun(python=options.hosts_python, options=more)


def report_hosts(task: Task, terminal: Terminal) -> None:
    """Report the hosts that could not be used, with the reason of each."""
    launcher = task.info("launcher")
    if launcher is None:
        return
    for why in launcher.skipped.values():
        terminal.message(f"host not used: {why}")
    for name in launcher.unanswered:
        terminal.message(f"host not used: {name}: it had not answered when the run ended")
