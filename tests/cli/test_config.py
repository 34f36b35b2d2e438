"""Settings of the command from real files: the places and their order, the effect of each key, --config."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import PROGRAM, Done, mpshell
from tests.unit.test_conf_files import manual

#: Keys of both files with texts of any kind.
KEYS = (
    "ssh_user", "ssh_path", "ssh_options", "scp_path", "scp_options", "rsh_path", "rsh_options", "rcp_path",
    "fanout", "connect_timeout", "command_timeout", "history_size",
)  # fmt: skip

#: Runs a program in a namespace where the first argument is /etc, the second that of the environment.
ELSEWHERE = 'mount --bind "$1" /etc && mount --bind "$2" "$3" && shift 3 && exec "$@"'


def run(folder: Path, text: str, *words: str, name: str = "clush.conf") -> Done:
    """Run local commands with a file of settings."""
    (folder / name).write_text(f"[Main]\n{text}\n")
    return mpshell("-R", "exec", "-w", "n[1-3]", *words, env={"CLUSTERSHELL_CFGDIR": str(folder)})


def dry(folder: Path, text: str, *words: str) -> str:
    (folder / "mpshell.conf").write_text(f"[Main]\n{text}\n")
    done = mpshell("--dry-run", "-w", "n1", *words, env={"CLUSTERSHELL_CFGDIR": str(folder)})
    assert done.code == 0, done.err
    return done.out.decode()


def test_each_place_and_their_order(tmp_path: Path) -> None:
    """The n-th key stands in the first n places: each place has one key that it is the last one of."""
    prefix = Path(sys.prefix, "etc")
    prefix.mkdir(exist_ok=True)
    etc, environment_etc = tmp_path / "etc", tmp_path / "environment"
    seen = {
        etc / "clustershell": Path("/etc/clustershell"),
        tmp_path / "home/.local/etc/clustershell": tmp_path / "home/.local/etc/clustershell",
        environment_etc / "clustershell": prefix / "clustershell",
        tmp_path / "xdg/clustershell": tmp_path / "xdg/clustershell",
        tmp_path / "cfg": tmp_path / "cfg",
    }
    layers = []
    for name in ("clush.conf", "mpshell.conf"):
        for folder, shown in seen.items():
            folder.mkdir(parents=True, exist_ok=True)
            layers.append((folder / name, str(shown / name)))
    for number, (file, _) in enumerate(layers):
        file.write_text("[Main]\n" + "".join(f"{key}: {number + 1}\n" for key in KEYS[number:]))
    mounted = [
        "unshare",
        "-Urm",
        "sh",
        "-c",
        ELSEWHERE,
        "sh",
        str(etc),
        str(environment_etc),
        str(prefix),
    ]
    done = mpshell(
        "--config", "--json", "-O", "command_timeout=11", "-O", "connect_timeout=11", "-f", "12",
        program=[*mounted, *PROGRAM],
        env={
            "HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
            "CLUSTERSHELL_CFGDIR": str(tmp_path / "cfg"),
        },
    )  # fmt: skip
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["files"] == [path for _, path in layers]
    found = {row["key"]: (row["value"], row["from"]) for row in document["settings"]}
    for number, (_, path) in enumerate(layers):
        if number < 8:
            assert found[KEYS[number]] == (str(number + 1), f"{path}:2"), KEYS[number]
    assert found["fanout"] == (12, "option --fanout")
    assert found["connect_timeout"] == (11, "-O") and found["command_timeout"] == (11, "-O")
    assert found["history_size"] == (10, f"{tmp_path}/cfg/mpshell.conf:4")


def test_settings_of_output(tmp_path: Path) -> None:
    assert run(tmp_path, "node_count: no", "-b", "echo same").lines[1] == "n[1-3]"
    assert run(tmp_path, "node_count: yes", "-b", "echo same").lines[1] == "n[1-3] (3)"
    assert b"\033[34mn1:" in run(tmp_path, "color: always", "true; echo x").out
    assert b"\033" not in run(tmp_path, "color: always", "--color=never", "echo x").out
    assert run(tmp_path, "verbosity: 0", "exit 1").err == ""
    assert "over exec" in run(tmp_path, "verbosity: 2", "true").err
    assert "EXECCLIENT: echo x" in run(tmp_path, "verbosity: 3", "echo x").err
    assert "over exec" not in run(tmp_path, "verbosity: 2", "-q", "true").err


@pytest.mark.parametrize(
    ("color", "variables", "colored"),
    [
        ("auto", {"CLICOLOR_FORCE": "1"}, True),
        ("auto", {"CLICOLOR_FORCE": "0"}, False),
        ("auto", {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
        ("always", {"NO_COLOR": "1", "CLICOLOR": "0"}, True),
        ("never", {"CLICOLOR_FORCE": "1"}, False),
    ],
)
def test_variables_of_colors_go_before_auto(
    tmp_path: Path, color: str, variables: dict[str, str], colored: bool
) -> None:
    (tmp_path / "clush.conf").write_text(f"[Main]\ncolor: {color}\n")
    env = {"CLUSTERSHELL_CFGDIR": str(tmp_path), **variables}
    assert (b"\033" in mpshell("-R", "exec", "-w", "n1", "echo x", env=env).out) is colored
    # The option is above the variables.
    done = mpshell("-R", "exec", "--color=auto", "-w", "n1", "echo x", env=env)
    assert b"\033" not in done.out


def test_settings_of_running(tmp_path: Path) -> None:
    assert "fanout 7: true" in run(tmp_path, "fanout: 7", "-v", "true").err
    assert run(tmp_path, "command_timeout: 0.2", "-q", "sleep 60").code == 255
    done = run(
        tmp_path, "worker: exec\nmax_fail: 1\nfanout: 1\nengines: 1", "false", name="mpshell.conf"
    )
    assert "failed 1, not run 2" in done.err
    done = run(tmp_path, "max_fail: 1\nfanout: 1", "-k", "2", "false", name="mpshell.conf")
    assert "failed 2, not run 1" in done.err
    done = run(tmp_path, f"journal: {tmp_path}/runs", "true", name="mpshell.conf")
    assert done.code == 0
    shown = mpshell("--runs", str(tmp_path / "runs"))
    assert shown.code == 0 and len(shown.lines) >= 1


def test_the_exit_status_is_changed_by_no_file_of_clush(tmp_path: Path) -> None:
    (tmp_path / "clush.conf").write_text(manual("clush.conf"))
    env = {"CLUSTERSHELL_CFGDIR": str(tmp_path)}
    assert mpshell("-R", "exec", "-w", "n1", "exit 3", env=env).code == 3
    assert mpshell("-R", "exec", "-w", "n1", "-O", "maxrc=no", "exit 3", env=env).code == 0
    assert run(tmp_path, "maxrc: no", "exit 3", name="mpshell.conf").code == 0
    assert run(tmp_path, "maxrc: no", "-S", "exit 3", name="mpshell.conf").code == 3


def test_settings_of_transports(tmp_path: Path) -> None:
    ssh = dry(
        tmp_path,
        "connect_timeout: 7\nssh_user: root\nssh_path: /usr/bin/ssh -4\nssh_options: -oPort=22",
        "id",
    )
    words = shlex.split(ssh)
    for word in ("/usr/bin/ssh", "-4", "-oPort=22", "-oConnectTimeout=7", "root"):
        assert word in words, ssh
    given = shlex.split(
        dry(tmp_path, "ssh_user: root\nssh_options: -oPort=22", "-l", "me", "-o", "-4", "id")
    )
    assert "me" in given and "-4" in given and "root" not in given and "-oPort=22" not in given
    copy = ("-c", "/etc/passwd", "--dest", "/tmp")
    scp = dry(tmp_path, "ssh_options: -oPort=22\nscp_path: scp -l 9\nssh_user: root", *copy)
    assert "-oPort=22" in scp and "scp -l 9" in scp and "root" in scp
    assert "-oPort=22" not in dry(tmp_path, "ssh_options: -oPort=22\nscp_options: -C\n", *copy)
    rsh = "rsh_path: krsh\nrsh_options: -x\nrcp_path: krcp\nrsh_user: rob"
    assert "krsh -l rob -x n1" in dry(tmp_path, rsh, "-R", "rsh", "id")
    assert "krcp -x" in dry(tmp_path, rsh, "-R", "rsh", *copy)
    assert "krcp -y" in dry(tmp_path, f"{rsh}\nrcp_options: -y", "-R", "rsh", *copy)
    assert "n1: /opt/pdsh -b" in dry(tmp_path, "pdsh_path: /opt/pdsh -b", "-R", "pdsh", "id")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("-O", "fanout"), "mpshell: -O: 'fanout' is not KEY=VALUE"),
        (("-O", "fan=1"), "mpshell: -O: there is no key 'fan'; 'fanout' is one"),
        (
            ("--option", "srun=yes", "-O", "hosts=n1"),
            "mpshell: -O: srun: it does not go with hosts",
        ),
        (
            ("--option", "dask=tls://h:1", "-O", "hosts=n1"),
            "mpshell: -O: dask: it does not go with hosts",
        ),
        (
            ("-O", "ssh_options=Port=22"),
            "mpshell: -O: ssh_options 'Port=22': 'Port=22' is not an option of ssh",
        ),
        (("--conf", "/no/such"), "mpshell: /no/such: cannot be read: No such file or directory"),
        (("--conf", "/etc"), "mpshell: /etc: cannot be read: Is a directory"),
        (("--conf", ""), "mpshell: argument --conf: '' is empty"),
        (
            ("-O", "worker=nonsense"),
            "mpshell: -O: worker 'nonsense' is not ssh, asyncssh, exec, rsh, pdsh or",
        ),
        (("-O", "hosts=n["), "mpshell: -O: hosts 'n[': "),
        (("-O", "max_fail=1", "-R", "pdsh"), "mpshell: -O: max_fail does not go with -R pdsh"),
        (
            ("-O", "rate=1", "--delay", "1", "-R", "pdsh"),
            "mpshell: --delay does not go with -R pdsh",
        ),
    ],
)
def test_bad_settings_are_wrong_usage(words: tuple[str, ...], error: str) -> None:
    done = mpshell("-w", "n1", *words, "true")
    assert done.code == 64 and done.out == b""
    assert error in done.err and "Try 'mpshell --help'" in done.err


def test_a_bad_line_is_named_with_file_and_line(tmp_path: Path) -> None:
    done = run(tmp_path, "\n\nfanout: many", "true")
    assert done.code == 64
    allowed = "is not a whole number of at least 1, or -1 for no limit"
    assert done.err.startswith(f"mpshell: {tmp_path}/clush.conf:4: fanout: 'many' {allowed}\n")
    # A value with control characters does not reach the terminal.
    assert "\033" not in run(tmp_path, "color: \033[31mred", "true").err
    assert run(tmp_path, "fanout: many", "--conf", "/dev/null", "-q", "true").code == 0


def test_a_file_through_a_pipe() -> None:
    line = f"{shlex.join(PROGRAM)} --config --conf <(printf '[Main]\\nfanout: 9\\n')"
    done = mpshell("-c", line, program=["bash"])
    assert done.code == 0 and done.lines[0].split()[:2] == ["fanout", "9"]


@pytest.fixture
def for_all() -> Iterator[Path]:
    """Give a directory that every user may read, as pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.needs("root")
def test_a_file_that_is_not_for_the_user_is_left_out(for_all: Path) -> None:
    for name in ("clush.conf", "mpshell.conf"):
        (for_all / name).write_text("[Main]\nfanout: 3\n")
    (for_all / "clush.conf").chmod(0o600)
    os.chown(for_all / "clush.conf", 65534, 65534)
    # An ordinary user but for the number: one with another number may have no way to this interpreter.
    ordinary = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *PROGRAM]
    done = mpshell(
        "--config",
        "--json",
        program=ordinary,
        env={"CLUSTERSHELL_CFGDIR": str(for_all), "HOME": "/"},
    )
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert {"file": f"{for_all}/clush.conf", "reason": "Permission denied"} in document["not_read"]
    assert f"{for_all}/mpshell.conf" in document["files"]


def test_the_table_names_each_value_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "clush.conf").write_text(manual("clush.conf"))
    (tmp_path / "clush.conf.d").mkdir()
    (tmp_path / "clush.conf.d/sudo.conf").write_text(manual("sudo.conf.example"))
    (tmp_path / "mpshell.conf").write_text("[Main]\nengines: 2\n")
    (tmp_path / "defaults.conf").write_text(
        "[task.default]\ndistant_workername: exec\n[task.info]\ngrace: 3\n[nodeset]\nupcall_timeout: 9\n"
    )
    env = {"CLUSTERSHELL_CFGDIR": str(tmp_path), "NO_COLOR": "1"}
    words = ("--config", "-R", "ssh", "-l", "me", "--delay", "4", "-v")
    table = mpshell(*words, env=env)
    assert table.code == 0 and table.err == ""
    for line in (
        "fanout 64 {}/clush.conf:7", "connect_timeout 15 seconds {}/clush.conf:8",
        "engines 2 {}/mpshell.conf:2",
        "grace 3 seconds {}/defaults.conf:4", "drain 5 seconds default",
        "upcall_timeout 9 seconds {}/defaults.conf:6", "color never $NO_COLOR",
        "worker ssh option --worker", "ssh_user me option --user", "rate 0.25 a second option --delay",
        "verbosity 2 option --verbose", "maxrc yes default", "{}/clush.conf.d/sudo.conf", "sudo",
    ):  # fmt: skip
        wanted = line.format(tmp_path)
        assert any(" ".join(row.split()) == wanted for row in table.lines), (wanted, table.lines)
    assert any(
        row.startswith(f"  {tmp_path}/clush.conf:13: maxrc: no (scripts rely")
        for row in table.lines
    )
    document = json.loads(mpshell(*words, "--json", env=env).out)
    rows = {row["key"]: row for row in document["settings"]}
    assert rows["rate"] == {
        "key": "rate", "value": 0.25, "unit": "a second", "from": "option --delay", "default": None
    }  # fmt: skip
    assert "sudo" in document["modes"] and rows["grace"]["value"] == 3
    assert {"fd_max", "maxrc"} <= {row["key"] for row in document["ignored"]}
    default = mpshell("--config", env=env)
    worker = next(row for row in default.lines if row.startswith("worker"))
    assert worker.split() == ["worker", "exec", f"{tmp_path}/defaults.conf:2"]


def test_a_transport_of_defaults_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "defaults.conf").write_text("[task.default]\ndistant_workername: nonsense\n")
    for words in ((), ("--dry-run",)):
        done = mpshell("-w", "n1", *words, "true", env={"CLUSTERSHELL_CFGDIR": str(tmp_path)})
        assert done.code == 64 and "mpshell: defaults.conf: no transport 'nonsense'" in done.err


def test_a_bad_file_of_defaults_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "defaults.conf").write_text("[task.info]\nfanout: x\n")
    for words in (("--config",), ("-w", "n1", "true")):
        done = mpshell(*words, env={"CLUSTERSHELL_CFGDIR": str(tmp_path)})
        assert done.code == 64 and f"{tmp_path}/defaults.conf: [task.info] fanout: 'x'" in done.err


def test_a_run_that_goes_on_has_the_settings_of_its_journal(tmp_path: Path) -> None:
    journal = str(tmp_path / "runs")
    command = f"[ -e {tmp_path}/go ]"
    assert run(tmp_path, "fanout: 2", "--journal", journal, command).code == 1
    (tmp_path / "go").touch()
    (tmp_path / "clush.conf").write_text("[Main]\nfanout: 1\nssh_options: -oPort=1\n")
    (tmp_path / "mpshell.conf").write_text(
        f"[Main]\njournal: {tmp_path}/other\nretry: 3\nmax_fail: 1\n"
    )
    env = {"CLUSTERSHELL_CFGDIR": str(tmp_path)}
    done = mpshell("--rerun-failed", journal, env=env)
    assert done.code == 0, done.err
    assert not os.path.exists(tmp_path / "other")
    for words in (("--runs", journal), ("--show", journal)):
        assert mpshell(*words, env=env).code == 0
