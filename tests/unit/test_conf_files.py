"""The command's configuration files: each key, the error of each bad line; ClusterShell reads the same."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ClusterShell.CLI.Config import ClushConfig

from mpshell import RetryPolicy
from mpshell.cli import effective, settings
from mpshell.cli.conffile import ConfError
from mpshell.cli.configuration import Configuration
from mpshell.cli.parser import build_parser, parse
from mpshell.cli.prepare import configure
from mpshell.cli.settings import ALL, SETTINGS, as_text
from mpshell.cli.terminal import Terminal
from mpshell.defaults import Defaults
from mpshell.task.settings import Settings
from mpshell.task.task import Task

#: A text of each key of the command's files, and the value that it stands for.
EVERY: dict[str, tuple[str, Any]] = {
    "fanout": ("7", 7), "connect_timeout": ("2.5", 2.5), "command_timeout": ("30", 30.0), "worker": ("exec",
    "exec"),
    "engines": ("3", 3), "max_fail": ("4", 4), "canary": ("1", 1), "batch": ("20", 20), "retry": ("2", 2),
    "retry_on": ("lost, not-started", frozenset(("lost", "not started"))), "rate": ("2.5", 2.5),
    "grace": ("0.25", 0.25), "drain": ("None", None), "heartbeat": ("0.1", 0.1), "retry_lost": ("on", True),
    "maxrc": ("no", False), "confdir": ("$CFGDIR/none", "$CFGDIR/none"), "ssh_user": ("root", "root"),
    "ssh_path": ("/opt/ssh -4", "/opt/ssh -4"), "ssh_options": ("-oPort=22", "-oPort=22"),
    "scp_path": ("/opt/scp", "/opt/scp"), "scp_options": ("-C", "-C"), "scp_user": ("copier", "copier"),
    "rsh_path": ("krsh", "krsh"), "rsh_options": ("-x", "-x"), "rsh_user": ("rob", "rob"),
    "rcp_path": ("krcp", "krcp"), "rcp_options": ("-y", "-y"), "pdsh_path": ("/opt/pdsh", "/opt/pdsh"),
    "pdcp_path": ("/opt/pdcp", "/opt/pdcp"), "rpdcp_path": ("/opt/rpdcp", "/opt/rpdcp"),
    "relay_options": ("-F /x", "-F /x"), "relay_ports": ("4000-4010", "4000-4010"),
    "relay_least": ("1M", 1 << 20),
    "command_prefix": ("sudo -n", "sudo -n"), "password_prompt": ("yes", True),
    "ssh_kex": ("require", "require"), "ssh_keep": ("60", 60.0), "connect_fanout": ("5", 5),
    "ssh_keep_password": ("yes", True),
    "connect_rate": ("9", 9.0),
    "hosts": ("gw[1-2]", "gw[1-2]"), "srun": ("no", False), "dask": ("none", None),
    "hosts_options": ("-A", "-A"), "remote_env": ("LANG TZ", "LANG TZ"),
    "hosts_python": ("/opt/python", "/opt/python"), "color": ("never", "never"), "node_count": ("no", False),
    "verbosity": ("3", 3), "history_size": ("-1", -1), "journal": ("~/runs", os.path.expanduser("~/runs")),
    "journal_output": ("failed", "failed"), "journal_limit": ("64K", 65536), "journal_sync": ("yes", True),
}  # fmt: skip

#: Texts of keys that have no effect.
WITHOUT_EFFECT = {key: "5" for key, setting in SETTINGS.items() if setting.ignored}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the only directory that has files of settings."""
    for name in ("CLUSTERSHELL_CFGDIR", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        "mpshell.cli.configuration.config_paths", lambda name: [str(tmp_path / name)]
    )
    return tmp_path


def options(*words: str) -> argparse.Namespace:
    """Return the options of a command line, settled."""
    _, found = parse(words)
    found.again = None
    effective.settle(found)
    return found


def configured(*words: str) -> Settings:
    """Return the settings of the Task that a command line makes."""
    made = Settings(Defaults())
    configure(cast(Task, made), options(*words), cast(Terminal, None))
    return made


def write(folder: Path, name: str, values: dict[str, str]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in values.items())
    (folder / name).write_text(f"[Main]\n{text}")


def test_every_key_is_read_from_a_file_and_reaches_the_task(folder: Path) -> None:
    assert EVERY.keys() | WITHOUT_EFFECT.keys() == SETTINGS.keys()
    texts = {key: text for key, (text, _) in EVERY.items()}
    write(folder, "mpshell.conf", {**texts, **WITHOUT_EFFECT})
    conf = Configuration()
    for key, (_, value) in EVERY.items():
        assert (conf[key], type(conf[key])) == (value, type(value)), key
        assert value != SETTINGS[key].default or key in ("srun", "dask"), (
            f"{key}: the test has the default"
        )
    assert {ignored.name for ignored in conf.ignored} == WITHOUT_EFFECT.keys()
    task = configured("-O", "hosts=none")
    infos = {SETTINGS[key].info: value for key, (_, value) in EVERY.items() if SETTINGS[key].info}
    assert len(infos) > 30
    assert {key: task.info(str(key)) for key in infos} == infos
    policy = task.info("retry")
    assert (policy.retries, policy.on) == (2, frozenset(("lost", "not started")))
    assert task.default("distant_worker").__name__ == "ExecWorker"


def test_settings_of_the_command_itself_are_its_options(folder: Path) -> None:
    texts = {key: text for key, (text, _) in EVERY.items()}
    write(folder, "mpshell.conf", texts)
    found = options()
    assert (found.debug, found.verbose, found.quiet, found.color) == (True, True, False, "never")
    assert (found.always_zero, found.node_count, found.history_size) == (True, False, -1)
    assert (found.hosts, found.hosts_options, found.hosts_python) == (
        "gw[1-2]",
        ["-A"],
        "/opt/python",
    )
    for level, flags in (
        ("0", (True, False, False)),
        ("1", (False, False, False)),
        ("2", (False, True, False)),
    ):
        found = options("-O", f"verbosity={level}")
        assert (found.quiet, found.verbose, found.debug) == flags
    # One of the options takes the place of the level as a whole.
    found = options("-q")
    assert (found.quiet, found.verbose, found.debug) == (True, False, False)
    assert not options("-S").always_zero


def test_an_option_goes_before_the_others(folder: Path) -> None:
    write(folder, "clush.conf", {"fanout": "1", "grace": "9", "ssh_options": "-v", "ssh_user": "a"})
    write(folder, "mpshell.conf", {"fanout": "2", "rate": "5"})
    assert configured().info("fanout") == 2
    assert configured("-O", "fanout=3", "-O", "FANOUT=4").info("fanout") == 4
    assert configured("-O", "fanout=3", "-f", "5").info("fanout") == 5
    assert configured().info("grace") == 1.0, "which is a key of mpshell.conf"
    assert configured("-O", "rate=none").info("rate") is None
    assert configured("--rate", "none").info("rate") is None
    assert configured("--delay", "2").info("rate") == 0.5
    found = configured("-o", "-4", "-l", "b")
    assert (found.info("ssh_options"), found.info("ssh_user")) == ("-4", "b")


@pytest.mark.parametrize("mode", [None, "fast", "slow"])
def test_a_run_mode_goes_before_the_files(folder: Path, mode: str | None) -> None:
    (folder / "clush.conf.d").mkdir()
    (folder / "clush.conf.d/a.conf").write_text(
        "[mode:fast]\nfanout: 500\ncolor: bad\n[Main]\ncommand_timeout: 8\n"
    )
    (folder / "clush.conf.d/.b.conf").write_text("[broken")
    (folder / "clush.conf.d/b.conf.off").write_text("[broken")
    (folder / "clush.conf.d/c.conf").write_text("[mode:fast]\ncolor: always\n")
    (folder / "clush.conf").write_text(
        "[Main]\nfanout: 1\nconfdir: $CFGDIR/clush.conf.d /no/such\n[mode:slow]\nconnect_timeout: 60\n"
    )
    (folder / "mpshell.conf").write_text("[Main]\nfanout: 2\n[mode:slow]\nengines: 1\nfanout: 3\n")
    conf = Configuration(mode=mode)
    assert conf.modes == ["fast", "slow"]
    expected = {
        None: (2, "auto", None, 10),
        "fast": (500, "always", None, 10),
        "slow": (3, "auto", 1, 60.0),
    }
    assert (conf["fanout"], conf["color"], conf["engines"], conf["connect_timeout"]) == expected[
        mode
    ]
    assert conf["command_timeout"] == 8.0
    assert Configuration(overrides=("fanout=4",), mode=mode)["fanout"] == 4


def test_an_unknown_key_of_the_run_mode_is_left_alone(folder: Path) -> None:
    (folder / "clush.conf").write_text("[mode:a]\nfan_out: 3\nfanout: 4\n[mode:b]\nother: %h\n")
    conf = Configuration(mode="a")
    assert conf["fanout"] == 4 and Configuration().ignored == []
    assert [(entry.name, entry.where) for entry in conf.ignored] == [
        ("fan_out", f"{folder}/clush.conf:2")
    ]


def test_a_mode_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(ConfError, match=r"-m: there is no run mode 'sudo' \(run modes: none\)"):
        Configuration(mode="sudo")
    (folder / "mpshell.conf").write_text("[mode:b]\n[mode:a]\n")
    with pytest.raises(ConfError, match=r"\(run modes: a, b\)"):
        Configuration(mode="sudo")


#: Bad texts of a file, and the error of each. The line of the error is the last one.
WRONG = {
    "[Main]\nfanout: many": "fanout: 'many' is not a whole number of at least 1, or -1 for no limit",
    "[Main]\nfanout: 0": "fanout: '0' is not a whole number of at least 1, or -1 for no limit",
    "[Main]\nfanout:": "fanout: '' is not a whole number",
    "[Main]\nconnect_timeout: soon": "'soon' is not a number of seconds, 0 (no limit) or more",
    "[Main]\ncommand_timeout: nan": "'nan' is not a number of seconds",
    "[Main]\ncolor: blue": "color: 'blue' is not one of auto, always, never",
    "[Main]\nhistory_size: long": "history_size: 'long' is not a whole number",
    "[Main]\nnode_count: perhaps": "node_count: 'perhaps' is not one of 1, yes, true, on, 0, no, false, off",
    "[Main]\nverbosity: loud": "verbosity: 'loud' is not a whole number of at least 0",
    "[Main]\nverbosity: -1": "verbosity: '-1' is not a whole number of at least 0",
    "[Main]\nssh_options: -o 'a": "is not a list of words, quoted as in a shell: no closing quotation",
    "[Main]\nssh_path: a \"b": "ssh_path: 'a \"b' is not a list of words",
    "[Main]\nssh_options: -o ControlPath=%h": "a percent sign is written %%",
    "[Main]\nssh_user: %(name)s": "ssh_user: %(name)s is not a key here",
    "[Main]\nssh_user: %(ssh_user)s": "ssh_user: '%(ssh_user)s' refers to itself",
    "[Main]\nconfdir: a 'b": "confdir: \"a 'b\": No closing quotation",
    "[Main]\nconfdir: /etc/passwd": "confdir: '/etc/passwd' is not a directory",
    "fanout: 1": "'fanout: 1' stands before any [section]",
    "[Main]\nfanout": "'fanout' is not a [section], a 'key: value' or a comment that begins with #",
    "[Main]\nfanout: 1\nfanout: 2": "[Main] has a key 'fanout' already",
    "[Main]\nfanout: 1\nFanout = 2": "[Main] has a key 'fanout' already",
    "[Main]\n[mode:a]\n[Main]": "there is a section [Main] already",
    "[Main]\nfanout: 1\0": "a NUL byte has no meaning here",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize("name", ["clush.conf", "mpshell.conf"])
def test_what_is_wrong_is_named_with_its_line(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"# ours\n{text}")
    with pytest.raises(ConfError) as caught:
        Configuration()
    assert str(caught.value).startswith(f"{folder}/{name}:{text.count(chr(10)) + 2}: "), (
        caught.value
    )
    assert WRONG[text] in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[Main]\ngrace: -1", "grace: '-1' is not a number of seconds, 0 or more"),
        ("[Main]\ndrain: inf", "drain: 'inf' is not a number of seconds, 0 or more, or none"),
        ("[Main]\nheartbeat: 0", "heartbeat: '0' is not a number of seconds, 0.1 or more, or none"),
        ("[Main]\nrate: 0", "rate: '0' is not a number above 0, or none"),
        ("[Main]\nretry_on: luck", "retry_on: 'luck': "),
        ("[Main]\njournal_limit: big", "journal_limit: 'big' is not a number of bytes"),
        ("[Main]\njournal_output: some", "journal_output: 'some' is not one of none, failed, all"),
        ("[Main]\nssh_kex: never", "ssh_kex: 'never' is not one of prefer, require"),
        ("[Main]\nfanuot: 3", "there is no key 'fanuot'; 'fanout' is one"),
        ("[Main]\nxyzzy: 3", "there is no key 'xyzzy'; keys: batch, canary, "),
        ("[main]\nfanout: 3", "there is no section [main]; sections: [Main], [mode:NAME]"),
    ],
)
def test_errors_in_our_own_file(folder: Path, text: str, message: str) -> None:
    (folder / "mpshell.conf").write_text(text)
    with pytest.raises(ConfError) as caught:
        Configuration()
    assert str(caught.value).startswith(f"{folder}/mpshell.conf:2: {message}")


@pytest.mark.parametrize("override", ["fanout", "=1", "xyz=1", "fanout=x", "ssh_options=%h"])
def test_a_bad_override_is_an_error(folder: Path, override: str) -> None:
    with pytest.raises(ConfError, match=r"^-O: "):
        Configuration(overrides=(override,))


def test_bytes_that_are_no_utf8_are_an_error_with_their_line(folder: Path) -> None:
    (folder / "clush.conf").write_bytes(b"[Main]\n\n# caf\xe9\n")
    with pytest.raises(ConfError, match=r"clush\.conf:3: the byte 0xe9 is not UTF-8"):
        Configuration()
    (folder / "clush.conf").write_bytes(
        b"\xef\xbb\xbf[Main]\r\nfanout: 3\r\nssh_user: \xc3\xa9\r\n"
    )
    assert (Configuration()["fanout"], Configuration()["ssh_user"]) == (3, "\u00e9")


def test_what_stands_in_the_place_of_a_file(folder: Path) -> None:
    conf = folder / "clush.conf"
    makes: dict[str, Any] = {
        "cannot be read: Is a directory": conf.mkdir,
        "cannot be read: Too many levels of symbolic links": lambda: conf.symlink_to(conf),
        "is a pipe, not a file": lambda: os.mkfifo(conf),
        "has more than 1 MiB, too much for a configuration": lambda: conf.symlink_to("/dev/zero"),
    }
    for message, make in makes.items():
        make()
        with pytest.raises(ConfError) as caught:
            Configuration()
        assert str(caught.value) == f"{conf}: {message}"
        if conf.is_dir():
            conf.rmdir()
        else:
            conf.unlink()
    conf.symlink_to("/no/such/file")
    assert not Configuration().files


def test_an_unknown_key_of_clush_conf_is_left_alone(folder: Path) -> None:
    """It may be that of another version, with any text."""
    (folder / "clush.conf").write_text(
        "[Main]\nfanuot: 3\nsome: %h\nengines: 2\nmaxrc: no\nfanout: 9\n[External]\nnodes_all: nodeset\n"
    )
    conf = Configuration()
    assert [(entry.name, entry.where.rpartition(":")[2]) for entry in conf.ignored] == [
        ("fanuot", "2"), ("some", "3"), ("engines", "4"), ("maxrc", "5"), ("nodes_all", "8")
    ]  # fmt: skip
    assert [entry.reason for entry in conf.ignored] == [
        "there is no key 'fanuot'; 'fanout' is one",
        "there is no key 'some'",
        "is a key of mpshell.conf",
        "scripts rely on the exit status of mpshell: set it in mpshell.conf, or with --always-zero",
        "clush.conf(5) has no section [External]",
    ]
    assert (conf["fanout"], conf["maxrc"], conf["engines"]) == (9, True, None)


def test_one_file_in_the_place_of_the_others(folder: Path) -> None:
    write(folder, "clush.conf", {"fanout": "1"})
    write(folder, "mpshell.conf", {"fanout": "2"})
    write(folder, "other", {"fanout": "3", "engines": "2", "maxrc": "no", "new_key": "1"})
    conf = Configuration(str(folder / "other"))
    assert (conf["fanout"], conf["engines"], conf["maxrc"]) == (3, 2, False)
    assert [entry.name for entry in conf.ignored] == ["new_key"]
    assert Configuration("/dev/null")["fanout"] == 64
    with pytest.raises(ConfError, match=r"^/no/such: cannot be read: No such file or directory$"):
        Configuration("/no/such")


def manual(name: str) -> str:
    """Return a page or file that ClusterShell's distribution brings."""
    [found] = [f for f in importlib.metadata.files("ClusterShell") or () if f.name == name]
    return Path(str(found.locate())).read_text()


def test_every_key_of_the_manual_page_of_clush_conf_is_known() -> None:
    page = manual("clush.conf.5")
    main = page.partition(".SS [Main]")[2].partition(".SS Run modes")[0]
    keys = re.findall(r"^\.B (\w+)$", main, re.M)
    assert len(keys) >= 20
    known = {key for key, setting in SETTINGS.items() if settings.CLUSH_CONF in setting.files}
    assert known == set(keys)


#: Properties of ClusterShell's reader, compared with ours for the same files.
PROPERTIES = (
    "fanout", "connect_timeout", "command_timeout", "ssh_user", "ssh_path", "ssh_options", "scp_path",
    "scp_options",
    "rsh_path", "rcp_path", "rsh_options", "color", "node_count", "verbosity",
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "",
        manual("clush.conf"),
        "[Main]\nfanout= 3\ncolor = always\nssh_options: -o A=%%h\n  -o B=%(fanout)s\nnode_count: OFF\n"
        "verbosity: 2\n",
        "[DEFAULT]\nssh_user: x\nname: y\n[Main]\nssh_path: %(name)s -4\ncolor: never\nconnect_timeout: 1e1\n",
        "[Main]\nconnect_timeout: 3\n[mode:m]\nx: y\n[DEFAULT]\nssh_user: x\n",
        "[Main]\nscp_path: a\nscp_options: b # c\nrsh_path: c\nrcp_path: d\nrsh_options: ;e\n# no\n; no\n",
        "[Main]\nssh_user:\nssh_options:\ncolor: auto\n",
    ],
)  # fmt: skip
def test_clustershell_reads_the_same_values(folder: Path, text: str) -> None:
    (folder / "clush.conf").write_text(text)
    parsed = SimpleNamespace(
        quiet=None, verbose=None, debug=None, fanout=None, user=None, options=None, connect_timeout=None,
        command_timeout=None, whencolor=None, maxrc=None, option=[],
    )  # fmt: skip
    if "color" not in text:
        parsed.option.append("color=auto")  # its own default is an empty text
    theirs, ours = ClushConfig(parsed, str(folder / "clush.conf")), Configuration()
    for key in PROPERTIES:
        found = ours.found(key)
        wanted = getattr(theirs, key)
        if found is not None:
            assert found.value == (wanted or None if isinstance(wanted, str) else wanted), key
        else:
            assert wanted in (None, SETTINGS[key].default), key


def test_every_setting_of_the_library_is_in_the_table() -> None:
    tables = Defaults._tables(Defaults())
    listed = {
        (setting.section or "task.info", setting.info or setting.key): setting.default
        for setting in ALL
        if settings.DEFAULTS_CONF in setting.places
    }
    assert listed == {
        (section, key): value
        for section, table in tables.items()
        for key, value in table.items()
        if key not in ("print_debug", "retry", "launcher", "ssh_password")
    }


def test_the_options_and_info_keys_of_the_table_exist() -> None:
    parser = build_parser()
    info = Settings(Defaults())
    for setting in ALL:
        for name in setting.names:
            assert parser.destination(name)
        assert (setting.info is None) or setting.info in info._info or setting.info.rpartition("_")[2] in (
            "path", "options", "user",
        ), setting.key  # fmt: skip


def test_the_default_of_the_reasons_is_that_of_a_policy() -> None:
    assert SETTINGS["retry_on"].default == RetryPolicy().on


def test_a_default_as_text_is_a_value_of_the_setting() -> None:
    for key, setting in SETTINGS.items():
        if setting.default is not None:
            assert setting.kind.read(as_text(setting.default)) == setting.default, key
