"""--hosts and --srun: engines on other hosts, and what became of those hosts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpshell.cli.terminal import Terminal
    from mpshell.task.task import Task


def configure_hosts(task: Task, options: argparse.Namespace) -> None:
    """Have a Task's engines run where the options say; TaskSettingError or ValueError for bad values."""
    if options.hosts is not None:
        from mpshell.hosts.ssh import ssh_hosts
        from mpshell.nodeset import NodeSet, NodeSetException

        try:
            hosts = NodeSet(options.hosts)
        except NodeSetException as error:
            raise ValueError(f"--hosts {options.hosts!r}: {error}") from error
        more = " ".join(options.hosts_options) or None
        task.set_info("launcher", ssh_hosts(hosts, python=options.hosts_python, options=more))
    elif options.srun:
        from mpshell.hosts.srun import srun

        task.set_info(
            "launcher",
            srun(python=options.hosts_python, options=" ".join(options.hosts_options) or None),
        )


def report_hosts(task: Task, terminal: Terminal) -> None:
    """Report the hosts that could not be used, with the reason of each."""
    launcher = task.info("launcher")
    if launcher is None:
        return
    for why in launcher.skipped.values():
        terminal.message(f"host not used: {why}")
    for name in launcher.unanswered:
        terminal.message(f"host not used: {name}: no answer yet when the run was over")
