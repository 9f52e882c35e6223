"""Headless Chromium, driven over the WebDriver protocol with the standard library alone."""

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no browser: on Debian, `apt-get install chromium chromium-driver` brings one",
)


class Browser:
    """One window."""

    def __init__(
        self, port: int, downloads: Path, arguments: list[str], preferences: dict[str, Any]
    ) -> None:
        self._port, self.downloads = port, downloads
        chromium = {
            "binary": CHROMIUM,
            "args": ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", *arguments],
            "prefs": {"download.default_directory": str(downloads), **preferences},
        }
        wanted = {
            "browserName": "chrome",
            "unhandledPromptBehavior": "accept",
            "goog:chromeOptions": chromium,
        }
        wanted["goog:loggingPrefs"] = {"browser": "ALL"}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{session['sessionId']}"

    def _call(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request(method, path, json.dumps(content) if content is not None else None)
        answer = json.loads(connection.getresponse().read())["value"]
        connection.close()
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(f"{answer['error']}: {answer['message']}")
        return answer

    def open(self, page: Path) -> None:
        self._call("POST", f"{self._session}/url", {"url": page.resolve().as_uri()})

    def reload(self) -> None:
        self._call("POST", f"{self._session}/refresh", {})

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function returns in the page."""
        return self._call(
            "POST", f"{self._session}/execute/sync", {"script": script, "args": arguments}
        )

    def press(self, keys: str) -> None:
        """Press and release each of these keys, wherever the focus is."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        keyboard = {"type": "key", "id": "keyboard", "actions": strokes}
        self._call("POST", f"{self._session}/actions", {"actions": [keyboard]})

    def click(self, selector: str) -> None:
        """Click the first element that fits, as a pointer would."""
        found = self._call(
            "POST", f"{self._session}/element", {"using": "css selector", "value": selector}
        )
        self._call("POST", f"{self._session}/element/{next(iter(found.values()))}/click", {})

    def texts(self, selector: str) -> list[str]:
        """The text of every element that fits."""
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        return list(self.run(script, selector))

    def downloaded(self, name: str) -> str:
        """The content of a file that the page saved; waits for it."""
        file = self.downloads / name
        for _ in range(100):
            if file.is_file():
                break
            time.sleep(0.05)
        text = file.read_text(encoding="utf-8")
        file.unlink()
        return text

    def complaints(self) -> list[str]:
        """What the console has shown since it was last asked."""
        return [
            line["message"]
            for line in self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        ]

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self._call(
            "POST", f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters}
        )

    def screenshot(self, file: Path) -> None:
        file.write_bytes(b64decode(self._call("GET", f"{self._session}/screenshot")))

    def close(self) -> None:
        self._call("DELETE", self._session)


@contextmanager
def browser(folder: Path, preferences: dict[str, Any] | None = None) -> Iterator[Browser]:
    """A browser with a profile and downloads of its own under `folder`."""
    assert DRIVER
    downloads = folder / "downloads"
    downloads.mkdir(parents=True)
    arguments = [f"--user-data-dir={folder / 'profile'}", "--window-size=1280,800"]
    if os.geteuid() == 0:  # Chromium's sandbox refuses to work for root
        arguments.append("--no-sandbox")
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        window = Browser(_port(driver), downloads, arguments, preferences or {})
        try:
            yield window
        finally:
            window.close()
    finally:
        driver.terminate()
        driver.communicate()


def _port(driver: subprocess.Popen[str]) -> int:
    """The free port that the driver chose, which it says once it listens."""
    assert driver.stdout
    for line in driver.stdout:
        if "started successfully on port" in line:
            return int(line.rsplit(" ", 1)[1].rstrip(".\n"))
    raise AssertionError("chromedriver ended before it listened")
