"""OpenSSH 9 and 10: the installed one, and the other from the packages of the Debian release that has it.

The packages are unpacked into a cache of the user's, and their programs executed by their own dynamic loader:
no root, no container, nothing installed. Made once; without a network the cache has to be there.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: The release that has a version of OpenSSH.
RELEASES = {9: "bookworm", 10: "trixie"}

#: The programs that are executed, and their places in the packages.
PROGRAMS = {
    "ssh": "usr/bin/ssh", "scp": "usr/bin/scp", "ssh-keygen": "usr/bin/ssh-keygen", "sshd": "usr/sbin/sshd",
    "sftp-server": "usr/lib/openssh/sftp-server", "sshd-session": "usr/lib/openssh/sshd-session",
    "sshd-auth": "usr/lib/openssh/sshd-auth",
}  # fmt: skip


@dataclass(frozen=True)
class OpenSsh:
    """The programs of one version."""

    version: int
    programs: dict[str, str]
    installed: bool

    @property
    def ssh(self) -> str:
        return self.programs["ssh"]

    @property
    def scp(self) -> str:
        return self.programs["scp"]

    @property
    def sshd(self) -> str:
        return self.programs["sshd"]

    def words(self, name: str) -> list[str]:
        """Return the arguments that execute a program without a shell in between; the last is its path."""
        if self.installed:
            return [self.programs[name]]
        root = Path(self.programs[name]).parents[1]
        return [*loader_words(root), str(root / PROGRAMS[name])]


def openssh(version: int) -> OpenSsh:
    """Return the programs of a version; RuntimeError when they cannot be had."""
    if installed_version() == version:
        return OpenSsh(version, {name: f"/{path}" for name, path in PROGRAMS.items()}, True)
    root = cache() / f"openssh-{version}-{RELEASES[version]}"
    root.parent.mkdir(parents=True, exist_ok=True)
    with open(root.with_suffix(".lock"), "w") as lock:
        # Tests run in several processes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "complete").exists():
            shutil.rmtree(root, ignore_errors=True)
            fetch(RELEASES[version], root)
            (root / "complete").touch()
    return OpenSsh(version, {p.name: str(p) for p in (root / "programs").iterdir()}, False)


def installed_version() -> int:
    """Return the major number of the OpenSSH that is installed."""
    words = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    found = re.match(r"OpenSSH_(\d+)", words)
    if found is None:
        raise RuntimeError(f"the installed ssh is no OpenSSH: {words!r}")
    return int(found[1])


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "mpshell-tests"


def fetch(release: str, root: Path) -> None:
    """Unpack a release's OpenSSH, with the libraries that it needs, and make its programs executable."""
    state = root / "apt"
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "sources.list").write_text(f"deb http://deb.debian.org/debian {release} main\n")
    (state / "status").touch()
    options = {
        "Dir::Etc::sourcelist": state / "sources.list", "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": state / "lists", "Dir::State::status": state / "status", "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives", "Acquire::Languages": "none", "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",
    }  # fmt: skip
    apt = [
        "apt-get",
        "-qq",
        *(word for key, value in options.items() for word in ("-o", f"{key}={value}")),
    ]
    packages = ["openssh-client", "openssh-server"]
    call([*apt, "update"], release)
    call([*apt, "-y", "--no-install-recommends", "--download-only", "install", *packages], release)
    for package in sorted((state / "archives").glob("*.deb")):
        if package.name.startswith(("openssh-", "lib", "zlib1g")):
            call(["dpkg-deb", "-x", str(package), str(root)], release)
    shutil.rmtree(state)
    make_programs(root)


def call(words: list[str], release: str) -> None:
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(
            f"the OpenSSH of Debian {release} cannot be had: {words[0]} {words[-1]}: "
            f"{done.stderr.strip()[-500:]}"
        )


def make_programs(root: Path) -> None:
    """Write a script for each program, which executes it with its own loader and libraries."""
    loader = " ".join(loader_words(root))
    (root / "programs").mkdir()
    for name, path in PROGRAMS.items():
        if (root / path).exists():
            script = root / "programs" / name
            script.write_text(f'#!/bin/sh\nexec {loader} --argv0 {script} {root / path} "$@"\n')
            script.chmod(0o755)


def loader_words(root: Path) -> list[str]:
    """Return the dynamic loader of an unpacked system, with the option for its libraries."""
    [libc] = [*root.glob("lib/*/libc.so.6"), *root.glob("usr/lib/*/libc.so.6")]
    libraries = ":".join(str(root / place / libc.parent.name) for place in ("lib", "usr/lib"))
    [loader] = libc.parent.glob("ld-linux*.so.*")
    return [str(loader), "--library-path", libraries]
