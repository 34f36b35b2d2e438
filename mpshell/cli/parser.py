"""The command line: its options, and how options and command are separated.

`main` calls `parse` once. The man page, the table of docs/cli.md and the
completion scripts are also made from the parser, so an option is described only here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from mpshell.cli import values
from mpshell.cli.journalled import check_journal
from mpshell.cli.relayed import add_relay
from mpshell.cli.settings import SETTINGS, add_setting
from mpshell.cli.text import visible_lines

#: Habits of clush and pdsh that have another form here, or none.
_ELSEWHERE = {
    "-A": "all nodes are -a",
    "--topology": "there is no tree mode: engines on other hosts are --hosts",
    "--remote": "there is no tree mode: local commands are -R exec",
    "-V": "see --version",
}

#: sysexits.h: the command was used incorrectly.
USAGE_ERROR = 64

EPILOG = """\
The first word that is not an option begins the command, and all words after it belong to the command. With
-c or --rcopy, options may also follow the files. Without a command, on a terminal, mpshell shows a prompt.

The exit status is the largest return code of all nodes. A node that timed out, was lost or could not be
reached counts as 255. 64: wrong usage; 130: stopped by Ctrl-C; 143: by SIGTERM; 141: the reader of the
output went away.

Habits are those of clush and pdsh. Where they clash, clush wins: -b gathers (pdsh: batch mode), -q is
quiet (pdsh: show the settings), -L orders by node (pdsh: list the modules), -d shows what is executed (pdsh:
more about threads), -v is verbose (pdsh: leave out nodes that are down), -w takes no -NODES and no /regex/
(use -x). Unlike both, -S is the default (--always-zero for the old habit).
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors exit with 64, and which takes the word after an option as its value."""

    #: Options of other programs, and their replacements.
    elsewhere: ClassVar[Mapping[str, str]] = {}

    def error(self, message: str) -> NoReturn:
        """Report an error on stderr and exit."""
        self.exit(
            USAGE_ERROR, f"{self.prog}: {visible_lines(message)}\nTry '{self.prog} --help'.\n"
        )

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Exit with that status, also when stderr does not take the message."""
        try:
            super().exit(status, message)
        except OSError:
            # Before Python 3.11.4 argparse lets it through.
            raise SystemExit(status) from None

    def split(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the options, each with its value in one word, and the command.

        argparse by itself takes the value of `-o -oPort=22` for an option, and some options of the
        command for its own.
        """
        options: list[str] = []
        command: list[str] = []
        copying = False
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                return options, command + rest
            if not word.startswith("-") or word == "-":
                if not copying:
                    return options, [word, *rest]
                command.append(word)
                continue
            for option, value in self.options_in(word, rest):
                copying = copying or option in ("-c", "--copy", "--rcopy")
                options.append(option if value is None else f"{option}={value}")
        return options, command

    def options_in(self, word: str, rest: list[str]) -> list[tuple[str, str | None]]:
        """Return (option, value) for each option in a word; a value may be taken from the rest."""
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            self._check_name(name)
            if self._takes_value(name):
                return [(name, value if equals else self._value_of(name, rest))]
            if equals and self._option_string_actions[name].nargs != "?":
                self.error(f"option {name} takes no value, and {value!r} is given")
            return [(name, value if equals else None)]
        found: list[tuple[str, str | None]] = []
        for at, letter in enumerate(word[1:], 2):
            name = f"-{letter}"
            self._check_name(name)
            if self._takes_value(name):
                value = word[at:] or self._value_of(name, rest)
                return [*found, (self._long_form(name), value)]
            found.append((name, None))
        return found

    def _check_name(self, name: str) -> None:
        if name not in self._option_string_actions:
            hint = f" ({self.elsewhere[name]})" if name in self.elsewhere else ""
            self.error(f"there is no option {name}{hint}")

    def _value_of(self, name: str, rest: list[str]) -> str:
        if not rest:
            self.error(f"option {name} needs a value: {self._option_string_actions[name].help}")
        return rest.pop(0)

    def _takes_value(self, name: str) -> bool:
        action = self._option_string_actions.get(name)
        return action is not None and action.nargs is None

    def destination(self, name: str) -> str:
        """Return the name of the attribute that an option sets."""
        return self._option_string_actions[name].dest

    def group_of(self, action: argparse.Action) -> str:
        """Return the title of the group that an option is in."""
        titles = [group.title for group in self._action_groups if action in self._actions_in(group)]
        return str(titles[0])

    def _actions_in(self, parser: Any) -> list[argparse.Action]:
        actions: list[argparse.Action] = parser._group_actions
        return actions

    def _long_form(self, name: str) -> str:
        """Return the name under which a value can stand after `=`."""
        names = self._option_string_actions[name].option_strings
        return next(long for long in names if long.startswith("--"))


class _MainParser(Parser):
    elsewhere = _ELSEWHERE


class Help(argparse.Action):
    """Print the help. argparse's own action takes it for printed when it could not be."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(parser.format_help())
        parser.exit()


class Version(argparse.Action):
    """Print the version, which is looked up only here."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from mpshell import __version__

        print(parser.prog, __version__)
        parser.exit()


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = _MainParser(
        prog="mpshell",
        usage="mpshell [options] command\n       mpshell [options] -c FILE... [--dest PATH]\n"
        "       mpshell [options] --rcopy PATH... [--dest DIR]\n"
        "       mpshell [options] --resume|--rerun-failed|--show|--runs JOURNAL\n"
        "       mpshell [options]\n       mpshell [options] --config",
        description="Run a command on many nodes, on all cores of this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    _add_nodes(parser)
    _add_running(parser)
    _add_hosts(parser)
    _add_copying(parser)
    _add_output(parser)
    _add_journal(parser)
    _add_settings(parser)
    _add_other(parser)
    return parser


# fmt: off


def _add_nodes(parser: Parser) -> None:
    group = parser.add_argument_group("nodes")
    add = group.add_argument
    add("-w", "--nodes", metavar="NODES", action="append", default=[],
        help="run on these nodes: node[1-9],gw; - reads them from stdin, ^FILE from a file; repeatable")
    add("-x", "--exclude", metavar="NODES", action="append", default=[],
        help="exclude these nodes; the same forms, repeatable")
    add("--hostfile", "--machinefile", metavar="FILE", action="append", default=[],
        help="run on the nodes named in a file: node sets in words and lines, # begins a comment")
    add("-a", "--all", action="store_true", help="run on all nodes, as the group source lists them")
    add("-g", "--group", metavar="GROUP", action="append", default=[],
        help="run on the nodes of a group: compute, rack[1-3], source:group; repeatable")
    add("-X", "--exclude-group", metavar="GROUP", action="append", default=[],
        help="exclude the nodes of this group; repeatable")
    add("-s", "--groupsource", metavar="SOURCE", type=values.given,
        help="the source of groups whose name has no source")
    add("--groupsconf", metavar="FILE", type=values.given,
        help="read the group sources from this file (groups.conf of ClusterShell)")
    add("--pick", metavar="N", type=values.count,
        help="run on only N of the nodes, chosen at random")


def _add_running(parser: Parser) -> None:
    group = parser.add_argument_group("running")
    add = group.add_argument
    add_setting(group, "fanout")
    add_setting(group, "connect_timeout")
    add_setting(group, "command_timeout")
    add("-l", "--user", metavar="USER", type=values.given, help="log in as USER")
    add("--password", action="store_true",
        help="ask for a password once, and log in with it where a node accepts no key; with -R asyncssh, on "
        "nodes whose host keys are known")
    add("-o", "--options", metavar="OPTIONS", action="append", default=[], type=values.words,
        help="options for ssh or another transport; repeatable")
    add_setting(group, "worker")
    add("-n", "--nostdin", action="store_true", help="give the commands no stdin; by default every "
        "command gets it, unless it is a terminal")
    for key in ("engines", "max_fail", "canary", "batch", "retry", "retry_on"):
        add_setting(group, key)
    rate = group.add_mutually_exclusive_group()
    add_setting(rate, "rate")
    rate.add_argument("--delay", metavar="S", type=values.pause,
        help="start a command at most every S seconds")
    add("--dry-run", action="store_true", help="show what would be executed for which node, and run nothing")
    add("-S", "--maxrc", action="store_true", help="exit with the largest return code; the default")
    add("--always-zero", action="store_true", help="exit with 0 whatever the nodes return")


def _add_hosts(parser: Parser) -> None:
    group = parser.add_argument_group("engines on other hosts")
    where = group.add_mutually_exclusive_group()
    add_setting(where, "hosts")
    where.add_argument("--srun", action="store_true", help=SETTINGS["srun"].help)
    add_setting(where, "dask")
    add_setting(group, "hosts_options", action="append", default=[])
    add_setting(group, "hosts_python")


def _add_copying(parser: Parser) -> None:
    group = parser.add_argument_group("copying")
    add = group.add_argument
    what = group.add_mutually_exclusive_group()
    what.add_argument("-c", "--copy", action="store_true", help="copy files or directories to the nodes")
    what.add_argument("--rcopy", action="store_true",
        help="copy files or directories from the nodes; each gets the node's name as a suffix")
    add("--dest", metavar="PATH", type=values.given,
        help="the destination; a directory for several files (the directory of the source)")
    add("-p", "--preserve", action="store_true", help="keep modification times and modes")
    add("--atomic", action="store_true", help="give a copy its name only when it is complete")
    add_relay(group)


def _add_output(parser: Parser) -> None:
    group = parser.add_argument_group("output")
    add = group.add_argument
    add("-b", "--dshbak", "--gather", action="store_true", help="gather the nodes with the same output")
    add("-B", "--gather-all", action="store_true", help="like -b, stderr included")
    add("-L", "--by-node", action="store_true",
        help="order the lines by node; with -b: gather line by line, a label on each and no header")
    add("-N", "--no-label", action="store_true", help="no labels and headers")
    add("-r", "--regroup", action="store_true",
        help="name gathered nodes by their groups, where a group is complete")
    add("-G", "--groupbase", action="store_true", help="show groups without their source")
    add("--axis", metavar="RANGES", type=values.axes,
        help="fold only these numbers of node names; 1 is the first, -1 the last")
    add("--diff", action="store_true", help="show how the outputs differ from the most common one")
    add("-q", "--quiet", action="store_true", help="show nothing but the output")
    add("-P", "--progress", action="store_true",
        help="show the progress on a terminal with -q, too")
    add("-v", "--verbose", action="store_true", help="show the command, and always a summary")
    add("-d", "--debug", action="store_true",
        help="show each command line as it is executed, and each line as it is read")
    add_setting(group, "color")
    add("--outdir", metavar="DIR", type=values.given, help="write the output of each node to a file here, too")
    add("--errdir", metavar="DIR", type=values.given, help="write the stderr of each node to a file here, too")
    form = group.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write one JSON document at the end")
    form.add_argument("--jsonl", action="store_true",
        help="write a JSON object for each node, on a line, as it finishes")


def _add_journal(parser: Parser) -> None:
    group = parser.add_argument_group("journal")
    add = group.add_argument
    for key in ("journal", "journal_output", "journal_limit"):
        add_setting(group, key)
    add("--journal-sync", action="store_true", help=SETTINGS["journal_sync"].help)
    what = group.add_mutually_exclusive_group()
    what.add_argument("--resume", metavar="FILE", type=values.given,
        help="continue a run of a journal on the nodes that have surely not run")
    what.add_argument("--rerun-failed", metavar="FILE", type=values.given,
        help="run the command of a journal again on the nodes whose last verdict is not ok")
    what.add_argument("--show", metavar="FILE", type=values.given,
        help="show a run of a journal like a live one, in any form of output")
    what.add_argument("--runs", metavar="FILE", type=values.given, help="list the runs of a journal")
    add("--rerun-unknown", action="store_true",
        help="with --resume: also on the nodes that may have run when the run was interrupted")
    add("--run", metavar="N", type=values.count, help="the number of the run in the journal (the last one)")
    add("--report", metavar="FILE", type=values.given,
        help="write a page about the run to FILE, as HTML for a browser; also with --show")


# fmt: on


def _add_settings(parser: Parser) -> None:
    group = parser.add_argument_group("settings")
    group.add_argument(
        "-m", "--mode", metavar="MODE", type=values.given,
        help="take the settings of a run mode: a section [mode:MODE] of a configuration file (sudo, sshpass)",
    )  # fmt: skip
    group.add_argument(
        "-O", "--option", metavar="KEY=VALUE", action="append", default=[],
        help="set a key of mpshell.conf or clush.conf for this run; repeatable",
    )  # fmt: skip
    group.add_argument(
        "--conf", metavar="FILE", type=values.given,
        help="read the settings from this file instead of mpshell.conf and clush.conf",
    )  # fmt: skip
    group.add_argument(
        "--config", action="store_true",
        help="show every setting, its value and where it comes from, and exit; with --json as JSON",
    )  # fmt: skip


def _add_other(parser: Parser) -> None:
    group = parser.add_argument_group("other")
    group.add_argument(
        "--doctor",
        action="store_true",
        help="show the limits of this machine, and whether a sweep with -w, -f and -E fits; run nothing",
    )
    group.add_argument(
        "--print-completion",
        metavar="SHELL",
        choices=("bash", "zsh"),
        help="print the completion script for a shell, bash or zsh, and exit",
    )
    group.add_argument("--version", nargs=0, action=Version, help="print the version and exit")
    group.add_argument("-h", "--help", nargs=0, action=Help, help="print this text and exit")


def runs_elsewhere(options: argparse.Namespace) -> bool:
    """Return whether the engines run on other hosts."""
    return bool(options.hosts or options.srun or options.dask)


def parse(words: Sequence[str]) -> tuple[Parser, argparse.Namespace]:
    """Return the parser and the options of a command line.

    These have the command's words as `command`, and the names of the given options as `given`.
    Exit with 64, after a message, for invalid arguments.
    """
    parser = build_parser()
    words, command = parser.split(words)
    options = parser.parse_args(words)
    options.command = command
    options.prompt = False
    options.given = {parser.destination(word.partition("=")[0]) for word in words}
    if not options.print_completion:
        check_journal(parser, options, parser.group_of)
    return parser, options
