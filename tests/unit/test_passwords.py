"""How many nodes may be sent a password, over all engines of a run."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpshell.coordinator.passwords import MOST_REFUSALS, Passwords
from mpshell.errors import ProtocolError
from mpshell.runtime.secret import Secret
from mpshell.wire.connect import Connect
from mpshell.wire.messages import (
    ASKED,
    FREED,
    PROVEN,
    REFUSED,
    STOPPED,
    TAKEN,
    UNPROVEN,
    PasswordNews,
    PasswordState,
)

#: A seed is one draw, and a history of hundreds of choices that Hypothesis makes itself is slow.
RANDOM = st.integers(0, 1 << 32).map(random.Random)

CONNECT = Connect("asyncssh", "true", "", 1.5, (), "prefer", ())


class FakeSpec:
    """The part of a JobSpec that passwords are about."""

    def __init__(self, connect: Connect | None) -> None:
        self.connect = connect

    def _replace(self, connect: Connect) -> FakeSpec:
        return FakeSpec(connect)


class FakeJob:
    """The part of a Job that passwords are about."""

    def __init__(self, text: str | None, connect: Connect | None = CONNECT) -> None:
        self.spec: Any = FakeSpec(connect)
        self.password = None if text is None else Secret(text)


class Nodes:
    """An engine; its nodes get the password when that is permitted."""

    def __init__(self, passwords: Any) -> None:
        self.outbox: list[Any] = []
        self.passwords = passwords
        self.state = UNPROVEN
        self.waiting = self.sent = self.total = 0

    def report(self, *events: str) -> None:
        self.passwords.on_news(self, PasswordNews([(1, event) for event in events]))

    def ask(self) -> None:
        if self.state == PROVEN:
            self.sent += 1
            self.total += 1
        elif self.state == UNPROVEN:
            self.waiting += 1
            self.report(ASKED)

    def read(self) -> None:
        """Handle the messages that have come."""
        for message in self.outbox:
            assert isinstance(message, PasswordState) and message.number == 1
            self.state = message.state
            permits = message.permits if self.state == UNPROVEN else self.waiting
            self.waiting -= permits
            if self.state != STOPPED:
                self.sent += permits
                self.total += permits
        self.outbox.clear()

    def answer(self, event: str) -> None:
        if self.sent:
            self.sent -= 1
            self.report(event, FREED)


def make(engines: int) -> list[Nodes]:
    passwords: Any = Passwords()
    passwords.enter(FakeJob("secret"))
    return [Nodes(passwords) for _ in range(engines)]


def test_the_same_password_of_two_jobs_has_one_number() -> None:
    passwords: Any = Passwords()
    jobs = [FakeJob("a"), FakeJob(None), FakeJob("b"), FakeJob("a"), FakeJob("a", None)]
    for job in jobs:
        passwords.enter(job)
    assert [job.spec.connect and job.spec.connect.password for job in jobs] == [1, 0, 2, 1, None]


@given(st.integers(1, 4), RANDOM)
def test_a_wrong_password_is_sent_to_three_nodes_in_all(engines: int, rng: random.Random) -> None:
    """In any order in which engines ask and nodes answer."""
    all_engines = make(engines)
    for _ in range(200):
        engine = rng.choice(all_engines)
        acts: list[Callable[[], None]] = [engine.ask, engine.read, partial(engine.answer, REFUSED)]
        rng.choice(acts)()
    for _ in range(10):
        for engine in all_engines:
            engine.read()
            engine.answer(REFUSED)
    assert sum(engine.total for engine in all_engines) <= MOST_REFUSALS
    assert all(not engine.waiting or engine.state == UNPROVEN for engine in all_engines)
    asked = any(engine.total for engine in all_engines)
    assert not asked or not any(engine.waiting for engine in all_engines)


@given(st.integers(1, 4), RANDOM)
def test_a_right_password_reaches_all(engines: int, rng: random.Random) -> None:
    all_engines = make(engines)
    for _ in range(100):
        rng.choice(all_engines).ask()
    for _ in range(200):
        engine = rng.choice(all_engines)
        acts: list[Callable[[], None]] = [engine.read, partial(engine.answer, TAKEN)]
        rng.choice(acts)()
    for _ in range(10):
        for engine in all_engines:
            engine.read()
            engine.answer(TAKEN)
    assert sum(engine.total for engine in all_engines) == 100


def test_the_permits_of_an_engine_that_is_gone_are_others() -> None:
    first, second = make(2)
    for _ in range(5):
        first.ask()
    first.read()
    assert first.sent == 3
    second.ask()
    second.read()
    assert second.sent == 0
    second.passwords.gone(first)
    second.read()
    assert second.sent == 1


def test_refusals_after_it_was_proven_stop_it_too() -> None:
    first, second = make(2)
    first.ask()
    first.read()
    first.answer(TAKEN)
    first.read()
    second.ask()
    second.read()
    assert (first.state, second.state) == (PROVEN, PROVEN)
    for _ in range(3):
        first.ask()
        first.answer(REFUSED)
    for engine in (first, second):
        engine.read()
        assert engine.state == STOPPED


def test_news_that_no_engine_of_ours_sends_are_refused() -> None:
    [engine] = make(1)
    for number, event in ((2, ASKED), (1, "leaked")):
        with pytest.raises(ProtocolError):
            engine.passwords.on_news(engine, PasswordNews([(number, event)]))
