"""--relay: options that belong together, the order of nodes, and how far relay copies are."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from mpshell.cli.settings import add_setting

if TYPE_CHECKING:
    # Late: `mpshell --help` has no nodes.
    from mpshell.nodeset import NodeSet

#: A comma between nodes, and none within brackets.
_BETWEEN = re.compile(r",(?![^\[]*\])")

_MEGA = 1_000_000


def add_relay(group: Any) -> None:
    """Add the options of relay copies to a group of an argument parser."""
    group.add_argument(
        "--relay", metavar="WAY", nargs="?", const="ssh", choices=("ssh", "sshd"),
        help="send the file or directory from here once, and have nodes pass it on: over ssh logins from node "
        "to node (ssh), or over an sshd that each node runs for this copy (sshd); the copy is atomic",
    )  # fmt: skip
    group.add_argument(
        "--relay-order", metavar="ORDER", choices=("as-given", "by-name"), default="by-name",
        help="begin with the nodes in the order of -w, or of their names: as-given, by-name (by-name)",
    )  # fmt: skip
    add_setting(group, "relay_options")


def check_relay(options: argparse.Namespace, error: Callable[[str], NoReturn]) -> None:
    """Exit by `error` for options that do not go together."""
    if options.relay is None:
        for name in ("relay_order", "relay_options"):
            if name in options.given:
                error(
                    f"--{name.replace('_', '-')} is for relay copies: --relay must be given with it"
                )
    elif not options.copy:
        error("--relay is for copies to nodes: -c must be given with it")


def ordered(nodes: NodeSet, given: Iterable[str]) -> list[str]:
    """Return nodes in the order in which -w names them, and behind them the others, by name."""
    rest = dict.fromkeys(nodes)
    found = []
    for text in given:
        for part in _BETWEEN.split(text):
            for name in _names_in(part):
                if name in rest:
                    del rest[name]
                    found.append(name)
    return found + list(rest)


def _names_in(text: str) -> Iterator[str]:
    # Of stdin, a file or a group the order is that of names.
    if text.strip() and not re.match(r"\s*[-^@!]", text):
        from mpshell.nodeset import NodeSet

        yield from NodeSet(text)


def prepare(workers: Iterable[Any], options: argparse.Namespace, nodes: NodeSet) -> None:
    """Set the requested order of relay copies."""
    if options.relay_order != "as-given":
        return
    order = ordered(nodes, options.nodes)
    for worker in workers:
        if worker.relays_over is not None:
            worker.ask_in_order(order)


def listen(display: Any, options: argparse.Namespace) -> None:
    """Show the progress of relay copies in the progress line, and with -v the source of each node."""

    def relays() -> str:
        found = (worker for worker in display.workers if worker.relays_over is not None)
        return ", ".join(filter(None, map(news, found)))

    display.progress.relays = relays
    if options.verbose:

        def ev_relay(worker: Any, node: str, source: str | None, offset: int) -> None:
            begin = f" from byte {offset}" if offset else ""
            display.terminal.message(f"{node} <- {source or 'this host'}{begin}")

        display.ev_relay = ev_relay


def news(worker: Any) -> str:
    """Return how far a relay copy is: bytes, rate, nodes that have the file, and the slowest link."""
    found = worker.progress()
    if found is None:
        return ""
    text = f"{found.offset / _MEGA:.1f}/{found.size / _MEGA:.1f} MB"
    if found.rate:
        text += f" at {found.rate / _MEGA:.1f} MB/s"
    text += f", {found.done}/{found.nodes} nodes"
    if found.slowest and found.done < found.nodes:
        text += f", slowest {found.slowest} {found.slowest_rate / _MEGA:.1f} MB/s"
    return text
