"""The built book in a real browser: nothing from elsewhere, no errors, no page too wide."""

import json
import shutil
from pathlib import Path

import pytest
from factories import built_book
from selenium import webdriver

from effnet_core import paths

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
PAGES = [page.stem for page in sorted(paths.BOOK.glob("*.md"))]
PAGES.append("runs/quick/08-freeze1-mlp-cosine-seed0")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver"
    ),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.get("about:blank")
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def site() -> Path:
    return built_book() / "_build" / "html"


def requests(browser) -> list[str]:
    """Addresses asked for since the last look."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
    return [event["params"]["request"]["url"] for event in sent]


@pytest.mark.parametrize("page", PAGES)
def test_pages_load_without_errors_and_from_here_alone(browser, site, page):
    requests(browser)
    browser.get((site / f"{page}.html").as_uri())
    asked = requests(browser)
    assert any(url.endswith(".html") for url in asked)
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []


@pytest.mark.parametrize("page", PAGES)
def test_pages_fit_a_telephone(browser, site, page):
    screen = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get((site / f"{page}.html").as_uri())
    width = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= 360


def test_every_picture_is_loaded_and_described(browser, site):
    browser.get((site / "results.html").as_uri())
    pictures = browser.execute_script(
        "return [...document.querySelectorAll('.report-figure img')]"
        ".map(image => [image.naturalWidth, image.alt.length])"
    )
    assert pictures
    assert all(width > 0 and words > 0 for width, words in pictures)
