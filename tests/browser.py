"""Headless Chromium for the tests of the pages, driven by selenium."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no browser: on Debian, `apt-get install chromium chromium-driver` brings one",
)


class Browser:
    """One window."""

    def __init__(self, driver: Chrome, downloads: Path) -> None:
        self._driver = driver
        self._downloads = downloads

    def open(self, page: Path) -> None:
        self._driver.get(page.resolve().as_uri())

    def visit(self, address: str) -> None:
        """Open a page of a server."""
        self._driver.get(address)

    def wait_for(self, selector: str) -> None:
        """Wait until an element fits."""
        WebDriverWait(self._driver, 60).until(
            lambda driver: driver.find_elements(By.CSS_SELECTOR, selector)
        )

    def reload(self) -> None:
        self._driver.refresh()
        # An answered dialog delays the new page beyond the return of `refresh`.
        WebDriverWait(self._driver, 60).until(
            lambda driver: driver.execute_script("return document.readyState") == "complete"
        )

    def run(self, script: str, *arguments: object) -> Any:
        """Return what the body of a function returns in the page."""
        return self._driver.execute_script(script, *arguments)

    def press(self, keys: str) -> None:
        """Press and release each of these keys, wherever the focus is."""
        ActionChains(self._driver).send_keys(keys).perform()

    def click(self, selector: str) -> None:
        """Click the first element that fits, as a pointer would."""
        self._driver.find_element(By.CSS_SELECTOR, selector).click()

    def texts(self, selector: str) -> list[str]:
        """Return the text of every element that fits, those that are not visible included."""
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        return list(self.run(script, selector))

    def downloaded(self, name: str) -> str:
        """Return the content of a file that the page saved; waits for it."""
        file = self._downloads / name
        for _ in range(100):
            if file.is_file():
                break
            time.sleep(0.05)
        text = file.read_text(encoding="utf-8")
        file.unlink()
        return text

    def console_messages(self) -> list[str]:
        """Return what the console has shown since the last call."""
        return [line["message"] for line in self._driver.get_log("browser")]

    def command(self, name: str, **parameters: object) -> None:
        """Run a command of the Chrome DevTools protocol."""
        self._driver.execute_cdp_cmd(name, parameters)


@contextmanager
def browser(folder: Path, preferences: dict[str, Any] | None = None) -> Iterator[Browser]:
    """Open a browser with a profile and downloads of its own under `folder`."""
    assert CHROMIUM
    assert DRIVER
    downloads = folder / "downloads"
    downloads.mkdir(parents=True)

    options = ChromeOptions()
    options.binary_location = CHROMIUM
    options.unhandled_prompt_behavior = "accept"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(downloads), **(preferences or {})}
    )
    arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage"]
    arguments += [f"--user-data-dir={folder / 'profile'}", "--window-size=1280,800"]
    if os.geteuid() == 0:  # Chromium's sandbox refuses to work for root
        arguments.append("--no-sandbox")
    for argument in arguments:
        options.add_argument(argument)

    # A driver that is named is not looked for on the network.
    driver = Chrome(options, Service(DRIVER))
    try:
        yield Browser(driver, downloads)
    finally:
        driver.quit()
