"""The built book in a real browser: nothing from elsewhere, no errors, readable by everyone."""

import gzip
import json
import re
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlparse

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from effnet_core import paths

PAGES = [page.stem for page in sorted(paths.BOOK.glob("*.md"))]
PAGES.append("runs/quick/08-freeze1-mlp-cosine-seed0")
# Not imported: the package would want playwright, and only carries the script for us.
AXE = Path(find_spec("axe_playwright_python").origin).with_name("axe.min.js")
RUN_AXE = """
const done = arguments[arguments.length - 1];
axe.run({resultTypes: ["violations"], preload: false}).then(({violations}) => done(
  violations.filter(v => ["serious", "critical"].includes(v.impact))
    .map(v => [v.id, ...v.nodes.map(node => node.html)])));
"""
THEME = "return document.documentElement.dataset.theme"
# What a reader cannot see: pictures wider than their box, and on paper what had to be scrolled.
CUT_OFF = """
return [...document.querySelectorAll('.report-scroll:has(img)')]
  .filter(box => box.scrollWidth > box.clientWidth).map(box => box.outerHTML)
"""
# Letters of a drawing that are smaller than 11 pixels on this screen.
SMALL = """
return [...document.querySelectorAll('.report-scroll svg')].flatMap(drawing => {
  const scale = drawing.getBoundingClientRect().width / drawing.viewBox.baseVal.width;
  return [...drawing.querySelectorAll('text, tspan')]
    .filter(letters => parseFloat(getComputedStyle(letters).fontSize) * scale < 10.9)
    .map(letters => letters.textContent);
})
"""
TOO_WIDE = """
return [...document.querySelectorAll('.report-table :is(.report-scroll, .dt-layout-cell)')]
  .filter(box => box.scrollWidth > box.clientWidth).map(box => box.closest('figure').id)
"""
SCROLLED = """
return [...document.querySelectorAll('.report-scroll')]
  .filter(box => getComputedStyle(box).overflowX !== 'visible').map(box => box.outerHTML)
"""


@pytest.fixture(scope="module")
def site(book) -> Path:
    return book.site


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(site):
    """Address of the site as a web server gives it."""
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()


@pytest.fixture
def table(browser, site):
    """Table 1, once its scripts have run."""
    browser.get((site / "results.html").as_uri())
    found = browser.find_element(By.ID, "table-1-results")
    until(browser, lambda: found.find_elements(By.CLASS_NAME, "dt-search"))
    return found


def until(browser, seen: Callable[[], Any]) -> Any:
    """What is seen once it is something; a busy machine may take long to show it."""
    return WebDriverWait(browser, 120).until(lambda _: seen())


def messages(browser) -> list[dict]:
    """What the network did since the last look."""
    return [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]


def requests(browser) -> list[str]:
    """Addresses asked for since the last look."""
    sent = [event for event in messages(browser) if event["method"] == "Network.requestWillBeSent"]
    return [event["params"]["request"]["url"] for event in sent]


def column(table, place: int) -> list[str]:
    return [cell.text for cell in table.find_elements(By.CSS_SELECTOR, f"td:nth-child({place})")]


def look(browser, scheme: str) -> None:
    """Let the reader's system ask for a scheme, "light" or "dark", or for paper, "print"."""
    wish = [{"name": "prefers-color-scheme", "value": scheme}]
    asked = {"media": "print"} if scheme == "print" else {"media": "", "features": wish}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", asked)


@pytest.fixture
def screen(browser):
    """The desktop's screen in the light scheme, before and after a test."""
    look(browser, "light")
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def loaded(browser, address: str, *from_here: str) -> None:
    """Open a page; it asks no other server for anything, and no script of it fails."""
    browser.get("about:blank")  # ends whatever the page before it still loads
    requests(browser)
    browser.get_log("browser")
    browser.get(address)
    asked = requests(browser)
    assert address in asked
    assert [url for url in asked if not url.startswith((*from_here, "data:", "blob:"))] == []
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [entry for entry in errors if "favicon" not in entry["message"]] == []


@pytest.mark.usefixtures("screen")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_from_here_alone_and_everyone_can_read_it(browser, site, server, page):
    """From a web server on a phone; then as a file on a desktop, in both schemes and on paper."""
    phone = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    desktop = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    loaded(browser, f"{server}/{page}.html", server)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    assert browser.execute_script(CUT_OFF) == []
    assert browser.execute_script(SMALL) == []

    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", desktop)
    loaded(browser, (site / f"{page}.html").as_uri(), "file:")
    if page == "results":
        until(browser, lambda: browser.find_elements(By.CLASS_NAME, "dt-search"))
    assert browser.execute_script(TOO_WIDE) == []
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    for scheme in ("light", "dark"):
        look(browser, scheme)
        until(browser, lambda: browser.execute_script(THEME) == scheme)  # noqa: B023
        assert browser.execute_async_script(RUN_AXE) == [], scheme
    look(browser, "print")
    assert browser.execute_script(SCROLLED) == []
    assert len(browser.print_page()) > 10_000


def test_the_first_page_is_light(browser, site, server):
    """Less than 500 kB are sent, compressed as web servers such as GitHub's send text."""
    requests(browser)
    browser.get(f"{server}/index.html")
    asked = {urlparse(url).path for url in requests(browser) if url.startswith(server)}
    files = [site / path.lstrip("/") for path in asked if path != "/favicon.ico"]
    assert site / "searchindex.js" in files
    assert sum(len(gzip.compress(file.read_bytes())) for file in files) < 500_000


def test_every_picture_is_drawn_and_described(browser, site):
    browser.get((site / "results.html").as_uri())
    pictures = browser.execute_script(
        "return [...document.querySelectorAll('.report-figure svg')]"
        ".map(image => [image.getBoundingClientRect().width, image.ariaLabel.length])"
    )
    assert pictures
    assert all(width > 0 and words > 0 for width, words in pictures)


def test_table_1_sorts(browser, table):
    heading = table.find_element(By.XPATH, ".//th[contains(., 'test, %')]")
    place = len(heading.find_elements(By.XPATH, "preceding-sibling::th")) + 1
    button = heading.find_element(By.CLASS_NAME, "dt-column-order")

    def sorted_down_or_up(falling: bool) -> bool:
        values = [float(text) for text in column(table, place) if re.match(r"\d", text)]
        return len(values) == 25 and values == sorted(values, reverse=falling)

    assert not sorted_down_or_up(False)
    for falling in (False, True):
        button.click()
        until(browser, partial(sorted_down_or_up, falling))


def test_table_1_filters_by_factor(browser, table):
    heading = table.find_element(By.XPATH, ".//th[contains(., 'frozen stages')]")
    heading.find_element(By.CLASS_NAME, "dtcc-button_dropdown").click()
    six = (By.XPATH, "//*[@class='dtcc-list-buttons']/*[@aria-label='6']")
    until(browser, lambda: browser.find_elements(*six))[0].click()
    until(browser, lambda: column(table, 1) == ["25", "26", "27", "28"])


def test_table_1_is_searched(browser, table):
    table.find_element(By.CSS_SELECTOR, ".dt-search input").send_keys("aside")
    until(browser, lambda: column(table, 1) == ["7"])


def test_table_1_hides_columns(browser, table):
    before = len(table.find_elements(By.TAG_NAME, "th"))
    table.find_element(By.CLASS_NAME, "buttons-colvis").click()
    first = (By.XPATH, "//*[contains(@class, 'buttons-columnVisibility')]")
    until(browser, lambda: browser.find_elements(*first))[0].click()
    until(browser, lambda: len(table.find_elements(By.TAG_NAME, "th")) == before - 1)


def test_table_1_is_there_without_scripts(browser, site):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get((site / "results.html").as_uri())
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    rows = browser.find_elements(By.CSS_SELECTOR, "#table-1-results tbody tr")
    assert len(rows) == 28
    assert rows[0].find_element(By.TAG_NAME, "a").get_attribute("href").endswith("-seed0.html")
    assert browser.find_elements(By.CLASS_NAME, "dt-search") == []
