"""How the fork server watches the program that it serves, where that is not plain."""

from __future__ import annotations

import errno
import os
import select

import pytest

from mpshell.engine import forkserver


def test_the_parent_is_watched() -> None:
    fd = forkserver._watch(os.getppid())
    try:
        assert select.select([fd], [], [], 0) == ([], [], []), "it lives"
    finally:
        os.close(fd)


def test_a_parent_of_another_namespace_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 0)
    assert forkserver._watch(4711) == -1


def test_a_parent_that_has_ended_meanwhile_is_not_served() -> None:
    with pytest.raises(ProcessLookupError, match="process 1000000000 has ended"):
        forkserver._watch(1_000_000_000)


@pytest.mark.parametrize(
    ("number", "raised"),
    [
        (errno.EPERM, False), (errno.ENOSYS, False), (errno.EMFILE, True), (errno.ENFILE, True),
        (errno.ENOMEM, True), (errno.ESRCH, True),
    ],
)  # fmt: skip
def test_a_watch_that_is_not_allowed_is_done_without(
    number: int, raised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(pid: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", fail)
    if raised:
        with pytest.raises(OSError, match="Errno"):
            forkserver._watch(os.getppid())
    else:
        assert forkserver._watch(os.getppid()) == -1
