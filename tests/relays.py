"""A small head for the scripts of relay copies: it starts them, gives orders, and waits for answers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import psutil

from mpshell.worker import relay
from mpshell.worker.copy import Copy
from mpshell.worker.relaytree import PackedTree
from tests.support import eventually, paths_below

#: How long an answer may take on a machine that is busy, in seconds.
PATIENCE = 30

#: How long the end of a copy may take there, which takes about a second on an idle one.
SOON = 30


class Place:
    """Where the nodes of a test are, and how a command gets to one of them: this one runs it here.

    Each node has a home of its own, in which the target is. `shell` is its login shell, `sh` stands for its
    /bin/sh, `path` for its PATH.
    """

    def __init__(
        self, directory: Path, *, shell: str = "/bin/sh", sh: str = "", path: str = ""
    ) -> None:
        self.directory = directory
        self.shell = shell
        self.heads: list[Head] = []
        self.sh = sh
        self.path = path or os.environ["PATH"]
        self.wrapper = directory / "ssh"
        self.wrapper.write_text(
            "#!/bin/bash\n"
            "while [ \"$1\" != -- ]; do shift; done\n"
            f"cd {directory}/homes/$2 2>/dev/null || {{ echo \"ssh: no route to $2\" >&2; exit 255; }}\n"
            f'HOME=$PWD PATH={self.path} exec {shell} -c "$3"\n'
        )  # fmt: skip
        self.wrapper.chmod(0o755)

    def home(self, node: str) -> Path:
        path = self.directory / "homes" / node
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def pulls(self) -> list[str]:
        """The ssh of nodes."""
        return [str(self.wrapper)]

    def argv(self, node: str, command: str) -> list[str]:
        if self.sh:
            command = command.replace("/bin/sh", self.sh)
        return [str(self.wrapper), "--", node, command]

    def processes(self) -> list[str]:
        """Return the processes of the nodes here: by their home, or by the token of a copy in an argument."""
        tokens = [head.token for head in self.heads]
        return running_in(self.directory / "homes", tokens)


class SshPlace(Place):
    """Nodes of a private server: `directory` is the server's, and `addresses` those of its nodes."""

    def __init__(self, directory: Path, addresses: dict[str, str], config: str) -> None:
        super().__init__(directory)
        self.addresses = addresses
        self.ssh = ["ssh", "-F", config, "-oBatchMode=yes", "-oControlPath=none"]

    def home(self, node: str) -> Path:
        return super().home(self.addresses[node])

    @property
    def pulls(self) -> list[str]:
        return [*self.ssh, "-oServerAliveInterval=3", "-oServerAliveCountMax=2"]

    def argv(self, node: str, command: str) -> list[str]:
        return [*self.ssh, node, command]


def tokens_in(homes: Path) -> set[str]:
    """Return the tokens of the relay copies that have directories in homes."""
    return {path.name.split("-")[1] for path in homes.glob("*/.mpshell-*")}


def running_in(homes: Path, tokens: Iterable[str]) -> list[str]:
    """Return the processes with a home below a directory, or with a token in an argument."""
    found = []
    for process in psutil.process_iter():
        try:
            words, home = process.cmdline(), process.environ().get("HOME", "")
            ours = home.startswith(f"{homes}/") or any(t in w for t in tokens for w in words)
            if words and ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {words[:1]} {words[-4:]}")
        except (psutil.Error, OSError):
            continue
    return found


def kill_node(home: Path) -> None:
    """Kill everything that runs on the node with this home, its connections included, as its end would."""
    found = [p for p in psutil.process_iter() if _environment(p).get("HOME") == str(home)]
    servers = {q for p in found for q in _parents(p) if q.name().startswith("sshd")}
    for process in [*servers, *found]:
        try:
            if process.ppid() != 1 and "listener" not in " ".join(process.cmdline()):
                process.kill()
        except psutil.Error:
            continue


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def _parents(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.parents()[:2]
    except psutil.Error:
        return []


class Node:
    """One node: its control connection, with the answers so far."""

    def __init__(self, argv: list[str], name: str, rank: int) -> None:
        self.name = name
        self.rank = rank
        self.port = "-"
        self.algorithm = ""
        self.answers: list[list[str]] = []
        self._cond = threading.Condition()
        self._seq = 0
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="surrogateescape", start_new_session=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.order("rank", rank)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._cond:
                self.answers.append(line.split())
                self._cond.notify_all()
        with self._cond:
            self.answers.append(["over"])
            self._cond.notify_all()

    def order(self, *words: object) -> None:
        assert self.process.stdin is not None
        # A node that is over has reported that in its answers.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            self.process.stdin.flush()

    def wait(self, *words: object) -> list[str]:
        """Return the next answer with this beginning, and drop those before it."""
        wanted = ["mpshell", *map(str, words)]
        deadline = time.monotonic() + PATIENCE
        with self._cond:
            while True:
                for number, answer in enumerate(self.answers):
                    if answer[: len(wanted)] == wanted:
                        del self.answers[: number + 1]
                        return answer[len(wanted) :]
                if ["over"] in self.answers or time.monotonic() > deadline:
                    raise AssertionError(f"{self.name}: no {wanted}, but {self.answers}")
                self._cond.wait(1)

    def pull(self, parent: Node, kind: str = "part") -> int:
        self._seq += 1
        self.order("pull", self._seq, parent.rank, kind, parent.port, parent.name)
        return self._seq

    def feed(self) -> tuple[int, int]:
        """Order a feed, and return its number and the first byte that is wanted."""
        self._seq += 1
        self.order("feed", self._seq)
        return self._seq, int(self.wait("take", self._seq)[0])

    def end(self) -> int:
        """End the input, and return the exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.over()

    def over(self) -> int:
        """Wait for its end, and return the exit status."""
        code = self.process.wait(PATIENCE)
        self._thread.join(PATIENCE)
        # To close a stream that is being read would wait for ever.
        assert not self._thread.is_alive(), f"a process of {self.name} still has its stdout"
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


class Feed:
    """The head's way to one node; bytes are written to it as a test wants."""

    def __init__(self, argv: list[str]) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end(self) -> int:
        assert self.process.stdin is not None and self.process.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        self.process.stderr.close()
        return code


class Head:
    """A file or tree to be copied to nodes of a place."""

    def __init__(
        self, place: Place, source: Path, dest: str = "~/target", **options: object
    ) -> None:
        self.place = place
        self.source = source
        preserve = bool(options.get("preserve"))
        self.unpacked: int | None = None
        if source.is_dir():
            packed = PackedTree(str(source), preserve)
            self.data, self.unpacked = Path(packed.path()).read_bytes(), packed.unpacked
            packed.close()
        else:
            self.data = source.read_bytes()
        self.copy = Copy(str(source), dest, preserve, False, True, source.is_dir())
        self.token = os.urandom(8).hex()
        self.mode = 0o640
        self.times: tuple[str, str] | None = None
        self.way = str(options.get("way", relay.SSH))
        self.ports = str(options.get("ports", ""))
        self.sum = hashlib.sha256(self.data).hexdigest()
        place.heads.append(self)
        self.nodes: list[Node] = []
        self.feeds: list[Feed] = []
        self.keys = (
            subprocess.run(
                relay.keys(), capture_output=True, text=True, check=True
            ).stdout.splitlines()
            if self.way == relay.SSHD
            else []
        )

    def start(self, name: str, size: int | None = None) -> Node:
        """Start a node; it has not answered yet."""
        self.place.home(name)
        command = relay.receive(
            self.copy, len(self.data) if size is None else size, self.mode, self.times, self.token, self.way,
            self.ports, self.place.pulls, self.unpacked,
        )  # fmt: skip
        node = Node(self.place.argv(name, command), name, len(self.nodes))
        for line in self.keys:
            node.order(line)
        self.nodes.append(node)
        return node

    def ready(self, *names: str) -> list[Node]:
        """Start nodes, and return them when they are ready."""
        nodes = [self.start(name) for name in names]
        for node in nodes:
            node.algorithm, node.port = node.wait("ready")
            node.order("sum", node.algorithm, self.sum)
        return nodes

    def feed(self, node: Node) -> tuple[Feed, int]:
        """Feed a node by hand: return the feed, and the offset of the first byte that is wanted."""
        seq, offset = node.feed()
        argv = self.place.argv(node.name, relay.feed(self.copy, self.token, node.rank, seq))
        feed = Feed(argv)
        self.feeds.append(feed)
        return feed, offset

    def feed_rest(self, node: Node, until: int | None = None) -> Feed:
        """Feed a node up to a byte, or to the end."""
        feed, offset = self.feed(node)
        feed.write(self.data[offset:until])
        return feed

    def target(self, node: Node) -> Path:
        return self.place.home(node.name) / "target"

    def part(self, node: Node) -> Path:
        folder = os.path.dirname(self.copy.dest.removeprefix("~/"))
        return self.place.home(node.name) / folder / f".mpshell-{self.token}-{node.rank}" / "part"

    def serves(self, node: Node) -> bool:
        """Return whether a node gets to serve its part to another one."""
        return eventually(lambda: self.served(node) > 0)

    def pull(self, child: Node, parent: Node) -> None:
        """Have a node pull from another one, and check that that one then serves one node more."""
        count = self.served(parent)
        child.pull(parent)
        assert eventually(lambda: self.served(parent) > count)

    def line(self, *names: str, until: int) -> tuple[Feed, list[Node]]:
        """Start nodes that each pull from the one before; the head feeds the first one up to a byte."""
        nodes = self.ready(*names)
        feed, _ = self.feed(nodes[0])
        feed.write(self.data[:until])
        for parent, child in pairwise(nodes):
            child.pull(parent)
        assert self.has(nodes[-1], until - 30_000)
        return feed, nodes

    def check_done(self, *nodes: Node) -> None:
        """Wait until nodes report that they are done, and check their files."""
        for node in nodes:
            node.wait("done")
        for node in nodes:
            assert self.target(node).read_bytes() == self.data

    def failure(self, node: Node) -> str:
        """Wait for the failure of a node and for its end, with the rest of the copy; return the reason."""
        reason = " ".join(node.wait("fail"))
        assert node.over() == 1
        self.close()
        return reason

    def served(self, node: Node) -> int:
        """Return to how many a node serves its part."""
        return len(list(self.part(node).parent.glob("serve.*")))

    def has(self, node: Node, count: int) -> bool:
        """Return whether the part of a node gets to a size."""
        return eventually(lambda: self.part(node).stat().st_size >= count)

    def abandon(self) -> None:
        """Kill the processes that a failed test has left behind."""
        for feed in self.feeds:
            feed.process.kill()
            with contextlib.suppress(BrokenPipeError):
                feed.end()
        for node in self.nodes:
            node.process.kill()
            with contextlib.suppress(BrokenPipeError):
                node.over()
        eventually(lambda: not self.place.processes(), 5)

    def close(self) -> None:
        """End all connections, and check that nothing is left, in time for a machine that is busy."""
        for feed in self.feeds:
            feed.end()
        for node in self.nodes:
            node.end()
        assert eventually(lambda: not self.place.processes(), SOON), self.place.processes()
        assert not paths_below(self.place.directory / "homes", ".mpshell-*")


def busybox_path(directory: Path) -> str:
    """Return a PATH on which every program is busybox's; ssh is the place's own."""
    programs = directory / "busybox"
    programs.mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None
    subprocess.run([busybox, "--install", "-s", str(programs)], check=True)
    (programs / "ssh").symlink_to("/usr/bin/ssh")
    return str(programs)
