"""The words of the info key `ssh_options` that the transport `asyncssh` takes, read as ssh(1) reads them. Pure.

Letters become lines of ssh_config, which stand before those of the files.
"""

from __future__ import annotations

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
    "a": "ForwardAgent no", "x": "ForwardX11 no", "k": "GSSAPIDelegateCredentials no", "q": "", "v": "",
}  # fmt: skip

#: Letters of which ssh(1) takes the last, while the first line with a keyword counts.
_LAST_COUNTS = frozenset("46")


class CommandLine(NamedTuple):
    """Lines of ssh_config with the options that they come from, and the file of -F."""

    lines: list[tuple[str, str]]
    file: str | None
    #: Files of -i, which must be there.
    identities: tuple[str, ...]


def read_options(words: tuple[str, ...]) -> CommandLine:
    """Return what the words of `ssh_options` ask for; WorkerError for a word that is not taken."""
    lines: list[tuple[str, str]] = []
    file: str | None = None
    identities: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        letters = word[1:]
        if not word.startswith("-") or not letters or letters.startswith("-"):
            raise WorkerError(f"ssh_options: {word!r} is no option of ssh")
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _LINES:
                _add_line(lines, letter)
                continue
            argument = _argument(letter, letters, rest)
            letters = ""
            if letter == "F":
                file = argument
            elif letter == "o":
                lines.append((argument, f"option -o {argument}"))
            else:
                identities += [argument] * (letter == "i")
                lines.append((f"{_KEYWORDS[letter]} {quoted(argument)}", f"option -{letter}"))
    return CommandLine(lines, file, tuple(identities))


def _add_line(lines: list[tuple[str, str]], letter: str) -> None:
    line = _LINES[letter]
    if not line:
        return
    entry = (line, f"option -{letter}")
    if letter in _LAST_COUNTS:
        lines.insert(0, entry)
    else:
        lines.append(entry)


def _argument(letter: str, letters: str, rest: list[str]) -> str:
    if letter not in _KEYWORDS:
        raise WorkerError(
            f"ssh_options: transport asyncssh does not take -{letter}; transport ssh does"
        )
    if letters:
        return letters
    if not rest:
        raise WorkerError(f"ssh_options: -{letter} has no value")
    return rest.pop(0)


def quoted(text: str) -> str:
    """Return a text as one word of a line of ssh_config."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
