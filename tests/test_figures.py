import re
from xml.etree import ElementTree

import pandas as pd
import pytest
from factories import use_folders, write_study

from effnet_core import paths
from effnet_core.report import evidence, figures, html

DRAWN = [
    figures.effects,
    figures.stages,
    figures.freezing,
    figures.heat_map,
    figures.learning_curves,
    figures.cost,
    figures.models,
]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)


def drawing(figure) -> tuple[str, str]:
    """Name and alt text of a figure."""
    name = re.search(r'src="figures/(.+?)\.svg"', figure.data)[1]
    return name, re.search(r'alt="(.+?)"', figure.data)[1]


@pytest.mark.parametrize("draw", DRAWN)
def test_every_figure_has_words_a_picture_and_data(draw):
    write_study("quick")
    name, alt = drawing(draw(evidence.load("quick")))
    assert re.search(r"\d", alt)
    root = ElementTree.parse(html.site() / "figures" / f"{name}.svg").getroot()
    background = root.find(".//{*}g[@id='patch_1']/{*}path")
    assert "fill: #ffffff" in background.get("style")
    assert len(pd.read_csv(html.site() / "data" / f"{name}.csv")) > 0


@pytest.mark.parametrize("draw", DRAWN)
def test_a_study_without_runs_draws_nothing_and_says_so(draw):
    found = evidence.load("quick")
    assert found.finished == []
    expected = "published" if draw is figures.effects else "No run of study quick has finished yet"
    assert expected in draw(found).data


def test_the_title_follows_the_data():
    write_study("quick")
    before = figures.freezing(evidence.load("quick")).data
    for path in paths.records("quick").glob("*-freeze1-*"):
        path.unlink()
    after = figures.freezing(evidence.load("quick")).data
    title = re.compile(r'report-title">(.+?)<')
    assert title.search(before)[1] != title.search(after)[1]


def test_the_same_data_give_the_same_file():
    write_study("quick")
    drawn = []
    for _ in range(2):
        figures.freezing(evidence.load("quick"))
        drawn.append((html.site() / "figures" / "freezing.svg").read_bytes())
    assert drawn[0] == drawn[1]


def test_the_published_figure_needs_no_study():
    assert drawing(figures.published_freezing())[0] == "published-freezing"
