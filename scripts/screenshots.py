"""The pictures of the documents: the architecture, and the report of a sweep, light and dark."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts import picture
from tests.report.browser import Page, chromium

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/images"

#: A sweep with two kernels, a few nodes that are slow, and some that fail.
COMMAND = """\
sleep 0.$(( (%n * 7919) %% 9 + 1 ))
case %n in
    *13) echo "mount of /scratch on %h failed: no such device" >&2; exit 32 ;;
    *77) sleep 1.5; echo 6.1.0-18-amd64 ;;
    *50) kill -9 $$ ;;
    2?) echo 6.1.0-17-amd64 ;;
    *) echo 6.1.0-18-amd64 ;;
esac"""


def main() -> None:
    picture.write(IMAGES)
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "sweep.html"
        subprocess.run(
            [sys.executable, "-m", "mpshell", "-R", "exec", "-w", "node[001-400]", "-f", "64", "-q",
             "--report", str(report), COMMAND],
            cwd="/", env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with chromium(Path(directory) / "profile", 1100, 1000) as driver:
            page = Page(driver, report)
            page.run("document.getElementById('command').textContent = 'uname -r'")
            for scheme in ("light", "dark"):
                feature = {"name": "prefers-color-scheme", "value": scheme}
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
                page.run("timeline.draw()")
                shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
                (IMAGES / f"report-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main()
