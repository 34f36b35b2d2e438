"""ProxyJump and ProxyCommand: the same results with ssh(1) and asyncssh, with real servers on the way."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpshell import EventHandler, NodeOutcome, Task
from tests.ssh.conftest import SshServer
from tests.ssh.servers import another_sshd
from tests.ssh.test_asyncssh import outcomes
from tests.ssh.test_asyncssh_cuts import Fault, Proxy, cut
from tests.ssh.test_ssh_faults import write_config
from tests.support import eventually

#: Only engines of asyncssh share connections.
asyncssh_only = pytest.mark.parametrize("transport", ["asyncssh"], indirect=True)

#: Copies its standard streams to an address and back, as nc(1) does.
NC = """
import socket, sys, threading
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while data := sys.stdin.buffer.raw.read(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := sock.recv(65536):
    sys.stdout.buffer.raw.write(data)
"""


@pytest.fixture
def nc(tmp_path: Path) -> str:
    """Give the command line of a program that works as nc(1)."""
    (tmp_path / "nc.py").write_text(NC)
    return f"{shlex.quote(sys.executable)} -S {tmp_path}/nc.py"


@pytest.fixture
def use(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> Callable[[str], None]:
    """Give a function that puts sections of ssh_config before those of the server."""
    return lambda text: ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))


@contextmanager
def gateway(
    server: SshServer, path: Path, text: str = "", fault: Callable[[], Fault] | None = None
) -> Iterator[tuple[str, list[int]]]:
    """Give a section of ssh_config for a host gw, and a list that grows with each connection to it."""
    connections: list[int] = []

    def count() -> Fault:
        connections.append(1)
        return (lambda data, before: data) if fault is None else fault()

    with another_sshd(server, path, f"MaxStartups 100\n{text}") as port:
        proxy = Proxy(("127.0.0.1", port), [count])
        proxy.start()
        try:
            yield f"Host gw\n  HostName 127.0.0.1\n  Port {proxy.ports[0]}\n", connections
        finally:
            proxy.stop()


def run(task: Task, nodes: str, command: str = "exit 3", **more: Any) -> dict[str, NodeOutcome]:
    """Run a command over connections alone where the transport makes some."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return outcomes(task, nodes, command, **more)


def reasons(found: dict[str, NodeOutcome]) -> set[tuple[str, int | None]]:
    return {(outcome.reason, outcome.returncode) for outcome in found.values()}


# -- ProxyJump -----------------------------------------------------------------------------------------


def test_nodes_behind_a_host(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any, transport: str
) -> None:
    with gateway(ssh_server, tmp_path) as (text, connections):
        use(f"{text}Host node*\n  ProxyJump gw\n")
        found = run(ssh_task, "node[1-12]")
    assert reasons(found) == {("exit", 3)} and len(found) == 12
    engines = len({outcome.engine for outcome in found.values()})
    assert len(connections) == (engines if transport == "asyncssh" else 12)


def test_output_and_input_through_a_host(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any
) -> None:
    data = os.urandom(1 << 20) * 3
    with gateway(ssh_server, tmp_path) as (text, _):
        use(f"{text}Host node*\n  ProxyJump gw\n")
        worker = ssh_task.shell("wc -c; head -c 3000000 /dev/zero | tr '\\0' x", nodes="node[1-3]")
        worker.write(data)
        worker.set_write_eof()
        ssh_task.resume()
    expected = str(len(data)).encode() + b"\n" + b"x" * 3000000
    assert all(worker.node_buffer(f"node{n}") == expected for n in (1, 2, 3))


def test_several_hosts_and_none(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any
) -> None:
    """Each of them by its own part of the configuration; `none` ends the search for a ProxyJump."""
    with gateway(ssh_server, tmp_path) as (text, connections):
        use(
            f"{text}Host far\n  ProxyJump gw\n  HostName {ssh_server.address('node9')[0]}\n"
            "Host node1\n  ProxyJump none\nHost node2\n  ProxyJump gw,node3\n"
            "Host node4\n  ProxyJump far\nHost node*\n  ProxyJump no-such-host.invalid\n"
        )
        found = run(ssh_task, "node[1-2,4]")
        assert reasons(found) == {("exit", 3)} and len(connections) >= 1


def test_tokens_in_the_name_of_the_host(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any
) -> None:
    with gateway(ssh_server, tmp_path) as (text, connections):
        use(f"{text.replace('Host gw', 'Host gw-node1')}Host node1\n  ProxyJump gw-%n\n")
        assert reasons(run(ssh_task, "node1")) == {("exit", 3)}
    assert len(connections) == 1


def test_a_host_on_the_way_that_a_command_connects(
    ssh_task: Task, use: Callable[[str], None], nc: str
) -> None:
    use(f"Host node2\n  ProxyCommand {nc} %h %p\nHost node1\n  ProxyJump node2\n")
    assert reasons(run(ssh_task, "node[1-2]")) == {("exit", 3)}


HOSTS = {
    "unreachable": "Host gw\n  HostName no-such-host.invalid\n",
    "unreachable ": "Host gw\n  HostName 127.0.0.1\n  Port 1\n",
    "hostkey": "Host gw\n  HostKeyAlias stranger\n",
    "auth": "Host gw\n  User nobody-of-that-name\n",
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_that_cannot_be_connected(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any, name: str
) -> None:
    """The failure of the host on the way is the reason at the node."""
    place = f"Host gw\n  HostName {ssh_server.address('node9')[0]}\n"
    use(f"{HOSTS[name]}{place}Host node[12]\n  ProxyJump gw\n".replace("node[12]", "node1 node2"))
    found = run(ssh_task, "node[1-3]")
    assert [found[f"node{n}"].reason for n in (1, 2, 3)] == [name.strip()] * 2 + ["exit"]


@pytest.mark.parametrize(
    "text", ["AllowTcpForwarding no\n", "PermitOpen 127.0.0.1:1\n"], ids=["forbidden", "not there"]
)
def test_a_host_that_does_not_connect_further(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any, text: str
) -> None:
    with gateway(ssh_server, tmp_path, text) as (section, _):
        use(f"{section}Host node1\n  ProxyJump gw\n")
        assert reasons(run(ssh_task, "node1")) == {("unreachable", 255)}


def test_a_node_that_its_host_cannot_reach(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any
) -> None:
    with gateway(ssh_server, tmp_path) as (section, _):
        use(f"{section}Host node1\n  Port 1\n  ProxyJump gw\nHost node2\n  ProxyJump gw\n")
        found = run(ssh_task, "node[1-2]", stderr=True)
    assert (found["node1"].reason, found["node2"].reason) == ("unreachable", "exit")


def test_sessions_of_the_host_do_not_count(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any
) -> None:
    """MaxSessions is about shells and subsystems (sshd_config(5)); a forwarded connection is neither."""
    with gateway(ssh_server, tmp_path, "MaxSessions 1\n") as (section, _):
        use(f"{section}Host node*\n  ProxyJump gw\n")
        found = run(ssh_task, "node[1-12]", "sleep 0.3; exit 3")
    assert reasons(found) == {("exit", 3)}


@asyncssh_only
def test_a_host_that_drops_connections_is_tried_again(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any
) -> None:
    """As sshd does with too many that are not logged in (MaxStartups), here the first three of each engine."""
    dropped: list[int] = []

    def fault() -> Fault:
        dropped.append(1)
        return cut(0) if len(dropped) <= 3 else (lambda data, before: data)

    with gateway(ssh_server, tmp_path, fault=fault) as (section, connections):
        use(f"{section}Host node*\n  ProxyJump gw\n")
        found = run(ssh_task, "node[1-12]")
    assert reasons(found) == {("exit", 3)} and len(connections) >= 4
    assert {outcome.attempt for outcome in found.values()} == {1}


def test_a_host_that_never_answers(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        use(
            f"Host gw\n  HostName 127.0.0.1\n  Port {port}\nHost node[1]\n".replace("[1]", "1")
            + "  ProxyJump gw\n"
        )
        ssh_task.set_info("connect_timeout", 4)
        found = run(ssh_task, "node[1-2]")
    assert (found["node1"].reason, found["node2"].reason) == ("unreachable", "exit")


def test_a_host_that_is_lost_while_commands_run(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any
) -> None:
    with another_sshd(ssh_server, tmp_path, "") as port:

        class Cutting(EventHandler):
            begun = 0

            def ev_read(self, *args: object) -> None:
                self.begun += 1
                if self.begun == 3:
                    # All connections to the gateway: its processes are children of the one that listens.
                    for process in psutil.Process().children(recursive=True):
                        if process.name().startswith("sshd") and any(
                            conn.laddr.port == port for conn in process.net_connections()
                        ):
                            process.kill()

        use(f"Host gw\n  HostName 127.0.0.1\n  Port {port}\nHost node*\n  ProxyJump gw\n")
        ssh_task.set_info("connect_timeout", 8)
        found = run(ssh_task, "node[1-3]", "echo begun; sleep 60", handler=Cutting())
    assert reasons(found) == {("lost", 255)} and len(found) == 3


@asyncssh_only
def test_nothing_is_left_of_the_connections_to_hosts(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any
) -> None:
    def descriptors() -> list[int]:
        counts = []
        for child in psutil.Process().children(recursive=True):
            # Those of a server come and go.
            with suppress(psutil.NoSuchProcess):
                if child.name() != "sshd":
                    counts.append(child.num_fds())
        return sorted(counts)

    with gateway(ssh_server, tmp_path) as (section, _):
        use(f"{section}Host node*\n  ProxyJump gw\n")
        run(ssh_task, "node[1-8]")
        before = descriptors()
        for _ in range(3):
            run(ssh_task, "node[1-8]")
            outcomes(ssh_task, "node[1-8]", "sleep 60", timeout=1)
        assert eventually(lambda: descriptors() == before), (descriptors(), before)


# -- ProxyCommand --------------------------------------------------------------------------------------


def test_a_command_makes_the_connection(
    ssh_task: Task, use: Callable[[str], None], nc: str
) -> None:
    use(f"Host node*\n  ProxyCommand {nc} %h %p\n")
    assert reasons(run(ssh_task, "node[1-8]")) == {("exit", 3)}


def test_a_command_is_a_line_for_the_shell_of_the_user_with_tokens(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any, nc: str
) -> None:
    out = tmp_path / "seen"
    use(
        f'Host node1\n  ProxyCommand sh -c \'echo %n %r %% "$HOME" >> {out}; exec {nc} "$0" "$1"\' %h %p\n'
        "Host node2\n  ProxyCommand none\nHost node*\n  ProxyCommand false\n"
    )
    found = run(ssh_task, "node[1-3]")
    assert [found[f"node{n}"].reason for n in (1, 2, 3)] == ["exit", "exit", "unreachable"]
    user = psutil.Process().username()
    assert out.read_text() == f"node1 {user} % {os.environ['HOME']}\n"


def test_a_command_that_fails_is_not_started_again(
    ssh_task: Task, tmp_path: Path, use: Callable[[str], None]
) -> None:
    out = tmp_path / "seen"
    use(f"Host node1\n  ProxyCommand sh -c 'echo started >> {out}; echo why >&2; exit 7'\n")
    worker = ssh_task.run("true", nodes="node1", stderr=True)
    assert [outcome.reason for outcome in worker.outcomes()] == ["unreachable"]
    assert out.read_text() == "started\n"
    assert b"why" in (worker.node_error("node1") or b"")


def test_a_command_that_says_nothing(ssh_task: Task, use: Callable[[str], None]) -> None:
    use("Host node1\n  ProxyCommand sleep 1000\n")
    ssh_task.set_info("connect_timeout", 3)
    found = run(ssh_task, "node[1-2]")
    assert (found["node1"].reason, found["node2"].reason) == ("unreachable", "exit")


def test_a_shell_that_is_none(
    ssh_task: Task, use: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, nc: str
) -> None:
    monkeypatch.setenv("SHELL", "/no/such/shell")
    use(f"Host node1\n  ProxyCommand {nc} %h %p\n")
    assert reasons(run(ssh_task, "node1")) == {("unreachable", 255)}


def test_a_name_for_the_shell_is_not_executed(
    ssh_task: Task, tmp_path: Path, use: Callable[[str], None]
) -> None:
    use("Host *\n  ProxyCommand false %h\n")
    found = outcomes(ssh_task, f"$(touch${{IFS}}{str(tmp_path).replace('/', '_')}),node1")
    assert len(found) == 2 and not any(outcome.ok for outcome in found.values())
    assert not list(tmp_path.glob("_*"))


def running(mark: str) -> list[int]:
    """Return the processes that have a mark among their arguments."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if mark in (process.info["cmdline"] or []):
            found.append(process.pid)
    return found


@asyncssh_only
@pytest.mark.parametrize("stubborn", [False, True])
def test_commands_end_with_their_connections(
    ssh_task: Task, tmp_path: Path, use: Callable[[str], None], nc: str, stubborn: bool
) -> None:
    """Those that ignore SIGHUP and the end of their streams too; their groups with them."""
    mark = f"mark-{os.getpid()}-{stubborn}"
    trap = "trap '' HUP; " if stubborn else ""
    line = (
        f"{trap}sleep 1000 & {nc} %h %p {mark}; sleep 1000 {mark}"
        if stubborn
        else f"{nc} %h %p {mark}"
    )
    use(f"Host node*\n  ProxyCommand sh -c {shlex.quote(line)}\n")
    assert reasons(run(ssh_task, "node[1-4]")) == {("exit", 3)}
    assert eventually(lambda: not running(mark), 10)


@asyncssh_only
def test_commands_end_with_a_killed_engine(
    ssh_task: Task, use: Callable[[str], None], nc: str
) -> None:
    mark = f"mark-{os.getpid()}-killed"

    class Killing(EventHandler):
        engine = 0

        def ev_read(self, *args: object) -> None:
            if not self.engine and running(mark):
                self.engine = psutil.Process(running(mark)[0]).ppid()
                psutil.Process(self.engine).kill()

    use(f"Host node*\n  ProxyCommand {nc} %h %p {mark}\n")
    ssh_task.set_info("engines", 1)
    found = run(ssh_task, "node[1-4]", "echo begun; sleep 20", handler=Killing())
    assert "lost" in {outcome.reason for outcome in found.values()}
    assert eventually(lambda: not running(mark), 20)


@asyncssh_only
def test_a_flag_that_only_ssh_has(ssh_task: Task, use: Callable[[str], None]) -> None:
    use("Host node1\n  ProxyUseFdpass yes\n  ProxyCommand false\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert not outcomes(ssh_task, "node1")["node1"].ok
    assert [str(w.message) for w in caught] == [
        "1 node over ssh(1) in place of asyncssh: ProxyUseFdpass yes"
    ]
