"""Names that would act on a terminal or in a spreadsheet, and output that cannot be written."""

import csv
import io
import os
import re
import subprocess
import sys
from html import unescape

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from rich.markup import escape
from rich.table import Table

from effnet_core import paths
from effnet_report.escaping import Terminal, cell, markdown, printable
from effnet_report.render import html

ACTS = {
    "colour": "\x1b[31mred",
    "title of the window": "\x1b]0;x\x07",
    "link": "\x1b]8;;http://x\x1b\\",
    "one-letter control": "\x9b2J",
    "back over the line": "ok\rbad",
    "backspace": "ok\b\b",
    "right to left": "exe.\u202egnp",
    "isolated": "\u2066x\u2069",
    "no width": "ca\u200bt",
    "line of Unicode": "x\u2028y",
    "not UTF-8": os.fsdecode(b"caf\xe9"),
}


@pytest.mark.fault("names that act on a terminal")
@pytest.mark.parametrize("name", ACTS.values(), ids=ACTS.keys())
def test_no_name_acts_on_a_terminal(name):
    shown = printable(name)
    assert shown.isprintable()
    assert printable(shown) == shown
    file = io.StringIO()
    console = Terminal(file=file, width=200, color_system=None)
    table = Table(escape(name), title=escape(name))
    table.add_row(escape(name))
    console.print(table)
    console.print(f"x {escape(name)}")
    assert not set(file.getvalue()) & (set(name) - set(shown))
    assert file.getvalue().count(shown) == 4


def test_names_in_any_script_are_shown_as_they_are():
    for name in ("Käse", "猫", "قطة", "👩\u200d🔬", "a\tb\nc", "क्\u200dष"):
        assert printable(name) == name


@pytest.mark.fault("names that are markup")
def test_markup_in_a_name_is_text_even_where_nobody_escaped_it():
    file = io.StringIO()
    Terminal(file=file, width=80).print("[/red] [link=x :cat: [nostyle")
    assert file.getvalue() == "[/red] [link=x :cat: [nostyle\n"


@pytest.mark.fault("names that are formulas")
@pytest.mark.parametrize("first", [*"=+-@\t\r\n", "\uff1d"])
def test_no_name_is_a_formula_in_a_spreadsheet(first, tmp_path, monkeypatch):
    name = f"{first}HYPERLINK(1)"
    assert cell(name).startswith("'")
    data = pd.DataFrame({name: [name], "change": [-1.5]})
    monkeypatch.setenv("EFFNET_SITE", str(tmp_path))
    html._csv("x", data)
    with (tmp_path / "data/x.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [[cell(name), "change"], [cell(name), "-1.5"]]


@pytest.mark.fault("names that are markup")
def test_no_name_is_a_link_or_html_in_markdown():
    name = "<b>`x`</b>\n\n# y ![z](file:///etc/passwd) {eval}`1` $m$ a|b \\"
    shown = markdown(name)
    assert "\n" not in shown
    rendered = MarkdownIt("commonmark").render(f"# {shown}")
    text = re.sub(r"</?h1>", "", rendered).strip()
    assert "<" not in text
    assert unescape(text) == " ".join(name.split())
    assert markdown("Käse (2 %), 猫_1: a") == "Käse (2 %), 猫_1: a"


def effnet(redirected: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"{sys.executable} -c 'from effnet_report.cli import main; main()' status quick"
    return subprocess.run(
        ["bash", "-c", f"{program} {redirected}"],
        cwd=paths.ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirected", "status", "told"),
    [
        (">&-", 1, "Standard output is closed"),
        (">&- <&- ", 1, "Standard output is closed"),
        (">/dev/full", 1, "Cannot go on: No space left"),
        ("2>&- >/dev/null", 0, ""),
    ],
)
def test_output_that_cannot_be_written_is_one_sentence(redirected, status, told):
    done = effnet(redirected)
    assert done.returncode == status
    assert done.stderr.startswith(f"Error: {told}" if told else "")
    assert len(done.stderr.splitlines()) == bool(told)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_output_that_has_not_every_letter_gets_their_numbers(encoding):
    done = effnet("2>&1", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stdout


def test_numbers_stay_the_same_in_a_csv_file():
    for name in ("-1", "+1", "-0.5", "0042"):
        assert cell(name) == name
    for name in ("-1+1", "+1x", "--1", "-1\n", "=1"):
        assert cell(name).startswith("'")
