"""The command `mpshell-nodeset`: its entry point, which loads the rest (`mpshell.cli.nodesetcommand`).

`python -m mpshell.cli.nodeset` is the same program.
"""

from __future__ import annotations

import sys

from mpshell.cli.start import start

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpshell.cli.start import Work


def main(words: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return start("mpshell-nodeset", _load, words)


def _load() -> Work:
    from mpshell.cli.nodesetcommand import work

    return work


if __name__ == "__main__":
    sys.exit(main())
