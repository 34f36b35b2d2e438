"""Which program an engine serves: its privileges, and the changes of it that are watched."""

from __future__ import annotations

import os
import socket

import pytest

from mpshell.engine.core import Engine
from mpshell.engine.program import Program
from mpshell.runtime import privileges
from mpshell.runtime.loop import EventLoop
from mpshell.wire.channel import Channel
from mpshell.wire.credentials import Sender, as_ancillary, ask_for_senders, receive

ROOT = {"Uid": "0 0 0 0", "Gid": "0 0 0 0", "Groups": "0", "CapPrm": "000001ffffffffff"}
ORDINARY = {
    "Uid": "1000 1000 1000 1000", "Gid": "1000 1000 1000 1000", "Groups": "27 1000", "CapPrm": "0" * 16
}  # fmt: skip


def status(monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]) -> str | None:
    """Return the privileges of a process with these lines in /proc/PID/status."""
    lines = {"Name": "python3", **fields}
    text = "".join(f"{name}:\t{value}\n" for name, value in lines.items())
    monkeypatch.setattr(privileges, "status_of", lambda process: text.encode())
    return privileges.privileges_of("self")


def test_an_ordinary_user_has_no_privileges(monkeypatch: pytest.MonkeyPatch) -> None:
    assert status(monkeypatch, ORDINARY) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"Uid": "1000 0 0 0"}, {"Uid": "1000 1000 0 1000"}, {"Gid": "1000 0 1000 0"},
        {"Groups": "0 27 1000"}, {"CapPrm": "0000000000000400"},
    ],
)  # fmt: skip
def test_id_0_and_capabilities_are_privileges(
    change: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status(monkeypatch, {**ORDINARY, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"Uid": "0 1000 0 1000"}, {"Gid": "1 0 0 0"}, {"Groups": "0 5"}, {"CapPrm": "000001fffffffffe"},
        {"CapBnd": "1"}, {"CapAmb": "1"}, {"CapInh": "1"},
    ],
)  # fmt: skip
def test_each_change_changes_the_text(
    change: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = status(monkeypatch, ROOT)
    after = status(monkeypatch, {**ROOT, **change})
    assert before and after and before != after
    assert status(monkeypatch, ROOT) == before


def test_a_great_many_groups_are_a_short_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one argument of a command: 131,071 bytes at most (execve(2))."""
    many = {**ROOT, "Groups": " ".join(str(1_000_000 + n) for n in range(65_536))}
    assert len(status(monkeypatch, many) or "x" * 1000) < 200


def test_a_process_that_cannot_be_seen_is_not_watched() -> None:
    assert privileges.privileges_of("1000000000") is None
    assert not Program(1_000_000_000, "0 0").watched
    assert not Program(0, "0 0").watched, "in another namespace of pids"


@pytest.mark.parametrize("watched", [False, True])
def test_only_an_engine_of_a_privileged_program_has_a_timer(watched: bool) -> None:
    ours, theirs = socket.socketpair()
    loop = EventLoop()
    program = Program(os.getppid(), "0 0" if watched else "")
    channel = Channel(theirs.detach(), program.sender)
    Engine(channel, loop, program)
    assert bool(loop._timers) is watched
    loop.close()
    channel.close()
    ours.close()


def test_the_kernel_names_the_sender_of_the_data() -> None:
    me = Sender(os.getpid(), os.getuid(), os.getgid())
    ours, theirs = socket.socketpair()
    ours.send(b"before")
    ask_for_senders(theirs)
    assert receive(theirs, 100)[:2] != (b"before", me)
    ours.send(b"x" * 10)
    assert receive(theirs, 4) == (b"xxxx", me, [])
    assert receive(theirs, 100) == (b"x" * 6, me, []), "also of the rest"
    ours.send(b"mine")
    if (child := os.fork()) == 0:
        ours.send(b"the child's")
        os._exit(0)
    os.waitpid(child, 0)
    ours.send(b"mine again")
    read = [receive(theirs, 100) for _ in range(3)]
    assert read == [
        (b"mine", me, []), (b"the child's", me._replace(pid=child), []), (b"mine again", me, [])
    ]  # fmt: skip
    ours.close()
    assert receive(theirs, 100)[0] == b""
    theirs.close()


def test_a_frame_of_which_another_user_has_written_a_part_is_altered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ids of a program can change between two writes of one frame."""
    ours, theirs = socket.socketpair()
    ask_for_senders(theirs)
    me = Sender(os.getpid(), os.getuid(), os.getgid())
    channel = Channel(theirs.detach(), me)
    ours.send(b"\0\0\0\3ab")
    assert channel.receive() == [] and not channel.altered
    channel._signature = as_ancillary(me._replace(uid=me.uid + 1))
    ours.send(b"c\0\0\0\1")
    assert channel.receive() == [b"abc"] and channel.altered
    channel._signature = as_ancillary(me)
    ours.send(b"d")
    assert channel.receive() == [b"d"] and channel.altered, "its head was another user's"
    ours.send(b"\0\0\0\1e")
    assert channel.receive() == [b"e"] and not channel.altered
    channel.close()
    ours.close()
