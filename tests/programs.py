"""The programs of the system that tests need: which test needs which, and how they come here.

A test names its programs with the mark `needs`, a fixture in FIXTURES. With MPSHELL_TEST_INSTALL in the
environment (`scripts/test` sets it) the programs of the chosen tests are installed after their collection; a
test whose program is still missing fails, and its message names the package.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest


class Program(NamedTuple):
    """The sign that a program is installed, its name or a path; and the Debian package that brings it."""

    file: str
    package: str

    @property
    def here(self) -> bool:
        if self.file == ROOT:
            return os.geteuid() == 0
        places = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin:/usr/local/sbin"))
        return shutil.which(self.file, path=places) is not None or (
            self.file.startswith("/") and os.path.exists(self.file)
        )


APT_GET = "/usr/bin/apt-get"

#: Not a program, and in no package.
ROOT = "root"

PROGRAMS = {
    "ssh": Program("ssh", "openssh-client"),
    "sshd": Program("sshd", "openssh-server"),
    "pdsh": Program("pdsh", "pdsh"),
    "zsh": Program("zsh", "zsh"),
    "csh": Program("csh", "csh"),
    "busybox": Program("busybox", "busybox"),
    "netkit-rsh": Program("netkit-rsh", "rsh-client"),
    # It asks Slurm's own reading of its lists of nodes, and needs no cluster for that.
    "scontrol": Program("scontrol", "slurm-client"),
    "ip": Program("ip", "iproute2"),
    "openssl": Program("openssl", "openssl"),
    "sudo": Program("sudo", "sudo"),
    "sshpass": Program("sshpass", "sshpass"),
    "srun": Program("srun", "slurm-client"),
    "slurmctld": Program("slurmctld", "slurmctld"),
    "slurmd": Program("slurmd", "slurmd"),
    "munged": Program("munged", "munge"),
    "chromium": Program("chromium", "chromium"),
    "chromedriver": Program("chromedriver", "chromium-driver"),
    # netkit's rsh and pdsh's look up the number of their port there.
    "services": Program("/etc/services", "netbase"),
    "tc": Program("tc", "iproute2"),
    "nsenter": Program("nsenter", "util-linux"),
    "unshare": Program("unshare", "util-linux"),
    "root": Program(ROOT, ""),
}

#: The programs that a test needs which uses the fixture.
FIXTURES = {
    "ssh_server": ("ssh", "sshd"),
    "pdsh_task": ("pdsh",),
    "rsh_server": ("root",),
    "rsh_on_ipv6": ("root",),
    "small_disk": ("root",),
    "browser": ("chromium", "chromedriver"),
}

#: The program that a test needs for this parameter of a fixture; without it the test is left out, and the
#: summary names it: the other parameters of the fixture are the stand-in for it.
PARAMETERS = {
    ("rsh_client", "netkit"): ("netkit-rsh", "services"),
    ("shell", "csh"): ("csh",),
}


def alternatives(item: pytest.Item) -> set[str]:
    """Return the programs of the parameters of a test, for which there is a stand-in."""
    callspec = getattr(item, "callspec", None)
    given = (
        []
        if callspec is None
        else [pair for pair in PARAMETERS if callspec.params.get(pair[0]) == pair[1]]
    )
    return {name for pair in given for name in PARAMETERS[pair]}


def needs(item: pytest.Item) -> set[str]:
    """Return the programs without which a test cannot run."""
    marked = {name for mark in item.iter_markers("needs") for name in mark.args}
    if unknown := marked - PROGRAMS.keys():
        raise pytest.UsageError(f"{item.nodeid} needs {sorted(unknown)}: not in tests/programs.py")
    fixtures = getattr(item, "fixturenames", ())
    return marked | {name for fixture in fixtures for name in FIXTURES.get(fixture, ())}


def missing(names: Iterable[str]) -> list[str]:
    """Return those of the programs that are not here, in order."""
    return sorted(name for name in names if not PROGRAMS[name].here)


def packages(names: Iterable[str]) -> list[str]:
    return sorted({PROGRAMS[name].package for name in names} - {""})


def provide(names: set[str]) -> None:
    """Install the programs that are missing, where that is allowed and possible."""
    if not missing(names) or "MPSHELL_TEST_INSTALL" not in os.environ:
        return
    if os.geteuid() != 0 or not os.path.exists(APT_GET):
        return
    # Each of the processes of a run gets here: one installs, once, and the others wait for it.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    with open(Path(sys.prefix) / "installed-for", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if lock.read() != run:
            _install(packages(missing(names)))
            lock.truncate(0)
            lock.write(run)


def _install(wanted: list[str]) -> None:
    if not wanted:
        return
    print(f"Installing {' '.join(wanted)} ...", file=sys.__stderr__, flush=True)
    if _apt_get("install", *wanted):
        return
    # The lists of packages may be old, or none are here yet.
    _apt_get("update")
    if not _apt_get("install", *wanted):
        # One that the system does not have must not keep the others away.
        for package in wanted:
            _apt_get("install", package)


def _apt_get(*words: str) -> bool:
    """Run apt-get, and wait for another one that runs; return whether it has succeeded."""
    options = ("-qq", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300")
    done = subprocess.run(
        [APT_GET, *options, *words],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.returncode == 0


# -- hooks of pytest --------------------------------------------------------------------------------


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Install the programs of the chosen tests; leave out the tests of a missing one that has a stand-in."""
    provide({name for item in items for name in needs(item) | alternatives(item)})
    left_out = [item for item in items if missing(alternatives(item))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if absent := missing(needs(item)):
        remedy = (
            f": as root, apt-get install {' '.join(packages(absent))}" if packages(absent) else ""
        )
        pytest.fail(f"needs {', '.join(absent)}{remedy}", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for (fixture, parameter), names in PARAMETERS.items():
        if missing(names):
            terminalreporter.write_line(
                f"not here: {' '.join(packages(missing(names)))}. Its tests run with the stand-in alone "
                f"({fixture} is never {parameter})."
            )
