"""The options of ssh(1) and scp(1) in a list of words, as getopt(3) reads them. Pure."""

from __future__ import annotations

from typing import NamedTuple

#: Options that take an argument.
SSH_WITH_ARGUMENT = "BbcDEeFIiJLlmOoPpQRSWw"
SCP_WITH_ARGUMENT = "DFJMPSXcilo"


class Flag(NamedTuple):
    """An option, and its argument if it takes one."""

    letter: str
    argument: str | None

    @property
    def words(self) -> list[str]:
        return [f"-{self.letter}{self.argument or ''}"]


def read_flags(words: list[str], with_argument: str) -> tuple[list[Flag], list[str]]:
    """Return the options at the beginning of words, and the words after them."""
    flags: list[Flag] = []
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        letters = rest.pop(0)[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter not in with_argument:
                flags.append(Flag(letter, None))
                continue
            flags.append(Flag(letter, letters or (rest.pop(0) if rest else None)))
            letters = ""
    return flags, rest


def flag_words(flags: list[Flag]) -> list[str]:
    """Turn options into words again."""
    return [word for flag in flags for word in flag.words]
