"""`ssh -G` before a run, with programs that stand in for ssh."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from mpshell.worker.ssh_log import SshLog
from mpshell.worker.ssh_probe import ssh_log
from tests.support import eventually


def test_a_process_that_holds_its_pipes_is_not_waited_for(tmp_path: Path) -> None:
    """As one that another thread of the program forks at that moment: its answer is whole when it has ended."""
    ssh, other = tmp_path / "ssh", tmp_path / "pid"
    ssh.write_text(
        "#!/bin/bash\n"
        f'sleep 60 3>>"$3" & echo $! >{other}\n'
        "echo loglevel VERBOSE; echo connecttimeout 7\n"
    )
    ssh.chmod(0o755)
    try:
        assert ssh_log([str(ssh)], [], ["node1"]) == SshLog("VERBOSE", True, 7)
    finally:
        assert eventually(lambda: other.exists() and other.read_text().strip())
        os.kill(int(other.read_text()), signal.SIGKILL)
