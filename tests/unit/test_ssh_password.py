"""A password: nothing shows it, few hosts get it, and three refusals end it."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest

from mpshell.ssh.password import ABSENT, REFUSED, STOPPED, TAKEN, USABLE, Password, Secret

TEXT = "correct horse"


def test_no_text_shows_it() -> None:
    secret = Secret(TEXT)
    holder = Password(secret)
    for shown in (repr(secret), str(secret), f"{secret}", repr(holder), repr({"a": [secret]})):
        assert TEXT not in shown
    for how in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError, match="not pickled") as error:
            how(secret)
        assert TEXT not in "".join(traceback.format_exception(error.value))
    assert secret.reveal() == TEXT
    assert secret == Secret(TEXT) != Secret("other")
    assert hash(secret) == hash(Secret(TEXT))


def test_only_hosts_whose_key_was_known_get_it() -> None:
    password = Password(Secret(TEXT))
    assert password.for_host(key_was_known=False) is None
    assert "only to hosts whose key is known" in password.why_not(key_was_known=False)
    assert password.for_host(key_was_known=True) == Secret(TEXT)
    assert password.why_not(key_was_known=True) == ""


def test_three_refusals_end_it() -> None:
    password = Password(Secret(TEXT))
    states = []
    for event in (REFUSED, TAKEN, REFUSED, TAKEN, REFUSED, REFUSED):
        password.note(event)
        states.append(password.state)
    assert states == [USABLE, USABLE, USABLE, USABLE, STOPPED, STOPPED]
    assert password.for_host(key_was_known=True) is None
    assert "refused 3 times" in password.why_not(key_was_known=True)


def test_there_may_be_none() -> None:
    password = Password(None)
    assert password.state == ABSENT
    password.note(REFUSED)
    assert password.state == ABSENT
    assert password.for_host(key_was_known=True) is None
    assert password.why_not(key_was_known=False) == ""
