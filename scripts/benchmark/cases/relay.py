"""Copies over links with a cap: a relay copy beside flat ones. A node is a network namespace with an sshd."""

import os
import sys
from pathlib import Path

from scripts.benchmark.model import MPSHELL, Case, Contender, Invocation, Target
from scripts.benchmark.workplace import Workplace

_ROOT = Path(__file__).resolve().parents[3]

#: Mbit/s of every link both ways, also the head's; bytes of the file.
_RATE, _SIZE = 20, 25_000_000

#: What a copy to one node would take if nothing but the link took time, in seconds.
_LEAST = _SIZE * 8 / (_RATE * 1e6)

_FLAT = "mpshell, flat"
_CLUSH = "clush -c"
_PDCP = "pdcp -R ssh"

#: Cheap ones: two processors have to do the work of all nodes.
_SSH = "-oKexAlgorithms=curve25519-sha256 -oCiphers=aes128-gcm@openssh.com"


def _copies(work: Workplace) -> list[Contender]:
    most = work.size(24, 3)
    server = work.capped_nodes(most, _RATE)
    if server is None:
        return []
    config = f"-F {server}/ssh_config {_SSH}"
    source = work.file("relayed", os.urandom(_SIZE))
    enter = [sys.executable, str(_ROOT / "scripts" / "sshd"), "enter", "--dir", str(server), "--"]
    clush = str(Path(sys.executable).with_name("clush"))

    def copy(line: str, nodes: int, *words: str) -> Contender:
        label = line if nodes == most else f"{line}, {nodes} nodes"
        environment = {"PYTHONPATH": str(_ROOT), "PDSH_SSH_ARGS_APPEND": config}
        run = Invocation([*enter, *words], _LEAST, env=environment, timeout=900)
        return Contender(label, run, rounds=3 if line == MPSHELL else 1, point=(line, nodes))

    def mpshell(line: str, nodes: int, *more: str) -> Contender:
        program = [sys.executable, "-m", "mpshell", "-w", f"node[1-{nodes}]", "-o", config]
        return copy(line, nodes, *program, "-c", source, "--dest", "relayed", *more)

    relayed = [
        mpshell(MPSHELL, nodes, "--relay", "--relay-options", config)
        for nodes in (3, 6, 12, 24)
        if nodes <= most
    ]
    flat = [mpshell(_FLAT, nodes) for nodes in (3, 6, 12, 24) if nodes <= most]
    names = f"node[1-{most}]"
    return [
        *relayed[::-1],
        *flat[::-1],
        copy(_CLUSH, most, clush, "-w", names, "-o", config, "-c", source, "--dest", "relayed"),
        copy(_PDCP, most, "pdcp", "-R", "ssh", "-w", names, source, "relayed"),
    ]


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
        ),
        shown=("seconds", "over_least"),
        rounds=3,
        over="nodes",
    ),
)
