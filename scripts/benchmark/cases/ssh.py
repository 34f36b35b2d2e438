"""Cases over real ssh, to the private server: nodes are loopback addresses."""

import getpass
import json
from pathlib import Path
from typing import Any

from scripts.benchmark.model import CLUSTERSHELL, MPSHELL, Case, Contender, Invocation, Target
from scripts.benchmark.workplace import Workplace

_FANOUT = 64
_COMMAND = "uname -s"
_PSSH = "parallel-ssh"
_PROGRAM = "mpshell -R ssh"
_PDSH = "pdsh -R ssh"
_XARGS = "xargs -P"
_SSH = "/usr/bin/ssh"

# What parallel-ssh takes. The default of ssh(1) takes ten times as long, and would hide everything else;
# what it costs is a case of its own.
_KEX = "-oKexAlgorithms=curve25519-sha256"


def _sweep(work: Workplace) -> list[Contender]:
    nodes = work.size(500, 20)
    server = work.ssh_server(nodes)
    if server is None:
        return []
    config = f"-F {server}/ssh_config {_KEX}"
    more: dict[str, Any] = {"nodes": nodes, "command": _COMMAND, "ssh_options": config}
    names = "".join(f"node{n}\n" for n in range(1, nodes + 1)).encode()
    return [
        work.mpshell("sweep", nodes, **more),
        work.clustershell("sweep", nodes, **more),
        *work.program(
            _PDSH,
            ["pdsh", "-R", "ssh", "-f", str(_FANOUT), "-w", f"node[1-{nodes}]", _COMMAND],
            nodes,
            env={"PDSH_SSH_ARGS_APPEND": config},
        ),
        *work.program(
            _XARGS,
            ["xargs", f"-P{_FANOUT}", "-I{}", _SSH, *config.split(), "{}", _COMMAND],
            nodes,
            stdin=names,
        ),
        _parallel_ssh(work, server),
    ]


def _over_connections(work: Workplace) -> list[Contender]:
    nodes = work.size(500, 20)
    server = work.ssh_server(nodes)
    if server is None:
        return []
    more = {"ssh_options": f"-F {server}/ssh_config {_KEX}"}
    return [*_both_transports(work, nodes, more), _parallel_ssh(work, server)]


def _with_openssh_10(work: Workplace) -> list[Contender]:
    """Return the same with the key exchange that OpenSSH 10 and AsyncSSH take by default."""
    nodes = work.size(500, 20)
    programs = work.openssh(10)
    server = None if programs is None else work.ssh_server(nodes, str(Path(programs.sshd).parent))
    if programs is None or server is None:
        return []
    work.leave_out("parallel-ssh: libssh2 has no mlkem768x25519-sha256.")
    more = {
        "ssh_options": f"-F {server}/ssh_config -oKexAlgorithms=mlkem768x25519-sha256",
        "ssh_path": " ".join(programs.words("ssh")),
    }
    return _both_transports(work, nodes, more)


def _both_transports(work: Workplace, nodes: int, settings: dict[str, Any]) -> list[Contender]:
    """Return mpshell over its own connections and over ssh(1), with two engines, and ClusterShell."""
    more = {"nodes": nodes, "command": _COMMAND, **settings}
    ours = {**more, "engines": 2}
    program = work.driver(MPSHELL, "sweep", nodes, **ours)
    return [
        work.mpshell("sweep", nodes, transport="asyncssh", **ours),
        Contender(_PROGRAM, program),
        work.clustershell("sweep", nodes, **more),
    ]


def _parallel_ssh(work: Workplace, server: Path) -> Contender:
    port = json.loads((server / "state").read_text())["port"]
    nodes = work.size(200, 20)
    run = work.driver(
        "parallel-ssh", "parallel_ssh.sweep", nodes, server=str(server), nodes=nodes, port=port,
        user=getpass.getuser(), command=_COMMAND, fanout=_FANOUT,
    )  # fmt: skip
    note = f"ssh in the process itself; {nodes} nodes: it keeps all connections open, and the server has 256"
    return Contender(_PSSH, run, note)


def _cost(work: Workplace) -> list[Contender]:
    """Return plain loops of one ssh(1) after the other, with this and that changed."""
    nodes = work.size(500, 20)
    server = work.ssh_server(nodes)
    if server is None:
        return []
    config = (server / "ssh_config").read_text()
    here = "Host node1\n  HostName 127.100.0.2\n" + config[config.index("Host *\n") :]
    short = work.file("ssh_config-short", here.encode())
    key = (server / "known_hosts").read_text().split(" ", 1)[1]
    many = "".join(f"other{n} {key}" for n in range(10_000))
    hosts = work.file("known_hosts-many", (many + f"mpshell-node {key}").encode())
    socket = work.directory / "master"
    if not socket.exists():
        work.background([_SSH, "-F", short, "-M", "-S", str(socket), "-N", "node1"])
    times = work.size(20, 4)

    def loop(label: str, options: list[str]) -> Contender:
        command = [work.limit_program, "1", str(times), "1", _SSH, *options, "node1", "true"]
        return Contender(label, Invocation(command, times))

    return [
        loop("one Host in the configuration", ["-F", short]),
        loop(f"{nodes} Hosts in the configuration", ["-F", str(server / "ssh_config")]),
        loop("10,000 lines of known_hosts", ["-F", short, f"-oUserKnownHostsFile={hosts}"]),
        loop("KexAlgorithms curve25519-sha256", ["-F", short, _KEX]),
        loop("Ciphers aes128-gcm@openssh.com", ["-F", short, "-oCiphers=aes128-gcm@openssh.com"]),
        loop("a shared connection (ControlPath)", ["-F", short, "-S", str(socket)]),
    ]


def _copy(work: Workplace) -> list[Contender]:
    from mpshell.task.task import Task

    if not hasattr(Task, "copy"):
        work.leave_out("scp of 1 MB to 200 nodes: this version's Task has no copy().")
        return []
    nodes = work.size(200, 10)
    server = work.ssh_server(work.size(500, 20))
    if server is None:
        return []
    source = work.file("copied", bytes(range(256)) * 4096)
    more: dict[str, Any] = {
        "nodes": nodes,
        "source": source,
        "dest": str(work.directory / "copy"),
        "ssh_options": f"-F {server}/ssh_config {_KEX}",
    }
    return [
        work.mpshell("copy", nodes, **more),
        work.clustershell("copy", nodes, **more),
    ]


def _never_slower(*others: str) -> tuple[Target, ...]:
    return tuple(
        Target(f"never slower than {other}", "rate", 1.0, against=other) for other in others
    )


_OWN_CPU = Target(
    "own CPU at most 0.3x ClusterShell's", "cpu_us", at_most=0.3, against=CLUSTERSHELL
)

_CONNECTIONS = (
    Target("CPU at most 0.40x of -R ssh's", "tree_cpu_us", at_most=0.40, against=_PROGRAM),
    Target(
        "CPU at most 0.33x of ClusterShell's", "tree_cpu_us", at_most=0.33, against=CLUSTERSHELL
    ),
    Target("1.2x the rate of -R ssh", "whole_rate", at_least=1.2, against=_PROGRAM),
)

CASES = (
    Case(
        "ssh",
        f"ssh(1) to a real server: `{_COMMAND}` on 500 nodes, fanout 64 (KexAlgorithms curve25519-sha256)",
        "nodes",
        _sweep,
        (_OWN_CPU, *_never_slower(CLUSTERSHELL, _PDSH, _XARGS, _PSSH)),
        shown=("rate", "cpu_us", "commands_cpu_us", "memory_mb"),
    ),
    Case(
        "asyncssh",
        f"connections of the engines: `{_COMMAND}` on 500 nodes, fanout 64, two engines (curve25519)",
        "nodes",
        _over_connections,
        _CONNECTIONS,
        shown=("whole_rate", "tree_cpu_us", "rate", "memory_mb"),
    ),
    Case(
        "asyncssh-10",
        "the same with OpenSSH 10 on both sides (mlkem768x25519)",
        "nodes",
        _with_openssh_10,
        _CONNECTIONS,
        shown=("whole_rate", "tree_cpu_us", "rate", "memory_mb"),
    ),
    Case(
        "scp",
        "scp of 1 MB to 200 nodes of a real server, fanout 64 (KexAlgorithms curve25519-sha256)",
        "nodes",
        _copy,
        (_OWN_CPU, *_never_slower(CLUSTERSHELL)),
        shown=("rate", "cpu_us", "commands_cpu_us", "memory_mb"),
    ),
    Case(
        "ssh-cost",
        "What one ssh(1) costs by itself: `true` on a node, one after the other",
        "connections",
        _cost,
        shown=("rate", "commands_cpu_us"),
    ),
)
