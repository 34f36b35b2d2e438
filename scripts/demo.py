"""Two sweeps with gathered output: 1,000 nodes on this machine, then 100 over ssh if a server is here."""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mpshell import NodeSet, task_self

SSHD = Path(__file__).with_name("sshd")


def sweep(title: str, nodes: str, command: str) -> None:
    """Run a command on the nodes and print the output by node, the return codes and the rate."""
    task = task_self()
    begin = time.monotonic()
    task.run(command, nodes=nodes)
    seconds = time.monotonic() - begin

    count = len(NodeSet(nodes))
    print(f"\n{title}: {command!r} on {nodes}")
    for output, said_by in task.iter_buffers():
        print(f"  {NodeSet.fromlist(said_by)}: {', '.join(line.decode() for line in output)}")
    for code, ended_with in task.iter_retcodes():
        print(f"  return code {code}: {len(ended_with)} nodes")
    print(f"  {count} nodes in {seconds:.2f} s: {count / seconds:.0f} nodes/s", flush=True)


def main() -> None:
    task = task_self()
    task.set_default("distant_workername", "exec")
    sweep("Here, one process a node", "node[1-1000]", 'echo "rack $((%n / 250))"')

    if (
        shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") is None
        or shutil.which("ssh") is None
    ):
        print(
            "\nNo OpenSSH server here (apt-get install openssh-server): the sweep over ssh is left out."
        )
        return
    with tempfile.TemporaryDirectory(prefix="mpshell-demo-") as directory:
        server = [sys.executable, str(SSHD), "--dir", directory, "--nodes", "100"]
        subprocess.run([*server, "start"], check=True)
        try:
            task.set_default("distant_workername", "ssh")
            task.set_info("ssh_options", f"-F {directory}/ssh_config")
            sweep("Over ssh, to a private server", "node[1-100]", "uname -s; echo hello")
        finally:
            subprocess.run([*server, "stop"], check=True)


if __name__ == "__main__":
    main()
