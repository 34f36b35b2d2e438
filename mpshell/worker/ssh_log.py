"""Whether ssh(1) or its command failed: found in ssh's own log, to which no command can write.

    ssh -E LOG -oLogVerbose=PROOFS ──► log ──► engine ─┬─ noted: the proofs ──► `diagnose_ssh`
                                                       └─ messages of the user's own LogLevel ──► stderr

`LogVerbose` (OpenSSH 8.5) makes a few functions of ssh log everything at any level, each line
with a tag: so the user's level does not change, and the tag marks the lines for the verdict. An older ssh
gets the level DEBUG2. The functions are in sshconnect.c, sshconnect2.c, ssh.c, clientloop.c, channels.c, mux.c.
Pure.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mpshell.wire.logformat import LogFormat, Redial
from mpshell.wire.messages import LOG_END
from mpshell.wire.notices import NOT_LET_IN

#: Functions whose lines are proofs.
_PROOFS = (
    "ssh_connect_direct", "ssh_proxy_connect", "ssh_login", "ssh_userauth2", "ssh_session2_open",
    "channel_input_open_failure", "client_status_confirm", "client_input_channel_req",
    "kex_exchange_identification", "mux_client_request_session", "userauth", "verify_host_key_callback",
)  # fmt: skip

#: Functions that log why there is no connection: needed if the user's own level is too low for that. Not
#: always, as some log at the level INFO. The level is the first node's; two of the proofs show auth and
#: hostkey and log nothing else: they are requested for nodes whose configuration has another level.
_REASONS = (
    "resolve_host", "sshpkt_vfatal", "check_host_key", "warn_changed_key",
    "ssh_packet_read_poll_seqnr",
)  # fmt: skip

#: Part of the tag of a forced line, file:function():line (pid=number):, from 10.0 on with the program's name.
_TAG = ("():", "pid=", "): ")

#: The texts of kex_exchange_identification with its name in front, if its lines are not forced.
_NAMED = ("Connection closed by remote host", "read: ", "banner line ", "No SSH version received")

#: LogLevel, beginning with the one that shows least (ssh_config(5)).
LEVELS = ("QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3")

#: The beginning of forced lines, and the first level that shows them anyway.
_SHOWN_FROM = (
    ("", "ERROR"),
    ("channel ", "INFO"),
    ("Authenticated to ", "VERBOSE"),
    ("Authenticated using ", "VERBOSE"),
    ("debug1: ", "DEBUG"),
    ("debug2: ", "DEBUG2"),
    ("debug3: ", "DEBUG3"),
)

#: The same for an ssh without LogVerbose, which logs all that DEBUG2 shows.
_OLD_SHOWN_FROM = (
    *_SHOWN_FROM[:-1],
    ("Transferred: sent ", "VERBOSE"),
    ("Bytes per second: ", "VERBOSE"),
)

#: A login has succeeded, or a master has opened a session.
_OPENED = re.compile(
    r"^Authenticated to |^debug1: (?:mux_client_request_session: )?master session id: ",
    re.MULTILINE,
)

#: The channel of ssh's own session. A master has those of others too.
_CHANNEL = re.compile(r"^debug3: (?:ssh_session2_open: )?channel_new: (\d+)$", re.MULTILINE)

#: The master, or the server for a channel, has reported the command's end.
_ENDED_AT_MASTER = re.compile(r"^debug2: Received exit status from master \d", re.MULTILINE)
_ENDED = r"^debug1: client_input_channel_req: channel {} rtype exit-(?:status|signal) "

#: The server has refused to run the command, or to open a channel for it; or the command runs.
_REFUSED = r"^(?:exec|shell|subsystem) request failed on channel {}$|^channel {}: open failed: "
_ACCEPTED = r"^debug2: (?:exec|shell|subsystem) request accepted on channel {}$"

#: With the level DEBUG2: a line that is noted there alone, and any number of a channel.
_OLD = re.compile(r"^debug1: Entering interactive session", re.MULTILINE)
_ANY_CHANNEL = r"\d+"

#: Lines of a server before its version: the lines of a log that ssh did not write itself.
_BANNER = re.compile(r"^debug1: (?:kex_exchange_identification: )?banner line .*\n", re.MULTILINE)

#: A connection was begun.
_CONNECTING = re.compile(
    r"^debug1: (?:ssh_connect_direct: |ssh_proxy_connect: )?(?:Connecting to |Executing proxy )",
    re.MULTILINE,
)

#: The proofs that a server ended a connection before a login (`mpshell.wire.logformat`): the functions are
#: those of _CONNECTING and _OPENED, and `userauth`. With a ProxyCommand there is no such proof: a jump host
#: that refuses a login looks the same from here.
_BEGUN = ("debug1: Connecting to ", "debug1: ssh_connect_direct: Connecting to ")
_SECURED = ("debug1: Next authentication method: ",)
_LOGGED_IN = (
    "Authenticated to ",
    "debug1: master session id: ",
    "debug1: mux_client_request_session: master session id: ",
)
_DROPPED = ("Connection closed by ", "Connection reset by ", ": Broken pipe")

#: Texts of OpenSSH's client (ssh.c, sshconnect.c, clientloop.c) when it ends with 255 by itself.
_DIAGNOSES = (
    ("hostkey", re.compile(r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED")),
    (
        "auth",
        re.compile(r"Permission denied \(|Too many authentication failures|no mutual signature"),
    ),
    (
        "unreachable",
        re.compile(
            r"Could not resolve hostname|ssh: connect to host|kex_exchange_identification|"
            r"banner exchange|Connection (?:closed|reset) by \S+ port \d+|Unable to negotiate with"
        ),
    ),
    (
        "lost",
        re.compile(
            r"Connection to \S+ closed by remote host|client_loop: send disconnect|"
            r"not responding|Connection to \S+ (?:timed out|closed)|Broken pipe|lost connection"
        ),
    ),
)


def diagnose_words(words: str) -> str | None:
    """Return why a program of OpenSSH ended, from its own messages; None if they do not show it."""
    return next((reason for reason, text in _DIAGNOSES if text.search(words)), None)


def diagnose_unproven(words: str) -> str | None:
    """Without a log: return "lost" for last lines that look like ssh's, None for others.

    A command that has run may have written them, so no other reason is possible.
    """
    return None if diagnose_words(words) is None else "lost"


def diagnose_ssh(detail: str) -> str | None:
    """Return why ssh(1) itself ended with 255, or None if the command did.

    `detail` is the notes of ssh's log and its last lines (`LOG_END`), or the latter alone.
    """
    notes, logged, words = detail.partition(LOG_END)
    if not logged:
        return diagnose_unproven(detail)
    if _OPENED.search(notes):
        return None if _ended(notes) else "transport" if _refused(notes) else "lost"
    return _not_connected(notes, words)


def diagnose_scp(detail: str) -> str | None:
    """Return why the ssh(1) of a failed scp(1) failed, or None if scp itself failed."""
    notes, logged, words = detail.partition(LOG_END)
    if not logged:
        return diagnose_unproven(detail)
    if not _OPENED.search(notes):
        return _not_connected(notes, words)
    if _refused(notes):
        return "transport"
    # scp ends its ssh before that could report an end, except when the connection was cut.
    cut = diagnose_words(words) == "lost" or "scp: Connection closed" in words
    return "lost" if cut and not _ended(notes) else None


def _on_channel(pattern: str, notes: str) -> bool:
    """Return whether the notes have a pattern for the channel of ssh's own session."""
    found = _CHANNEL.search(notes)
    # The level DEBUG2 does not show its number.
    channel = found[1] if found is not None else _ANY_CHANNEL if _OLD.search(notes) else None
    return channel is not None and bool(
        re.search(pattern.replace("{}", channel), notes, re.MULTILINE)
    )


def _ended(notes: str) -> bool:
    return bool(_ENDED_AT_MASTER.search(notes)) or _on_channel(_ENDED, notes)


def _refused(notes: str) -> bool:
    return _on_channel(_REFUSED, notes) and not _on_channel(_ACCEPTED, notes)


def _not_connected(notes: str, words: str) -> str:
    """Return why no session was opened: only ssh, and the programs by which it connects, have written."""
    reason = diagnose_words(_BANNER.sub("", notes) + words)
    if reason is None or reason == "lost":
        reason = "unreachable" if _CONNECTING.search(notes) else "transport"
    return reason


class SshLog(NamedTuple):
    """The properties of an ssh: its log level, whether it has LogVerbose, its ConnectTimeout (0: none)."""

    level: str
    forced: bool
    limit: float = 0

    def options(self) -> list[str]:
        """Return the options, except -E, that make it write the log."""
        if not self.forced:
            return ["-oLogLevel=DEBUG2"]
        names = _PROOFS if self._shows("ERROR") else _PROOFS + _REASONS
        pattern = ",".join(f"*:{name}():*" for name in names)
        return [f"-oLogVerbose={pattern}"]

    def _shows(self, level: str) -> bool:
        return LEVELS.index(self.level) >= LEVELS.index(level)

    def format(self) -> LogFormat:
        """Return how its log is read."""
        shown_from = _SHOWN_FROM if self.forced else _OLD_SHOWN_FROM
        private = tuple(text for text, level in shown_from if not self._shows(level))
        noted = () if self.forced else (
            "Authenticated to ", "rtype exit-", "exit status from master", "master session id: ",
            "request accepted on channel", "request failed on channel", ": Connecting to ",
            ": Executing proxy ", "open failed: ", "Entering interactive session",
            "Next authentication method: ",
        )  # fmt: skip
        redial = Redial(self.limit, _BEGUN, _SECURED, _LOGGED_IN, _DROPPED, NOT_LET_IN)
        return LogFormat(_TAG if self.forced else None, noted, private, named=_NAMED, redial=redial)
