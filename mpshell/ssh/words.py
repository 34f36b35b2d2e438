"""The words of the info key `ssh_options` that the transport `asyncssh` takes, read as ssh(1) reads them. Pure.

Letters become lines of ssh_config, which stand before those of the files.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from mpshell.errors import WorkerError

#: Letters with an argument, and the keyword that each is; -F and -o are read apart.
_KEYWORDS = {
    "p": "Port", "l": "User", "i": "IdentityFile", "J": "ProxyJump", "c": "Ciphers", "m": "MACs",
    "F": "", "o": "",
}  # fmt: skip

#: Letters without one, and the line that each is.
_LINES = {
    "4": "AddressFamily inet", "6": "AddressFamily inet6", "C": "Compression yes", "T": "RequestTTY no",
    "a": "ForwardAgent no", "x": "ForwardX11 no", "k": "GSSAPIDelegateCredentials no",
    "q": "LogLevel QUIET",
}  # fmt: skip

#: Options of which ssh(1) takes the last, even before -o, while of lines with a keyword the first counts.
_LAST_COUNTS = frozenset("46CTaxkqcm")

#: Letters that only ssh(1) honours, without an argument and with one.
_OF_SSH = frozenset("12AfGgKMNnsTtVvXYy")
_OF_SSH_WITH_ARGUMENT = frozenset("BbDEeILOPQRSWw")


class CommandLine(NamedTuple):
    """Lines of ssh_config with the options that they come from, and the file of -F."""

    lines: list[tuple[str, str]]
    file: str | None
    #: Files of -i, which must be there.
    identities: tuple[str, ...]
    #: An option that only ssh(1) honours.
    for_ssh: str | None


def read_options(words: tuple[str, ...]) -> CommandLine:
    """Return the settings in the words of `ssh_options`; WorkerError for a word that is no option of ssh."""
    lines: list[tuple[str, str]] = []
    file: str | None = None
    identities: list[str] = []
    for_ssh: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        letters = word[1:]
        if not word.startswith("-") or not letters or letters.startswith("-"):
            raise WorkerError(f"ssh_options: {word!r} is not an option of ssh")
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _LINES:
                _add_line(lines, letter, _LINES[letter])
                continue
            if letter in _OF_SSH:
                for_ssh.append(f"option -{letter}")
                continue
            argument = _argument(letter, letters, rest)
            letters = ""
            if letter in _OF_SSH_WITH_ARGUMENT:
                for_ssh.append(f"option -{letter}")
            elif letter == "F":
                file = argument
            elif letter == "o":
                lines.append((argument, f"option -o {argument}"))
            else:
                identities += [argument] * (letter == "i")
                _add_line(lines, letter, f"{_KEYWORDS[letter]} {quoted(argument)}")
    return CommandLine(lines, file, tuple(identities), for_ssh[0] if for_ssh else None)


def with_whole_paths(words: tuple[str, ...], directory: str) -> tuple[str, ...]:
    """Return words with the files of -F and -i as full paths: engines have another directory."""
    made: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        made.append(word)
        for at, letter in enumerate(word[1:], 1):
            if letter not in _KEYWORDS and letter not in _OF_SSH_WITH_ARGUMENT:
                continue
            argument = word[at + 1 :] or (rest.pop(0) if rest else "")
            if letter in "Fi" and argument != "none":
                argument = os.path.join(directory, argument)
            made[-1:] = [word[: at + 1], argument]
            break
    return tuple(made)


def _add_line(lines: list[tuple[str, str]], letter: str, line: str) -> None:
    entry = (line, f"option -{letter}")
    if letter in _LAST_COUNTS:
        lines.insert(0, entry)
    else:
        lines.append(entry)


def _argument(letter: str, letters: str, rest: list[str]) -> str:
    if letter not in _KEYWORDS and letter not in _OF_SSH_WITH_ARGUMENT:
        raise WorkerError(f"ssh_options: -{letter} is not an option of ssh")
    if letters:
        return letters
    if not rest:
        raise WorkerError(f"ssh_options: -{letter} has no value")
    return rest.pop(0)


def quoted(text: str) -> str:
    """Return a text as one word of a line of ssh_config."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
