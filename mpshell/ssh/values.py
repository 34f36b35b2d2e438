"""Values of ssh_config: which texts a keyword takes, and how they are read. Pure."""

from __future__ import annotations

import re
import socket

from mpshell.ssh import keywords
from mpshell.ssh.text import Unreadable

_TRUE, _FALSE = ("yes", "true"), ("no", "false")

#: Seconds in the units of a time (sshd_config(5), TIME FORMATS).
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TIME = re.compile(r"(?:\d+[smhdwSMHDW]?)+")

_SIZE = re.compile(r"(\d+)([kKmMgG]?)")
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

_LONGEST_TIME = (1 << 31) - 1


def read_flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise Unreadable(f"{text!r} is neither yes nor no")


def read_number(text: str) -> int:
    if not re.fullmatch(r"\+?\d{1,9}", text):
        raise Unreadable(f"{text!r} is not a number of at least 0")
    return int(text)


def read_port(text: str) -> int:
    """Return a port, which may be the name of a service."""
    try:
        port = int(text) if re.fullmatch(r"\d{1,9}", text) else socket.getservbyname(text, "tcp")
    except OSError:
        port = 0
    if not 0 < port < 65536:
        raise Unreadable(f"{text!r} is not a port")
    return port


def read_time(text: str) -> int | None:
    """Return seconds, None for "none"."""
    if text == "none":
        return None
    total = -1
    if _TIME.fullmatch(text):
        parts = re.findall(r"(\d+)([smhdw]?)", text.lower())
        total = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if not 0 <= total <= _LONGEST_TIME:
        raise Unreadable(f"{text!r} is not a time")
    return total


def read_size(text: str) -> int:
    """Return a number of bytes."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise Unreadable(f"{text!r} is not a number of bytes")
    return int(found[1]) * _FACTORS[found[2].lower()]


def read_rekey_limit(words: tuple[str, ...]) -> tuple[int, int]:
    """Return bytes and seconds after which keys are exchanged anew, 0 for the default."""
    size = 0 if words[0] == "default" else read_size(words[0])
    if words[0] != "default" and size < 16:
        raise Unreadable(f"{words[0]!r} is too small a limit")
    seconds = 0 if len(words) < 2 or words[1] == "none" else read_time(words[1]) or 0
    return size, seconds


def check(keyword: str, words: tuple[str, ...]) -> None:
    """Raise Unreadable for words that a keyword does not take."""
    form = keywords.HONOURED.get(keyword)
    if form in (None, keywords.STRUCTURE, keywords.LINE):
        return
    if not words or words[0] == "":
        raise Unreadable("a value is missing")
    if form != keywords.WORDS and len(words) > 1:
        raise Unreadable(f"{words[1]!r} is one word too many")
    first = words[0]
    if form == keywords.FLAG:
        read_flag(first)
    elif form == keywords.NUMBER:
        read_number(first)
    elif form == keywords.PORT:
        read_port(first)
    elif form == keywords.TIME:
        read_time(first)
    elif form == keywords.CHOICE and first.lower() not in keywords.CHOICES[keyword]:
        raise Unreadable(f"{first!r} is none of {', '.join(keywords.CHOICES[keyword])}")
    elif keyword == "rekeylimit":
        read_rekey_limit(words)
    elif keyword.endswith("knownhostsfile") and "none" in words and len(words) > 1:
        raise Unreadable("none stands alone")
    elif keyword == "setenv":
        _check_assignments(words)


def _check_assignments(words: tuple[str, ...]) -> None:
    for word in words:
        if "=" not in word:
            raise Unreadable(f"{word!r} sets no variable")
