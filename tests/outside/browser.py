"""A real browser, driven: Chromium with a profile of its own."""

import contextlib

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "no-proxy-server",
)


@contextlib.contextmanager
def chromium(folder, *flags, emulation=None):
    """A browser for the length of a with block. `emulation` is Chromium's `mobileEmulation`."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"user-data-dir={folder / 'browser'}", *flags):
        options.add_argument(f"--{flag}")
    if emulation:
        options.add_experimental_option("mobileEmulation", emulation)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=Service("/usr/bin/chromedriver", log_output=str(folder / "chromedriver.log"))
    )
    try:
        yield driver
    finally:
        driver.quit()


def complaints(driver):
    """What the browser's console has said: violations of the page's policy, files that are missing, errors of scripts."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
