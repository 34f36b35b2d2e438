"""Why a connection could not be made or was lost: the reason of the outcome, and words as ssh(1) has them.

ssh(1) writes its words to stderr, where users and programs look for them; so they are the same here. Pure.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

import asyncssh

from mpshell.wire.messages import AUTH, CUT, HOSTKEY, TRANSPORT, UNREACHABLE

if TYPE_CHECKING:
    from mpshell.ssh.setup import Target

#: The other side of a connection that is not made here.
_UNKNOWN = "UNKNOWN port 65535"


class Failure(NamedTuple):
    """A connection that could not be made, or has ended."""

    reason: int  # CUT, UNREACHABLE, AUTH, HOSTKEY, TRANSPORT of `mpshell.wire.messages`
    words: str
    #: The server ended it before a login, without a word: as one does that has too many of them.
    dropped: bool = False


def unknown_host(target: Target, error: OSError) -> Failure:
    """A name without an address."""
    return Failure(
        UNREACHABLE, f"ssh: Could not resolve hostname {target.host}: {error.strerror or error}"
    )


def no_connection(target: Target, error: OSError) -> Failure:
    """No address takes a connection."""
    return Failure(UNREACHABLE, f"ssh: connect to host {_place(target)}: {error.strerror or error}")


def too_late(target: Target, connected: bool) -> Failure:
    """The time to connect is over."""
    if connected:
        return Failure(UNREACHABLE, f"Connection to {_place(target)} timed out")
    return no_connection(target, OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))


def not_logged_in(
    target: Target, error: Exception | None, has_ciphers: bool, notes: str
) -> Failure:
    """A connection has ended before the login; `has_ciphers`: after the key exchange.

    `notes` have the reasons why keys were not offered.
    """
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return Failure(HOSTKEY, f"{error.reason}\nHost key verification failed.")
    if isinstance(error, asyncssh.PermissionDenied):
        words = f"{target.user}@{target.host}: Permission denied."
        return Failure(AUTH, f"{notes}\n{words}" if notes else words)
    if error is None or isinstance(error, (asyncssh.ConnectionLost, OSError)):
        how = "reset" if isinstance(error, OSError) else "closed"
        words = f"Connection {how} by {_place(target)}"
        if not has_ciphers:
            words = f"kex_exchange_identification: Connection closed by remote host\n{words}"
        return Failure(UNREACHABLE, words, dropped=not has_ciphers)
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return Failure(UNREACHABLE, f"Unable to negotiate with {_place(target)}: {error.reason}")
    words = error.reason if isinstance(error, asyncssh.Error) else str(error)
    if has_ciphers and "Too many authentication failures" in words:
        return Failure(AUTH, words)
    return Failure(UNREACHABLE, f"Disconnected from {_place(target)}: {words}")


def refused(target: Target, error: asyncssh.ChannelOpenError) -> Failure:
    """The server opens no session, or does not run the command."""
    return Failure(TRANSPORT, f"exec request failed at {_place(target)}: {error.reason}")


def cut(target: Target) -> Failure:
    """A connection has ended before the command."""
    return Failure(CUT, f"Connection to {target.host} closed by remote host.")


def added(target: Target, key: asyncssh.SSHKey | None) -> str:
    """A new host key has been taken."""
    name = "" if key is None else key.algorithm.decode("ascii", "replace")
    # As ssh(1) has it: ssh-ed25519 is ED25519, ecdsa-sha2-nistp256 ECDSA.
    kind = name.removeprefix("ssh-").partition("-")[0].upper()
    return f"Warning: Permanently added '{target.known_name}' ({kind}) to the list of known hosts."


def behind(words: str, reason: int = UNREACHABLE, *, dropped: bool = False) -> Failure:
    """There is no connection because of a jump host; `words` and reason are like those of its own ssh(1)."""
    closed = f"kex_exchange_identification: Connection closed by remote host\nConnection closed by {_UNKNOWN}"
    return Failure(reason, f"{words}\n{closed}" if words else closed, dropped)


def lost_on_the_way(target: Target) -> Failure:
    """The connection to a host on the way has ended before it could be used."""
    return Failure(UNREACHABLE, f"Connection to {target.host} closed by remote host.")


def no_channel(reason: str) -> str:
    """Return the words for a host on the way that does not connect to the next one."""
    return f"channel 0: open failed: {reason}\nstdio forwarding failed"


def no_command(shell: str, error: Exception) -> Failure:
    """The shell for a ProxyCommand cannot be executed."""
    why = error.strerror if isinstance(error, OSError) else error
    return behind(f"{shell}: {why}")


def _place(target: Target) -> str:
    """Return how ssh(1) names the other side: by its address, which it has of TCP alone."""
    indirect = target.jump or target.proxy_command is not None
    return _UNKNOWN if indirect else f"{target.host} port {target.port}"
