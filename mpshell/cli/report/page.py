"""The HTML file of a report: its parts put together, and written."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import secrets
import stat
from importlib.resources import files
from typing import Any

from mpshell.cli.report.data import collect
from mpshell.journal.past import Past, PastRun

_SCRIPTS = ("nodes.js", "timeline.js", "page.js")


def write(past: Past, run: PastRun, path: str) -> None:
    """Write the report of a run; OSError if it cannot be written: an existing file is kept."""
    try:
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
    except FileNotFoundError:
        mode = None
    text = page(collect(past, run)).encode()
    part = os.path.join(os.path.dirname(path), f".mpshell-{secrets.token_hex(8)}")
    try:
        with open(part, "xb") as file:
            if mode is not None:
                # One that is for its user alone stays so.
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
            file.write(text)
        os.rename(part, path)
    except BaseException:
        try:
            os.unlink(part)
        except FileNotFoundError:
            pass
        raise


def page(content: dict[str, Any]) -> str:
    """Return the whole page. It loads nothing else: its policy forbids that."""
    css = _part("page.css")
    script = "\n".join(_part(name) for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(css)}'; script-src '{_hash(script)}'"
    )
    # Each mark stands once in the template, and the data come last: they may hold one.
    template = _part("page.html")
    for mark, part in (("POLICY", policy), ("STYLE", css), ("SCRIPT", script)):
        template = template.replace(f"@{mark}@", part, 1)
    before, _, after = template.partition("@DATA@")
    return before + embedded(content) + after


def embedded(content: Any) -> str:
    """Return data as JSON that is data also within an element `script`: it has neither `<` nor `&`."""
    text = json.dumps(content, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return a source as Content-Security-Policy names it (CSP level 3, section 2.3.1)."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"
