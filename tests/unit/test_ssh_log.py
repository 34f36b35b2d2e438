"""The reading of ssh's log, line by line and as a whole: the lines are those of OpenSSH 9.2 and 10.0."""

from __future__ import annotations

import os

import pytest

from mpshell.engine.log import ClientLog, LogLines
from mpshell.engine.process import open_log
from mpshell.wire.messages import LOG_END
from mpshell.worker.flags import SCP_WITH_ARGUMENT, SSH_WITH_ARGUMENT, flag_words, read_flags
from mpshell.worker.ssh_log import SshLog, diagnose_scp, diagnose_ssh

CONNECTING = "debug1: Connecting to 127.100.0.2 [127.100.0.2] port 38543.\n"
OPENED = f'{CONNECTING}Authenticated to n1 ([127.100.0.2]:38543) using "publickey".\ndebug3: channel_new: 2\n'
ACCEPTED = f"{OPENED}debug2: exec request accepted on channel 2\n"
ENDED = f"{ACCEPTED}debug1: client_input_channel_req: channel 2 rtype exit-status reply 0\n"
MASTER = "debug1: master session id: 2\n"
CUT = "Connection to n1 closed by remote host.\n"


@pytest.mark.parametrize(
    ("notes", "words", "ssh", "scp"),
    [
        (ENDED, "Host key verification failed.", None, None),
        (ENDED.replace("exit-status", "exit-signal"), "", None, None),
        (ACCEPTED, "ssh: connect to host x port 22: Connection refused", "lost", None),
        (ACCEPTED, CUT, "lost", "lost"),
        # The end of another client's command, of which ssh is the master.
        (ENDED.replace("channel 2 rtype", "channel 3 rtype"), "", "lost", None),
        (OPENED, "", "lost", None),
        (OPENED + "exec request failed on channel 2\n", "", "transport", "transport"),
        (OPENED + "channel 2: open failed: administratively prohibited: \n", "", "transport", "transport"),
        # A forwarding of the user's, and not the session.
        (ACCEPTED + "channel 3: open failed: connect failed: \n", "", "lost", None),
        (MASTER + "debug2: Received exit status from master 255\n", "", None, None),
        (MASTER + "debug2: Control master terminated unexpectedly\n", "", "lost", None),
        (CONNECTING, "kex_exchange_identification: read: reset", "unreachable", "unreachable"),
        (CONNECTING, "", "unreachable", "unreachable"),
        (CONNECTING, "me@n1: Permission denied (publickey).", "auth", "auth"),
        (CONNECTING, CUT, "unreachable", "unreachable"),
        # A server's own text, before its version.
        (CONNECTING + "debug1: banner line 0: Permission denied (x).\n", "", "unreachable", "unreachable"),
        (CONNECTING + "debug1: banner line 0: master session id: 2\n", "", "unreachable", "unreachable"),
        ("", "Cannot execute command-line and remote command.", "transport", "transport"),
        ("", "", "transport", "transport"),
    ],
)  # fmt: skip
def test_proofs(notes: str, words: str, ssh: str | None, scp: str | None) -> None:
    detail = f"{notes}{LOG_END}{words}"
    assert (diagnose_ssh(detail), diagnose_scp(detail)) == (ssh, scp)


LINES = [
    b"debug1: sshconnect.c:ssh_connect_direct():485 (pid=123): Connecting to a [b] port 1.",
    b"sshconnect2.c:ssh_userauth2():580 (bin=/usr/bin/ssh, pid=123): Authenticated to a.",
    b"sshconnect.c:ssh_connect_direct():540 (pid=1): ssh: connect to host a port 1: Refused",
    b"debug1: clientloop.c:client_input_channel_req():1 (bin=ssh, pid=1): rtype exit-status",
    b"kex.c:kex_exchange_identification():1 (bin=ssh, pid=1): read: Connection reset by peer",
    b"debug1: Sending command: f(): x",
    b"Warning: Permanently added 'a'.",
]


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("QUIET", (5, 6)),
        ("ERROR", (2, 4, 5, 6)),
        ("VERBOSE", (1, 2, 4, 5, 6)),
        ("DEBUG1", range(7)),
    ],
)
def test_which_lines_are_noted_and_which_are_shown(level: str, shown: tuple[int, ...]) -> None:
    lines = LogLines(SshLog(level, True).format())
    found = [lines.sort(line) for line in LINES]
    assert [noted for noted, _, _ in found] == [True] * 5 + [False] * 2
    assert tuple(at for at, (_, private, _) in enumerate(found) if not private) == tuple(shown)
    assert [text for _, _, text in found] == [
        b"debug1: Connecting to a [b] port 1.", b"Authenticated to a.",
        b"ssh: connect to host a port 1: Refused", b"debug1: rtype exit-status",
        b"kex_exchange_identification: read: Connection reset by peer", *LINES[5:],
    ]  # fmt: skip


def test_a_log_in_pieces_and_a_long_one() -> None:
    log = ClientLog(LogLines(SshLog("INFO", True).format()))
    text = b"".join(line + b"\r\n" for line in LINES)
    shown = b"".join(log.take(text[at : at + 7]) for at in range(0, len(text), 7))
    errors = [
        b"ssh: connect to host a port 1: Refused",
        b"kex_exchange_identification: read: Connection reset by peer",
    ]
    assert shown == b"\r\n".join([*errors, *LINES[5:], b""])
    for _ in range(10_000):
        log.take(LINES[3] + b"\r\n")
    assert b"Authenticated to a.\n" in log.notes and len(log.notes) < 10_000
    assert len(log.take(b"x" * 200_000)) > 100_000


def test_a_log_has_no_end_before_it_is_closed() -> None:
    fd, path = open_log()
    try:
        with pytest.raises(BlockingIOError):
            os.read(fd, 100)
        writer = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(writer, b"hello")
        os.close(writer)
        assert os.read(fd, 100) == b"hello"
        with pytest.raises(BlockingIOError):
            os.read(fd, 100)
    finally:
        os.close(fd)


def test_options_as_getopt_reads_them() -> None:
    flags, rest = read_flags(
        ["-Cqv", "-oA=b", "-p", "22", "-E", "-q", "host", "-x"], SSH_WITH_ARGUMENT
    )
    assert flag_words(flags) == ["-C", "-q", "-v", "-oA=b", "-p22", "-E-q"]
    assert rest == ["host", "-x"]
    assert read_flags(["-P", "1", "--", "-q"], SCP_WITH_ARGUMENT) == ([("P", "1")], ["--", "-q"])
    assert flag_words(read_flags(["-o"], SSH_WITH_ARGUMENT)[0]) == ["-o"]
