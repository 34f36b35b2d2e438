"""The work of the command mpshell-nodeset: sets of nodes from the shell, with the options of nodeset(1)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil
from typing import TYPE_CHECKING

from mpshell.cli.nodesetparser import UNION, parse

if TYPE_CHECKING:
    from mpshell.nodeset import NodeSet
    from mpshell.rangeset import RangeSet

    Set = NodeSet | RangeSet


def work(words: Sequence[str]) -> int:
    """Do what the arguments ask for, and return the exit status."""
    parser, options = parse(words)
    if options.print_completion:
        from mpshell.cli.completion import print_completion

        return print_completion(parser, options.print_completion)
    from mpshell.cli.nodes import NoNodesError, configure_groups
    from mpshell.cli.terminal import STDOUT, write_pieces
    from mpshell.nodeset import NodeSetException
    from mpshell.rangeset import RangeSetException

    try:
        if options.rangeset and options.groupsource:
            _warn(options, f"-s {options.groupsource} has no effect with -R")
            options.groupsource = None
        configure_groups(options)
        write_pieces(STDOUT, (os.fsencode(f"{line}\n") for line in _lines(options)))
    except (NoNodesError, NodeSetException, RangeSetException, _BadValueError) as error:
        parser.error(str(error))
    return 0


class _BadValueError(Exception):
    """The value of an option is invalid; the text has the option and the reason."""


def _warn(options: argparse.Namespace, text: str) -> None:
    if not options.quiet:
        sys.stderr.write(f"mpshell-nodeset: {text}\n")


def _lines(options: argparse.Namespace) -> Iterable[str]:
    if options.list_sources:
        return _sources(options)
    found = _computed(options)
    if options.list or options.list_all:
        return _groups(options, found)
    return _results(options, found)


def _sources(options: argparse.Namespace) -> Iterator[str]:
    """Yield the names of the sources of groups, the default one first."""
    from mpshell.nodeset import std_group_resolver

    for number, source in enumerate(std_group_resolver().sources()):
        yield source if number or options.quiet else f"{source} (default)"


def _computed(options: argparse.Namespace) -> Set:
    """Return the set that the operands and operations make."""
    from mpshell.nodeset import NodeSet
    from mpshell.rangeset import RangeSet

    kind: type[NodeSet] | type[RangeSet] = RangeSet if options.rangeset else NodeSet
    # A share of the nodes, or `auto`, is known when all of them are.
    autostep = options.autostep if isinstance(options.autostep, int) else None
    found: Set = kind(autostep=autostep)
    if options.all and isinstance(found, NodeSet):
        found.update(NodeSet.fromall())
    steps = list(options.steps)
    listing = options.list or options.list_all
    if not any(step == UNION for step, _ in steps) and not (options.all or listing):
        steps.insert(0, (UNION, "-"))
    if steps and steps[0][0] != UNION and not found:
        _warn(
            options,
            f"there is nothing to the left of {steps[0][1]!r}: it is combined with an empty set",
        )
    for step, text in steps:
        operand = _operand(kind, text, autostep)
        if step == UNION and not found:
            # As it is: its names are in order already.
            found = operand
        else:
            _apply(found, step, operand)
    return found


def _operand(kind: type[NodeSet] | type[RangeSet], text: str, autostep: int | None) -> Set:
    """Return the set of an operand, which may have several lines."""
    from mpshell.cli.nodes import words_of_stdin

    parts = words_of_stdin("NODES") if text == "-" else text.splitlines()
    return kind(parts[0], autostep) if len(parts) == 1 else kind.fromlist(parts, autostep=autostep)


def _apply(found: Set, step: str, operand: Set) -> None:
    method: Callable[[Set], None] = getattr(found, step)
    method(operand)


def _groups(options: argparse.Namespace, found: Set) -> Iterator[str]:
    """Yield a line for each group of a source, or of all."""
    from mpshell.nodeset import NodeSet, NoGroupQueryError, std_group_resolver

    sources: list[str | None] = [options.groupsource]
    if options.list_all:
        # The first is the default one, whose groups have no prefix.
        sources = [None, *std_group_resolver().sources()[1:]]
    level = options.list + options.list_all
    named = bool(found or options.all or options.steps)
    for source in sources:
        try:
            if named and isinstance(found, NodeSet):
                yield from _groups_of(found, source, level, options.groupbase)
            else:
                yield from _all_groups(source, level, options.groupbase)
        except NoGroupQueryError as error:
            if not options.list_all:
                raise
            _warn(options, str(error))


def _groups_of(nodes: NodeSet, source: str | None, level: int, noprefix: bool) -> Iterator[str]:
    """Yield a line for each group that has one of the nodes."""
    for group, (members, inside) in sorted(nodes.groups(source, noprefix).items()):
        if level == 1:
            yield group
        elif level == 2:
            yield f"{group} {inside}"
        else:
            yield f"{group} {inside} {len(inside)}/{len(members)}"


def _all_groups(source: str | None, level: int, noprefix: bool) -> Iterator[str]:
    from mpshell.nodeset import NodeSet, grouplist

    for name in grouplist(source):
        group = f"@{source}:{name}" if source and not noprefix else f"@{name}"
        if level == 1:
            yield group
            continue
        nodes = NodeSet(f"@{source}:{name}" if source else group)
        yield f"{group} {nodes}" if level == 2 else f"{group} {nodes} {len(nodes)}"


def _results(options: argparse.Namespace, found: Set) -> Iterator[str]:
    """Yield the results of the command for the set, or for each of its parts."""
    found = _chosen(options, found)
    if options.index is not None:
        try:
            position = found.index(options.index)
        except ValueError as error:
            raise _BadValueError(f"--index: {error}") from None
        yield _formatted(options, position)
        return
    show = _shower(options)
    if not found or (options.split in (None, 1) and not options.contiguous):
        yield show(found)
        return
    parts: Iterator[Set] = found.contiguous() if options.contiguous else found.split(options.split)
    for part in parts:
        yield show(part)


def _chosen(options: argparse.Namespace, found: Set) -> Set:
    """Return the part of the set that the options ask for, with how it folds."""
    from mpshell.nodeset import NodeSet
    from mpshell.rangeset import RangeSet, RangeSetException

    if options.slice is not None:
        sliced = type(found)()
        try:
            slices = list(RangeSet(options.slice).slices())
        except RangeSetException as error:
            raise _BadValueError(f"-I {options.slice!r}: {error}") from None
        for part in slices:
            _apply(sliced, UNION, found[part])
        found = sliced
    if options.autostep == "auto":
        found.autostep = max(3, len(found))
    elif isinstance(options.autostep, float):
        found.autostep = max(2, ceil(len(found) * options.autostep))
    if options.axis and isinstance(found, NodeSet):
        found.fold_axis = options.axis
    if options.pick is not None and options.pick < len(found):
        import random

        found.intersection_update(type(found).fromlist(random.sample(list(found), options.pick)))
    return found


def _shower(options: argparse.Namespace) -> Callable[[Set], str]:
    """Return the function that makes the text of a result."""
    from mpshell.nodeset import NodeSet

    if options.expand:
        separator = _separator(options.separator)
        if options.output_format == "%s":
            return separator.join
        return lambda found: separator.join([_formatted(options, name) for name in found])
    if options.regroup:
        return lambda found: _formatted(
            options,
            found.regroup(options.groupsource, noprefix=options.groupbase)
            if isinstance(found, NodeSet)
            else found,
        )
    if options.count:
        return lambda found: _formatted(options, len(found))
    if options.output_format == "%s" or options.rangeset:
        return lambda found: _formatted(options, found)

    def fold(found: Set) -> str:
        names = NodeSet.fromnames(_formatted(options, name) for name in found)
        names.autostep = found.autostep
        return str(names)

    return fold


def _formatted(options: argparse.Namespace, value: object) -> str:
    try:
        return str(options.output_format % value)
    except (TypeError, ValueError) as error:
        raise _BadValueError(f"-O {options.output_format!r}: {error}") from None


def _separator(text: str) -> str:
    """Return a text with its escapes, as \\n, interpreted."""
    if "\\" not in text:
        return text
    import ast

    quoted = '"""' + text.replace('"', '\\"') + '"""'
    try:
        return str(ast.literal_eval(quoted))
    except (SyntaxError, ValueError):
        raise _BadValueError(f"-S {text!r} has an escape that does not exist") from None
