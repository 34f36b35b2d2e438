"""Tokens (%h, %p ...) and ${variables} in the values of ssh_config. Pure."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping

_TOKEN = re.compile(r"%(.?)", re.DOTALL)
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


class NotExpanded(ValueError):
    """A token or variable that stands for nothing here; the text is the token."""


def has_tokens(text: str) -> bool:
    return "%" in text or "${" in text


def expand(text: str, tokens: Mapping[str, str], environ: Mapping[str, str] | None = None) -> str:
    """Return a text with its tokens replaced, and its variables if an environment is given.

    Raise NotExpanded for one that is not known: %C and %j are among them, as versions of ssh(1) differ in them.
    """

    def of_token(found: re.Match[str]) -> str:
        letter = found[1]
        if letter == "%":
            return "%"
        if letter not in tokens:
            raise NotExpanded(f"%{letter}")
        return tokens[letter]

    if environ is not None and "${" in text:
        # Variables first, and not in the values of tokens, as in dollar_percent_expand() of OpenSSH.
        pieces = _VARIABLE.split(text)
        return "".join(
            environ_value(piece, environ) if at % 2 else _TOKEN.sub(of_token, piece)
            for at, piece in enumerate(pieces)
        )
    return _TOKEN.sub(of_token, text)


def environ_value(name: str, environ: Mapping[str, str]) -> str:
    """Return a variable's value; NotExpanded when it is not set."""
    if name not in environ:
        raise NotExpanded(f"${{{name}}}")
    return environ[name]


class Here:
    """The values of the tokens about this machine and this user."""

    def __init__(self, user: str, home: str) -> None:
        name = socket.gethostname()
        self._fixed = {
            "d": home,
            "i": str(os.getuid()),
            "l": name,
            "L": name.split(".")[0],
            "u": user,
        }

    def tokens(
        self, host: str, original: str, port: int, user: str, alias: str | None
    ) -> dict[str, str]:
        """Return all tokens for one connection."""
        of_node = {"h": host, "n": original, "p": str(port), "r": user, "k": alias or original}
        return self._fixed | of_node
