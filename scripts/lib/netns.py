"""Nodes in network namespaces of their own, on a bridge, over links with a cap. Takes root.

    start: unshare ── pid 1: this module, in the head's network namespace ─┬─ the namespace of the bridge
                                                                           ├─ node 1: sshd
                                                                           └─ node 2: sshd ...

All of it has a PID namespace, which ends with its first process: whatever becomes of that, nothing is left. No
namespace has a name. A link has a token bucket filter at both ends (netem is not in every kernel).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

#: The first node has the address ...0.1 and the head ...255.1.
NETWORK = "10.231"

#: Bytes that pass at once, and bytes that wait: some 50 ms at 20 Mbit/s.
BURST, QUEUE = "16kb", "256kb"

#: What is needed, and its Debian package.
NEEDED = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "tc": "iproute2"}


def address(node: int) -> str:
    """Return the address of a node, from 1 on; 0 is the head."""
    return f"{NETWORK}.{node // 250}.{node % 250 + 1}" if node else f"{NETWORK}.255.1"


def call(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"sshd: {' '.join(words)}: {done.stderr.strip()}")


def filter_words(device: str, rate: str) -> list[str]:
    bucket = ["rate", f"{rate}mbit", "burst", BURST, "limit", QUEUE]
    return ["tc", "qdisc", "replace", "dev", device, "root", "tbf", *bucket]


class Network:
    """The namespaces, made by the first process of the PID namespace, which is in that of the head."""

    def __init__(self, directory: Path, nodes: int, rate: str, sshd: str, port: int) -> None:
        self.directory = directory
        self.pids: dict[str, int] = {}
        self._kept: list[subprocess.Popen[bytes]] = []
        bridge = self._hold("bridge", "exec sleep 2147483647")
        self._bridge = str(bridge.pid)
        self._go(bridge)
        self._in_bridge("ip", "link", "add", "br0", "type", "bridge")
        self._in_bridge("ip", "link", "set", "br0", "up")
        self._join(0, str(os.getpid()), rate)
        for words in self._own_end(0, rate):
            call(*words)
        for node in range(1, nodes + 1):
            lines = [" ".join(words) for words in self._own_end(node, rate)]
            lines.append(
                f"exec {sshd} -D -f {directory}/sshd_config -p {port} -E {directory}/sshd.log"
            )
            held = self._hold(f"node{node}", " && ".join(lines))
            self._join(node, str(held.pid), rate)
            self._go(held)
        (directory / "pids").write_text(json.dumps(self.pids))

    def _hold(self, name: str, text: str) -> subprocess.Popen[bytes]:
        """Start a shell in a network namespace of its own, which goes on when it has a line."""
        words = ["unshare", "--net", "/bin/sh", "-c", f"echo; read -r line && {text}"]
        held = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert held.stdout is not None
        held.stdout.readline()  # it is in its namespace
        self.pids[name] = held.pid
        self._kept.append(held)
        return held

    def _go(self, held: subprocess.Popen[bytes]) -> None:
        assert held.stdin is not None
        held.stdin.write(b"go\n")
        held.stdin.close()

    def _in_bridge(self, *words: str) -> None:
        call("nsenter", "-t", self._bridge, "-n", *words)

    def _join(self, node: int, pid: str, rate: str) -> None:
        """Lay a link between the bridge and a namespace."""
        self._in_bridge(
            "ip", "link", "add", f"v{node}", "type", "veth", "peer", "name", "eth0", "netns", pid
        )
        self._in_bridge("ip", "link", "set", f"v{node}", "master", "br0", "up")
        self._in_bridge(*filter_words(f"v{node}", rate))

    def _own_end(self, node: int, rate: str) -> list[list[str]]:
        return [
            ["ip", "link", "set", "lo", "up"],
            ["ip", "addr", "add", f"{address(node)}/16", "dev", "eth0"],
            ["ip", "link", "set", "eth0", "up"],
            filter_words("eth0", rate),
        ]

    def wait(self, lifetime: float) -> None:
        """Reap what ends here, until a signal comes or the time is over. The kernel ends the rest with us."""
        signals = {signal.SIGTERM, signal.SIGCHLD}
        deadline = time.monotonic() + lifetime
        while (left := deadline - time.monotonic()) > 0:
            found = signal.sigtimedwait(signals, left)
            if found is None or found.si_signo == signal.SIGTERM:
                return
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return


def serve(directory: Path, nodes: int, rate: str, sshd: str, port: int, lifetime: float) -> None:
    network = Network(directory, nodes, rate, sshd, port)
    # Not before: what it starts would have them blocked too.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    (directory / "made").touch()
    network.wait(lifetime)


def unshare(command: list[str]) -> list[str]:
    """Return the words that run a command as the first process of namespaces of its own."""
    missing = sorted({package for name, package in NEEDED.items() if shutil.which(name) is None})
    if os.geteuid() != 0 or missing:
        packages = f", and: apt-get install {' '.join(missing)}" if missing else ""
        raise SystemExit(f"sshd: network namespaces need root{packages}")
    flags = ["--net", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"]
    return ["unshare", *flags, *command]


# -- from outside ------------------------------------------------------------------------------------


def first_pid(outer: int) -> int:
    """Return the pid, as seen here, of the first process of the namespaces."""
    return int(Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0])


def outer_pid(first: int, inner: int) -> int:
    """Return the pid, as seen here, of a child of the first process, with its pid there."""
    for child in Path(f"/proc/{first}/task/{first}/children").read_text().split():
        status = Path(f"/proc/{child}/status").read_text()
        pids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
        if int(pids[-1]) == inner:
            return int(child)
    raise SystemExit(f"sshd: process {inner} of the namespaces is gone")


def place_of(directory: Path, outer: int, node: int) -> int:
    """Return the pid, as seen here, of a process in the network namespace of a node; 0 is the head."""
    first = first_pid(outer)
    if node == 0:
        return first
    return outer_pid(first, json.loads((directory / "pids").read_text())[f"node{node}"])


def enter(directory: Path, outer: int, node: int, command: list[str]) -> None:
    """Become a command in the network namespace of a node."""
    pid = place_of(directory, outer, node)
    os.execvp("nsenter", ["nsenter", "-t", str(pid), "-n", *command])


def link(directory: Path, outer: int, node: int, rate: str) -> None:
    """Give the link of a node another rate, in Mbit/s; `down` cuts it, `up` mends it."""
    first = first_pid(outer)
    pids = json.loads((directory / "pids").read_text())
    bridge = ["nsenter", "-t", str(outer_pid(first, pids["bridge"])), "-n"]
    if rate in ("down", "up"):
        call(*bridge, "ip", "link", "set", f"v{node}", rate)
        return
    inside = place_of(directory, outer, node)
    call(*bridge, *filter_words(f"v{node}", rate))
    call("nsenter", "-t", str(inside), "-n", *filter_words("eth0", rate))


if __name__ == "__main__":
    where, count, mbit, program, at, seconds = sys.argv[1:]
    serve(Path(where), int(count), mbit, program, int(at), float(seconds))
