"""No room for the executed notebook, and names that would be code in it."""

import subprocess

import pytest
from test_browser import browser as browser  # noqa: PLC0414  a fixture
from test_browser import pytestmark as needs_a_browser

from effnet_report.pages import run_page


def test_no_room_for_the_executed_notebook(clone, tally, small_disk):
    place = small_disk(clone.root / "book/runs/tiny", "size=8k,nr_inodes=20")
    command = ("papermill", "notebooks/train.ipynb", "-p", "study", "tiny", "-p", "freeze", "6")
    result = clone.run(*command)
    assert result.returncode == 1
    assert "Error: Can not write" in result.stderr
    assert "free some space" in result.stderr
    assert "Traceback" not in result.stderr
    subprocess.run(["mount", "-o", "remount,size=1m", str(place)], check=True)
    assert clone.run(*command).returncode == 0
    names = {name.rsplit("/", 1)[-1] for name in clone.files()}
    assert {"25-freeze6-none-plateau-seed0.json", "25-freeze6-none-plateau-seed0.ipynb"} <= names
    tally["full disks"] += 1


EVIL = "<img src=x onerror=\"document.title='broken into'\">"


@pytest.mark.browser
@needs_a_browser[1]
def test_a_class_named_like_markup_stays_text(browser, small_images, tmp_path, tally):
    images, labels = small_images
    classes = [EVIL, "$\\frac{1}{0}$ & 'quotes'"]
    pictures = [
        run_page.image_grid(images, labels, classes, labels.nonzero()[0]),
        run_page.image_grid(images, 1 - labels, classes, labels.nonzero()[0]),
        run_page.confusion_matrix(labels, 1 - labels, classes),
    ]
    page = tmp_path / "page.html"
    head = '<!doctype html><meta charset="utf-8"><title>whole</title>'
    page.write_text(head + "".join(picture.data for picture in pictures), encoding="utf-8")
    browser.get(page.as_uri())
    assert browser.title == "whole"
    assert EVIL in browser.find_element("tag name", "body").text
    assert not browser.find_elements("css selector", "img[src=x]")
    tally["names that are markup"] += 1
