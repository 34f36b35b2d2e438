"""The command `mpshell`: its entry point, which loads the rest (`mpshell.cli.command`)."""

from __future__ import annotations

from mpshell.cli.start import start

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpshell.cli.start import Work


def main(words: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return start("mpshell", _load, words)


def _load() -> Work:
    from mpshell.cli.command import work

    return work
