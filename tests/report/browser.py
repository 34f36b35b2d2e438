"""A real Chromium without a window, which keeps its console and its requests for the tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.webelement import WebElement

from tests.support import eventually


@contextmanager
def chromium(profile: Path, width: int = 1200, height: int = 900) -> Iterator[Chrome]:
    """Give a browser that is gone at the end."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for word in (
        "--headless=new",
        "--no-sandbox",  # which root cannot have
        "--disable-dev-shm-usage",  # a container's /dev/shm is small
        "--disable-gpu",
        "--no-first-run",
        f"--user-data-dir={profile}",
        f"--window-size={width},{height}",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, ChromeService(shutil.which("chromedriver") or "chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """A report in a browser."""

    def __init__(self, driver: Chrome, path: Path) -> None:
        self.driver = driver
        self.path = path
        driver.get("about:blank")
        self.drain()
        driver.get(path.as_uri())

    def drain(self) -> tuple[list[str], list[str]]:
        """Return the messages of the console and the addresses that were asked for, since the last call."""
        console = [entry["message"] for entry in self._log("browser")]
        asked = []
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.append(message["params"]["request"]["url"])
        # The browser's own pages, and data in the page itself.
        return console, [url for url in asked if not url.startswith(("chrome:", "data:", "about:"))]

    def _log(self, name: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.execute(Command.GET_LOG, {"type": name})[
            "value"
        ]
        return entries

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def value(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).value", selector))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def open(self, place: str, number: int) -> None:
        """Open a group of failures or outputs: its content is made when it has been opened."""
        self.all(f"#{place} summary")[number].click()
        assert eventually(lambda: bool(self.all(f"#{place} details[open] > div > p")))

    def search(self, text: str) -> str:
        """Search for nodes, and return how many are shown."""
        field = self.one("#search")
        field.clear()
        field.send_keys(text, "\n")
        return self.value("#matches")

    def colours(self) -> set[tuple[int, int, int]]:
        """Return the colours that the timeline shows, without those of its edges."""
        flat = self.run(
            "timeline.draw(); const c = timeline.canvas;"
            "const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "const seen = new Map(); for (let i = 0; i < p.length; i += 4) if (p[i + 3] === 255) {"
            "const k = [p[i], p[i + 1], p[i + 2]].join(); seen.set(k, (seen.get(k) || 0) + 1); }"
            "return [...seen].filter(([, n]) => n > 3).map(([k]) => k)"
        )
        return {(red, green, blue) for red, green, blue in (map(int, k.split(",")) for k in flat)}
