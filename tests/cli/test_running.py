"""Options about how commands run, the exit status, and the errors of wrong options."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.program import PROGRAM, Done, environment, local, mpshell, started
from tests.ssh.conftest import SshServer
from tests.system.recorder import Marks, meeting, until

INSTALLED = Path(sys.executable).with_name("mpshell")


@pytest.mark.parametrize("program", [PROGRAM, [str(INSTALLED)]], ids=["module", "script"])
def test_both_names_are_the_same_program(program: list[str]) -> None:
    from mpshell import __version__

    assert mpshell("--version", program=program).out.decode() == f"mpshell {__version__}\n"
    shown = mpshell("--help", program=program)
    assert shown.code == 0 and "clush wins" in shown.out.decode()
    assert mpshell("-R", "exec", "-w", "n1", "echo", "%h", program=program).out == b"n1: n1\n"


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_short_answers_load_nothing_of_a_run(word: str) -> None:
    source = (
        "import sys\nfrom mpshell.cli.main import main\n"
        f"try: main([{word!r}])\nexcept SystemExit: pass\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    loaded = mpshell(program=[sys.executable, "-c", source]).err.split()
    assert "mpshell.cli.parser" in loaded
    assert not {"mpshell.task", "mpshell.nodeset", "threading", "json", "tqdm", "shtab"} & set(
        loaded
    )


def test_words_after_the_command_are_the_commands() -> None:
    assert local("-w", "n1", "echo", "x", "-w", "--json").out == b"n1: x -w --json\n"
    assert local("-w", "n1", "--", "echo", "--", "-b").out == b"n1: -- -b\n"
    assert local("-bLwn1", "echo", "%h").out == b"n1: n1\n"


def test_fanout_one_is_serial(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    assert local("-f", "1", "-E", "2", "-w", "n[1-6]", marks.command()).code == 0
    assert marks.peak() == 1
    assert marks.begun() == [f"n{i}" for i in range(1, 7)]


def test_no_limit_of_the_fanout(tmp_path: Path) -> None:
    assert local("-f", "-1", "-w", "n[1-70]", meeting(tmp_path, 70)).code == 0


def test_engines(tmp_path: Path) -> None:
    done = local("-E", "2", "-f", "2", "--jsonl", "-w", "n[1-2]", meeting(tmp_path, 2))
    assert done.code == 0
    assert len({json.loads(line)["engine"] for line in done.lines}) == 2


def test_a_command_timeout() -> None:
    run = ("-u", "3", "-w", "n[1-3]", "echo begun; [ %n -ne 1 ] || sleep 60")
    done = local(*run)
    assert done.code == 255
    assert sorted(done.lines) == ["n1: begun", "n2: begun", "n3: begun"]
    assert "mpshell: n2: timed out\n" in done.err
    assert "mpshell: ok 2, timed out 1, in " in done.err
    for words in ("-b", "-B", "-L"):
        done = local(words, *run)
        assert done.code == 255
        assert done.err.endswith("\nmpshell: timed out: n2\n") and "begun" in done.lines[-1]
    assert local("--always-zero", *run).code == 0


def test_a_node_whose_engine_dies_is_lost() -> None:
    done = local("-n", "-w", "n1", "kill -9 $PPID")
    assert done.code == 255
    assert "mpshell: ok 0, lost 1, in " in done.err
    assert "mpshell: lost (signal 9): n1\n" in done.err


def test_stdin_goes_to_every_command() -> None:
    body = b"\xff\x00raw\n" * 20_000
    done = local("-b", "-w", "n[1-3]", "-f", "2", "md5sum", stdin=body)
    import hashlib

    assert hashlib.md5(body).hexdigest() in done.out.decode()
    assert "n[1-3] (3)" in done.lines


def test_input_that_cannot_be_read_is_no_end_of_it(tmp_path: Path) -> None:
    # The first page of a process is in no file, and nothing is mapped there: EIO (proc(5)).
    words = ["-R", "exec", "-b", "-w", "n[1-2]", f"echo begun; cat; touch {tmp_path}/%h"]
    with Path("/proc/self/mem").open("rb") as broken:
        done = Done(
            subprocess.run(
                [*PROGRAM, *words],
                stdin=broken,
                env=environment(),
                timeout=60,
                capture_output=True,
                check=False,
            )
        )
    assert done.code == 74 and "stdin cannot be read: Input/output error" in done.err
    assert "stopped" in done.err and list(tmp_path.iterdir()) == []


def test_n_gives_no_stdin() -> None:
    assert local("-n", "-w", "n1", "wc -c", stdin=b"twelve bytes").out.split() == [b"n1:", b"0"]
    assert local("-w", "-", "wc -c", stdin=b"n1\nn2\n").code == 0


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 0", 0), ("exit %n", 2), ("kill -9 $$", 137), ("exit 255", 255)],
)
def test_the_exit_status_is_the_largest_code(command: str, code: int) -> None:
    assert local("-w", "n[1-3]", command).code == code
    assert local("-S", "-w", "n[1-3]", command).code == code
    assert local("--always-zero", "-w", "n[1-3]", command).code == 0


def test_max_fail_starts_no_more(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    command = marks.command("true") + "; exit 3"
    done = local("-k", "3", "-f", "1", "-E", "2", "-w", "n[1-30]", command)
    assert done.code == 3
    assert marks.begun() == ["n1", "n2", "n3"], "nothing had been handed out ahead"
    assert "mpshell: ok 0, failed 3, not run 27, in" in done.err
    assert "mpshell: exited with code 3: n[1-3]\nmpshell: not run: n[4-30]\n" in done.err


def local_until_failed(count: int, folder: Path, *words: str) -> Done:
    """Run the program; when it has reported `count` failures, make a file `go` in the folder."""
    (folder / "begun").mkdir()
    with started(*words) as program:
        assert program.stderr is not None
        lines = b""
        while lines.count(b": exited with code ") < count:
            data = os.read(program.stderr.fileno(), 4096)
            assert data, lines
            lines += data
        (folder / "go").touch()
        out, err = program.communicate(timeout=60)
        return Done(subprocess.CompletedProcess(words, program.returncode, out, lines + err))


def test_max_fail_lets_running_commands_go_on(tmp_path: Path) -> None:
    command = meeting(tmp_path / "begun", 4)
    command += f"; [ %n -eq 1 ] || {{ {until(tmp_path / 'go')}; echo went on; }}; exit %n"
    done = local_until_failed(1, tmp_path, "-k", "1", "-f", "4", "-w", "n[1-9]", command)
    assert sorted(done.lines) == ["n1: went on", "n3: went on", "n4: went on"]
    assert "mpshell: ok 1, failed 3, not run 5, in" in done.err


def test_max_fail_of_failures_at_one_time_lets_running_commands_go_on(tmp_path: Path) -> None:
    """Three fail at once; between the first and the last of them another node may begin, or two."""
    command = meeting(tmp_path / "begun", 4) + "; [ %n -ge 1 ] && [ %n -le 3 ] || "
    command += f"{{ {until(tmp_path / 'go')}; echo went on; }}; exit %n"
    done = local_until_failed(3, tmp_path, "-k", "3", "-f", "4", "-w", "n[1-30]", command)
    begun = {path.name for path in (tmp_path / "begun").iterdir()}
    assert {"n1", "n2", "n3", "n4"} <= begun and len(begun) <= 6
    assert set(done.lines) == {f"{node}: went on" for node in begun - {"n2", "n3", "n4"}}
    assert len(done.lines) == len(begun) - 3
    counts = f"mpshell: ok 1, failed {len(begun) - 1}, not run {30 - len(begun)}, in"
    assert counts in done.err


def test_max_fail_is_reached_by_nobody(tmp_path: Path) -> None:
    done = local("-k", "3", "-b", "-w", "n[1-200]", "echo same; [ %n -gt 1 ]")
    assert "n[1-200] (200)" in done.lines
    assert "mpshell: ok 198, failed 2, in" in done.err


def test_max_fail_counts_timeouts() -> None:
    done = local("--max-fail=1", "-u", "0.3", "-f", "2", "-w", "n[1-9]", "sleep 60")
    assert done.code == 255
    assert "not run" in done.err


@pytest.mark.parametrize("words", [("--rate", "10"), ("--delay", "0.1")])
def test_a_rate_holds_over_all_engines(words: tuple[str, str], tmp_path: Path) -> None:
    # With a slot for each engine, the first two meet only when both engines are at work.
    run = ("-E", "2", "-f", "2", "-w", "n[1-17]", meeting(tmp_path, 2))
    document = json.loads(local("--json", *words, *run).out)
    assert {record["engine"] for record in document["nodes"]} == {1, 2}
    # The first at once, then ten a second: a bucket for each engine would take half of it.
    assert document["duration"] > 1.5


def test_dry_run_of_no_limits() -> None:
    limited, free = (
        mpshell("--dry-run", "-t", seconds, "-u", "0", "-w", "n1", "true").lines[0]
        for seconds in ("3", "0")
    )
    assert "-oConnectTimeout=3" in limited and "ConnectTimeout" not in free


@pytest.mark.parametrize(("seconds", "whole"), [("0.3", 1), ("2.5", 3), ("1e300", 2_000_000)])
def test_a_time_to_connect_is_in_whole_seconds_and_never_none(seconds: str, whole: int) -> None:
    run = ("--dry-run", "-t", seconds, "-w", "n1", "-E", "1")
    assert f" -oConnectTimeout={whole} " in mpshell(*run, "true").lines[0]
    assert f" -oConnectTimeout={whole} " in mpshell(*run, "-c", "/etc/hosts").lines[0]
    assert f" -t {whole} " in mpshell(*run, "-R", "pdsh", "-c", "/etc/hosts").lines[0]


def test_dry_run_runs_nothing(tmp_path: Path) -> None:
    done = local("--dry-run", "-w", "n[1-2]", f"touch {tmp_path}/%h-%n")
    assert done.lines == [f"n1: touch {tmp_path}/n1-0", f"n2: touch {tmp_path}/n2-1"]
    assert list(tmp_path.iterdir()) == []


def test_dry_run_shows_the_words_of_ssh() -> None:
    done = mpshell(
        "--dry-run", "-l", "me", "-t", "7", "-o", "-oPort=22", "-o", "-C", "-w", "n[1-2]", "ls -l; pwd"
    )  # fmt: skip
    assert len(done.lines) == 2
    assert done.lines[0].startswith("n1: ssh ")
    for words in (" -oPort=22 -C ", " -l me ", " -oConnectTimeout=7 ", " n1 'ls -l; pwd'"):
        assert words in done.lines[0] + " "


@pytest.mark.parametrize(
    ("worker", "options", "error"),
    [
        ("ssh", ["Port=422"], "-o 'Port=422': 'Port=422' is not an option of ssh (-o -oPort=422)"),
        ("ssh", ["-p 22", "root"], "'root' is not an option of ssh (an option begins with '-')"),
        ("ssh", ["-oPort=22 n2"], "'n2' is not an option of ssh"),
        ("ssh", ["-4 n2"], "'n2' is not an option of ssh"),
        ("ssh", ["-p 22 n2"], "'n2' is not an option of ssh"),
        ("pdsh", ["A=1"], "'A=1' is not an option of pdsh"),
        ("rsh", ["x"], "'x' is not an option of rsh"),
    ],
)
def test_a_word_that_is_no_option_is_not_taken_for_a_host(
    worker: str, options: list[str], error: str
) -> None:
    given = [word for text in options for word in ("-o", text)]
    done = mpshell("--dry-run", "-R", worker, "-w", "n1", *given, "true")
    assert done.code == 64 and error in done.err


def test_a_warning_of_the_library_is_a_message() -> None:
    few = ["/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *PROGRAM]
    run = ("-R", "exec", "-w", "n[1-100]", "sleep 0.1")
    done = mpshell(*run, program=few)
    assert done.code == 0
    assert re.fullmatch(
        r"(mpshell: warning: an engine runs fewer commands: [^\n]*open files[^\n]*\n)+", done.err
    )
    assert mpshell("-q", *run, program=few).err == ""


def test_values_of_options_may_stand_apart() -> None:
    done = mpshell(
        "--dry-run", "-w", "n1", "-o", "-p 22 -4i key", "-o", "-F", "-o", "'a b'", "-o", "-vo X=1", "true"
    )  # fmt: skip
    assert "ssh -p 22 -4i key -F 'a b' -vo X=1 " in done.lines[0]


def test_a_transport_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "my_transport.py").write_text(
        "from mpshell import ExecWorker\n"
        "class Mine(ExecWorker):\n"
        "    def _make_job(self, task):\n"
        "        self.command = f\"echo {task.info('my_transport_user')}: {self.command}\"\n"
        "        return super()._make_job(task)\n"
        "WORKER_CLASS = Mine\n"
    )
    done = mpshell("-R", "my_transport", "-l", "me", "-w", "n1", "hi", cwd=tmp_path)
    assert done.lines == ["n1: me: hi"]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize("source", ["def x(:", "raise KeyError('x')", "{}['x']"])
def test_a_transport_that_raises_is_an_internal_error(
    source: str, dry: tuple[str, ...], tmp_path: Path
) -> None:
    method = (
        "from mpshell import Transport\nclass WORKER_CLASS(Transport):\n"
        "    def command_argv(self, task, command):\n        "
    )
    (tmp_path / "bad_transport.py").write_text(f"{method if source[0] == '{' else ''}{source}\n")
    done = subprocess.run(
        [*PROGRAM, "-R", "bad_transport", "-w", "n1", *dry, "true"],
        cwd=tmp_path, env=environment(), timeout=60, capture_output=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (70, b"")
    assert b"bad_transport.py" in done.stderr and b"Error" in done.stderr.splitlines()[-1]


def test_over_ssh(ssh_server: SshServer) -> None:
    done = mpshell(
        "-o", f"-F {ssh_server.config}", "-t", "20", "-b", "-w", "node[1-4]", "cat; echo $0", stdin=b"in\n"
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "node[1-4] (4)" in done.lines and "in" in done.lines


def test_a_node_that_does_not_let_us_in(ssh_server: SshServer) -> None:
    options = ("-o", f"-F {ssh_server.config}", "-w", "node1")
    done = mpshell(*options, "-l", "nobody-we-know", "true")
    assert done.code == 255
    assert "mpshell: ok 0, refused 1, in " in done.err and "Permission denied" in done.err
    assert mpshell("--always-zero", *options, "-l", "nobody-we-know", "true").code == 0


def test_unreachable_nodes_count_as_255(ssh_server: SshServer) -> None:
    done = mpshell("-o", f"-F {ssh_server.config}", "-w", "node1,no.such.invalid", "exit 3")
    assert done.code == 255
    assert "failed 1, unreachable 1, in " in done.err
    assert "mpshell: unreachable: no.such.invalid\n" in done.err
    assert "mpshell: exited with code 3: node1\n" in done.err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("-f", "0"), ("-f/--fanout", "'0'", "at least 1, or -1")),
        (("-f", "many"), ("-f/--fanout", "'many'", "whole number")),
        (("-E", "0"), ("-E/--engines", "'0'", "at least 1")),
        (("-k", "-2"), ("-k/--max-fail", "'-2'", "at least 1")),
        (("--pick", "0"), ("--pick", "'0'", "at least 1")),
        (("-t", "-1"), ("-t/--connect-timeout", "'-1'", "number of seconds")),
        (("-u", "inf"), ("-u/--command-timeout", "'inf'", "number of seconds")),
        (("-u", "nan"), ("-u/--command-timeout", "'nan'", "number of seconds")),
        (("--rate", "0"), ("--rate", "'0'", "above 0")),
        (("--delay", "x"), ("--delay", "'x'", "above 0")),
        (("--rate", "1", "--delay", "1"), ("--delay", "not allowed with", "--rate")),
        (("--color", "blue"), ("--color", "'blue'", "auto", "always", "never")),
        (("-o", "'open"), ("-o/--options", '"\'open"', "words, quoted as in a shell")),
        (("-R", "nothing"), ("-R/--worker", "'nothing'", "ssh, exec, rsh, pdsh", "no transport")),
        (("-c", "--json", "-b"), ("--json", "-b")),
        (("--jsonl", "--json"), ("--json", "not allowed with")),
        (("--json", "-L"), ("--json", "-L")),
        (("-B", "--errdir", "x"), ("--errdir", "-B")),
        (
            ("--outdir", "/proc/none"),
            ("--outdir", "'/proc/none'", "not a directory", "No such file"),
        ),
        (
            ("--errdir", "/etc/hosts"),
            ("--errdir", "'/etc/hosts'", "not a directory", "File exists"),
        ),
        (("--outdir", ""), ("--outdir", "''", "a value is needed")),
        (("--errdir=",), ("--errdir", "''", "a value is needed")),
        (("-l", ""), ("-l/--user", "''", "a value is needed")),
        (("-c", "--dest="), ("--dest", "''", "a value is needed")),
        (("--json=yes",), ("--json", "'yes'", "takes no value")),
        (("--delay", "1e-320"), ("--delay", "'1e-320'", "above 0")),
        (("--delay", "inf"), ("--delay", "'inf'", "above 0")),
        (("-R", "../x"), ("-R/--worker", "'../x'", "a name is expected")),
        (("-R", ".x"), ("-R/--worker", "'.x'", "a name is expected")),
        (("-R", "popen"), ("-R/--worker", "'popen'", "over nodes")),
        (("-R", "pdsh", "-k", "1"), ("-k", "-R pdsh")),
        (("-R", "pdsh", "--rate", "1"), ("--rate", "-R pdsh")),
        (("-R", "pdsh", "--delay", "1"), ("--delay", "-R pdsh")),
        (("--dest", "/tmp"), ("--dest", "-c or --rcopy")),
        (("--print-completion", "fish"), ("--print-completion", "'fish'", "bash", "zsh")),
        (("--fan", "3"), ("--fan",)),
        (("--topology", "x"), ("--topology", "there is no tree mode")),
        (("--axis", "x"), ("--axis", "'x' is not a list of numbers")),
        (("-V",), ("-V", "--version")),
        (("-Z",), ("there is no option -Z\n",)),
    ],
)
def test_every_bad_value_names_itself(words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    done = mpshell("-w", "n1", *words, "true")
    assert (done.code, done.out) == (64, b"")
    for part in parts:
        assert part in done.err
    assert "Try 'mpshell --help'" in done.err


def test_a_missing_value_and_a_missing_command() -> None:
    done = mpshell("-w")
    assert done.code == 64 and "-w" in done.err and "value" in done.err
    for words in ((), ("--",), ("",)):
        done = mpshell("-w", "n1", *words)
        assert done.code == 64 and "a command" in done.err


def test_a_placeholder_that_does_not_exist() -> None:
    done = local("-w", "n1", "date +%s")
    assert done.code == 64 and "'%s'" in done.err


def test_a_program_that_is_not_there() -> None:
    assert shutil.which("no-such-program") is None
    done = local("-w", "n1", "/bin/no-such-program")
    assert done.code == 127


def test_an_ssh_that_is_not_there() -> None:
    done = mpshell("-w", "n1", "true", env={"PATH": "/nowhere"})
    assert done.code == 255 and "not started" in done.err


@pytest.mark.parametrize(
    ("worker", "expected"),
    [
        ("rsh", ["n1: rsh -l me -x n1 ", "n2: rsh -l me -x n2 "]),
        ("pdsh", ["n[1-2]: pdsh -x -l me -b -f 1 -w 'n[1-2]' -- uptime"]),
        ("ssh", ["n1: ssh -x ", "n2: ssh -x "]),
    ],
)
def test_each_transport_gets_its_options(worker: str, expected: list[str]) -> None:
    done = mpshell(
        "--dry-run", "-E", "1", "-f", "1", "-R", worker, "-l", "me", "-o", "-x", "-w", "n[1-2]", "uptime"
    )  # fmt: skip
    assert len(done.lines) == len(expected), done.lines
    for line, begins in zip(done.lines, expected, strict=True):
        assert line.startswith(begins)


def test_over_pdsh_stdin_is_lost_and_reported(tmp_path: Path) -> None:
    """A stand-in for pdsh, with its output; the real one has tests of its own."""
    pdsh = tmp_path / "pdsh"
    pdsh.write_text("#!/bin/sh\nread go <$HOME/fifo\necho n1: one\necho 'n2: two'\n")
    pdsh.chmod(0o755)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    words = ("-R", "pdsh", "-E", "1", "-w", "n[1-2]", "true")
    with ThreadPoolExecutor() as pool:
        done = pool.submit(mpshell, *words, stdin=b"x", env=env)
        pool.submit(fifo.write_text, "go\n")
        assert done.result().code == 0
    assert sorted(done.result().lines) == ["n1: one", "n2: two"]
    assert "stdin cannot be passed on: pdsh does not pass input on" in done.result().err


def test_a_secret_on_stdin_is_nowhere_else() -> None:
    """Given where a password belongs, it is in no argv, no environment and no output of the program."""
    secret = f"secret-{uuid.uuid4().hex}"
    # The pattern comes from stdin, so that grep does not find itself.
    looks = "grep -saF -f - /proc/[0-9]*/cmdline /proc/[0-9]*/environ; echo looked with $?"
    for words in (("-d", "-v"), ("--json",)):
        done = local(*words, "-w", "n[1-2]", looks, stdin=f"{secret}\n".encode())
        assert done.code == 0 and b"looked with " in done.out
        assert secret not in done.err and secret.encode() not in done.out
