"""A password in an engine: sent to few nodes, with permits of the coordinator.

It is sent to hosts whose key is known. Until a node of the run has accepted it, each node that gets it needs a
permit of the coordinator, which counts the refusals of all engines
(`mpshell.coordinator.passwords`), so that no account is locked by too many failures.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections import deque
from collections.abc import Callable

from mpshell.runtime.secret import Secret
from mpshell.wire.messages import (
    ASKED,
    FREED,
    STOPPED,
    UNPROVEN,
    PasswordState,
)

#: Seconds that a node may think about it while others wait for its answer.
_PATIENCE = 15.0

#: What marks of passwords are made with: they mean nothing to other processes.
_KEY = os.urandom(32)


def _mark(secret: Secret) -> bytes:
    """Return what an equal password has too, and no other one."""
    return hashlib.blake2b(secret.reveal().encode(errors="surrogateescape"), key=_KEY).digest()


class Password:
    """The password of a run, in one engine; `report` takes ASKED, TAKEN, REFUSED, FREED for the coordinator.

    | state | a node | goes on to |
    |---|---|---|
    | UNPROVEN | waits for a permit | PROVEN when a node has taken it, STOPPED with the third refusal |
    | PROVEN | is sent it | STOPPED with the third refusal |
    | STOPPED | gets none | - |
    """

    def __init__(self, secret: Secret, report: Callable[[str], object]) -> None:
        self._secret: Secret | None = secret
        self._report = report
        self.state = UNPROVEN
        self.refusals = 0
        #: Nodes that wait for a permit.
        self._waiting: deque[asyncio.Future[Secret | None]] = deque()

    def take_state(self, state: PasswordState) -> None:
        """Store the counts of the coordinator, and its permits."""
        self.state, self.refusals = state.state, state.refusals
        if self.state == STOPPED:
            self._secret = None
        permits = len(self._waiting) if self.state != UNPROVEN else state.permits
        for _ in range(permits):
            if not self._let_one_go_on() and self.state == UNPROVEN:
                # The node that requested it has ended.
                self._report(FREED)

    def _let_one_go_on(self) -> bool:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(self._secret)
                return True
        return False

    def has_mark(self, mark: bytes) -> bool:
        """Return whether it is the password that a host has taken, by its mark (`SentPassword.mark`)."""
        return self._secret is not None and hmac.compare_digest(mark, _mark(self._secret))

    def may_get_it(self, key_was_known: bool) -> bool:
        """Return whether the password may be sent to a host, as far as is known now."""
        return self._secret is not None and key_was_known

    async def permitted(self, key_was_known: bool) -> SentPassword | None:
        """Return the password for a host when it may be sent, None when the host gets none."""
        if not self.may_get_it(key_was_known):
            return None
        secret = self._secret
        if self.state == UNPROVEN:
            self._report(ASKED)
            waiting: asyncio.Future[Secret | None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            try:
                secret = await waiting
            except asyncio.CancelledError:
                if waiting.done() and not waiting.cancelled():
                    # Permitted in the moment in which its connection was given up.
                    self._report(FREED)
                raise
        return (
            None if secret is None else SentPassword(secret, self._report, self.state == UNPROVEN)
        )

    def why_not(self, key_was_known: bool) -> str:
        """Return why a host gets none, "" when it does."""
        if self.state == STOPPED:
            return f"the password was refused {self.refusals} times, and is not sent any more"
        return "" if key_was_known else "the password is sent only to hosts whose key is known"


class SentPassword:
    """The password on its way to one host, until that has answered."""

    def __init__(self, secret: Secret, report: Callable[[str], object], holds_permit: bool) -> None:
        self.secret = secret
        self._report = report
        self._answered = False
        self._late = (
            asyncio.get_running_loop().call_later(_PATIENCE, self._free) if holds_permit else None
        )

    @property
    def mark(self) -> bytes:
        """What an equal password has too; the password cannot be known from it."""
        return _mark(self.secret)

    def answered(self, event: str) -> None:
        """Note the host's answer, once: TAKEN, REFUSED, or FREED if it stays unknown."""
        if not self._answered:
            self._answered = True
            if event != FREED:
                self._report(event)
            self._free()

    def _free(self) -> None:
        """Let another node have the permit."""
        late, self._late = self._late, None
        if late is not None:
            late.cancel()
            self._report(FREED)
