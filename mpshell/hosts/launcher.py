"""The launcher whose engines run on other hosts: which host gets the next one, and which hosts cannot be used.

    HostsLauncher ── packets ──► switchboard (one process) ══ a line a host ══► outposts ─► engines

In the process of the user, for any thread.
"""

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from mpshell.errors import EngineStartError, NoHostError, TaskSettingError
from mpshell.hosts.far import FarLink
from mpshell.hosts.packets import LONGEST, Way, fork_packet, host_packet
from mpshell.launch.fork import ForkLauncher, ServerProcess, Wanted
from mpshell.wire.channel import MAX_FAR_FRAME
from mpshell.wire.messages import Configure

#: Seconds for which a host that could not be used is not tried again.
_SKIP = 30.0

#: Whether a host has answered: no engine was requested, the first one is awaited, it has, it cannot be used.
_UNTRIED, _AWAITED, _ANSWERED, _FAILED = "UNTRIED", "AWAITED", "ANSWERED", "FAILED"


class _HostState:
    """A host as its launcher sees it."""

    def __init__(self, number: int, way: Way, engines: int | None) -> None:
        self.number = number
        self.way = way
        #: The number of engines for which there is room: as set, or its processors once they are known.
        self.room = 1 if engines is None else engines
        self.room_is_set = engines is not None
        self.engines = 0
        #: Why it could not be used, and until when that holds.
        self.why = ""
        self.skipped_until = 0.0
        #: After a loss: the time until which it is used only if there is no other host.
        self.avoided_until = 0.0
        self.answer = _UNTRIED

    def usable(self, now: float) -> bool:
        return now >= self.skipped_until


class HostsLauncher(ForkLauncher):
    """Engines on other hosts, `engines` on each: by default as many as it has processors.

    A host that cannot be reached is skipped for a while; `skipped` has the reasons.
    """

    def __init__(self, ways: Sequence[Way], engines: int | None = None) -> None:
        super().__init__()
        self._hosts = [_HostState(number, way, engines) for number, way in enumerate(ways)]
        #: The numbers of the hosts that a switchboard knows.
        self._known: dict[ServerProcess, set[int]] = {}

    @property
    def ways(self) -> list[Way]:
        """How each of its hosts is reached."""
        return [state.way for state in self._hosts]

    @property
    def skipped(self) -> dict[str, str]:
        """The hosts that could not be used when they were last tried, with the reason of each."""
        return {state.way.name: state.why for state in self._hosts if state.why}

    @property
    def unanswered(self) -> list[str]:
        """The hosts from which an engine was requested and that have not answered yet."""
        return [state.way.name for state in self._hosts if state.answer is _AWAITED]

    def capacity(self) -> int:
        """Return how many engines there is room for on the hosts that can be used."""
        now = time.monotonic()
        return max(1, sum(state.room for state in self._hosts if state.usable(now)))

    def surroundings(self) -> Configure:
        """Return the working directory; environment and mask are those of the other host."""
        try:
            cwd = os.getcwdb()
        except FileNotFoundError:
            cwd = b"/"
        return Configure(cwd, None, None)

    def _new_server(self) -> ServerProcess:
        return ServerProcess(self.lock, "mpshell.hosts.switchboard")

    def close(self) -> None:
        """End the switchboard, and with it all lines; hosts that were skipped are tried again."""
        super().close()
        with self.lock:
            self._known.clear()
            for state in self._hosts:
                state.skipped_until = state.avoided_until = 0.0
                state.answer = _UNTRIED

    def forget(self) -> None:
        """In the child of a fork: serve that process from now on, with a switchboard of its own."""
        super().forget()
        self.lock = threading.RLock()
        self._servers.clear()
        self._known.clear()
        for state in self._hosts:
            state.engines = 0
            state.answer = _UNTRIED

    def start(self, library: str = "") -> FarLink:
        """Ask for an engine on the host that has the most room; EngineStartError when no host can be used."""
        with self.lock:
            state = self._choose()
            state.engines += 1
            try:
                new = self.start_process(library, MAX_FAR_FRAME, state.number)
            except EngineStartError:
                state.engines -= 1
                raise
            if state.answer is _UNTRIED:
                state.answer = _AWAITED
            return FarLink(
                new.engine_id,
                new.channel,
                new.sentinel,
                new.fence,
                credentials=new.credentials,
                library=library,
                served=new.server.outbox.ours,
                host=state.way.name,
                on_located=lambda cpus: self._on_located(state, cpus),
                on_end=lambda why, certain: self._on_end(state, why, certain),
            )

    def _choose(self) -> _HostState:
        now = time.monotonic()
        usable = [state for state in self._hosts if state.usable(now)]
        if not usable:
            reasons = "; ".join(self.skipped.values())
            raise NoHostError(f"no host can be used: {reasons}")
        good = [state for state in usable if now >= state.avoided_until]
        return min(good or usable, key=lambda state: state.engines / state.room)

    def _request(self, server: ServerProcess, wanted: Wanted, fds: tuple[int, int]) -> None:
        place = wanted.place
        known = self._known.setdefault(server, set())
        if place not in known:
            server.outbox.send(host_packet(place, self._hosts[place].way))
            known.add(place)
        server.outbox.send(fork_packet(wanted.engine_id, place, wanted.ssh_library), fds)

    def _on_located(self, state: _HostState, cpus: int) -> None:
        with self.lock:
            state.answer, state.why = _ANSWERED, ""
            if not state.room_is_set:
                state.room = cpus

    def _on_end(self, state: _HostState, why: str, certain: bool) -> None:
        with self.lock:
            state.engines -= 1
            if not certain:
                state.avoided_until = time.monotonic() + _SKIP
            if why:
                state.answer, state.why = _FAILED, why
                state.skipped_until = time.monotonic() + _SKIP


def check_engines(engines: Any) -> None:
    """Raise TaskSettingError for an invalid number of engines."""
    if engines is not None and (
        isinstance(engines, bool) or not isinstance(engines, int) or engines < 1
    ):
        raise TaskSettingError(f"engines is a whole number of at least 1, or None, not {engines!r}")


def check_ways(ways: Sequence[Way]) -> None:
    """Raise TaskSettingError for a host whose packet is too long."""
    for way in ways:
        if len(host_packet(0, way)) > LONGEST:
            raise TaskSettingError(
                f"the command line for {way.name!r} is longer than {LONGEST} bytes"
            )
