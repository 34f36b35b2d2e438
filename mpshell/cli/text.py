"""Foreign text in messages of the program: it is shown, and never interpreted by a terminal.

Names of nodes come from files, schedulers and other programs. The output of nodes is not changed.
"""

from __future__ import annotations

import re

# C0, DEL and C1, also as single bytes that are not UTF-8; characters that turn the direction of text; line
# ends.
_HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\udc80-\udc9f"
)
_CONTROL = re.compile(f"[\t\n{_HIDDEN}]")
_CONTROL_IN_LINES = re.compile(f"[{_HIDDEN}]")


def visible(text: str) -> str:
    """Return a text with control characters as escapes, ``\\x1b``, always as one line."""
    return _CONTROL.sub(_escape, text)


def visible_lines(text: str) -> str:
    """Return the same of a text that may have lines and tabs, as a command has."""
    return _CONTROL_IN_LINES.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte, as Python keeps it in a text
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
