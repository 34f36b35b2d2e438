"""Two network namespaces with a link between them that can be cut, and a gateway behind it.

    near: ssh ══ veth ══ far: sshd ─► outpost

A cut is a route that drops silently: nothing is refused, nothing is reset, as when a cable is pulled. The
packets of one direction are dropped where they are sent.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from mpshell import ssh_hosts
from mpshell.hosts.launcher import HostsLauncher
from tests.ssh.conftest import SshServer
from tests.support import eventually

#: A network of the namespaces' own.
ADDRESSES = {"near": "10.231.78.1", "far": "10.231.78.2"}
PORT = 2222

RETRY = "/proc/sys/net/ipv4/tcp_rto_max_ms"

#: Where the packets of a direction are dropped, and where they go to.
WAYS = {"up": ("far", "near"), "down": ("near", "far")}


def ip(*words: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 or not check, (words, done.stderr)
    return done.stdout


class Link:
    """A gateway in a namespace, reached over a link that can be cut."""

    def __init__(self, server: SshServer) -> None:
        self._names = {side: f"mpshell-{os.getpid()}-{side}" for side in ADDRESSES}
        self._server = server
        self._sshd: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        for name in self._names.values():
            ip("netns", "add", name)
        near, far = self._names["near"], self._names["far"]
        ip(
            "link",
            "add",
            "link0",
            "netns",
            near,
            "type",
            "veth",
            "peer",
            "name",
            "link0",
            "netns",
            far,
        )
        for side, name in self._names.items():
            ip("-n", name, "addr", "add", f"{ADDRESSES[side]}/24", "dev", "link0")
            for device in ("lo", "link0"):
                ip("-n", name, "link", "set", device, "up")
            # TCP tries again at growing distances: after a cut of 2.5 s only at 3 s, or at 6. A kernel that has
            # this setting (6.15) keeps them at a second, and the tests do not depend on it.
            ip("netns", "exec", name, "sh", "-c", f"! test -e {RETRY} || echo 1000 > {RETRY}")
        log = self._server.directory / "namespace.log"
        self._sshd = subprocess.Popen(
            ["ip", "netns", "exec", far, self._server.programs.sshd, "-D", "-f",
             str(self._server.directory / "sshd_config"), "-E", str(log), "-o", "LogLevel=INFO",
             "-o", f"ListenAddress={ADDRESSES['far']}:{PORT}"],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert eventually(lambda: log.exists() and "listening on" in log.read_text()), "sshd"

    def launcher(self) -> HostsLauncher:
        """Return a launcher with the gateway as its one host."""
        options = f"-F {self._server.config} -oHostName={ADDRESSES['far']} -oPort={PORT} -oConnectTimeout=60"
        [way] = ssh_hosts("node1", options=options).ways
        inside = ("ip", "netns", "exec", self._names["near"], *way.argv)
        return HostsLauncher([way._replace(argv=inside)], 1)

    def cut(self, ways: tuple[str, ...]) -> None:
        for way in ways:
            source, target = WAYS[way]
            ip("-n", self._names[source], "route", "add", "blackhole", f"{ADDRESSES[target]}/32")

    def heal(self) -> None:
        for source, target in WAYS.values():
            route = ("route", "del", "blackhole", f"{ADDRESSES[target]}/32")
            ip("-n", self._names[source], *route, check=False)

    def down(self) -> None:
        if self._sshd is not None:
            self._sshd.kill()
            self._sshd.wait()
        for name in self._names.values():
            # Sessions of sshd, and ssh: over a cut link no end would reach them.
            for pid in ip("netns", "pids", name, check=False).split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            ip("netns", "del", name, check=False)


@contextmanager
def link_to_a_gateway(server: SshServer) -> Iterator[Link]:
    link = Link(server)
    try:
        link.up()
        yield link
    finally:
        link.down()
