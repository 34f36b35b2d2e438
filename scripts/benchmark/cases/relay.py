"""Copies over links with a cap: a relay copy beside flat ones. A node is a network namespace with an sshd."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from scripts.benchmark.model import MPSHELL, Case, Contender, Target
from scripts.benchmark.workplace import Workplace

#: Mbit/s of every link both ways, also the head's; bytes of the file.
_RATE, _SIZE = 20, 25_000_000

#: What a copy to one node would take if nothing but the link took time, in seconds.
_LEAST = _SIZE * 8 / (_RATE * 1e6)

_FLAT = "mpshell, flat"
_SSHD = "mpshell, --relay=sshd"
_CLUSH = "clush -c"
_PDCP = "pdcp -R ssh"
_KILLED = "mpshell, a node killed after 6 s"
_CUT = "mpshell, a link cut after 6 s"

#: Cheap ones: two processors have to do the work of all nodes.
_SSH = "-oKexAlgorithms=curve25519-sha256 -oCiphers=aes128-gcm@openssh.com"


class _Copies:
    """The contenders of a server: a copy to the first of its nodes, by each program."""

    def __init__(self, work: Workplace, server: Path, most: int) -> None:
        self._work = work
        self._server = str(server)
        self._most = most
        self._config = f"-F {server}/ssh_config {_SSH}"
        self._source = work.file("relayed", os.urandom(_SIZE))
        self.found: list[Contender] = []

    def add(self, line: str, nodes: int, rounds: int, words: list[str], **fault: Any) -> None:
        run = self._work.driver(
            "mpshell", "relays.copy", _LEAST, 900, server=self._server, words=words, source=self._source,
            dest="relayed", nodes=nodes, **fault,
        )  # fmt: skip
        run.env["PDSH_SSH_ARGS_APPEND"] = self._config
        label = line if nodes == self._most else f"{line}, {nodes} nodes"
        point = None if fault else (line, nodes)
        self.found.append(Contender(label, run, rounds=rounds, point=point))

    def mpshell(self, line: str, nodes: int, rounds: int, *more: str, **fault: Any) -> None:
        words = [
            sys.executable,
            "-m",
            "mpshell",
            "-w",
            f"node[1-{nodes}]",
            "-o",
            self._config,
            "-c",
        ]
        words += [self._source, "--dest", "relayed", *more]
        self.add(line, nodes, rounds, words, **fault)

    def relay(self, line: str, nodes: int, rounds: int, way: str, **fault: Any) -> None:
        options = [f"--relay={way}", "--relay-options", self._config]
        self.mpshell(line, nodes, rounds, *options, **fault)

    def clush(self, nodes: int) -> None:
        program = str(Path(sys.executable).with_name("clush"))
        words = [program, "-w", f"node[1-{nodes}]", "-o", self._config, "-c", self._source]
        self.add(_CLUSH, nodes, 1, [*words, "--dest", "relayed"])

    def pdcp(self, nodes: int) -> None:
        if shutil.which("pdcp") is None:
            self._work.leave_out(f"{_PDCP}: not installed here.")
            return
        words = ["pdcp", "-R", "ssh", "-w", f"node[1-{nodes}]", self._source, "relayed"]
        self.add(_PDCP, nodes, 1, words)


def _copies(work: Workplace) -> list[Contender]:
    most = work.size(24, 3)
    server = work.capped_nodes(most, _RATE)
    if server is None:
        return []
    copies = _Copies(work, server, most)
    few, half = most // 4, most // 2
    sizes = [nodes for nodes in (most, half, few) if nodes > 2]
    for nodes in sizes:
        copies.relay(MPSHELL, nodes, 3 if nodes == most else 2, "ssh")
    victim = {"victim": most // 2, "after": 6.0}
    copies.relay(_KILLED, most, 3, "ssh", fault="kill", **victim)
    copies.relay(_CUT, most, 3, "ssh", fault="cut", **victim)
    for nodes in sizes:
        copies.relay(_SSHD, nodes, 3 if nodes == most else 1, "sshd")
    # Each takes as long as all its nodes one after the other: once, and nothing in the middle for two of them.
    for nodes in sizes:
        copies.mpshell(_FLAT, nodes, 1)
    for nodes in sizes[::2]:
        copies.clush(nodes)
        copies.pdcp(nodes)
    return copies.found


CASES = (
    Case(
        "relay",
        "a file of 25 MB to 24 nodes, every link 20 Mbit/s: `mpshell -c --relay` beside flat copies",
        "least times",
        _copies,
        (
            Target("at most 1.6 of size/bandwidth", "over_least", at_most=1.6),
            Target("at most a twelfth of flat", "over_least", at_most=1 / 12, against=_FLAT),
            Target("never slower than clush -c", "over_least", at_most=1.0, against=_CLUSH),
            Target("never slower than pdcp", "over_least", at_most=1.0, against=_PDCP),
            Target("the head sends at most 1.05 of the size", "head_sent", at_most=1.05),
            Target(
                "a killed node costs at most 10 %",
                "unstalled",
                at_most=1.1,
                against=MPSHELL,
                who=_KILLED,
            ),
            Target(
                "a cut link costs at most 15 % and the 4 s in which it is found",
                "unstalled",
                at_most=1.15,
                against=MPSHELL,
                who=_CUT,
            ),
            Target(f"{_SSHD}: at most 1.6 of size/bandwidth", "over_least", at_most=1.6, who=_SSHD),
        ),
        shown=("seconds", "over_least", "head_sent"),
        rounds=3,
        over="nodes",
    ),
)
