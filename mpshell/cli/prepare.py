"""From the options to a Task's settings and its workers, which are scheduled but not run."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from typing import TYPE_CHECKING, Any

from mpshell.cli.display import Display, GatheredDisplay, LinesDisplay
from mpshell.cli.effective import configured_info, origin
from mpshell.cli.parser import runs_elsewhere
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

#: Seconds that connections stay open between two commands of the prompt, unless a file sets it.
_PROMPT_KEEPS = 600

#: Options that set the info key of their name.
_GIVEN = {
    "fanout", "connect_timeout", "command_timeout", "engines", "rate", "journal", "journal_output",
    "journal_limit", "journal_sync", "max_fail", "canary", "batch", "relay_options",
}  # fmt: skip

#: Settings that are options, with the transport that has them.
_OPTIONS = {"ssh_options": "ssh", "rsh_options": "rsh", "rcp_options": "rsh"}

#: The prefixes of a transport's keys, if that is not its name alone.
_KEYS = {"rsh": ("rsh", "rcp"), "asyncssh": ("ssh",)}

#: The exceptions of bad options: a bad value, a command that the transport cannot take.
BAD_REQUEST = (ValueError, TaskError, WorkerException, EngineClientNotSupportedError)


def configure(task: Task, options: argparse.Namespace, terminal: Terminal) -> None:
    """Set up a Task by the options; one of BAD_REQUEST for values that it does not take."""
    if options.password or options.password_prompt:
        from mpshell.cli.password import check_password

        check_password(options)
    if options.debug:
        task.set_info("debug", True)
        task.set_info("print_debug", lambda task, line: terminal.own(line))
    if options.again is not None:
        options.again.configure(task)
    _configure_from_files(task, options)
    if options.prompt and options.configuration.found("ssh_keep") is None:
        # The next command needs no login.
        task.set_info("ssh_keep", task.info("ssh_keep") or _PROMPT_KEEPS)
    if options.again is None:
        _configure_transport(task, options)
    # Values of a journal are overridden by options, or stay.
    for key in _GIVEN & options.given:
        task.set_info(key, getattr(options, key))
    if options.delay:
        task.set_info("rate", 1 / float(options.delay))
    if options.retry is not None:
        task.set_info("retry", _retry_policy(options))
    if options.worker == "pdsh":
        check_pdsh(task, options)
    if runs_elsewhere(options):
        from mpshell.cli.hosts import configure_hosts

        configure_hosts(task, options)


def _configure_from_files(task: Task, options: argparse.Namespace) -> None:
    """Set the info keys that files and -O have; ValueError, with the place, for a value that is refused."""
    for key, value, where in configured_info(options):
        try:
            if key in _OPTIONS and value is not None:
                _check_options(key, _OPTIONS[key], [value])
            task.set_info(key, value)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def _retry_policy(options: argparse.Namespace) -> RetryPolicy:
    """Return which nodes are tried again."""
    from mpshell import RetryPolicy

    if options.retry_on is None:
        return RetryPolicy(options.retry)
    return RetryPolicy(options.retry, options.retry_on)


def _configure_transport(task: Task, options: argparse.Namespace) -> None:
    """Pass -R, -l and -o on: the keys of a transport begin with its name, or with that of its copies."""
    try:
        task.set_default("distant_workername", options.worker)
    except ImportError as error:
        name = origin(options, "worker", "-R/--worker")
        raise ValueError(
            f"{name} {options.worker!r} is not ssh, asyncssh, exec, rsh, pdsh or a module's name: {error}"
        ) from error
    transport = options.worker.rpartition(".")[2].lower()
    _check_options("-o", transport, options.options)
    if transport == "pdsh":
        # It has no such keys, but its paths may hold arguments.
        words = options.options + (
            [] if options.user is None else ["-l", shlex.quote(options.user)]
        )
        for program in ("pdsh", "pdcp", "rpdcp"):
            path = task.info(f"{program}_path") or program
            task.set_info(f"{program}_path", " ".join([path, *words]))
        return
    for name in _KEYS.get(transport, (transport,)):
        if options.user is not None:
            task.set_info(f"{name}_user", options.user)
        if options.options:
            task.set_info(f"{name}_options", " ".join(options.options))


def check_pdsh(task: Task, options: argparse.Namespace) -> None:
    """Raise ValueError for options that pdsh cannot support, since it starts many commands by itself."""
    for option, key in (
        ("-k", "max_fail"), ("--delay" if options.delay else "--rate", "rate"), ("--canary", "canary"),
        ("--batch", "batch"),
    ):  # fmt: skip
        if task.info(key) is not None:
            name = option if options.delay and key == "rate" else origin(options, key, option)
            raise ValueError(
                f"{name} does not go with -R pdsh, which starts its commands by itself"
            )


def _check_options(name: str, transport: str, texts: list[str]) -> None:
    """Raise ValueError for a word of options that is neither one nor one's value: it would be the node.

    `name` is that of the option or setting.
    """
    awaits = _AWAITS.get(transport)
    if awaits is None:
        # Only another transport itself knows the form of its options.
        return
    before = ""
    for text in texts:
        for word in shlex.split(text):
            if not word.startswith("-") and not awaits.fullmatch(before):
                hint = f"-o -o{word}" if "=" in word else "an option begins with '-'"
                raise ValueError(
                    f"{name} {text!r}: {word!r} is not an option of {transport} ({hint})"
                )
            before = word


def make_display(options: argparse.Namespace, nodes: NodeSet, terminal: Terminal) -> Display:
    """Return the handler for the requested form of output; ValueError if a directory is not possible."""
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
        # As clush has it: the words of a prefix lose a level of quotes.
        command = " ".join([*shlex.split(options.command_prefix), *options.command])
        return [task.shell(command, nodes=nodes, handler=handler, stderr=stderr, stdin=stdin)]
    _check_apart(options)
    if options.relay is not None:
        # Late: few copies need it.
        from mpshell.cli import relayed

        if handler is not None:
            relayed.listen(handler, options)
    workers = []
    for source in options.command:
        if options.copy and not os.path.exists(source):
            raise ValueError(f"-c {source!r}: there is no such file or directory")
        if options.rcopy and (found := re.search(r"[*?\[]", source)) is not None:
            # clush gives all that matches one name, with the pattern in it.
            raise ValueError(
                f"--rcopy {source!r}: {found.group()!r} makes it a pattern, and patterns are not expanded on "
                "the nodes: name each file, or copy the directory"
            )
        dest = _destination(options, source)
        more: dict[str, Any] = {} if options.relay is None else {"relay": options.relay}
        copy = task.copy if options.copy else task.rcopy
        workers.append(
            copy(
                source, dest, nodes, handler=handler, stderr=stderr, preserve=options.preserve,
                atomic=options.atomic, **more,
            )
        )  # fmt: skip
    if options.relay is not None:
        relayed.prepare(workers, options, nodes)
    return workers


def _destination(options: argparse.Namespace, source: str) -> str:
    """Return the destination of a file; ValueError for one from the nodes if it is not a directory."""
    if options.dest is None:
        dest = os.path.join(os.path.dirname(os.path.abspath(source)), "")
        if options.rcopy and not os.path.isdir(dest):
            raise ValueError(
                f"--rcopy {source!r}: there is no directory {dest!r} here: give --dest"
            )
        return dest
    if options.rcopy and not os.path.isdir(options.dest):
        raise ValueError(f"--dest {options.dest!r} is not a directory: --rcopy needs one")
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
