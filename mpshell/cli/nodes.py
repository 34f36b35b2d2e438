"""Which nodes a command is for: -w, --hostfile, Slurm's, less -x, a few picked of them."""

from __future__ import annotations

import argparse
import os

from mpshell.nodeset import NodeSet, NodeSetException

_STDIN = 0

#: Where a Slurm job finds its nodes, in the syntax of node sets.
SLURM = "SLURM_JOB_NODELIST"


class NoNodesError(Exception):
    """There is no node to run on, or what names them is wrong; the text says why."""


def chosen_nodes(options: argparse.Namespace) -> NodeSet:
    """Return the nodes that the options say; NoNodesError when there is none."""
    sources = [("-w", text) for text in options.nodes]
    files = [("--hostfile", path) for path in options.hostfile]
    if not (sources or files) and SLURM in os.environ:
        sources = [(SLURM, os.environ[SLURM])]
    if not (sources or files):
        raise NoNodesError(
            f"no nodes: give them with -w or --hostfile, or run in a Slurm job ({SLURM} is not set)"
        )
    nodes = NodeSet()
    for name, text in sources:
        nodes.update(_nodes_in(name, text))
    for name, path in files:
        nodes.update(_nodes_of(name, path, path))
    if not nodes:
        texts = (f"{name} {text!r}" for name, text in sources + files)
        raise NoNodesError(f"no nodes in {', '.join(texts)}")
    for text in options.exclude:
        nodes.difference_update(_nodes_in("-x", text))
    if not nodes:
        raise NoNodesError(f"no node is left after -x {', '.join(map(repr, options.exclude))}")
    if options.pick is not None and options.pick < len(nodes):
        import random

        nodes = NodeSet.fromlist(random.sample(list(nodes), options.pick))
    return nodes


def _nodes_in(name: str, text: str) -> NodeSet:
    """Return the nodes of one value of an option."""
    if text == "^":
        raise NoNodesError(f"{name} {text!r}: the name of a file must follow")
    if text == "-":
        return _nodes_of(name, text, _STDIN)
    return _nodes_of(name, text, text[1:] if text.startswith("^") else None)


def _nodes_of(name: str, text: str, file: str | int | None) -> NodeSet:
    """Return the nodes that an option's value names, or the file that it names."""
    try:
        nodes = NodeSet(text) if file is None else _read(file)
    except NodeSetException as error:
        raise NoNodesError(f"{name} {text!r}: {error}") from None
    except OSError as error:
        path = text if file == _STDIN else file
        raise NoNodesError(f"{name} {path!r} cannot be read: {error.strerror}") from None
    for node in nodes:
        if node.startswith("-"):
            # pdsh excludes with it; what takes names as words would find an option.
            raise NoNodesError(f"{name} {text!r}: no node begins with '-' (exclude nodes with -x)")
    return nodes


def _read(file: str | int) -> NodeSet:
    """Return the nodes named in a file: node sets in words, # begins a comment."""
    with open(file, errors="surrogateescape", closefd=isinstance(file, str)) as lines:
        return NodeSet.fromlist([word for line in lines for word in line.partition("#")[0].split()])
