"""Connections that stay open (`ssh_keep`): the next run goes over them, while their settings are unchanged.

sshd reports which connection a command came over: SSH_CONNECTION (ssh(1)) and its process.
"""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from mpshell import EventHandler, Task, task_cleanup, task_self
from tests.ssh.conftest import SshServer
from tests.ssh.keeping import WHICH, alive, connections, engines, outcomes, servers, sockets
from tests.ssh.servers import another_sshd
from tests.ssh.test_ssh_faults import write_config
from tests.support import eventually

pytestmark = [
    pytest.mark.needs("ssh", "sshd"),
    #: A master of ssh(1) is the user's.
    pytest.mark.parametrize("transport", ["asyncssh"], indirect=True),
]


@pytest.fixture
def task(ssh_task: Task) -> Task:
    """Give a Task with connections that stay for longer than a test takes."""
    ssh_task.set_info("ssh_keep", 600)
    return ssh_task


def test_the_next_run_goes_over_the_same_connections(task: Task) -> None:
    first = connections(task, "node[1-40]")
    assert len(set(first.values())) == 40
    assert sockets() == 40
    for fanout in (64, 3, 1, -1):
        task.set_info("fanout", fanout)
        assert connections(task, "node[1-40]") == first
    assert connections(task, "node[7-12,33]") == {n: first[n] for n in first if n in
                                                  {*(f"node{k}" for k in range(7, 13)), "node33"}}  # fmt: skip


def test_without_the_key_nothing_stays(ssh_task: Task) -> None:
    first = connections(ssh_task, "node[1-10]")
    assert eventually(lambda: not alive(servers(first)))
    assert sockets() == 0
    assert not set(first.values()) & set(connections(ssh_task, "node[1-10]").values())


def test_a_run_that_does_not_ask_for_them_does_not_use_them(task: Task) -> None:
    first = connections(task, "node[1-4]")
    task.set_info("ssh_keep", 0)
    assert not set(first.values()) & set(connections(task, "node[1-4]").values())
    task.set_info("ssh_keep", 600)
    assert connections(task, "node[1-4]") == first


def test_they_are_closed_when_their_time_is_over(task: Task) -> None:
    task.set_info("ssh_keep", 0.5)
    first = connections(task, "node[1-6]")
    assert eventually(lambda: not sockets() and not alive(servers(first)))
    assert not set(first.values()) & set(connections(task, "node[1-6]").values())


@pytest.mark.parametrize("numbers", [(1, 2), (2, 1), (4, 2), (2, 4)])
def test_another_number_of_engines(task: Task, numbers: tuple[int, int]) -> None:
    """Engines that are not in the run keep theirs; the nodes are connected to anew."""
    before, after = numbers
    task.set_info("engines", before)
    first = connections(task, "node[1-24]")
    task.set_info("engines", after)
    second = connections(task, "node[1-24]")
    # No more engines stay warm than there are processors.
    shared = len(set(first.values()) & set(second.values()))
    assert shared == 24 if after >= before else 6 <= shared <= 24
    assert connections(task, "node[1-24]") == second


def test_a_few_nodes_go_where_their_connections_are(task: Task) -> None:
    """By default one engine does for so few; one that has the connection is worth more."""
    first = connections(task, "node[1-30]")
    task.set_info("engines", None)
    for node in ("node1", "node17", "node30", "node[2,9,16,23,29]"):
        found = connections(task, node)
        assert found == {name: first[name] for name in found}


def test_every_kind_of_command_goes_over_them(task: Task) -> None:
    """One after the other over the same connection: input, both streams, status, signal, much output."""
    first = connections(task, "node1")
    worker = task.shell("cat; echo error >&2; exit 7", nodes="node1", stderr=True)
    worker.write(b"input\n")
    worker.set_write_eof()
    task.resume()
    assert (worker.node_buffer("node1"), worker.node_error("node1")) == (b"input", b"error")
    assert worker.node_retcode("node1") == 7
    assert outcomes(task, "node1", "kill -9 $$")["node1"].signal == 9
    much = task.run("head -c 3000000 /dev/zero | tr '\\0' x", nodes="node1").read("node1")
    assert much is not None and len(much) == 3_000_000
    for _ in range(20):
        assert connections(task, "node1") == first


def test_two_commands_on_a_node_at_once_have_two_connections(task: Task) -> None:
    """A signal to one of them must not reach the other (one command at a time)."""
    task.set_info("engines", 1)
    workers = [task.shell(f"{WHICH}; sleep 0.5", nodes="node[1-2]") for _ in range(3)]
    task.resume()
    first = {worker.node_buffer(node) for worker in workers for node in ("node1", "node2")}
    assert len(first) == 6
    workers = [task.shell(f"{WHICH}; sleep 0.5", nodes="node[1-2]") for _ in range(3)]
    task.resume()
    assert {worker.node_buffer(node) for worker in workers for node in ("node1", "node2")} == first


@pytest.mark.parametrize("how", ["timeout", "abort"])
def test_a_connection_whose_command_was_ended_is_not_used_again(task: Task, how: str) -> None:
    first = connections(task, "node[1-3]")
    if how == "timeout":
        ended = outcomes(task, "node[1-2]", "sleep 600", timeout=1)
    else:

        class Aborting(EventHandler):
            def ev_timer(self, timer: object) -> None:
                worker.abort()

        worker = task.shell("sleep 600", nodes="node[1-2]")
        task.timer(1, handler=Aborting())
        task.resume()
        ended = {outcome.node: outcome for outcome in worker.outcomes()}
    assert {outcome.reason for outcome in ended.values()} == {
        "timeout" if how == "timeout" else "cancelled"
    }
    assert eventually(lambda: len(alive(servers(first))) == 1)
    second = connections(task, "node[1-3]")
    assert second["node3"] == first["node3"]
    assert not {second["node1"], second["node2"]} & set(first.values())


def test_with_one_session_a_connection(task: Task, ssh_server: SshServer, tmp_path: Path) -> None:
    """The session of before has ended when the next one is asked for (sshd_config(5), MaxSessions)."""
    with another_sshd(ssh_server, tmp_path, "MaxSessions 1\n") as port:
        text = f"Host other*\n  HostName 127.0.0.1\n  Port {port}\n"
        task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        first = connections(task, "other[1-5]")
        for _ in range(5):
            # One host under five names: the connections are alike.
            assert set(connections(task, "other[1-5]").values()) == set(first.values())
        task_cleanup()


def test_while_they_are_idle_keys_are_exchanged_and_the_server_is_answered(
    task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """New keys each second, and a client that does not answer three times is closed (sshd_config(5))."""
    text = "RekeyLimit default 1\nClientAliveInterval 1\nClientAliveCountMax 1\n"
    with another_sshd(ssh_server, tmp_path, text) as port:
        text = f"Host other*\n  HostName 127.0.0.1\n  Port {port}\n"
        task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))
        first = connections(task, "other[1-3]")
        # That they are not closed has no sign to wait for.
        assert not eventually(lambda: len(alive(servers(first))) < 3, timeout=3.5)
        assert set(connections(task, "other[1-3]").values()) == set(first.values())
        task_cleanup()


# -- changes -----------------------------------------------------------------------------------------


def new_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


@pytest.fixture
def own_files(task: Task, ssh_server: SshServer, tmp_path: Path) -> Path:
    """Give a directory with a user's files of its own: a key, known hosts, a configuration."""
    for name in ("user_key", "known_hosts"):
        (tmp_path / name).write_bytes((ssh_server.directory / name).read_bytes())
    (tmp_path / "user_key").chmod(0o600)
    text = (
        f"Host *\n  IdentityFile {tmp_path}/user_key\n  UserKnownHostsFile {tmp_path}/known_hosts\n"
    )
    rest = Path(ssh_server.config).read_text().replace(f"{ssh_server.directory}/user_key", "none")
    (tmp_path / "config").write_text(text + rest)
    task.set_info("ssh_options", f"-F {tmp_path}/config")
    return tmp_path


def test_files_with_the_same_contents_change_nothing(task: Task, own_files: Path) -> None:
    first = connections(task, "node[1-3]")
    for name in ("user_key", "known_hosts", "config"):
        path = own_files / name
        path.write_bytes(path.read_bytes())
    with open(own_files / "known_hosts", "a") as file:
        file.write(
            "elsewhere ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3mbbO2pXqQIWhGm1oPzUq2gUrj3FJjSoO1J5vXo6yW\n"
        )
    with open(own_files / "config", "a") as file:
        file.write("Host other\n  Port 1\n")
    assert connections(task, "node[1-3]") == first


def change_option(task: Task, files: Path) -> None:
    task.set_info("ssh_options", f"-F {files}/config -o ServerAliveInterval=77")


def change_config(task: Task, files: Path) -> None:
    text = (files / "config").read_text()
    (files / "config").write_text(f"Host node*\n  Compression yes\n{text}")


def change_environment(task: Task, files: Path) -> None:
    change_text = (files / "config").read_text()
    (files / "config").write_text(f"Host node*\n  SetEnv LC_X=1\n{change_text}")


def change_timeout(task: Task, files: Path) -> None:
    task.set_info("connect_timeout", 59)


@pytest.mark.parametrize(
    "change", [change_option, change_config, change_environment, change_timeout]
)
def test_another_configuration_has_connections_of_its_own(
    task: Task, own_files: Path, change: Callable[[Task, Path], None]
) -> None:
    first = connections(task, "node[1-3]")
    change(task, own_files)
    second = connections(task, "node[1-3]")
    assert not set(first.values()) & set(second.values())
    assert connections(task, "node[1-3]") == second


def test_a_key_of_the_user_that_is_gone_opens_nothing_any_more(task: Task, own_files: Path) -> None:
    first = connections(task, "node[1-2]")
    (own_files / "user_key").unlink()
    found = outcomes(task, "node[1-2]")
    assert {outcome.reason for outcome in found.values()} == {"auth"}
    new_key(own_files / "user_key")
    found = outcomes(task, "node[1-2]")
    assert {outcome.reason for outcome in found.values()} == {"auth"}
    assert eventually(lambda: not alive(servers(first)))


def test_a_key_that_has_left_the_agent_opens_nothing_any_more(task: Task, own_files: Path) -> None:
    agent = f"{own_files}/agent"
    started = subprocess.Popen(
        ["ssh-agent", "-D", "-a", agent], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        assert eventually(lambda: os.path.exists(agent))
        environ = {**os.environ, "SSH_AUTH_SOCK": agent}
        add = ["ssh-add", "-q", f"{own_files}/user_key"]
        subprocess.run(add, env=environ, check=True)
        (own_files / "user_key").rename(own_files / "elsewhere")
        text = (own_files / "config").read_text().replace("IdentitiesOnly yes", "")
        (own_files / "config").write_text(f"Host *\n  IdentityAgent {agent}\n{text}")
        first = connections(task, "node[1-2]")
        assert connections(task, "node[1-2]") == first
        subprocess.run(["ssh-add", "-q", "-D"], env=environ, check=True, stderr=subprocess.DEVNULL)
        found = outcomes(task, "node[1-2]")
        assert {outcome.reason for outcome in found.values()} == {"auth"}
    finally:
        started.terminate()
        started.wait()


@pytest.mark.parametrize("how", ["gone", "another", "revoked"])
def test_a_host_whose_key_is_not_trusted_any_more_is_not_talked_to(
    task: Task, own_files: Path, how: str
) -> None:
    connections(task, "node[1-2]")
    hosts = own_files / "known_hosts"
    if how == "gone":
        hosts.write_text("")
    elif how == "revoked":
        hosts.write_text(f"@revoked {hosts.read_text()}")
    else:
        new_key(own_files / "other")
        hosts.write_text("mpshell-node " + (own_files / "other.pub").read_text())
    found = outcomes(task, "node[1-2]")
    assert {outcome.reason for outcome in found.values()} == {"hostkey"}


def test_keys_that_were_accepted_are_known_to_the_next_run(task: Task, own_files: Path) -> None:
    """A key is accepted and written once; removing the line takes it back."""
    hosts = own_files / "known_hosts"
    hosts.write_text("")
    task.set_info("ssh_options", f"-F {own_files}/config -o StrictHostKeyChecking=accept-new -q")
    first = connections(task, "node[1-3]")
    written = hosts.read_text()
    assert len(set(written.splitlines())) == 1
    assert connections(task, "node[1-3]") == first
    assert hosts.read_text() == written
    hosts.write_text("")
    assert not set(connections(task, "node[1-3]").values()) & set(first.values())
    assert set(hosts.read_text().splitlines()) == set(written.splitlines())


def test_a_quantum_safe_key_exchange_that_is_required_later(
    task: Task, ssh_server: SshServer
) -> None:
    """Over a connection that has none nothing runs then."""
    task.set_info(
        "ssh_options",
        f"-F {ssh_server.config} -o KexAlgorithms=sntrup761x25519-sha512@openssh.com,curve25519-sha256",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        first = connections(task, "node[1-2]")
        task.set_info("ssh_kex", "require")
        assert not set(connections(task, "node[1-2]").values()) & set(first.values())


# -- ends --------------------------------------------------------------------------------------------


def test_they_end_with_task_cleanup(task: Task) -> None:
    first = connections(task, "node[1-10]")
    task_cleanup()
    assert not engines()
    assert eventually(lambda: not alive(servers(first)))


def test_a_child_of_the_program_has_connections_of_its_own(task: Task) -> None:
    first = connections(task, "node[1-4]")
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            child = task_self()
            child.set_default("distant_workername", "asyncssh")
            for key in ("ssh_options", "ssh_keep", "engines", "connect_timeout"):
                child.set_info(key, task.info(key))
            found = connections(child, "node[1-4]")
            os.write(theirs, str(not set(found.values()) & set(first.values())).encode())
            task_cleanup()
            status = 0
        finally:
            os._exit(status)
    os.close(theirs)
    _, ended = os.waitpid(pid, 0)
    assert (ended, os.read(ours, 100)) == (0, b"True")
    os.close(ours)
    assert connections(task, "node[1-4]") == first
