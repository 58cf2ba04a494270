"""No room for the executed notebook, and names that would be code in it."""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from docutils.core import publish_string
from myst_nb.docutils_ import Parser

from effnet_core import paths
from effnet_report.jupyter import sphinx_extension
from effnet_report.pages import run_page


@pytest.mark.slow
def test_no_room_for_the_executed_notebook(clone, tally, clear, small_disk, campaign):
    place = small_disk(clone.root / "book/runs/tiny", "size=8k,nr_inodes=20")
    options = ("-p", "study", "tiny", "-p", "freeze", "6")
    command = ("papermill", "notebooks/train.ipynb", *options)
    result = clone.run(*command)
    assert result.returncode == 1
    assert re.search(r"Error: Cannot write.*free some space", clear(result.stderr))
    assert clone.files() == set()  # no half of a notebook either
    assert list(place.iterdir()) == []
    if campaign:
        subprocess.run(["mount", "-o", "remount,size=1m", str(place)], check=True)
        assert clone.run(*command).returncode == 0
        names = {name.rsplit("/", 1)[-1] for name in clone.files()}
        run = "25-freeze6-none-plateau-seed0"
        assert {f"{run}.json", f"{run}.ipynb"} <= names
    tally["full disks"] += 1


SECRET = "the builder's own"
RUN = "01-freeze0-none-plateau-seed0"
GRABS = {
    "directive": "```{literalinclude} SECRET\n```",
    "directive in a list": "- x\n\n  ~~~~{include} SECRET\n  ~~~~",
    "escaped brackets": "\\```\\{include} SECRET\n```\n\n> ```{include} SECRET\n> ```",
    "restructured text": "```{eval-rst}\n.. literalinclude:: SECRET\n```",
    "table": "```{csv-table}\n:file: SECRET\n```",
}


def read_by_sphinx(source: str, folder: Path) -> str:
    """What an executed notebook becomes, in the reader's XML, where files were asked for."""
    quiet = {"report_level": 5, "nb_execution_mode": "off", "file_insertion_enabled": True}
    quiet["nb_output_folder"] = str(folder / "outputs")
    return publish_string(
        source, parser=Parser(), writer_name="xml", settings_overrides=quiet
    ).decode()


@pytest.mark.parametrize("grab", GRABS.values(), ids=GRABS.keys())
def test_a_run_page_takes_no_file_of_the_builder(tmp_path, tally, monkeypatch, grab):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    monkeypatch.setattr(paths, "EXECUTED", tmp_path / "runs")
    page = paths.executed("quick") / f"{RUN}.ipynb"
    page.parent.mkdir(parents=True)
    cell = grab.replace("literalinclude", "include").replace("SECRET", str(secret))
    notebook = nbformat.v4.new_notebook(
        metadata={"mystnb": {"execution_mode": "force"}, "orphan": True},
        cells=[
            nbformat.v4.new_markdown_cell("# A run\n\nIts `code` and text."),
            nbformat.v4.new_markdown_cell(cell),
            nbformat.v4.new_raw_cell(SECRET, metadata={"raw_mimetype": "text/html"}),
            nbformat.v4.new_code_cell(
                "x",
                outputs=[nbformat.v4.new_output("display_data", {"text/markdown": SECRET})],
                metadata={"mystnb": {"figure": {"caption": cell}}},
            ),
        ],
    )
    source = [nbformat.writes(notebook)]
    page.write_text(source[0])
    app = SimpleNamespace(config=SimpleNamespace(effnet_studies=["quick"]))
    sphinx_extension.link_run_page(app, f"runs/quick/{RUN}", source)
    shown = read_by_sphinx(source[0], tmp_path)
    assert SECRET not in shown
    assert "<literal>code</literal> and text" in shown
    tally["pages that ask for files"] += 1


def test_unguarded_such_a_page_would_take_it(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    cell = nbformat.v4.new_markdown_cell(f"```{{include}} {secret}\n```")
    assert SECRET in read_by_sphinx(
        nbformat.writes(nbformat.v4.new_notebook(cells=[cell])), tmp_path
    )


EVIL = "<img src=x onerror=\"document.title='broken into'\">"


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
