"""From the options to a Task's settings and its workers, which are scheduled but not run."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from typing import TYPE_CHECKING, Any

from mpshell.cli.display import Display, GatheredDisplay, LinesDisplay
from mpshell.cli.terminal import Terminal
from mpshell.errors import EngineClientNotSupportedError, TaskError, WorkerException
from mpshell.nodeset import NodeSet
from mpshell.task.task import Task

if TYPE_CHECKING:
    from mpshell import RetryPolicy

#: An option behind which a value may stand in a word of its own; of ssh it is known which do (OpenSSH 9.9).
_AWAITS = {
    **dict.fromkeys(
        ("ssh", "asyncssh"), re.compile(r"-[46AaCfGgKkMNnqsTtVvXxYy]*[BbcDEeFIiJLlmOoPpQRSWw]")
    ),
    **dict.fromkeys(("rsh", "pdsh"), re.compile(r"-.+", re.DOTALL)),
}

#: What the keys of a transport begin with, where that is not its name alone.
_KEYS = {"rsh": ("rsh", "rcp"), "asyncssh": ("ssh",)}

#: What options are wrong about: a bad value, a command that the transport cannot take.
BAD_REQUEST = (ValueError, TaskError, WorkerException, EngineClientNotSupportedError)


def configure(task: Task, options: argparse.Namespace, terminal: Terminal) -> None:
    """Set a Task as the options say; one of BAD_REQUEST for what it does not take."""
    if options.password:
        from mpshell.cli.password import check_password

        check_password(options)
    if options.debug:
        task.set_info("debug", True)
        task.set_info("print_debug", lambda task, line: terminal.own(line))
    for name in ("output", "limit", "sync"):
        if getattr(options, f"journal_{name}") is not None:
            task.set_info(f"journal_{name}", getattr(options, f"journal_{name}"))
    if options.again is not None:
        options.again.configure(task)
        if options.worker == "pdsh":
            check_pdsh(options)
    else:
        _configure_transport(task, options)
    # What a journal has of these is given anew, or stays.
    for key, value in (
        ("fanout", options.fanout),
        ("connect_timeout", options.connect_timeout),
        ("command_timeout", options.command_timeout),
        ("engines", options.engines),
        ("rate", _rate(options)),
        ("journal", options.journal),
        ("max_fail", options.max_fail),
        ("canary", options.canary),
        ("batch", options.batch),
        ("retry", _retry_policy(options)),
    ):
        if value is not None:
            task.set_info(key, value)
    if options.hosts is not None or options.srun:
        from mpshell.cli.hosts import configure_hosts

        configure_hosts(task, options)


def _rate(options: argparse.Namespace) -> float | None:
    """Return how many commands may start in a second, None for no limit."""
    if options.delay:
        return 1 / float(options.delay)
    return None if options.rate is None else float(options.rate)


def _retry_policy(options: argparse.Namespace) -> RetryPolicy | None:
    """Return which nodes are tried again, None for none."""
    if options.retry is None:
        return None
    from mpshell import RetryPolicy

    if options.retry_on is None:
        return RetryPolicy(options.retry)
    return RetryPolicy(options.retry, options.retry_on)


def _configure_transport(task: Task, options: argparse.Namespace) -> None:
    """Pass -R, -l and -o on: the keys of a transport begin with its name, or with that of its copies."""
    try:
        task.set_default("distant_workername", options.worker)
    except ImportError as error:
        raise ValueError(
            f"-R/--worker {options.worker!r} is not ssh, asyncssh, exec, rsh, pdsh or a module's name: {error}"
        ) from error
    transport = options.worker.rpartition(".")[2].lower()
    _check_options(transport, options.options)
    if transport == "pdsh":
        check_pdsh(options)
        # It has no such keys, but its paths may hold arguments.
        words = options.options + (
            [] if options.user is None else ["-l", shlex.quote(options.user)]
        )
        for program in ("pdsh", "pdcp", "rpdcp"):
            task.set_info(f"{program}_path", " ".join([program, *words]))
        return
    for name in _KEYS.get(transport, (transport,)):
        if options.user is not None:
            task.set_info(f"{name}_user", options.user)
        if options.options:
            task.set_info(f"{name}_options", " ".join(options.options))


def check_pdsh(options: argparse.Namespace) -> None:
    """Raise ValueError for what pdsh cannot do, as it starts many commands by itself."""
    for name, value in (
        ("-k", options.max_fail), ("--rate", options.rate), ("--delay", options.delay),
        ("--canary", options.canary), ("--batch", options.batch),
    ):  # fmt: skip
        if value is not None:
            raise ValueError(
                f"{name} does not go with -R pdsh, which starts its commands by itself"
            )


def _check_options(transport: str, texts: list[str]) -> None:
    """Raise ValueError for a word of -o that is neither an option nor one's value: it would be the node."""
    awaits = _AWAITS.get(transport)
    if awaits is None:
        # What options of another transport look like is its own business.
        return
    before = ""
    for text in texts:
        for word in shlex.split(text):
            if not word.startswith("-") and not awaits.fullmatch(before):
                hint = f"-o -o{word}" if "=" in word else "an option begins with '-'"
                raise ValueError(f"-o {text!r}: {word!r} is no option of {transport} ({hint})")
            before = word


def make_display(options: argparse.Namespace, nodes: NodeSet, terminal: Terminal) -> Display:
    """Return the handler that shows what the options ask for; ValueError when a directory is not possible."""
    if options.json:
        from mpshell.cli.records import JsonDisplay

        return JsonDisplay(options, nodes, terminal)
    if options.jsonl:
        from mpshell.cli.records import JsonLinesDisplay

        return JsonLinesDisplay(options, nodes, terminal)
    if options.dshbak or options.gather_all or options.by_node or options.diff:
        return GatheredDisplay(options, nodes, terminal)
    return LinesDisplay(options, nodes, terminal)


def schedule(
    task: Task, options: argparse.Namespace, nodes: NodeSet, handler: Any = None, *, stdin: bool
) -> list[Any]:
    """Schedule the command, or the copy of each file, and return the workers; BAD_REQUEST."""
    if options.again is not None:
        again: list[Any] = options.again.schedule(task, options, handler, stdin=stdin)
        return again
    stderr = not options.gather_all
    if not (options.copy or options.rcopy):
        command = " ".join(options.command)
        return [task.shell(command, nodes=nodes, handler=handler, stderr=stderr, stdin=stdin)]
    _check_apart(options)
    workers = []
    for source in options.command:
        if options.copy and not os.path.exists(source):
            raise ValueError(f"-c {source!r}: there is no such file or directory")
        if options.rcopy and (found := re.search(r"[*?\[]", source)) is not None:
            # clush gives all that matches one name, with the pattern in it.
            raise ValueError(
                f"--rcopy {source!r}: {found.group()!r} is of a pattern, which is not expanded on the nodes: "
                "name each file, or copy the directory"
            )
        dest = _destination(options, source)
        copy = task.copy if options.copy else task.rcopy
        workers.append(
            copy(
                source, dest, nodes, handler=handler, stderr=stderr, preserve=options.preserve,
                atomic=options.atomic,
            )
        )  # fmt: skip
    return workers


def _destination(options: argparse.Namespace, source: str) -> str:
    """Return where a file goes; ValueError when it comes from the nodes and that is no directory."""
    if options.dest is None:
        dest = os.path.join(os.path.dirname(os.path.abspath(source)), "")
        if options.rcopy and not os.path.isdir(dest):
            raise ValueError(
                f"--rcopy {source!r}: there is no directory {dest!r} here: give --dest"
            )
        return dest
    if options.rcopy and not os.path.isdir(options.dest):
        raise ValueError(f"--dest {options.dest!r} is no directory, which --rcopy needs")
    # Several files go into a directory: to one name they would go at the same time.
    return os.path.join(options.dest, "") if len(options.command) > 1 else str(options.dest)


def _check_apart(options: argparse.Namespace) -> None:
    """Raise ValueError for two files to copy to the nodes that would go to the same name there."""
    if not options.copy:
        return  # those from the nodes are checked by their workers
    found: dict[str, str] = {}
    for source in options.command:
        path = os.path.abspath(source)
        target = os.path.basename(path) if options.dest is not None else path
        if target in found:
            raise ValueError(
                f"-c {found[target]!r} and {source!r} would be the same file on a node"
            )
        found[target] = source
