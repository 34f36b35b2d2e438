"""The case of connections that stay open: a sweep over nodes that were swept a moment before."""

from scripts.benchmark.model import MPSHELL, Case, Contender, Target
from scripts.benchmark.workplace import Workplace

_COMMAND = "uname -s"
_ANEW = "the same, connections made anew"


def _sweeps(work: Workplace) -> list[Contender]:
    nodes = work.size(200, 20)
    server = work.ssh_server(nodes)
    if server is None:
        return []

    def contender(label: str, keep: float, runs: int) -> Contender:
        # The default key exchange of both sides where AsyncSSH has it too.
        run = work.driver(
            "mpshell", "kept.sweeps", nodes * runs, nodes=nodes, command=_COMMAND, keep=keep, runs=runs,
            ssh_options=f"-F {server}/ssh_config -oKexAlgorithms=curve25519-sha256",
        )  # fmt: skip
        return Contender(label, run)

    return [contender(MPSHELL, 60.0, work.size(10, 3)), contender(_ANEW, 0.0, work.size(2, 1))]


CASES = (
    Case(
        "kept",
        f"asyncssh over connections that stay (`ssh_keep`): `{_COMMAND}` on 200 nodes, fanout 64, two engines",
        "nodes",
        _sweeps,
        (
            Target("at most 0.6 ms of own CPU a node", "cpu_us", at_most=600),
            Target(
                "at least 5 times the rate of connections made anew", "rate", 5.0, against=_ANEW
            ),
            Target("at most 60 KB a connection", "connection_kb", at_most=60),
        ),
        shown=("rate", "cpu_us", "coordinator_cpu_us", "connection_kb", "memory_mb"),
    ),
)
