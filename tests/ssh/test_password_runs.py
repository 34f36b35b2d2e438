"""A password in whole runs: which nodes get it over all engines, which work refuses it, and no trace of it."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpshell import EventHandler, Task, WorkerError
from tests.ssh.conftest import SshServer
from tests.ssh.passwords import RIGHT, counting_server, hosts, password_sshd
from tests.ssh.test_asyncssh import outcomes
from tests.ssh.test_ssh_faults import write_config

#: ssh(1) takes no password from here.
pytestmark = pytest.mark.parametrize("transport", ["asyncssh"], indirect=True)


@pytest.fixture
def use(ssh_task: Task, ssh_server: SshServer, tmp_path: Path) -> Callable[[str], None]:
    """Give a function that puts sections of ssh_config before those of the server."""
    return lambda text: ssh_task.set_info("ssh_options", write_config(tmp_path, ssh_server, text))


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_each_node_is_sent_the_right_one_once(
    ssh_task: Task, ssh_server: SshServer, use: Callable[[str], None], method: str
) -> None:
    with counting_server(ssh_server, method) as (port, sent):
        use(hosts("p*", port))
        ssh_task.set_info("ssh_password", RIGHT)
        found = outcomes(ssh_task, "p[1-40]")
    assert {outcome.reason for outcome in found.values()} == {"exit"} and len(found) == 40
    assert sent == [RIGHT] * 40


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_wrong_one_is_sent_three_times_in_a_run_of_several_engines(
    ssh_task: Task, ssh_server: SshServer, use: Callable[[str], None], method: str
) -> None:
    with counting_server(ssh_server, method) as (port, sent):
        use(hosts("p*", port))
        ssh_task.set_info("engines", 3)
        ssh_task.set_info("ssh_password", "wrong")
        found = outcomes(ssh_task, "p[1-40]")
        assert {outcome.reason for outcome in found.values()} == {"auth"} and len(found) == 40
        assert sent == ["wrong"] * 3
        details = [outcome.detail or "" for outcome in found.values()]
        assert sum("refused 3 times, and is not sent any more" in text for text in details) >= 37
        assert not [text for text in details if "wrong" in text]
        # The next run counts anew, and the right one goes to all again.
        ssh_task.set_info("ssh_password", RIGHT)
        assert all(outcome.ok for outcome in outcomes(ssh_task, "p[1-40]").values())
    assert sent == ["wrong"] * 3 + [RIGHT] * 40


def test_a_real_server(ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any) -> None:
    with password_sshd(ssh_server, tmp_path) as port:
        use(hosts("p*", port))
        assert outcomes(ssh_task, "p1")["p1"].reason == "auth"
        ssh_task.set_info("ssh_password", RIGHT)
        worker = ssh_task.run("id -u", nodes="p[1-6]")
        assert [worker.node_buffer(f"p{n}") for n in range(1, 7)] == [b"4242"] * 6
        ssh_task.set_info("ssh_password", "wrong")
        found = outcomes(ssh_task, "p[1-6]")
        assert {outcome.reason for outcome in found.values()} == {"auth"}


def test_nodes_that_take_a_key_are_sent_none(
    ssh_task: Task, ssh_server: SshServer, use: Callable[[str], None]
) -> None:
    with counting_server(ssh_server) as (port, sent):
        use(hosts("p1", port))
        ssh_task.set_info("ssh_password", "wrong")
        found = outcomes(ssh_task, "p1,node[1-8]")
    assert [node for node, outcome in found.items() if not outcome.ok] == ["p1"]
    assert sent == ["wrong"]


@pytest.mark.parametrize("strict", ["accept-new", "no"])
def test_a_host_whose_key_is_new_is_not_sent_it(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any, strict: str
) -> None:
    with counting_server(ssh_server) as (port, sent):
        more = f"  StrictHostKeyChecking {strict}\n  UserKnownHostsFile {tmp_path}/none\n"
        use(hosts("p*", port, more))
        ssh_task.set_info("ssh_password", RIGHT)
        found = outcomes(ssh_task, "p1")
    assert found["p1"].reason == "auth" and sent == []
    assert "only to hosts whose key is known" in (found["p1"].detail or "")


def test_a_host_on_the_way_is_not_sent_it(
    ssh_task: Task, ssh_server: SshServer, use: Callable[[str], None]
) -> None:
    with counting_server(ssh_server) as (port, sent):
        use(f"{hosts('gw', port)}Host node1\n  ProxyJump gw\n")
        ssh_task.set_info("ssh_password", RIGHT)
        found = outcomes(ssh_task, "node[1-2]")
    assert (found["node1"].reason, found["node2"].reason) == ("auth", "exit") and sent == []


def test_a_node_that_ssh_takes_gets_none_and_the_warning_names_that(
    ssh_task: Task, ssh_server: SshServer, use: Callable[[str], None]
) -> None:
    with counting_server(ssh_server) as (port, sent):
        use(hosts("p*", port, "  RevokedHostKeys /dev/null\n"))
        ssh_task.set_info("ssh_password", RIGHT)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = outcomes(ssh_task, "p1")
    assert found["p1"].reason == "auth" and sent == []
    assert [str(warning.message) for warning in caught] == [
        "1 node over ssh(1) in place of asyncssh, which gets no password: RevokedHostKeys /dev/null"
    ]


def test_a_function_is_asked_once(
    ssh_task: Task, ssh_server: SshServer, use: Callable[[str], None]
) -> None:
    asked: list[int] = []

    def ask() -> str:
        asked.append(os.getpid())
        return RIGHT

    with counting_server(ssh_server) as (port, _):
        use(hosts("p*", port))
        ssh_task.set_info("ssh_password", ask)
        assert asked == []
        for _ in range(2):
            workers = [ssh_task.shell("true", nodes=f"p{n}") for n in (1, 2)]
            ssh_task.resume()
            assert [worker.node_retcode(f"p{n}") for n, worker in enumerate(workers, 1)] == [0, 0]
    assert asked == [os.getpid()]


@pytest.mark.parametrize("answer", [b"bytes", None, ""])
def test_a_function_that_returns_no_password(ssh_task: Task, answer: Any) -> None:
    ssh_task.set_info("ssh_password", lambda: answer)
    ssh_task.shell("true", nodes="node1")
    with pytest.raises(WorkerError, match="ssh_password returns a password, not"):
        ssh_task.resume()


@pytest.mark.parametrize("name", ["ssh", "rsh", "pdsh"])
def test_transports_that_can_give_none_refuse_it(ssh_task: Task, name: str) -> None:
    ssh_task.set_default("distant_workername", name)
    ssh_task.set_info("ssh_password", RIGHT)
    ssh_task.shell("true", nodes="node1")
    with pytest.raises(
        WorkerError, match=rf"{name}\(1\) is given no password.*-R asyncssh"
    ) as error:
        ssh_task.resume()
    assert RIGHT not in str(error.value)


def test_files_are_copied_with_it_and_directories_refuse_it(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any
) -> None:
    (tmp_path / "tree").mkdir()
    with password_sshd(ssh_server, tmp_path) as port, tempfile.TemporaryDirectory() as place:
        os.chown(place, 4242, 4242)
        use(hosts("p*", port))
        ssh_task.set_info("ssh_password", RIGHT)
        worker = ssh_task.copy(__file__, f"{place}/copy", nodes="p1", atomic=True)
        ssh_task.resume()
        assert [outcome.ok for outcome in worker.outcomes()] == [True], worker.node_buffer("p1")
        assert Path(place, "copy").read_bytes() == Path(__file__).read_bytes()
        ssh_task.copy(tmp_path / "tree", place, nodes="p1")
        with pytest.raises(WorkerError, match=r"scp\(1\), which copies a directory, is given no"):
            ssh_task.resume()


# -- where it is not to be seen ----------------------------------------------------------------------


class Looking(EventHandler):
    """Looks, while commands run, for the password in all that the processes below this one show."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.seen: list[str] = []
        self.core: set[int] = set()
        self.debug: list[str] = []

    def ev_read(self, *args: object) -> None:
        for child in psutil.Process().children(recursive=True):
            for name in ("cmdline", "environ", "comm", "stat"):
                try:
                    text = Path(f"/proc/{child.pid}/{name}").read_bytes()
                except OSError:
                    continue
                if self.secret in text:
                    self.seen.append(f"{child.pid} {name}")
            # A process of the server may end at any moment.
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.ppid() != os.getpid() and "sshd" not in child.name():
                    self.core.add(child.rlimit(psutil.RLIMIT_CORE)[0])


def test_nothing_shows_it(ssh_task: Task, ssh_server: SshServer, tmp_path: Path, use: Any) -> None:
    """No argument, environment, journal, debug line, error or warning; and no core of an engine that has it."""
    secret = "horse staple"
    looking = Looking(secret.encode())
    with password_sshd(ssh_server, tmp_path) as port:
        use(hosts("p*", port))
        ssh_task.set_info("ssh_password", secret)
        ssh_task.set_info("journal", tmp_path / "journal")
        ssh_task.set_info("debug", True)
        ssh_task.set_info("print_debug", lambda task, line: looking.debug.append(line))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            worker = ssh_task.run(
                "echo begun; sleep 1", nodes="p[1-4],node[1-4]", handler=looking, stderr=True
            )
    told = [repr(outcome) for outcome in worker.outcomes()]
    assert looking.debug and looking.core == {1}, "with 1 no core is piped to a program either"
    shown = [*looking.debug, *told, *map(str, caught), repr(vars(worker)), repr(vars(worker.job))]
    shown += [str(worker.node_error(f"p{n}")) for n in range(1, 5)]
    assert looking.seen == [] and not [text for text in shown if secret in text]
    for file in tmp_path.glob("journal*"):
        assert secret.encode() not in file.read_bytes()
    with sqlite3.connect(tmp_path / "journal") as journal:
        assert "ssh_password" not in "\n".join(journal.iterdump())


def test_local_commands_of_such_an_engine_keep_their_limit_of_core_files(
    ssh_task: Task, ssh_server: SshServer, use: Callable[[str], None]
) -> None:
    with counting_server(ssh_server) as (port, _):
        use(hosts("p*", port))
        ssh_task.set_info("engines", 1)
        ssh_task.set_info("ssh_password", RIGHT)
        assert outcomes(ssh_task, "p1")["p1"].ok
        again = ssh_task.shell("true", nodes="p1")
        local = ssh_task.shell("sleep 0.2; ulimit -c", key="here")
        ssh_task.resume()
    soft = resource.getrlimit(resource.RLIMIT_CORE)[0]
    expected = "unlimited" if soft == resource.RLIM_INFINITY else str(soft // 512)
    engines = {outcome.engine for worker in (again, local) for outcome in worker.outcomes()}
    assert len(engines) == 1
    assert local.read() == expected.encode()
