"""The nodes of relay copies over a real sshd: a home for each of them, and what they fetch from where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpshell import EventHandler
from tests.relays import SOON, running_in, tokens_in
from tests.support import eventually, paths_below

if TYPE_CHECKING:
    from tests.ssh.conftest import SshServer

NODES = "node[1-6]"
SIZE = 5_000_001


class Homes:
    """The homes of the nodes, one for each address."""

    def __init__(self, server: SshServer) -> None:
        self.directory = server.directory / "homes"
        self.of = {}
        #: Of copies that were seen: a process of an sshd of theirs has another home.
        self.tokens: set[str] = set()
        for number in range(1, 7):
            node = f"node{number}"
            self.of[node] = self.directory / server.address(node)[0]
            self.of[node].mkdir(parents=True, exist_ok=True)

    def left(self) -> list[str]:
        """Return the leftovers of a relay copy: files, and processes of the nodes."""
        self.tokens |= tokens_in(self.directory)
        files = [str(path) for path in paths_below(self.directory, ".mpshell-*")]
        return files + running_in(self.directory, self.tokens)

    def check_clean(self) -> None:
        assert eventually(lambda: not self.left(), SOON), self.left()


class Sources(EventHandler):
    def __init__(self, act: Any = None) -> None:
        self.seen: list[tuple[str, str | None]] = []
        self._act = act

    def ev_relay(self, worker: Any, node: str, source: str | None, offset: int) -> None:
        self.seen.append((node, source))
        if self._act is not None and len(self.seen) == 6:
            self._act(worker)
