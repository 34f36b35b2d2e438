"""The lines that the head and the receiving script of a node send each other in a relay copy. Pure.

    head ── orders on stdin ──► RECEIVE (`mpshell.worker.relay`) ── answers on stdout ──► head

Orders are words separated by spaces, ended by a newline; the end of stdin means: give up, leave nothing behind.

    rank RANK                       the first line
    key host|user PRIVATE TYPE PUBLIC   the keys of this copy, for nodes that serve with an sshd of their own
    sum ALGO VALUE                  the checksum of the whole file; after `ready`, before the first pull or feed
    pull SEQ RANK part|done PORT NODE   fetch the rest from that node: from its part, or from its target
    feed SEQ                        the head sends the rest

Answers follow the word `mpshell`: a line without it was written by a start-up file of the node, and so
was what stands before the first answer in its line.

    ready ALGO PORT                 it can receive; ALGO is its checksum algorithm
    shared RANK                     it sees another node's part: their targets are one file
    at BYTES                        it has this many bytes of the file
    need SEQ OFFSET CLASS TEXT      a pull or feed has ended too early, at OFFSET
    take SEQ OFFSET                 the head can send, from OFFSET on
    bad SEQ                         all bytes arrived, the checksum differs; the part is empty again
    done                            the file is in its place
    fail TEXT                       a fault of the node itself, such as a full disk; nothing of the copy is left

SEQ numbers the orders of a node, and an answer names its order. So an answer that crosses a
newer order is recognized by its number, and dropped: without that, one death caused 49 repairs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

#: The word before each answer.
MARK: Final = b"mpshell "

#: The first answer, where it is.
_FIRST: Final = re.compile(rb"mpshell (?:ready|shared|fail) ")

#: The checksum algorithms of nodes.
SHA256: Final = "sha256"
CKSUM: Final = "cksum"

#: The file that a parent sends: its part, which may still grow, or its target.
PART: Final = "part"
DONE: Final = "done"

#: Why a pull has ended: no login and no byte; in the middle; the parent does not have the file.
LOGIN: Final = "login"
CUT: Final = "cut"
GONE: Final = "gone"

#: The port field, if nodes have an sshd already.
NO_PORT: Final = "-"

#: The most characters of an answer's text that are kept.
_LONGEST = 300


class ReadyAnswer(NamedTuple):
    algorithm: str
    port: int | None


class SharedAnswer(NamedTuple):
    rank: int


class AtAnswer(NamedTuple):
    offset: int


class NeedAnswer(NamedTuple):
    seq: int
    offset: int
    kind: str  # LOGIN, CUT, GONE
    text: str


class TakeAnswer(NamedTuple):
    seq: int
    offset: int


class BadAnswer(NamedTuple):
    seq: int


class DoneAnswer(NamedTuple):
    pass


class FailAnswer(NamedTuple):
    text: str


Answer = (
    ReadyAnswer | SharedAnswer | AtAnswer | NeedAnswer | TakeAnswer | BadAnswer | DoneAnswer | FailAnswer
)  # fmt: skip


def rank_order(rank: int) -> bytes:
    """Return the order with the rank of a node."""
    return f"rank {rank}\n".encode()


def sum_order(algorithm: str, value: str) -> bytes:
    """Return the order with the checksum of the whole file."""
    return f"sum {algorithm} {value}\n".encode()


def pull_order(seq: int, rank: int, source: str, kind: str, port: int | None) -> bytes:
    """Return the order to pull from the node `source`, which has that rank."""
    return f"pull {seq} {rank} {kind} {NO_PORT if port is None else port} {source}\n".encode()


def feed_order(seq: int) -> bytes:
    """Return the order to take the rest from the head."""
    return f"feed {seq}\n".encode()


def parse(line: bytes) -> Answer | None:
    """Return the answer in a line; None for one without the mark, ValueError for an invalid answer."""
    if not line.startswith(MARK):
        found = _FIRST.search(line)
        if found is None:
            return None
        line = line[found.start() :]
    text = line[len(MARK) :].decode(errors="backslashreplace").strip()
    word, _, rest = text.partition(" ")
    try:
        return _PARSERS[word](rest)
    except (KeyError, ValueError):
        raise ValueError(f"unexpected answer of the node: {text[:_LONGEST]!r}") from None


def _number(word: str) -> int:
    # int() would also accept signs, underscores and other digits.
    if not (word.isascii() and word.isdigit()):
        raise ValueError(word)
    return int(word)


def _ready(rest: str) -> ReadyAnswer:
    algorithm, port = rest.split(" ")
    if algorithm not in (SHA256, CKSUM):
        raise ValueError(algorithm)
    return ReadyAnswer(algorithm, None if port == NO_PORT else _port(port))


def _port(word: str) -> int:
    port = _number(word)
    if not 0 < port < 1 << 16:
        raise ValueError(word)
    return port


def _need(rest: str) -> NeedAnswer:
    seq, offset, kind, *text = rest.split(" ", 3)
    if kind not in (LOGIN, CUT, GONE):
        raise ValueError(kind)
    return NeedAnswer(_number(seq), _number(offset), kind, _text(text[0] if text else ""))


def _take(rest: str) -> TakeAnswer:
    seq, offset = rest.split(" ")
    return TakeAnswer(_number(seq), _number(offset))


def _done(rest: str) -> DoneAnswer:
    if rest:
        raise ValueError(rest)
    return DoneAnswer()


def _text(text: str) -> str:
    """Return a text of a node in a form for messages: one line of printable characters."""
    return "".join(c if c.isprintable() else "?" for c in text.strip())[:_LONGEST]


_PARSERS: Final[dict[str, Callable[[str], Answer]]] = {
    "ready": _ready,
    "shared": lambda rest: SharedAnswer(_number(rest)),
    "at": lambda rest: AtAnswer(_number(rest)),
    "need": _need,
    "take": _take,
    "bad": lambda rest: BadAnswer(_number(rest)),
    "done": _done,
    "fail": lambda rest: FailAnswer(_text(rest)),
}
