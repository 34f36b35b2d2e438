"""Relay copies over links with a cap, each node in a network namespace of its own: faults of nodes and links.

No figure is asserted but how often the head sends the file: the figures are of the benchmark case `relay`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.relays import SOON, kill_node, running_in, tokens_in
from tests.ssh.conftest import SCRIPT, call_script
from tests.support import eventually

pytestmark = pytest.mark.needs("root", "ssh", "sshd", "tc", "nsenter")

NODES = 6
#: Two seconds and a half at the rate of a link.
SIZE, RATE = 5_000_000, "16"


class Links:
    """The private server with its namespaces, and copies from the place of the head."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.homes = directory / "homes"
        self.source = directory / "source"
        self.source.write_bytes(os.urandom(SIZE))
        self.copies: list[subprocess.Popen[str]] = []
        #: Of copies that were seen: a process of an sshd of theirs has another home.
        self.tokens: set[str] = set()

    def call(self, *words: str) -> str:
        """Run scripts/sshd."""
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def link(self, node: int, rate: str) -> None:
        self.call("link", "--dir", str(self.directory), "--", str(node), rate)

    def sent(self) -> int:
        """Return how many bytes have left the head."""
        text = self.call("enter", "--dir", str(self.directory), "--", "cat", "/proc/self/net/dev")
        found = re.search(r"eth0:(.*)", text)
        assert found is not None
        return int(found[1].split()[8])

    def home(self, node: int) -> Path:
        return self.homes / f"10.231.0.{node + 1}"

    def target(self, node: int) -> Path:
        return self.home(node) / "target"

    def copy(self, *words: str) -> subprocess.Popen[str]:
        """Start a relay copy to all nodes; its results are lines of JSON."""
        options = f"-F {self.directory}/ssh_config"
        enter = [sys.executable, str(SCRIPT), "enter", "--dir", str(self.directory), "--"]
        mpshell = [
            sys.executable,
            "-m",
            "mpshell",
            "-w",
            f"node[1-{NODES}]",
            "-o",
            options,
            "--jsonl",
        ]
        relay = ["-c", str(self.source), "--dest", "~/target", "--relay-options", options, *words]
        self.copies.append(subprocess.Popen(
            [*enter, *mpshell, *relay], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        ))  # fmt: skip
        return self.copies[-1]

    def underway(self) -> bool:
        """Return whether all nodes get to have a part of the file."""
        return eventually(lambda: len(self.parts()) == NODES)

    def parts(self) -> list[int]:
        """Return the sizes of parts that have grown."""
        self.tokens |= tokens_in(self.homes)
        found = []
        for path in self.homes.glob("*/.mpshell-*/part"):
            try:
                found.append(path.stat().st_size)
            except FileNotFoundError:
                continue
        return [size for size in found if size > 100_000]

    def nothing_left(self) -> bool:
        return not self.running() and not list(self.homes.glob("*/.mpshell-*"))

    def running(self) -> list[str]:
        return running_in(self.homes, self.tokens)


def codes(copy: subprocess.Popen[str]) -> dict[str, int]:
    """Return the exit status of each node."""
    out, err = copy.communicate(timeout=100)
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines, err
    return {line["node"]: line["rc"] for line in lines if "rc" in line}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Links]:
    directory = tmp_path_factory.mktemp("links")
    started = call_script("start", directory, "--netns", str(NODES), "--mbit", RATE)
    assert started.returncode == 0, started.stderr
    with open(directory / "ssh_config", "a") as config:
        config.write("  KexAlgorithms curve25519-sha256\n  ConnectTimeout 5\n")
    yield Links(directory)
    assert call_script("stop", directory).returncode == 0


@pytest.fixture
def links(server: Links) -> Iterator[Links]:
    yield server
    for copy in server.copies:
        copy.kill()
        copy.communicate()
    server.copies.clear()
    assert eventually(server.nothing_left, 60), server.running()
    for node in range(1, NODES + 1):
        server.target(node).unlink(missing_ok=True)


def check_arrived(links: Links, *nodes: int) -> None:
    wanted = hashlib.sha256(links.source.read_bytes()).hexdigest()
    for node in nodes:
        assert hashlib.sha256(links.target(node).read_bytes()).hexdigest() == wanted


@pytest.mark.parametrize("way", ["ssh", "sshd"])
def test_every_node_has_the_file_and_the_head_sends_it_once(way: str, links: Links) -> None:
    before = links.sent()
    assert codes(links.copy(f"--relay={way}")) == {f"node{n}": 0 for n in range(1, NODES + 1)}
    check_arrived(links, *range(1, NODES + 1))
    # Including the overhead of TCP, ssh and the logins of all nodes, which is large beside a small file.
    assert links.sent() - before < 1.3 * SIZE


def test_a_receiver_that_is_killed(links: Links) -> None:
    before = links.sent()
    copy = links.copy("--relay")
    assert links.underway()
    kill_node(links.home(3))
    found = codes(copy)
    assert found.pop("node3") != 0
    assert set(found.values()) == {0} and len(found) == NODES - 1
    check_arrived(links, 1, 2, 4, 5, 6)
    assert links.sent() - before < 1.3 * SIZE
    # No process was left to clear up there.
    for path in links.home(3).glob(".mpshell-*"):
        subprocess.run(["rm", "-r", str(path)], check=True)


def test_a_link_that_is_cut_without_a_word(links: Links) -> None:
    copy = links.copy("--relay")
    assert links.underway()
    links.link(3, "down")
    try:
        found = codes(copy)
    finally:
        links.link(3, "up")
    assert found.pop("node3") != 0
    assert set(found.values()) == {0} and len(found) == NODES - 1
    check_arrived(links, 1, 2, 4, 5, 6)


def test_nodes_that_do_not_reach_each_other(links: Links) -> None:
    """Half of the pairs: no node of the one half reaches one of the other half directly."""
    before = links.sent()
    pairs = [(2, 3), (3, 2), (3, 4), (4, 3), (5, 1), (1, 5)]
    enter = ["enter", "--dir", str(links.directory)]
    for here, there in pairs:
        address = f"10.231.0.{there + 1}/32"
        links.call(*enter, "--node", str(here), "--", "ip", "route", "add", "unreachable", address)
    try:
        found = codes(links.copy("--relay"))
    finally:
        for here, there in pairs:
            address = f"10.231.0.{there + 1}/32"
            links.call(
                *enter, "--node", str(here), "--", "ip", "route", "del", "unreachable", address
            )
    assert found == {f"node{n}": 0 for n in range(1, NODES + 1)}
    check_arrived(links, *range(1, NODES + 1))
    assert links.sent() - before < 1.3 * SIZE


def test_a_slow_node_gets_the_file_too(links: Links) -> None:
    links.link(3, "4")
    try:
        found = codes(links.copy("--relay"))
    finally:
        links.link(3, RATE)
    assert found == {f"node{n}": 0 for n in range(1, NODES + 1)}
    check_arrived(links, *range(1, NODES + 1))


@pytest.mark.parametrize("way", ["ssh", "sshd"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_head_leaves_nothing_on_the_nodes(
    number: signal.Signals, way: str, links: Links
) -> None:
    copy = links.copy(f"--relay={way}")
    assert links.underway()

    def over() -> bool:
        # One SIGINT shows how far it is; the second within a second ends it.
        if copy.poll() is None:
            copy.send_signal(number)
        return copy.poll() is not None

    assert eventually(over)
    assert copy.returncode != 0
    assert eventually(links.nothing_left, SOON), links.running()
