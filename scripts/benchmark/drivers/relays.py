"""A copy to nodes over links with a cap, and what becomes of one of them meanwhile."""

import os
import re
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path
from time import monotonic

from scripts.lib.netns import address
from tests.relays import kill_node

_SCRIPT = str(Path(__file__).resolve().parents[2] / "sshd")

#: Seconds without a byte after which a link counts as cut: what a cut link costs in any case.
_STALL = 4.0

KILL, CUT = "kill", "cut"


def copy(
    library: str,
    server: str,
    words: list[str],
    source: str,
    dest: str,
    nodes: int,
    fault: str = "",
    victim: int = 0,
    after: float = 0.0,
) -> dict[str, float]:
    """Run the command of a copy at the place of the head; RuntimeError unless all other nodes have the file.

    The fault, KILL or CUT or "" for none, happens to the node `victim` after so many seconds. `head_sent` is
    what left the head, over the size of the file; `unstalled` is the time without that until a cut is known.
    """
    homes = [Path(server) / "homes" / address(node) for node in range(1, nodes + 1)]
    for home in homes:
        (home / dest).unlink(missing_ok=True)
    before, begin = _sent(server), monotonic()
    command = subprocess.Popen(_entering(server, *words))
    timer = threading.Timer(after, _break, (fault, server, victim))
    timer.start()
    try:
        status = command.wait()
        seconds = monotonic() - begin
    finally:
        timer.cancel()
        timer.join()
        if fault == CUT:
            _link(server, victim, "up")
    if (status != 0) is not bool(fault):
        raise RuntimeError(f"exit status {status} with the fault {fault!r}")
    wanted = sha256(Path(source).read_bytes()).digest()
    for node, home in enumerate(homes, 1):
        if node == victim:
            # Nobody was left to clear away there.
            subprocess.run(["rm", "-rf", *map(str, home.glob(".mpshell-*"))], check=True)
        elif sha256((home / dest).read_bytes()).digest() != wanted:
            raise RuntimeError(f"node {node} has another file")
    return {
        "seconds": seconds,
        "head_sent": (_sent(server) - before) / os.path.getsize(source),
        "unstalled": seconds - (_STALL if fault == CUT else 0.0),
    }


def _break(fault: str, server: str, victim: int) -> None:
    if fault == KILL:
        kill_node(Path(server) / "homes" / address(victim))
    elif fault == CUT:
        _link(server, victim, "down")


def _link(server: str, node: int, rate: str) -> None:
    words = [sys.executable, _SCRIPT, "link", "--dir", server, "--", str(node), rate]
    subprocess.run(words, check=True)


def _entering(server: str, *words: str) -> list[str]:
    """Return the words of a command at the place of the head."""
    return [sys.executable, _SCRIPT, "enter", "--dir", server, "--", *words]


def _sent(server: str) -> int:
    """Return how many bytes have left the head."""
    words = _entering(server, "cat", "/proc/self/net/dev")
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    found = re.search(r"eth0:(.*)", text)
    if found is None:
        raise RuntimeError("the head has no link")
    return int(found[1].split()[8])
