"""Packets of a launcher to its switchboard, in addition to those for a fork server (`mpshell.wire.control`).

HOST, with the number of a host, is followed by JSON: a `Way`. FORK is followed by the
number of the engine's host and a library; like a fork server's it carries the engine's channel and sentinel.

The end of an engine is written to its sentinel as by a fork server, and these as well:
"""

import json
import struct
from typing import NamedTuple

from mpshell.errors import ProtocolError
from mpshell.wire import control

HOST = b"H"
_NUMBER = struct.Struct("!I")

#: Begins the end of an engine that has never started; the rest is why its host cannot be used.
REFUSED = "?"

#: Beginning of an uncertain end: some data of the engine may not have arrived.
UNCERTAIN = "!"

#: Bytes of a packet at most; a program's words have to fit.
LONGEST = 1 << 15


class Way(NamedTuple):
    """How a host is reached."""

    name: str
    #: The program and its words; its standard input and output lead to an outpost.
    argv: tuple[str, ...]
    #: Seconds that it has to greet.
    patience: float
    #: Variables for the program, on top of the environment of this process.
    env: tuple[tuple[str, str], ...] = ()
    #: Where a program that leads to several hosts leads (`mpshell.hosts.trunk`); "": it leads to one.
    station: str = ""
    #: The standard input of such a program, which may contain keys.
    settings: str = ""


def host_packet(number: int, way: Way) -> bytes:
    """Return the packet that makes a host known."""
    return control.PACKET.pack(HOST, number) + json.dumps(way).encode()


def read_host(body: bytes) -> Way:
    """Return the content of such a packet after its number; ProtocolError for anything else."""
    try:
        name, argv, patience, env, station, settings = json.loads(body)
        words, variables = tuple(map(str, argv)), tuple((k, v) for k, v in env)
        return Way(str(name), words, float(patience), variables, str(station), str(settings))
    except (ValueError, TypeError) as error:
        raise ProtocolError(f"no host: {error}") from error


def fork_packet(engine_id: int, host: int, library: str) -> bytes:
    """Return the request for an engine on a host, which hosts connections of a library or none ("")."""
    return control.PACKET.pack(control.FORK, engine_id) + _NUMBER.pack(host) + library.encode()


def read_fork(body: bytes) -> tuple[int, str]:
    """Return the number of the host, and the library."""
    if len(body) < _NUMBER.size:
        raise ProtocolError("no number of a host")
    (host,) = _NUMBER.unpack_from(body)
    return int(host), body[_NUMBER.size :].decode(errors="replace")
