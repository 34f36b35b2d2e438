"""Which nodes a command is for: -w, --hostfile, -a, -g, Slurm's, less -x and -X, a few picked of them."""

from __future__ import annotations

import argparse
import codecs
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from mpshell.nodeset import (
    RESOLVER_NOGROUP,
    NodeSet,
    NodeSetException,
    set_default_source,
    set_std_group_resolver_config,
    std_group_resolver,
)

_STDIN = 0

#: The most bytes of a file of nodes: a longer file is not a list of nodes (/dev/zero has no end).
_LONGEST = 1 << 26

#: Text of Open MPI and MPICH after a node in a --machinefile, as a separate word or after a colon.
_SLOTS = re.compile(r"(?:slots|max[_-]slots|cpus?|count)=[0-9]+")
_NUMBERED = re.compile(r"([^:]+):[0-9]+")

#: Transports whose nodes are hosts.
_HOSTS = ("ssh", "asyncssh", "rsh", "pdsh")

#: Where a Slurm job finds its nodes, in the syntax of node sets.
SLURM = "SLURM_JOB_NODELIST"


class NoNodesError(Exception):
    """There is no node to run on, or a list of nodes is wrong; the text has the reason."""


def chosen_nodes(options: argparse.Namespace) -> NodeSet:
    """Return the nodes of the options; NoNodesError if there is none."""
    configure_groups(options)
    nodes = _named_nodes(options)
    for text in options.exclude:
        nodes.difference_update(_nodes_in("-x", text, options.worker))
    for text in options.exclude_group:
        nodes.difference_update(_members_of("-X", text))
    if not nodes:
        excluded = [f"-x {text!r}" for text in options.exclude]
        excluded += [f"-X {text!r}" for text in options.exclude_group]
        raise NoNodesError(f"no node is left after {', '.join(excluded)}")
    if options.pick is not None and options.pick < len(nodes):
        import random

        nodes = NodeSet.fromnames(random.sample(list(nodes), options.pick))
    if options.regroup:
        # The sources are asked now: at the end of the run nothing could be done about an error.
        with named_errors("-r"):
            nodes.regroup()
    return nodes


def are_named(options: argparse.Namespace) -> bool:
    """Return whether any option, or Slurm, names nodes."""
    given = options.nodes or options.hostfile or options.group or options.all
    return bool(given) or SLURM in os.environ


def _named_nodes(options: argparse.Namespace) -> NodeSet:
    """Return the nodes without those that are excluded; NoNodesError when there is none."""
    sources = [("-w", text) for text in options.nodes]
    files = [("--hostfile", path) for path in options.hostfile]
    groups = [("-g", text) for text in options.group]
    if not are_named(options):
        raise NoNodesError(
            "no nodes: give them with -w or --hostfile, or groups with -g or -a, or run in a Slurm job "
            f"({SLURM} is not set)"
        )
    if not (sources or files or groups or options.all):
        sources = [(SLURM, os.environ[SLURM])]
    nodes = NodeSet()
    if options.all:
        with named_errors("-a"):
            nodes.update(NodeSet.fromall())
    for name, text in groups:
        nodes.update(_members_of(name, text))
    for name, text in sources:
        nodes.update(_nodes_in(name, text, options.worker))
    for name, path in files:
        nodes.update(_nodes_of(name, path, options.worker, path, machines=True))
    if not nodes:
        texts = ["-a"] if options.all else []
        texts += [f"{name} {text!r}" for name, text in groups + sources + files]
        raise NoNodesError(f"no nodes in {', '.join(texts)}")
    return nodes


def configure_groups(options: argparse.Namespace) -> None:
    """Use the group source, and the file of sources, that the options name; NoNodesError."""
    if options.groupsconf is not None:
        try:
            # The resolver itself takes a file that it cannot read for one without sources.
            with open(options.groupsconf, "rb"):
                pass
        except OSError as error:
            raise NoNodesError(
                f"--groupsconf {options.groupsconf!r} cannot be read: {error.strerror}"
            ) from None
        with named_errors("--groupsconf"):
            set_std_group_resolver_config(options.groupsconf)
    if options.groupsource is not None:
        with named_errors("-s"):
            set_default_source(std_group_resolver(), options.groupsource)


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Let NoNodesError come for errors of groups, with the option that they are about."""
    try:
        yield
    except NodeSetException as error:
        raise NoNodesError(f"{name}: {error}") from None


def _members_of(name: str, text: str) -> NodeSet:
    """Return the nodes of the groups that one value of an option names: a[1-3],source:b."""
    with named_errors(f"{name} {text!r}"):
        groups = NodeSet(_bare(text), resolver=RESOLVER_NOGROUP)
        return NodeSet.fromlist(["@" + group.removeprefix("@") for group in groups])


def _nodes_in(name: str, text: str, worker: str) -> NodeSet:
    """Return the nodes of one value of an option."""
    if text == "^":
        raise NoNodesError(f"{name} {text!r}: the name of a file must follow")
    if text == "-":
        return _nodes_of(name, text, worker, _STDIN)
    return _nodes_of(name, text, worker, text[1:] if text.startswith("^") else None)


def _nodes_of(
    name: str, text: str, worker: str, file: str | int | None, *, machines: bool = False
) -> NodeSet:
    """Return the nodes that an option's value names, or the file that it names."""
    try:
        if file is None:
            nodes = NodeSet(_bare(text.removeprefix("\ufeff")))
        else:
            nodes = NodeSet.fromlist(_words_in(_read(file), machines))
    except (NodeSetException, _NoListError) as error:
        raise NoNodesError(f"{name} {text!r}: {error}") from None
    except OSError as error:
        path = text if file == _STDIN else file
        raise NoNodesError(f"{name} {path!r} cannot be read: {error.strerror}") from None
    for node in nodes:
        if complaint := _complaint(node, worker):
            raise NoNodesError(f"{name} {text!r}: {complaint}")
    return nodes


def typed_nodes(name: str, text: str, worker: str) -> NodeSet:
    """Return the nodes of a text that was typed at the prompt behind `name`; NoNodesError."""
    if not text:
        raise NoNodesError(f"{name}: nodes must follow")
    return _nodes_of(name, text, worker, None)


class _NoListError(Exception):
    """A file is not a list of nodes."""


def _complaint(node: str, worker: str) -> str | None:
    """Return why a name is more likely a slip, with the form that is meant, or None."""
    if node.startswith("-"):
        # pdsh excludes with it; programs that get names as arguments would take it for an option.
        return "a node name cannot begin with '-' (exclude nodes with -x)"
    if worker not in _HOSTS:
        # A local command's node may be anything.
        return None
    if _SLOTS.fullmatch(node):
        return f"{node!r} is not a node (a machine file of MPI is read with --machinefile)"
    if len(node.split()) > 1:
        return f"{node!r} has a blank in it: nodes are joined by commas"
    if (found := _NUMBERED.fullmatch(node)) is not None:
        return (
            f"{node!r} is the node {found[1]!r} with a number: give a port with -o, "
            "a machine file of MPI with --machinefile"
        )
    return None


def _bare(text: str) -> str:
    """Return a list without a comma at its begin or end, as the next word or line has the rest of it."""
    return text.strip().strip(",")


def words_of_stdin(name: str) -> list[str]:
    """Return the words of stdin, without comments; NoNodesError, which names the option `name`."""
    try:
        return _words_in(_read(_STDIN), machines=False)
    except _NoListError as error:
        raise NoNodesError(f"{name} '-': {error}") from None
    except OSError as error:
        raise NoNodesError(f"{name} '-' cannot be read: {error.strerror}") from None


def _words_in(data: bytes, machines: bool) -> list[str]:
    """Return the words of a file: # begins a comment. In a machine file, text after a node is ignored."""
    if not machines and b"#" not in data and b"," not in data:
        return os.fsdecode(data).split()
    words: list[str] = []
    for line in data.splitlines():
        found = [_bare(word) for word in os.fsdecode(line.partition(b"#")[0]).split()]
        if machines:
            found = [
                word if (numbered := _NUMBERED.fullmatch(word)) is None else numbered[1]
                for word in found
                if not _SLOTS.fullmatch(word)
            ]
        words += found
    return words


def _read(file: str | int) -> bytes:
    """Return the content of a file, without a byte order mark."""
    with open(file, "rb", closefd=isinstance(file, str)) as lines:
        data = lines.read(_LONGEST + 1) or b""
    if len(data) > _LONGEST:
        raise _NoListError(f"more than {_LONGEST >> 20} MiB: too large for a list of nodes")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _NoListError("this is UTF-16: convert it (iconv -f UTF-16 -t UTF-8)")
    return data.removeprefix(codecs.BOM_UTF8)
