"""--hosts, --srun and their options: each error is one sentence, before anything runs."""

from __future__ import annotations

import pytest

from tests.cli.program import mpshell


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--hosts", "gw[1-"], "gw[1-"),
        (["--hosts", ""], "--hosts"),
        (["--hosts", "gw1", "--srun"], "not allowed"),
        (["--hosts-python", "/x"], "--hosts-python is for --hosts, --srun or --dask"),
        (["--hosts-options", "-v"], "--hosts-options is for --hosts or --srun"),
        (["--hosts", "gw1", "--hosts-options", "-F 'x"], "closing"),
        (["--srun"], "SLURM_JOB_ID"),
        (["--dask", "tcp://10.1.2.3:8786"], "not protected by TLS"),
        (["--dask", "tls://h:1", "--hosts", "gw1"], "not allowed"),
        (
            ["--dask", "tls://h:1", "--hosts-options", "-v"],
            "--hosts-options is for --hosts or --srun",
        ),
        (["--hosts", "gw1", "--rcopy"], "launcher"),
    ],
)
def test_wrong_options_are_one_sentence(
    words: list[str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    done = mpshell(*words, "-w", "n1", "/etc/hostname")
    assert done.code == 64
    assert text in done.err
