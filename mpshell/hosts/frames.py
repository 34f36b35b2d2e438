"""The stream on a line, between the switchboard and the outpost of one host.

A line is the standard input and output of one program (`ssh gw1 ...`). It begins with a greeting, as a login
may write something before it, and goes on with frames: the length of the body, a kind, the number of an engine
(0: of none), and the body. Both ends use this module; nothing here does I/O.

    switchboard ── START CONFIRM FENCE ──►            ◄── HELLO BEAT GONE ── outpost
                ◄──────────── PIECE LAST CREDIT END ────────────►
"""

import math
import struct

from mpshell.errors import ProtocolError

#: The outpost's first bytes.
GREETING = b"\nmpshell outpost\n"

#: Bytes that a login may write before it.
_PREAMBLE = 1 << 16

START = b"S"  # an engine is to be started
FENCE = b"F"  # it is not to go on
CONFIRM = b"A"  # a beat has arrived: the body is that beat's
HELLO = b"H"  # JSON: version, processors, clocks
BEAT = b"B"  # the outpost lives: the body is its clock
GONE = b"G"  # nothing of an engine runs any more; the body is how it ended
PIECE, LAST = b"p", b"P"  # data between an engine and its coordinator
CREDIT = b"C"  # so many more bytes of pieces may be sent
END = b"E"  # no more pieces come

_HEAD = struct.Struct("!IcI")
_NUMBER = struct.Struct("!I")
_CLOCK = struct.Struct("!d")

#: Bytes of a body, at most: no frame keeps the others waiting for long.
BODY = 1 << 16


def pack(kind: bytes, engine: int = 0, body: bytes = b"") -> bytes:
    """Return a frame."""
    return _HEAD.pack(len(body), kind, engine) + body


def pack_number(number: int) -> bytes:
    """Return the body of a CREDIT."""
    return _NUMBER.pack(number)


def unpack_number(body: bytes) -> int:
    """Return the number in a body; ProtocolError for another one."""
    if len(body) != _NUMBER.size:
        raise ProtocolError(f"a number of {len(body)} bytes")
    (number,) = _NUMBER.unpack(body)
    return int(number)


def pack_clock(seconds: float) -> bytes:
    """Return the body of a BEAT."""
    return _CLOCK.pack(seconds)


def unpack_clock(body: bytes) -> float:
    """Return the seconds in a body; ProtocolError for another one."""
    if len(body) != _CLOCK.size:
        raise ProtocolError(f"a clock of {len(body)} bytes")
    (seconds,) = _CLOCK.unpack(body)
    if not math.isfinite(seconds):
        raise ProtocolError(f"a clock that is at {seconds}")
    return float(seconds)


class Frames:
    """Bytes in, frames out. With `greeted` the greeting has been read, or there is none."""

    def __init__(self, greeted: bool) -> None:
        self.greeted = greeted
        #: The received part of the next frame, or of the text before the greeting.
        self._in = b""

    def feed(self, data: bytes) -> list[tuple[bytes, int, bytes]]:
        """Return the frames that bytes complete; ProtocolError for bytes that cannot be frames."""
        if self._in:
            data = self._in + data
        if not self.greeted:
            # Its first newline may end text that the login has written, or there is nothing before it.
            at = data.find(GREETING)
            if at < 0 and len(data) > _PREAMBLE:
                raise ProtocolError(f"no greeting within {_PREAMBLE} bytes of output")
            if at < 0:
                self._in = data
                return []
            data = data[at + len(GREETING) :]
            self.greeted = True
        frames = []
        start, end = 0, len(data)
        while end - start >= _HEAD.size:
            size, kind, engine = _HEAD.unpack_from(data, start)
            if size > BODY:
                raise ProtocolError(f"a frame of {size} bytes is announced, at most {BODY}")
            if end - start - _HEAD.size < size:
                break
            start += _HEAD.size
            frames.append((kind, engine, data[start : start + size]))
            start += size
        self._in = data[start:]
        return frames
