"""--print-completion: the script that makes a shell complete the options, made by shtab (the extra `cli`)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mpshell.cli.parser import Parser
from mpshell.cli.settings import SETTINGS

#: Options whose value is a file or a directory.
_FILES, _DIRECTORIES = ("hostfile", "groupsconf", "dest", "conf"), ("outdir", "errdir")

#: Values that are offered though others are possible, by option.
_OFFERED: dict[str, Sequence[str]] = {
    "worker": ("ssh", "asyncssh", "exec", "rsh", "pdsh"),
    **{key: SETTINGS[key].kind.allowed.split(", ") for key in ("color", "journal_output")},
}


def print_completion(parser: Parser, shell: str) -> int:
    """Print the script for a shell; exit with 64 when shtab is not installed."""
    try:
        import shtab
    except ImportError:
        parser.error("--print-completion needs shtab: pip install 'mpshell[cli]'")
    # The words after the options are separated elsewhere; a shell offers files for them.
    parser.add_argument("command", nargs=argparse.REMAINDER)
    for action in parser._actions:
        if action.dest in _FILES or action.dest == "command":
            vars(action).update(complete=shtab.FILE)
        elif action.dest in _DIRECTORIES:
            vars(action).update(complete=shtab.DIRECTORY)
        action.choices = _OFFERED.get(action.dest, action.choices)
    sys.stdout.write(str(shtab.complete(parser, shell=shell)))
    return 0
