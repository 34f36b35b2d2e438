"""The text of ssh_config: how a line is split into words, and patterns as OpenSSH matches them. Pure.

Written after readconf.c, misc.c (`strdelim`, `argv_split`) and match.c of OpenSSH.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

_SPACE = " \t\r\n"


class Unreadable(ValueError):
    """A text that is not a line of ssh_config; the text of the error has the reason."""


def next_word(text: str) -> tuple[str, str]:
    """Return the first word of a text, which a space or one "=" ends, and the rest.

    Raise Unreadable for a quote that is not closed.
    """
    for at, char in enumerate(text):
        if char == '"':
            end = text.find('"', at + 1)
            if end < 0:
                raise Unreadable("a quote is not closed")
            return text[:at] + text[at + 1 : end], text[end + 1 :].lstrip(_SPACE)
        if char == "=":
            return text[:at], text[at + 1 :].lstrip(_SPACE)
        if char in _SPACE:
            rest = text[at + 1 :].lstrip(_SPACE)
            return text[:at], rest[1:].lstrip(_SPACE) if rest.startswith("=") else rest
    return text, ""


def argument_of(text: str) -> tuple[str, str]:
    """Return the argument of a criterion and the rest: from OpenSSH 10 on it may be in single quotes too."""
    if not text.startswith("'"):
        return next_word(text)
    word, at = _quoted_word(text, 0)
    return word, text[at:].lstrip(_SPACE)


def split_words(text: str) -> list[str]:
    """Return the words of a line's value up to a comment; Unreadable for a quote that is not closed."""
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in " \t":
            at += 1
        elif text[at] == "#":
            break
        else:
            word, at = _quoted_word(text, at)
            words.append(word)
    return words


def _quoted_word(text: str, at: int) -> tuple[str, int]:
    """Return the word that begins at a place, without its quotes and escapes, and its end."""
    word: list[str] = []
    quote = ""
    while at < len(text):
        char, following = text[at], text[at + 1 : at + 2]
        if (
            char == "\\"
            and following
            and (following in "'\"\\" or (not quote and following == " "))
        ):
            at += 1
            word.append(following)
        elif not quote and char in " \t":
            break
        elif not quote and char in "'\"":
            quote = char
        elif quote and char == quote:
            quote = ""
        else:
            word.append(char)
        at += 1
    if quote:
        raise Unreadable("a quote is not closed")
    return "".join(word), at


@functools.lru_cache(4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    pieces = {"*": ".*", "?": "."}
    return re.compile("".join(pieces.get(c) or re.escape(c) for c in pattern), re.DOTALL)


def match_pattern(text: str, pattern: str) -> bool:
    """Return whether a text matches a pattern with * and ?."""
    return _compiled(pattern).fullmatch(text) is not None


def match_list(text: str, patterns: Iterable[str], lower: bool = False) -> int:
    """Return 1 when a pattern matches and no negated one does, -1 when a negated one does, else 0."""
    found = 0
    for pattern in patterns:
        negated = pattern.startswith("!")
        plain = pattern[1:] if negated else pattern
        if match_pattern(text, plain.lower() if lower else plain):
            if negated:
                return -1
            found = 1
    return found


def match_hostname(host: str, patterns: str) -> bool:
    """Return whether a host's name matches a list of patterns with commas, ignoring case."""
    return match_list(host.lower(), patterns.split(","), lower=True) == 1
