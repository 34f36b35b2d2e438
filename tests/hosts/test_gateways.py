"""Hosts that are reached with ssh: the whole chain, kills in it, and the hosts that cannot be used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mpshell import Task, ssh_hosts
from mpshell.hosts.launcher import HostsLauncher
from tests.engine.conftest import alive
from tests.groupfiles import write_groups
from tests.hosts.conftest import Chain, Ledger
from tests.hosts.killrows import EVERYWHERE, check, hurt_way
from tests.hosts.test_runs import digest
from tests.ssh.conftest import SshServer, ssh_server
from tests.support import eventually

__all__ = ["ssh_server"]


def gateways(server: SshServer, hosts: str = "node[1-2]", engines: int | None = 1) -> HostsLauncher:
    # Of two engines that log in at once on a busy machine.
    return ssh_hosts(hosts, engines=engines, options=f"-F {server.config} -oConnectTimeout=60")


def kill_session(chain: Chain) -> None:
    """Kill the sshd that has the session of an outpost."""
    sshd = next(p for p in chain.of("engine").parents() if p.name().startswith("sshd"))
    os.kill(sshd.pid, signal.SIGKILL)


def node_of(outpost: psutil.Process) -> str:
    # Node K of the server has the address 127.100.0.(K + 1).
    address = outpost.environ()["SSH_CONNECTION"].split()[2]
    return f"node{int(address.rpartition('.')[2]) - 1}"


FAULTS = {
    **EVERYWHERE,
    "ssh killed": hurt_way(signal.SIGKILL, node_of),
    "ssh stopped": hurt_way(signal.SIGSTOP, node_of),
    "sshd killed": kill_session,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_verdict_a_node_whatever_is_hurt_over_ssh(
    fault: str, task: Task, ledger: Ledger, ssh_server: SshServer
) -> None:
    check(task, ledger, gateways(ssh_server), FAULTS[fault])


def test_the_results_over_ssh_are_those_of_engines_here(task: Task, ssh_server: SshServer) -> None:
    here = digest(task)
    task.set_info("launcher", gateways(ssh_server, "node[1-3]", None))
    assert digest(task) == here


def test_the_nodes_of_gateways_are_reached_over_ssh_from_there(
    task: Task, ssh_server: SshServer
) -> None:
    task.set_info("launcher", gateways(ssh_server))
    task.set_info("ssh_options", f"-F {ssh_server.config}")
    task.set_info("connect_timeout", 60)
    worker = task.run("echo $SSH_CONNECTION; exit 4", nodes="node[5-8]")
    assert {(o.reason, o.returncode, bool(o.host)) for o in worker.outcomes()} == {
        ("exit", 4, True)
    }


def test_the_environment_and_the_agent_are_those_of_the_gateway(
    task: Task, ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPSHELL_TEST_SECRET", "of the head")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nonexistent/agent")
    task.set_info("launcher", gateways(ssh_server))
    worker = task.run('echo "[$MPSHELL_TEST_SECRET][$SSH_AUTH_SOCK]"', nodes="n1", remote=False)
    assert worker.node_buffer("n1") == b"[][]"


def run_command(
    server: SshServer, *words: str, config: object = None
) -> subprocess.CompletedProcess[str]:
    options = f"-F {config or server.config} -oConnectTimeout=60"
    return subprocess.run(
        [sys.executable, "-m", "mpshell", "--hosts-options", options, *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False,
    )  # fmt: skip


def test_the_command_runs_on_hosts(ssh_server: SshServer) -> None:
    done = run_command(
        ssh_server, "--hosts", "node[1-2]", "-R", "exec", "-w", "n[1-30]", "--json", "echo %h; exit 3"
    )  # fmt: skip
    nodes = json.loads(done.stdout)["nodes"]
    assert done.returncode == 3
    assert len(nodes) == 30
    assert {node["host"] for node in nodes} <= {"node1", "node2"}
    assert [node["stdout"] for node in nodes] == [node["node"] for node in nodes]


def test_groups_are_those_of_this_machine(
    ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway, whose login has no such variable, gets names of nodes; and the named Python is used."""
    write_groups(tmp_path)
    monkeypatch.setenv("CLUSTERSHELL_CFGDIR", str(tmp_path))
    python = os.path.realpath(sys.executable)
    done = run_command(
        ssh_server, "--hosts", "node1", "--hosts-python", sys.executable, "-R", "exec", "-w", "@compute",
        "--jsonl", 'echo "%h [$CLUSTERSHELL_CFGDIR]"; readlink /proc/$PPID/exe',
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {line["node"]: (line["host"], line["stdout"]) for line in lines if "node" in line}
    assert found == {f"n{n}": ("node1", f"n{n} []\n{python}") for n in range(1, 7)}, done.stderr


def test_the_python_of_hosts_may_be_named(ssh_server: SshServer) -> None:
    done = run_command(
        ssh_server, "--hosts", "node1", "--hosts-python", "/nonexistent/python",
        "-R", "exec", "-w", "n1", "true",
    )  # fmt: skip
    assert done.returncode == 70
    assert "no host can be used: node1: " in done.stderr and "/nonexistent/python" in done.stderr


@pytest.mark.parametrize("agent", [False, True])
def test_ssh_asks_nothing_and_forwards_no_more_than_it_is_asked_to(agent: bool) -> None:
    """By the word of ssh(1) itself: `-G` prints the options that hold."""
    own = "-oForwardX11=yes -oControlMaster=auto -oRequestTTY=force -oBatchMode=no"
    [way] = ssh_hosts("gw1", agent=agent).ways
    at = way.argv.index("--")
    asked = [way.argv[0], "-F", "/dev/null", *way.argv[1:at], *own.split(), "-G", "gw1"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    options = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    wanted = {
        "batchmode": "yes", "requesttty": "false", "controlmaster": "false", "forwardx11": "no",
        "forwardagent": "yes" if agent else "no", "clearallforwardings": "yes", "serveraliveinterval": "5",
    }  # fmt: skip
    assert {name: options[name] for name in wanted} == wanted


def test_the_command_lists_the_hosts_that_it_could_not_use(ssh_server: SshServer) -> None:
    done = run_command(
        ssh_server, "--hosts", "node1,nosuch.invalid", "-R", "exec", "-f", "4", "-w", "n[1-60]",
        "sleep 0.2; echo %h",
    )  # fmt: skip
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 60
    assert "host not used: nosuch.invalid: ssh: Could not resolve hostname" in done.stderr


def test_the_command_lists_the_hosts_that_were_too_slow(
    ssh_server: SshServer, tmp_path: Path
) -> None:
    """The run does not wait for them, and nothing of theirs stays."""
    proxy = f"sh -c 'echo $$ > {tmp_path}/pid; exec sleep 1000'"
    config = tmp_path / "slow"
    config.write_text(f"Host node2\n  ProxyCommand {proxy}\nHost *\nInclude {ssh_server.config}\n")
    done = run_command(
        ssh_server, "--hosts", "node[1-2]", "-R", "exec", "-w", "n[1-40]",
        f"while [ ! -s {tmp_path}/pid ]; do sleep 0.1; done; echo %h", config=config,
    )  # fmt: skip
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 40
    assert "host not used: node2: it had not answered when the run ended" in done.stderr
    pid = int((tmp_path / "pid").read_text())
    assert eventually(lambda: not alive(pid))


def test_the_command_without_any_host_ends_with_each_reason(ssh_server: SshServer) -> None:
    done = run_command(
        ssh_server, "--hosts", "a.invalid,b.invalid", "-R", "exec", "-w", "n1", "true"
    )
    assert done.returncode == 70
    assert "no host can be used" in done.stderr
    assert "a.invalid: ssh: Could not resolve hostname a.invalid" in done.stderr
