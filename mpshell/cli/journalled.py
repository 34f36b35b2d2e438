"""The options about journals: which of them go together, and which others a run of a journal takes over."""

from __future__ import annotations

import argparse
from collections.abc import Callable

#: Options of the group "running" that a run which goes on with an earlier one takes over.
_RECORDED = (
    "fanout", "connect_timeout", "command_timeout", "user", "options", "worker", "engines", "rate", "delay",
)  # fmt: skip

#: Options about nodes and the exit status that a run of a journal may be shown with.
_FOR_SHOWING = ("groupsource", "groupsconf", "maxrc", "always_zero")


def past_option(options: argparse.Namespace) -> str | None:
    """Return the option that names a journal with earlier runs, None without one."""
    for name in ("resume", "rerun_failed", "show", "runs"):
        if getattr(options, name) is not None:
            return f"--{name.replace('_', '-')}"
    return None


def check_journal(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    group_of: Callable[[argparse.Action], str],
) -> None:
    """End the program with an error for options that do not go with those of a journal."""
    past = past_option(options)
    if options.rerun_unknown and options.resume is None:
        parser.error("--rerun-unknown is for --resume, which must be given with it")
    if options.run is not None and past in (None, "--runs"):
        parser.error("--run is for --resume, --rerun-failed and --show: one must be given with it")
    if options.report is not None and (past == "--runs" or options.dry_run):
        other = "--runs" if past == "--runs" else "--dry-run"
        parser.error(f"--report is about a run, and does not go with {other}")
    if past is None:
        return
    if options.command:
        parser.error(
            f"{past} takes the command and its nodes from the journal, but "
            f"{' '.join(options.command)!r} is given"
        )
    if options.journal is not None:
        parser.error(f"--journal does not go with {past}, which names a journal itself")
    for action in parser._actions:
        given = getattr(options, action.dest, action.default) != action.default
        if given and _is_taken(past, group_of(action), action.dest):
            name = action.option_strings[-1]
            parser.error(f"{name} does not go with {past}, which takes it from the journal")


def _is_taken(past: str, group: str, name: str) -> bool:
    """Return whether an option stands in a journal, or has no meaning when one is shown."""
    if name in _FOR_SHOWING:
        return False
    if group in ("nodes", "copying"):
        return True
    return group == "running" and (name in _RECORDED or past in ("--show", "--runs"))


def check_journal_details(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program with an error for options of a journal if none is written."""
    if options.configuration.found("journal") is not None:
        return
    if (options.journal is None) == (past_option(options) not in ("--resume", "--rerun-failed")):
        for name in ("output", "limit", "sync"):
            if f"journal_{name}" in options.given:
                parser.error(f"--journal-{name} is for --journal, which must be given with it")
