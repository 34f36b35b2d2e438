"""The command line of mpshell-nodeset: its options, which are those of nodeset(1), and its operands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mpshell.cli import values
from mpshell.cli.parser import Help, Parser, Version

#: The options that combine sets, each with its method; an operand follows the option.
OPERATIONS = {
    "--intersection": "intersection_update",
    "--exclude": "difference_update",
    "--xor": "symmetric_difference_update",
}

#: An operand and the method that takes it.
Step = tuple[str, str]

UNION = "update"

EPILOG = """\
Operands are node sets, groups (@compute, @racks:rack1) and wildcards; -i, -x and -X combine them from left to
right. The operand - reads stdin, and so does a command without operands: words separated by blanks and
newlines, # begins a comment.

The exit status is 0, or 64 for a mistake on the command line or in a node set, or 74 when the output cannot
be written.
"""


class NodesetParser(Parser):
    """Separates options, at any place, from operands, and finds the operation for each operand."""

    def steps(self, words: Sequence[str]) -> tuple[list[str], list[Step]]:
        """Return the options, each with its value in one word, and the steps.

        An operation without an operand before it is done first, before the union of the later operands: by
        kind, intersections, then exclusions, then symmetric differences.
        """
        options: list[str] = []
        steps: list[Step] = []
        early: list[Step] = []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                steps += [(UNION, operand) for operand in rest]
                break
            if word == "-" or not word.startswith("-"):
                steps.append((UNION, word))
                continue
            for option, value in self.options_in(word, rest):
                if value is None:
                    options.append(option)
                elif option in OPERATIONS:
                    (steps or early).append((OPERATIONS[option], value))
                else:
                    options.append(f"{option}={value}")
        order = list(OPERATIONS.values())
        return options, sorted(early, key=lambda step: order.index(step[0])) + steps


def build_parser() -> NodesetParser:
    """Return the parser of the command."""
    parser = NodesetParser(
        prog="mpshell-nodeset",
        usage="mpshell-nodeset COMMAND [options] [NODES] [[-i|-x|-X] NODES]...",
        description="Compute with sets of nodes, as nodeset(1) does.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    _add_commands(parser)
    _add_operations(parser)
    _add_groups(parser)
    _add_result(parser)
    _add_other(parser)
    return parser


# fmt: off


def _add_commands(parser: Parser) -> None:
    add = parser.add_argument_group("commands, one of").add_argument
    add("-e", "--expand", action="store_true", help="show the names of the nodes")
    add("-f", "--fold", action="store_true", help="show one folded text")
    add("-c", "--count", action="store_true", help="show the number of nodes")
    add("-r", "--regroup", action="store_true", help="show the text with nodes replaced by their groups")
    add("-l", "--list", action="count", default=0,
        help="list the groups of a source, or those that contain any of the nodes; -ll: with the nodes, "
        "-lll: also with their number")
    add("-L", "--list-all", action="count", default=0, help="the same for all sources")
    add("--index", metavar="NODE", type=values.given, help="show the position of a node; the first is 0")
    add("--list-sources", "--groupsources", action="store_true", help="list the sources of groups")


def _add_operations(parser: Parser) -> None:
    add = parser.add_argument_group("operations").add_argument
    add("-i", "--intersection", metavar="NODES", help="keep only the nodes that are in these, too")
    add("-x", "--exclude", metavar="NODES", help="remove these")
    add("-X", "--xor", metavar="NODES", help="keep the nodes that are in exactly one of the two")


def _add_groups(parser: Parser) -> None:
    add = parser.add_argument_group("groups").add_argument
    add("-a", "--all", action="store_true", help="begin with all nodes of the group source")
    add("-s", "--groupsource", metavar="SOURCE", type=values.given,
        help="take groups whose name has no source from SOURCE")
    add("--groupsconf", metavar="FILE", type=values.given,
        help="read the group sources from this file (groups.conf of ClusterShell)")
    add("-G", "--groupbase", action="store_true", help="show groups without their source")


def _add_result(parser: Parser) -> None:
    add = parser.add_argument_group("result").add_argument
    add("-S", "--separator", metavar="TEXT", default=" ",
        help="the text between the names of -e; \\n and other escapes are read (a blank)")
    add("-O", "--output-format", metavar="FORMAT", default="%s",
        help="the format of each result, with -e and -f of each node: %%s-ib0 for instance (%%s)")
    add("-I", "--slice", metavar="RANGES", type=values.given,
        help="keep only the nodes at these positions, 0-9/2,16 for instance")
    add("--pick", metavar="N", type=values.count, help="keep only N of the nodes, chosen at random")
    add("--split", metavar="N", type=values.count, help="show N results, whose sizes differ by one at most")
    add("--contiguous", action="store_true", help="show a result for each range without a gap")
    add("--axis", metavar="RANGES", type=values.axes,
        help="fold only these numbers of the names; 1 is the first, -1 the last")
    add("--autostep", metavar="N", type=values.autostep,
        help="fold with a step, as n[1-9/2], at least N nodes; N%%: at least this share of all; auto: all")
    add("-R", "--rangeset", action="store_true", help="operands are ranges as 1-5,08 instead of nodes")


def _add_other(parser: Parser) -> None:
    add = parser.add_argument_group("other").add_argument
    add("-q", "--quiet", action="store_true", help="show no warnings, and do not mark the default source")
    add("-d", "--debug", action="store_true", help="accepted, and has no effect")
    add("--print-completion", metavar="SHELL", choices=("bash", "zsh"),
        help="print the completion script for a shell, bash or zsh, and exit")
    add("--version", nargs=0, action=Version, help="print the version and exit")
    add("-h", "--help", nargs=0, action=Help, help="print this text and exit")


# fmt: on


def parse(words: Sequence[str]) -> tuple[NodesetParser, argparse.Namespace]:
    """Return the parser and the options of a command line; those have the operands as `steps`.

    Exit with 64, after a message, for invalid arguments.
    """
    parser = build_parser()
    given, steps = parser.steps(words)
    options = parser.parse_args(given)
    options.steps = steps
    if not options.print_completion:
        _check(parser, options)
    return parser, options


def _check(parser: Parser, options: argparse.Namespace) -> None:
    commands = {
        "-e": options.expand, "-f": options.fold, "-c": options.count, "-r": options.regroup,
        "-l": options.list, "-L": options.list_all, "--index": options.index is not None,
        "--list-sources": options.list_sources,
    }  # fmt: skip
    given = [name for name, value in commands.items() if value]
    if not given:
        parser.error(f"a command must be given, one of {', '.join(commands)}")
    if len(given) > 1:
        parser.error(f"{' and '.join(given)} do not go together: a command shows one thing")
    if options.rangeset:
        for name, value in (
            ("-a", options.all), ("-r", options.regroup), ("-l", options.list),
            ("-L", options.list_all), ("--axis", options.axis),
        ):  # fmt: skip
            if value:
                parser.error(f"{name} is for nodes, and does not go with -R, which is for ranges")
    if options.split is not None and options.contiguous:
        parser.error("--split does not go with --contiguous")
    if options.axis and not options.fold:
        parser.error("--axis is for folding: -f must be given with it")
    if options.index is not None and options.pick:
        parser.error("--index does not go with --pick")
