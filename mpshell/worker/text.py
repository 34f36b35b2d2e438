"""Texts for programs, checked before anything is started."""

from __future__ import annotations

import os
from collections.abc import Iterable

from mpshell.errors import WorkerBadArgumentError


def check_text(name: str, text: str) -> str:
    """Return a text; ValueError for a NUL in it, or characters that this locale cannot encode.

    If only an engine found such a text, everything that runs there would be lost.
    """
    if "\0" in text:
        raise WorkerBadArgumentError(f"{name} cannot hold a NUL character: {text!r}")
    if not text.isascii():
        try:
            os.fsencode(text)
        except UnicodeEncodeError as error:
            raise WorkerBadArgumentError(f"{name} {text!a} cannot be encoded: {error}") from None
    return text


def check_texts(name: str, texts: Iterable[str]) -> None:
    """Check many texts as `check_text` does, at once where nothing is wrong with them."""
    together = "".join(texts)
    if "\0" in together or not together.isascii():
        for text in texts:
            check_text(name, text)
