"""Which options go together, those of files of settings included."""

from __future__ import annotations

import argparse
import sys

from mpshell.cli.journalled import check_journal_details, past_option
from mpshell.cli.parser import Parser, runs_elsewhere
from mpshell.cli.relayed import check_relay


def check(parser: Parser, options: argparse.Namespace) -> None:
    """Exit with 64 for options that do not go together."""
    if options.doctor:
        if options.command or past_option(options) is not None:
            parser.error("--doctor runs nothing: no command and no journal can be given with it")
        return
    check_journal_details(parser, options)
    if past_option(options) is not None:
        _check_forms(parser, options)
        return
    copying = options.copy or options.rcopy
    if "hosts_options" in options.given and not (options.hosts or options.srun):
        parser.error("--hosts-options is for --hosts or --srun")
    if "hosts_python" in options.given and not runs_elsewhere(options):
        parser.error("--hosts-python is for --hosts, --srun or --dask")
    if not any(options.command):
        options.prompt = _may_prompt(parser, options)
    if not copying:
        for name in ("dest", "preserve", "atomic"):
            if getattr(options, name):
                parser.error(f"--{name} is for copies: -c or --rcopy must be given with it")
    check_relay(options, parser.error)
    if "retry_on" in options.given and options.retry is None:
        options.retry = 1
    _check_forms(parser, options)


def _may_prompt(parser: Parser, options: argparse.Namespace) -> bool:
    """Return True: commands come from the prompt; exit with 64 if there cannot be one."""
    if options.copy or options.rcopy:
        parser.error("files to copy must be given")
    if options.command or not all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        parser.error("a command must be given (the prompt needs a terminal)")
    if options.report is not None:
        parser.error("--report does not go with the prompt: a command must be given")
    if options.nostdin:
        parser.error("-n does not go with the prompt: a command must be given")
    return True


def _check_forms(parser: Parser, options: argparse.Namespace) -> None:
    if options.regroup and not (options.dshbak or options.gather_all or options.diff):
        parser.error("-r is for gathered output: -b, -B or --diff must be given with it")
    if options.gather_all and options.errdir:
        parser.error("--errdir does not go with -B, which merges stderr into the output")
    if options.json or options.jsonl:
        for name, given in (
            ("-b", options.dshbak), ("-L", options.by_node), ("-N", options.no_label),
            ("--diff", options.diff),
        ):  # fmt: skip
            if given:
                parser.error(f"{'--json' if options.json else '--jsonl'} does not go with {name}")
