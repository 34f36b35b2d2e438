"""The table of all settings: of the command, its files and the library.

The options of `mpshell` that set a value, the keys of `clush.conf` and `mpshell.conf`, `mpshell --config` and
the table of docs/configuration.md are made from it.  Defaults are those of `mpshell.defaults`, if that has the
key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mpshell.cli import values
from mpshell.defaults import ENGINE, NODESET, TASK_DEFAULT, TASK_INFO
from mpshell.kept import KEEPS

#: The files of settings of the command. The library's is defaults.conf.
CLUSH_CONF, MPSHELL_CONF, DEFAULTS_CONF = "clush.conf", "mpshell.conf", "defaults.conf"

#: The section of the command's files, and the begin of the name of a run mode's section.
MAIN, MODE = "Main", "mode:"


class Kind(NamedTuple):
    """The values that a setting may have."""

    #: Takes a text, and returns its value; argparse.ArgumentTypeError, which names the values that are allowed.
    read: Callable[[str], Any]
    #: The texts that it takes.
    allowed: str
    unit: str = ""


class Setting(NamedTuple):
    """One setting."""

    key: str
    kind: Kind
    text: str
    #: The files that may have it.
    files: tuple[str, ...]
    #: Of the option: its names, the word for its value, and the end of its help, in brackets.
    names: tuple[str, ...] = ()
    metavar: str | None = None
    note: str = ""
    #: The info key of the Task, or the section of defaults.conf when no Task of the command has it.
    info: str | None = None
    section: str | None = None
    #: The default, if no table of the library has one.
    own_default: Any = None
    #: Why the key has no effect.
    ignored: str = ""

    @property
    def default(self) -> Any:
        """The value without any file: the library's, if it has one."""
        tables = {"task.default": TASK_DEFAULT, "nodeset": NODESET, "engine": ENGINE}
        if self.section in tables:
            return tables[self.section][self.key]
        return TASK_INFO.get(self.info or self.key, self.own_default)

    @property
    def help(self) -> str:
        """The help of the option, as argparse takes it."""
        note = f" ({self.note.format(as_text(self.default))})" if self.note else ""
        return f"{self.text}{note}".replace("%", "%%")

    @property
    def places(self) -> str:
        """The files that may have it, with the section of defaults.conf."""
        section = self.section or ("task.info" if self.info in TASK_INFO else None)
        names = [f"`{name}`" for name in self.files if name != DEFAULTS_CONF]
        return ", ".join([*names, *([f"`{DEFAULTS_CONF}` [{section}]"] if section else [])])


def as_text(value: Any) -> str:
    """Return a value as a file has it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | frozenset):
        return ",".join(map(str, sorted(value) if isinstance(value, frozenset) else value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _or_none(kind: Kind) -> Kind:
    return Kind(values.or_none(kind.read), f"{kind.allowed}, none", kind.unit)


_COUNT = Kind(values.count, "whole number from 1 on")
_WHOLE = Kind(values.whole, "whole number")
_SPAN = Kind(values.span, "number", "seconds")
_LIMIT = Kind(values.seconds, "number, 0 without a limit", "seconds")
_RATE = _or_none(Kind(values.positive, "number above 0", "a second"))
_FLAG = Kind(values.flag, "yes, no")
_TEXT = Kind(values.given, "text")
_WORDS = Kind(values.words, "words, quoted as in a shell")
_PATH = Kind(values.path, "path")
_PREFIX = Kind(values.or_empty(values.words), "words, quoted as in a shell")
_PROGRAM = Kind(values.or_empty(values.words), "program, with options or without")
_OPTIONS = Kind(values.or_empty(values.words), "options")
_USER = Kind(values.or_empty(values.given), "user")
_BATCH = _or_none(Kind(values.count, "whole number from 1 on", "nodes"))


def _choice(*choices: str) -> Kind:
    return Kind(values.choice(*choices), ", ".join(choices))


_BOTH, _OURS, _LIBRARY = (CLUSH_CONF, MPSHELL_CONF), (MPSHELL_CONF,), (DEFAULTS_CONF,)

# fmt: off

_RUNNING = (
    Setting("fanout", Kind(values.fanout, "whole number from 1 on, -1 without a limit"),
        "run at most N commands at a time, over all engines", _BOTH,
        ("-f", "--fanout"), "N", "{}; -1: no limit", "fanout"),
    Setting("connect_timeout", _LIMIT, "give up connecting to a node after S seconds", _BOTH,
        ("-t", "--connect-timeout", "--connect_timeout"), "S", "{}; 0: never", "connect_timeout"),
    Setting("command_timeout", _LIMIT, "end a command S seconds after its start", _BOTH,
        ("-u", "--command-timeout", "--command_timeout"), "S", "{}: never", "command_timeout"),
    Setting("worker", _TEXT, "how to reach a node: ssh, exec (a local command for each node: %h is the node, "
        "%q the same quoted for the shell, %n its rank), asyncssh (connections of its own), rsh, pdsh, or the "
        "Python module of a transport", _OURS,
        ("-R", "--worker"), "NAME", "{}", own_default=TASK_DEFAULT["distant_workername"]),
    Setting("engines", _or_none(_COUNT), "use N engine processes", _OURS,
        ("-E", "--engines"), "N", "as many as the processors and the work allow", "engines"),
    Setting("max_fail", _BATCH, "start no more commands once N nodes have failed; the rest is reported as "
        "not run", _OURS,
        ("-k", "--max-fail"), "N", info="max_fail"),
    Setting("canary", _BATCH, "run on the first N nodes, and continue only if all of them are ok", _OURS,
        ("--canary",), "N", info="canary"),
    Setting("batch", _BATCH, "run on N nodes at a time, in order; the next N start when all of these have "
        "ended, unless all of them failed (with -k: until that many nodes have failed)", _OURS,
        ("--batch",), "N", info="batch"),
    Setting("retry", _or_none(_COUNT), "try up to N more times on a node that could not be reached", _OURS,
        ("--retry",), "N"),
    Setting("retry_on", Kind(values.reasons, "reasons, separated by commas"),
        "try again for these reasons (names of --json, separated by commas); one more try without --retry",
        _OURS,
        ("--retry-on",), "REASONS", "unreachable,not started: nothing has run then",
        own_default=frozenset(("unreachable", "not started"))),
    Setting("rate", _RATE, "start at most N commands a second, over all engines", _OURS,
        ("--rate",), "N", info="rate"),
    Setting("grace", _SPAN, "time from SIGTERM to SIGKILL when a command is ended", _OURS, info="grace"),
    Setting("drain", _or_none(_SPAN), "time without output after which the streams of a command that has ended "
        "are closed, when another process holds them open; none: never", _OURS, info="drain"),
    Setting("heartbeat", _or_none(Kind(values.pulse, "number from 0.1 on", "seconds")),
        "time after which an engine that does not answer is given up; none: never", _OURS, info="heartbeat"),
    Setting("retry_lost", _FLAG, "run commands again that were lost with an engine", _OURS, info="retry_lost"),
    Setting("maxrc", _FLAG, "exit with the largest return code; no: with 0 whatever the nodes return", _BOTH,
        ("-S", "--maxrc", "--always-zero"), own_default=True),
    Setting("command_prefix", _PREFIX, "words to put before each command, for a run mode", _BOTH),
    Setting("password_prompt", _FLAG, "ask for a password, which each command gets as the first line of its "
        "stdin, for a run mode", _BOTH, own_default=False),
    Setting("confdir", _WORDS, "directories whose *.conf files define run modes; $CFGDIR is the directory of "
        "the configuration file that takes precedence", _BOTH),
    Setting("fd_max", _COUNT, "open files", _BOTH,
        ignored="an engine raises its own limit of open files as far as its commands need"),
)

_CONNECTING = (
    Setting("ssh_user", _USER, "log in as this user, over ssh and asyncssh",
        _BOTH, ("-l", "--user"), info="ssh_user"),
    Setting("ssh_path", _PROGRAM, "the ssh", _BOTH, info="ssh_path", own_default="ssh"),
    Setting("ssh_options", _OPTIONS, "options of ssh", _BOTH, ("-o", "--options"), info="ssh_options"),
    Setting("scp_path", _PROGRAM, "the scp", _BOTH, info="scp_path", own_default="scp"),
    Setting("scp_options", _OPTIONS, "options of scp, in place of those of ssh", _BOTH, info="scp_options"),
    Setting("scp_user", _USER, "the user of scp, in place of that of ssh", _OURS, info="scp_user"),
    Setting("rsh_path", _PROGRAM, "the rsh", _BOTH, info="rsh_path", own_default="rsh"),
    Setting("rsh_options", _OPTIONS, "options of rsh and rcp", _BOTH, ("-o", "--options"), info="rsh_options"),
    Setting("rsh_user", _USER, "the user of rsh and rcp", _OURS, ("-l", "--user"), info="rsh_user"),
    Setting("rcp_path", _PROGRAM, "the rcp", _BOTH, info="rcp_path", own_default="rcp"),
    Setting("rcp_options", _OPTIONS, "options of rcp, in place of those of rsh", _OURS, info="rcp_options"),
    Setting("pdsh_path", _PROGRAM, "the pdsh", _OURS, info="pdsh_path", own_default="pdsh"),
    Setting("pdcp_path", _PROGRAM, "the pdcp", _OURS, info="pdcp_path", own_default="pdcp"),
    Setting("rpdcp_path", _PROGRAM, "the rpdcp", _OURS, info="rpdcp_path", own_default="rpdcp"),
    Setting("ssh_kex", _choice("prefer", "require"),
        "quantum-safe key exchange over asyncssh, preferred or required", _OURS, info="ssh_kex"),
    Setting("ssh_keep", _SPAN, "time that connections of asyncssh stay open for the next command of the "
        "prompt, or the next run of a program", _OURS, info="ssh_keep"),
    Setting("ssh_keep_password", _FLAG,
        "also keep connections that a password has opened, for runs with the same password", _OURS,
        info="ssh_keep_password"),
    Setting("connect_fanout", _COUNT, "connections that asyncssh makes at once, over all engines", _OURS,
        info="connect_fanout"),
    Setting("connect_rate", _RATE, "connections that asyncssh begins, over all engines",
        _OURS, info="connect_rate"),
    Setting("relay_options", _OPTIONS, "options of the ssh from node to node in a relay copy",
        _OURS, ("--relay-options",), "OPTIONS", info="relay_options"),
    Setting("relay_ports", _or_none(Kind(values.given, "LOW-HIGH")),
        "ports that the sshd of a node may listen on in a relay copy with --relay=sshd", _OURS,
        info="relay_ports"),
    Setting("relay_least", Kind(values.size, "whole number, with K, M or G", "bytes"),
        "a smaller file is sent to each node, and not relayed", _OURS, info="relay_least"),
)

_HOSTS = (
    Setting("hosts", Kind(values.or_none(values.given), "node set, none"),
        "run the engines on these hosts, which are reached with ssh; commands start from there", _OURS,
        ("--hosts",), "HOSTS"),
    Setting("srun", _FLAG, "run the engines on the nodes of this Slurm job, one step of srun on each", _OURS,
        ("--srun",), own_default=False),
    Setting("dask", Kind(values.or_none(values.given), "address, none"),
        "run the engines on the hosts of a dask cluster, whose scheduler has this address (tls://HOST:PORT)",
        _OURS, ("--dask",), "ADDRESS"),
    Setting("hosts_options", _WORDS, "options for the ssh or srun to the hosts", _OURS,
        ("--hosts-options",), "OPTIONS", "repeatable"),
    Setting("remote_env", Kind(str, "names of variables"),
        "variables of this machine that the commands on other hosts also get: LANG LC_ALL", _OURS,
        info="remote_env"),
    Setting("hosts_python", _TEXT, "the Python with mpshell on the hosts", _OURS,
        ("--hosts-python",), "PATH", "the path of this Python if it exists there, else python3"),
)

_OUTPUT = (
    Setting("color", _choice("auto", "always", "never"), "colour labels and headers: auto, always or never",
        _BOTH,
        ("--color",), "WHEN", "{}: on a terminal", own_default="auto"),
    Setting("node_count", _FLAG, "show the number of nodes after the names of gathered ones",
        _BOTH, own_default=True),
    Setting("verbosity", Kind(values.verbosity, "0, 1, 2, 3"),
        "0: nothing but the output, 1: also failures, 2: also the command and always a summary, 3: also each "
        "command line and each line as it is read", _BOTH,
        ("-q", "--quiet", "-v", "--verbose", "-d", "--debug"), own_default=1),
    Setting("history_size", Kind(values.whole, "whole number, less than 0 without a limit"),
        "number of lines in the history of the prompt", _BOTH, own_default=100),
)

_JOURNAL = (
    Setting("journal", _or_none(_PATH),
        "record in FILE each node before its command starts, and how it ended", _OURS,
        ("--journal",), "FILE", info="journal"),
    Setting("journal_output", _choice(*KEEPS),
        "keep the output of all nodes, of those that failed or of none: all, failed, "
        "none", _OURS, ("--journal-output",), "WHICH", "{}", "journal_output"),
    Setting("journal_limit", Kind(values.size, "whole number, with K, M or G", "bytes"),
        "keep at most this many bytes of output of a run: 64K, 256M, 2G", _OURS,
        ("--journal-limit",), "BYTES", "256M", "journal_limit"),
    Setting("journal_sync", _FLAG, "wait until each entry is on the disk, for a machine that may lose power",
        _OURS,
        ("--journal-sync",), info="journal_sync"),
)

#: Settings of programs that use the library, and of no file of the command.
_OF_THE_LIBRARY = (
    Setting("debug", _FLAG, "lines for `print_debug`", _LIBRARY, info="debug"),
    Setting("grooming_delay", _SPAN, "of ClusterShell's tree mode: no effect", _LIBRARY, info="grooming_delay"),
    Setting("stderr", _FLAG, "keep stderr apart", _LIBRARY, section="task.default"),
    Setting("stdin", _FLAG, "commands may be written to", _LIBRARY, section="task.default"),
    Setting("stdout_msgtree", _FLAG, "record stdout", _LIBRARY, section="task.default"),
    Setting("stderr_msgtree", _FLAG, "record stderr", _LIBRARY, section="task.default"),
    Setting("engine", _choice("auto", "select", "poll", "epoll"), "accepted; the loop is on epoll", _LIBRARY,
        section="task.default"),
    Setting("port_qlimit", _COUNT, "messages that a port keeps", _LIBRARY, section="task.default"),
    Setting("auto_tree", _FLAG, "of ClusterShell's tree mode: no effect", _LIBRARY, section="task.default"),
    Setting("local_workername", _TEXT, "the transport for `remote=False`", _LIBRARY, section="task.default"),
    Setting("distant_workername", _TEXT,
        "the transport for nodes, also for the command when `worker` is not set", _LIBRARY,
        section="task.default"),
    Setting("fold_axis", Kind(str, "whole numbers, as 0,-1"), "numbers of names that are folded; empty: all",
        _LIBRARY,
        section="nodeset"),
    Setting("upcall_timeout", _SPAN, "for an upcall of a group source", _LIBRARY, section="nodeset"),
    Setting("port_qlimit", _COUNT, "takes precedence over that of task.default", _LIBRARY, section="engine"),
)
# fmt: on

#: The settings of the command, by key.
SETTINGS = {
    setting.key: setting for setting in (*_RUNNING, *_CONNECTING, *_HOSTS, *_OUTPUT, *_JOURNAL)
}

#: The same and those of the library, for the documents.
ALL = (*SETTINGS.values(), *_OF_THE_LIBRARY)


def add_setting(group: Any, key: str, **more: Any) -> None:
    """Add the option of a setting to a group of an argument parser."""
    setting = SETTINGS[key]
    group.add_argument(
        *setting.names,
        dest=key,
        metavar=setting.metavar,
        type=setting.kind.read,
        help=setting.help,
        **more,
    )
