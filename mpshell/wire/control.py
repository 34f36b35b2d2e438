"""The fork server's protocol: one-way packets on its control socket (SOCK_SEQPACKET).

A packet is a kind and an engine id. FORK carries two descriptors (SCM_RIGHTS): the engine's end of its
channel, and the writing end of its sentinel. For an engine that hosts connections, the name of their library
and the directories in which it and its dependencies are installed follow.
"""

from __future__ import annotations

import os
import struct

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FORK, KILL = b"F", b"K"
PACKET = struct.Struct("!cI")

#: Beginning of the text on a sentinel if no engine can run, however often one is requested.
REFUSED = "no engine process can run: "

#: The most bytes of a packet.
LONGEST = 4096


def fork_packet(engine_id: int, library: str = "", paths: Sequence[str] = ()) -> bytes:
    """Return the request for an engine; ValueError for one that is too long."""
    packet = PACKET.pack(FORK, engine_id)
    if library:
        packet += b"\0".join(os.fsencode(text) for text in (library, *paths))
    if len(packet) > LONGEST:
        raise ValueError(f"{len(packet)} bytes for a request that has room for {LONGEST}")
    return packet


def library_of(packet: bytes) -> tuple[str, list[str]]:
    """Return the library that the engine of a request hosts, "" for none, and its directories."""
    library, *paths = map(os.fsdecode, packet[PACKET.size :].split(b"\0"))
    return library, paths
