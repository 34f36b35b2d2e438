"""A password in an engine: nothing shows it, few hosts get it, each by a permit as long as it is unproven."""

from __future__ import annotations

import asyncio
import copy
import pickle
import traceback

import pytest

from mpshell.errors import TaskSettingError
from mpshell.runtime.secret import Secret
from mpshell.ssh import password as module
from mpshell.ssh.password import Password
from mpshell.task.settings import Settings
from mpshell.wire.messages import (
    ASKED,
    FREED,
    PROVEN,
    REFUSED,
    STOPPED,
    TAKEN,
    UNPROVEN,
    PasswordGiven,
    PasswordState,
)

TEXT = "correct horse"


def state(name: str, permits: int = 0, refusals: int = 0) -> PasswordState:
    return PasswordState(1, name, refusals, permits)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_no_text_shows_it() -> None:
    secret = Secret(TEXT)
    settings = Settings(None)
    settings.set_info("ssh_password", TEXT)
    for shown in (
        secret, [secret], Password(secret, print), PasswordGiven(1, TEXT), [PasswordGiven(1, TEXT)],
        settings.info("ssh_password"), vars(Password(secret, print)),
    ):  # fmt: skip
        assert TEXT not in f"{shown} {shown!r}"
    for how in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError, match="not pickled") as error:
            how(secret)
        assert TEXT not in "".join(traceback.format_exception(error.value))
    assert secret.reveal() == TEXT
    assert secret == Secret(TEXT) != Secret("other")
    assert hash(secret) == hash(Secret(TEXT))


@pytest.mark.parametrize("value", [b"correct horse", 7, [TEXT], ""])
def test_a_value_that_is_no_password_is_an_error_that_does_not_show_it(value: object) -> None:
    with pytest.raises(TaskSettingError, match="ssh_password") as error:
        Settings(None).set_info("ssh_password", value)
    assert "horse" not in str(error.value)


def test_only_hosts_whose_key_was_known_get_it() -> None:
    async def ask() -> None:
        events: list[str] = []
        password = Password(Secret(TEXT), events.append)
        assert not password.may_get_it(key_was_known=False)
        assert await password.permitted(key_was_known=False) is None
        assert events == []
        assert "only to hosts whose key is known" in password.why_not(key_was_known=False)
        assert password.may_get_it(key_was_known=True)
        assert password.why_not(key_was_known=True) == ""

    asyncio.run(ask())


def test_a_host_waits_for_its_permit_and_gives_it_back() -> None:
    async def ask() -> None:
        events: list[str] = []
        password = Password(Secret(TEXT), events.append)
        asking = [asyncio.ensure_future(password.permitted(True)) for _ in range(3)]
        await turns()
        assert events == [ASKED] * 3 and not any(task.done() for task in asking)
        password.take_state(state(UNPROVEN, 1))
        await turns()
        assert [task.done() for task in asking] == [True, False, False]
        sending = asking[0].result()
        assert sending is not None and sending.secret == Secret(TEXT)
        sending.answered(REFUSED)
        sending.answered(TAKEN)
        assert events[3:] == [REFUSED, FREED]
        password.take_state(state(PROVEN, 0, 1))
        await turns()
        later = asking[1].result()
        assert later is not None
        later.answered(TAKEN)
        assert events[5:] == [TAKEN], "without a permit none is given back"
        # Once it is proven no engine asks any more.
        assert await password.permitted(True) is not None
        assert events[6:] == []

    asyncio.run(ask())


def test_after_the_last_refusal_nobody_gets_it() -> None:
    async def ask() -> None:
        password = Password(Secret(TEXT), lambda event: None)
        asking = [asyncio.ensure_future(password.permitted(True)) for _ in range(3)]
        await turns()
        password.take_state(state(STOPPED, 0, 3))
        assert [await task for task in asking] == [None] * 3
        assert await password.permitted(True) is None
        assert not password.may_get_it(True)
        assert "refused 3 times" in password.why_not(True)

    asyncio.run(ask())


@pytest.mark.parametrize("in_time", [True, False])
def test_a_host_that_is_gone_gives_its_permit_back(in_time: bool) -> None:
    """Whether it is gone before its permit comes, or in the moment in which it does."""

    async def ask() -> None:
        events: list[str] = []
        password = Password(Secret(TEXT), events.append)
        asking = asyncio.ensure_future(password.permitted(True))
        await turns()
        if in_time:
            asking.cancel()
            await turns()
        password.take_state(state(UNPROVEN, 1))
        asking.cancel()
        await turns()
        assert asking.cancelled() and events == [ASKED, FREED]

    asyncio.run(ask())


def test_a_host_that_does_not_answer_holds_its_permit_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.01)

    async def ask() -> None:
        freed = asyncio.Event()
        events: list[str] = []

        def report(event: str) -> None:
            events.append(event)
            if event == FREED:
                freed.set()

        password = Password(Secret(TEXT), report)
        asking = asyncio.ensure_future(password.permitted(True))
        await turns()
        password.take_state(state(UNPROVEN, 1))
        sending = await asking
        await asyncio.wait_for(freed.wait(), 60)
        assert sending is not None
        sending.answered(REFUSED)
        assert events == [ASKED, FREED, REFUSED], "the permit is given back once"

    asyncio.run(ask())
