"""The engine pool: which engines wait for the next run."""

from __future__ import annotations

import os

import pytest

from mpshell.launch import fork
from mpshell.launch.pool import EnginePool
from tests.fakes import FakeEngine, FakeLauncher


class Launcher(FakeLauncher):
    """Its engines have the credentials of this process, as those of a fork server have."""

    def credentials(self) -> object:
        return fork.credentials()

    def may_keep(self, credentials: object) -> bool:
        return fork.ForkLauncher().may_keep(credentials)

    def start(self, library: str = "") -> FakeEngine:
        engine = super().start(library)
        engine.credentials = self.credentials()
        return engine


@pytest.mark.parametrize("call", ["getresuid", "getresgid", "getgroups"])
def test_an_engine_with_other_ids_than_the_program_s_does_not_wait(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = EnginePool(Launcher())
    kept, dropped = pool.lease(), pool.lease()
    pool.give_back(kept)
    monkeypatch.setattr(os, call, lambda: (54321, 54321, 54321))
    pool.give_back(dropped)
    assert (kept.gone, dropped.gone) == (False, True)


def test_an_engine_with_other_rights_than_the_program_s_is_not_leased_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Capabilities are compared when it is leased: the file with them costs more than all ids."""
    pool = EnginePool(Launcher())
    before = pool.lease()
    pool.give_back(before)
    fork._plain.clear()
    monkeypatch.setattr(fork, "privileges_of", lambda process: "fewer")
    after = pool.lease()
    assert before.gone and after is not before
    pool.give_back(after)
    assert pool.lease() is after
