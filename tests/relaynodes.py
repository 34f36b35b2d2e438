"""Nodes of relay copies that are directories of this machine: a wrapper stands for ssh, here and there."""

from __future__ import annotations

from pathlib import Path

import psutil

from tests.support import eventually, paths_below


class Nodes:
    """Nodes: each login is a local shell with a home of its own, and a wrapper stands for ssh, there too."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.homes = directory / "homes"
        self.homes.mkdir()
        self.refused = directory / "refused"
        self.begun = directory / "begun"
        bin_ = directory / "bin"
        bin_.mkdir()
        (bin_ / "ssh").symlink_to("../reach")
        self.program = directory / "reach"
        self.program.write_text(
            "#!/bin/bash\n"
            "while :; do case $1 in -[ElFpio]) shift 2 ;; --) shift; break ;; -*) shift ;;\n"
            "*) break ;; esac; done\n"
            'host=$1; shift\n'
            f'if [ -e {self.refused}/$host ] && [ -n "$ON_NODE" ]; then\n'
            '  echo "$host: Permission denied (publickey)." >&2; exit 255; fi\n'
            f'if [ -z "$ON_NODE" ] && mkdir {self.begun}/$host 2>/dev/null; then\n'
            f'  until [ $(ls {self.begun} | wc -l) -eq $(ls {self.homes} | wc -l) ]; do sleep 0.05; done; fi\n'
            f'cd {self.homes}/$host 2>/dev/null || {{ echo "ssh: no route to $host" >&2; exit 255; }}\n'
            f'ON_NODE=$host HOME=$PWD PATH={bin_}:$PATH exec /bin/sh -c "$*"\n'
        )  # fmt: skip
        self.program.chmod(0o755)

    def make(self, count: int) -> list[str]:
        names = [f"n{number}" for number in range(1, count + 1)]
        for name in names:
            (self.homes / name).mkdir()
        return names

    def begin_together(self) -> None:
        """Have no node answer before all are called: a busy machine would serve one after the other."""
        self.begun.mkdir()

    def processes(self, *nodes: str) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                home = process.environ().get("HOME", "")
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
            except psutil.Error:
                continue
            if home.startswith(f"{self.homes}/") and (not nodes or Path(home).name in nodes):
                found.append(process)
        return found

    def left(self) -> list[Path]:
        return [path for path in paths_below(self.homes, "*") if ".mpshell-" in str(path)]

    def check_clean(self, *, killed: bool = False) -> None:
        """Check that nothing is left; a script that was killed here, as no node's is, leaves its directory."""
        assert eventually(lambda: not self.processes()), self.processes()
        if killed:
            return
        assert eventually(lambda: not self.left()), self.left()
