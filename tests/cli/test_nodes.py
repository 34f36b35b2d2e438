"""Which nodes the program runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import Done, local, mpshell


def nodes_of(done: Done) -> list[str]:
    assert done.code == 0, done.err
    return [line.partition(":")[0] for line in done.lines]


def dry(*words: str, **options: object) -> list[str]:
    return nodes_of(local("--dry-run", *words, "echo", "%h", **options))


def test_w_takes_node_sets_and_may_be_given_more_than_once() -> None:
    assert dry("-w", "n[1-3],gw", "-w", "a[01-02]") == ["a01", "a02", "gw", "n1", "n2", "n3"]
    assert dry("--nodes=n[1-2]", "-wn3") == ["n1", "n2", "n3"]


def test_nodes_from_stdin_and_files(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# all of them\nn[1-2] n5  # and one\n\nn7,n8\n")
    expected = ["n1", "n2", "n5", "n7", "n8"]
    assert dry("-w", "-", stdin=hosts.read_bytes()) == expected
    assert dry("-w", f"^{hosts}") == expected
    assert dry("--hostfile", str(hosts)) == expected
    assert dry("--machinefile", str(hosts), "-w", "n9") == [*expected, "n9"]
    assert dry("-w", "n[1-9]", "-x", f"^{hosts}") == ["n3", "n4", "n6", "n9"]


def test_a_comma_too_many_and_a_byte_order_mark(tmp_path: Path) -> None:
    assert dry("-w", "n[1-2],", "-w", " n3, ") == ["n1", "n2", "n3"]
    hosts = tmp_path / "hosts"
    hosts.write_bytes(b"\xef\xbb\xbfn1, n2 ,n3,\r\nn4\r\n")
    expected = ["n1", "n2", "n3", "n4"]
    assert dry("-w", f"^{hosts}") == dry("--hostfile", str(hosts)) == expected
    assert dry("-w", "-", stdin=hosts.read_bytes()) == dry("-w", "\ufeffn[1-4]") == expected
    hosts.write_bytes("n1\n".encode("utf-16"))
    done = local("--hostfile", str(hosts), "true")
    assert done.code == 64 and "UTF-16: convert it (iconv -f UTF-16 -t UTF-8)" in done.err


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/full"])
def test_a_file_without_end_is_no_list(path: str) -> None:
    for words in (("--hostfile", path), ("-w", f"^{path}")):
        done = local(*words, "true")
        assert done.code == 64 and "more than 64 MiB: too large for a list of nodes" in done.err


def test_machine_files_of_mpi(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    # mpirun(1) of Open MPI, and MPICH's Hydra.
    hosts.write_text(
        "n1 slots=4\nn2 slots=2 max_slots=4\nn3 cpu=2\nn4:8\n# n5:1\nn4\n::1\nfe80::2:3\n"
    )
    expected = ["::1", "fe80::2:3", "n1", "n2", "n3", "n4"]
    for option in ("--hostfile", "--machinefile"):
        for worker in ("ssh", "exec"):
            done = mpshell("--dry-run", "-R", worker, option, str(hosts), "true")
            assert sorted(line.partition(": ")[0] for line in done.lines) == expected


@pytest.mark.parametrize("worker", ["ssh", "rsh", "pdsh"])
def test_a_number_behind_a_host_is_shown_where_it_goes(worker: str, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("n1 slots=4\n")
    for text, error in (
        ("n[1-2]:22", "'n1:22' is the node 'n1' with a number: give a port with -o, a machine "
         "file of MPI with --machinefile"),
        (f"^{hosts}", "'slots=4' is not a node (a machine file of MPI is read with --machinefile)"),
        ("n1 n2", "'n1 n2' has a blank in it: nodes are joined by commas"),
    ):  # fmt: skip
        done = mpshell("-R", worker, "-w", text, "true")
        assert done.code == 64 and error in done.err
    # A local command's node may be anything.
    assert dry("-w", "n[1-2]:22,x=1") == ["n1", "n2", "x=1"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_bytes(b"n\xe9 n1\n")
    # As in a locale like en_US.UTF-8, which need not be there.
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    run = ("-N", "echo", "%h")
    assert local("-w", "-", *run, stdin=b"n\xe9\n", env=strict).out == b"n\xe9\n"
    assert local("-w", f"^{hosts}", "-x", "n1", *run, env=strict).out == b"n\xe9\n"


def test_x_excludes() -> None:
    assert dry("-w", "n[1-5]", "-x", "n[2-3]", "-x", "n5,gw") == ["n1", "n4"]


def test_pick_takes_some_at_random() -> None:
    picked = dry("-w", "n[1-50]", "--pick", "3")
    assert len(set(picked)) == 3 and set(picked) <= {f"n{i}" for i in range(1, 51)}
    assert len(dry("-w", "n[1-2]", "--pick", "9")) == 2


def test_the_nodes_of_a_slurm_job() -> None:
    env = {"SLURM_JOB_NODELIST": "cn[008-009,011],gpu1"}
    assert dry(env=env) == ["cn008", "cn009", "cn011", "gpu1"]
    assert dry("-w", "n1", env=env) == ["n1"]
    assert dry("-x", "cn[008-011]", env=env) == ["gpu1"]


def test_a_slurm_list_with_numbers_that_gain_a_digit(tmp_path: Path) -> None:
    text = "n[098-100,1],n[08-101]"
    hosts = tmp_path / "hosts"
    hosts.write_text(text)
    expected = sorted(["n1", "n098", "n099", *(f"n{number:02d}" for number in range(8, 102))])
    for found in (
        dry("-w", text), dry("--hostfile", str(hosts)), dry(env={"SLURM_JOB_NODELIST": text}),
    ):  # fmt: skip
        assert sorted(found) == expected
    assert local("-w", "n[8-010]", "true").code == 64


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            (),
            "no nodes: give them with -w or --hostfile, or groups with -g or -a, or run in a Slurm job",
        ),
        (("-w", "n[1-3]", "-x", "n[1-9]"), "no node is left after -x 'n[1-9]'"),
        (("-w", "-"), "no nodes in -w '-'"),
        (("-w", "n[1-"), "-w 'n[1-'"),
        (("-w", "n1", "-x", "n]"), "-x 'n]'"),
        (("-w", ""), "no nodes in -w ''"),
        (
            ("-w", "n[1-9],-n3"),
            "-w 'n[1-9],-n3': a node name cannot begin with '-' (exclude nodes with -x)",
        ),
        (("--hostfile", "/dev/null"), "no nodes in --hostfile '/dev/null'"),
        (("-w", "^"), "-w '^': the name of a file must follow"),
        (("--hostfile", "/"), "--hostfile '/' cannot be read: Is a directory"),
        (("-w", "n1", "-x", "@no:x"), '-x \'@no:x\': "@no:x": there is no group source "no"'),
        (("-w", "^/no/such/file"), "-w '/no/such/file' cannot be read: No such file"),
        (("--hostfile", "/no/such/file"), "--hostfile '/no/such/file' cannot be read"),
    ],
)
def test_nothing_found_is_a_clear_error(words: tuple[str, ...], error: str) -> None:
    done = local(*words, "true")
    assert (done.code, done.out) == (64, b"")
    assert error in done.err


def test_a_name_that_ssh_would_take_for_an_option() -> None:
    done = mpshell("--nodes=-oProxyCommand=false", "true")
    assert done.code == 64 and "-w '-oProxyCommand=false'" in done.err
    done = mpshell("-w", "-", "true", stdin=b"n1 -oProxyCommand=false\n")
    assert done.code == 64 and "-w '-'" in done.err


def test_the_user_of_a_node_is_passed_on() -> None:
    assert mpshell("--dry-run", "-w", "root@n1", "true").lines[0].endswith(" root@n1 true")
