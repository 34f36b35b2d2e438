"""The settings of a node by a configuration: `ssh -G` of OpenSSH 9 and 10 gives the right values."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from mpshell import WorkerError
from mpshell.ssh import algorithms
from mpshell.ssh.check import check_request
from mpshell.ssh.profile import Interpreter, Profile
from mpshell.ssh.reading import Reading
from mpshell.ssh.request import Request
from mpshell.ssh.resolver import Undecided
from mpshell.ssh.setup import Fallback, Setup, Target
from mpshell.ssh.tokens import Here
from tests.ssh.config_cases import DECIDED, FOR_SSH, REFUSED, Case
from tests.ssh.openssh import OpenSsh, openssh

pytestmark = pytest.mark.needs("ssh")

HOME = pwd.getpwuid(os.getuid()).pw_dir
USER = pwd.getpwuid(os.getuid()).pw_name

#: Keys that ssh(1) has and nothing here: of other programs, and no more.
NO_KEYS = ("id_xmss", "id_dsa")


@pytest.fixture(scope="module", params=[9, 10], ids=lambda version: f"OpenSSH{version}")
def programs(request: pytest.FixtureRequest) -> OpenSsh:
    return openssh(request.param)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with files to include."""
    directory = tmp_path_factory.mktemp("files")
    directory.chmod(0o700)
    (directory / "inc").mkdir()
    (directory / "inc" / "1.conf").write_text("User one\nHost web2\n Port 8\n")
    (directory / "inc" / "2.conf").write_text("ConnectTimeout 3\nMatch host web1\n Port 12\n")
    (directory / "nest.conf").write_text(f"Host web1\n Include {directory}/inc/2.conf\n User in\n")
    return directory


def write(directory: Path, text: str) -> Path:
    path = directory / "config"
    path.write_text(text.replace("FILES", str(directory)) + "\n")
    return path


def environ() -> dict[bytes, bytes]:
    kept = {name: value for name, value in os.environb.items() if name in (b"PATH", b"HOME")}
    return kept | {b"LC_TEST_A": b"1", b"LC_TEST_B": b"2", b"OTHER": b"3"}


def ask(programs: OpenSsh, config: Path, case: Case) -> subprocess.CompletedProcess[str]:
    """Have ssh(1) print the settings of a node."""
    words = [word.replace("FILES", str(config.parent)) for word in case.words]
    return subprocess.run(
        [programs.ssh, "-F", str(config), "-oBatchMode=yes", "-G", *words, case.node],
        capture_output=True, text=True, check=False, env=environ(), timeout=30, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def printed(output: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in output.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name.lower(), []).append(value)
    return found


def expanded(path: str, node: str, values: Mapping[str, list[str]]) -> str:
    """Return a path of ssh -G, which prints some of them as they stand in the file."""
    tokens = {
        "%h": values["hostname"][0],
        "%n": node,
        "%r": values["user"][0],
        "%p": values["port"][0],
    }
    for token, value in tokens.items():
        path = path.replace(token, value)
    return HOME + path[1:] if path.startswith("~/") else path


def expected(values: Mapping[str, list[str]], node: str) -> dict[str, object]:
    """Return the fields of a profile that correspond to the output of ssh -G."""
    node = node.rpartition("@")[2]

    def one(name: str, default: str = "") -> str:
        return values.get(name, [default])[0]

    def on(name: str) -> bool:
        return one(name) in ("yes", "true", "UNKNOWN")  # OpenSSH 10 prints that for -C

    def names(name: str) -> tuple[str, ...]:
        words = one(name).split()
        return () if words == ["none"] else tuple(expanded(word, node, values) for word in words)

    def listed(name: str) -> tuple[str, ...]:
        words = [expanded(word, node, values) for word in values.get(name, [])]
        return tuple(word for word in words if word not in ("none",) and not word.endswith(NO_KEYS))

    agent = one("identityagent")
    strict = {"false": "no", "off": "no", "ask": "yes", "true": "yes"}
    size, seconds = one("rekeylimit").split()
    sent = {word: None for line in values.get("sendenv", []) for word in line.split()}
    return {
        "host": one("hostname"), "port": int(one("port")), "user": one("user"),
        "family": one("addressfamily"), "alias": values.get("hostkeyalias", [None])[0],
        "known_files": names("userknownhostsfile") + names("globalknownhostsfile"),
        "strict": strict.get(one("stricthostkeychecking"), one("stricthostkeychecking")),
        "hash_known_hosts": on("hashknownhosts"),
        "identities": listed("identityfile"), "certificates": listed("certificatefile"),
        "identities_only": on("identitiesonly"),
        "agent": None if agent in ("none", "") else expanded(agent, node, values),
        "smallest_rsa": int(one("requiredrsasize")),
        "kex": tuple(one("kexalgorithms").split(",")), "ciphers": tuple(one("ciphers").split(",")),
        "macs": tuple(one("macs").split(",")),
        "host_keys": tuple(one("hostkeyalgorithms").split(",")),
        "signatures": tuple(one("pubkeyacceptedalgorithms").split(",")),
        "ca_signatures": tuple(one("casignaturealgorithms").split(",")),
        "compression": on("compression"), "tcp_keepalive": on("tcpkeepalive"),
        "alive_interval": int(one("serveraliveinterval")),
        "alive_count": int(one("serveralivecountmax")),
        "rekey": (int(size), int(seconds)),
        "publickey": one("pubkeyauthentication") not in ("no", "false"),
        "password": on("passwordauthentication"),
        "keyboard-interactive": on("kbdinteractiveauthentication"),
        "preferred": values.get("preferredauthentications", [None])[0],
        "setenv": sorted(line for line in values.get("setenv", [])),
        "sendenv": sorted(sent),
        "connect_timeout": 0 if one("connecttimeout") == "none" else int(one("connecttimeout")),
        "log_level": one("loglevel").replace("SILENT", "QUIET"), "jump": values.get("proxyjump", [None])[0],
        "proxy_command": expanded(one("proxycommand"), node, values) or None,
    }  # fmt: skip


def found(profile: Profile, reading: Reading, case: Case) -> dict[str, object]:
    """Return the same of a profile."""
    settings = reading.settings(case.node)[0]
    fields = {name: getattr(profile, name) for name in profile._fields}
    for name in ("methods", "environment", "new_hosts_file", "host_keys_ordered", "masters"):
        del fields[name]
    preferred = settings.word("preferredauthentications")
    for method in ("publickey", "password", "keyboard-interactive"):
        usable = preferred is None or method in preferred.split(",")
        fields[method] = method in profile.methods if usable else None
    sizes = {1 << 30: 0} if "rekeylimit 1" not in str(settings.words("rekeylimit")) else {}
    size, seconds = profile.rekey
    asked = settings.words("rekeylimit")
    fields["rekey"] = (
        sizes.get(size, size) if asked is None or asked[0] == "default" else size,
        seconds,
    )
    fields["identities"] = tuple(path for path, _ in profile.identities)
    fields["preferred"] = preferred
    of_config = {word.partition("=")[0] for word in settings.words("setenv") or ()}
    fields["setenv"] = sorted(f"{n}={v}" for n, v in profile.environment if n in of_config)
    fields["sent"] = sorted(n for n, _ in profile.environment if n not in of_config)
    return fields


def resolve(programs: OpenSsh, config: Path, case: Case) -> tuple[Profile, Reading]:
    """Return the profile of a node, with that OpenSSH's default algorithms."""
    words = ("-F", str(config), *(word.replace("FILES", str(config.parent)) for word in case.words))
    request = check_request(Request(options=words), [case.node], environ(), HOME)
    reading = Reading(request, environ(), HOME, dict(request.execs).get)
    plain = printed(ask(programs, Path("/dev/null"), Case("")).stdout)
    defaults = {name: tuple(plain[name][0].split(",")) for name in algorithms.DEFAULTS}
    here = Here(USER, HOME)
    own = Interpreter(here, USER, HOME, reading.environ, defaults)
    settings, target, user, host = reading.settings(case.node)
    return own.profile(settings, target, host, user), reading


@pytest.mark.parametrize("case", DECIDED, ids=lambda case: " ".join([*case.words, case.text])[:60])
def test_each_honoured_key_is_as_ssh_has_it(programs: OpenSsh, files: Path, case: Case) -> None:
    for word in ("word", "config", "a", "b", "k1", "c1"):
        (files / word).touch()
    config = write(files, case.text)
    answer = ask(programs, config, case)
    assert answer.returncode == 0, answer.stderr
    wanted = expected(printed(answer.stdout), case.node)
    profile, reading = resolve(programs, config, case)
    got = found(profile, reading, case)
    patterns = wanted.pop("sendenv")
    for name, value in wanted.items():
        if got[name] is not None or value not in (True, False):
            assert got[name] == value, name
    assert isinstance(patterns, list)
    sent = [name for name in ("LC_TEST_A", "LC_TEST_B", "OTHER") if matches(name, patterns)]
    assert got["sent"] == sent


def matches(name: str, patterns: list[str]) -> bool:
    return any(name == p or (p.endswith("*") and name.startswith(p[:-1])) for p in patterns)


def test_there_are_enough_of_them() -> None:
    assert len(DECIDED) >= 100


@pytest.mark.parametrize("line", REFUSED)
def test_a_line_that_ssh_refuses_is_an_error_with_file_and_line(
    programs: OpenSsh, tmp_path: Path, line: str
) -> None:
    config = write(tmp_path, f"# first\n{line}")
    assert ask(programs, config, Case("")).returncode == 255
    with pytest.raises(WorkerError, match=f"{config} line 2: "):
        check_request(Request(options=("-F", str(config))), ["web1"], environ(), HOME)


@pytest.mark.parametrize("line", FOR_SSH)
def test_an_option_that_is_not_honoured_leaves_the_node_to_ssh(tmp_path: Path, line: str) -> None:
    config = write(tmp_path, line)
    answer = Setup(Request(options=("-F", str(config))), environ(), str(tmp_path)).resolve("web1")
    assert isinstance(answer, Fallback)
    assert answer.reason.split()[0].lower() in line.lower()


def test_the_same_option_for_another_node_does_not(tmp_path: Path) -> None:
    for line in FOR_SSH:
        if line.startswith(("Host ", "Match ", "NoSuch")):
            continue
        config = write(tmp_path, f"Host db\n {line}")
        setup = Setup(Request(options=("-F", str(config))), environ(), str(tmp_path))
        assert isinstance(setup.resolve("web1"), Target), line


def test_undecided_names_its_line(tmp_path: Path) -> None:
    config = write(tmp_path, "Match exec 'test %h = web1'\n Port 3")
    reading = Reading(
        Request(options=("-F", str(config))), environ(), str(tmp_path), lambda command: None
    )
    with pytest.raises(Undecided, match="Match exec"):
        reading.profile("web1")
