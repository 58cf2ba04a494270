"""What the first page says for other numbers than those of the published studies."""

from dataclasses import replace

import pytest
from bs4 import BeautifulSoup

from effnet_report.inference import analysis
from effnet_report.pages import answer, answer_cards, answer_words, methods


@pytest.fixture(scope="module")
def study():
    return analysis.load("published/elpv_source")


@pytest.fixture
def said(monkeypatch):
    """Gives the sentences that open the first page of a book of these studies."""

    def opening(*references):
        monkeypatch.setenv("EFFNET_STUDY", ",".join(references))
        return BeautifulSoup(answer.answer(answer.studies()).data, "html.parser")

    return opening


def test_one_data_set_opens_with_its_own_advice(said):
    page = said("published/elpv_source")
    assert page.strong.text.startswith("Freeze ")
    assert page.strong.text.endswith(" on solar cells.")
    assert "On images of your own" in page.text


@pytest.mark.slow
def test_data_sets_that_disagree_are_named_with_their_depths(said):
    page = said("published/elpv_source", "published/fashion")
    assert page.strong.text == "Freeze 6 of 7 stages on solar cells and 2 of 7 stages on clothing."
    assert page.div["data-finding"] == "advice:disagree"


def test_a_study_of_own_images_does_not_speak_of_others(study, monkeypatch):
    design = study.evidence.design
    own = design.model_copy(
        update={"protocol": design.protocol.model_copy(update={"data_dir": "photos"})}
    )
    study = analysis.Analysis(replace(study.evidence, design=own))
    monkeypatch.setattr(answer_words, "_recipes", lambda _: iter(()))
    advised = [(study, answer.advise(study))]
    lines = [*answer_words.opening(study, advised)]
    assert lines[0].startswith("Freeze ")
    assert not any("On images of your own" in line for line in lines)


@pytest.mark.parametrize(
    ("effect", "low", "high", "words"),
    [
        (22.0, 3.0, 37.0, "saves 22 % (95 % CI 3 to 37) of the time per epoch if"),
        (0.4, -3.0, 4.0, "saves no time"),
        (-2.0, -9.0, 4.0, "saves no time"),
        (-20.0, -29.0, -11.0, "takes 20 % more time per epoch"),
    ],
)
def test_what_a_depth_does_to_the_time_is_said_as_it_is(study, effect, low, high, words):
    depth = study.depths[1]
    changed = replace(depth, time=replace(depth.time, effect=effect, low=low, high=high))
    assert answer_cards.saves(study, changed).startswith(words)


def test_neighbouring_images_are_in_a_table_where_they_were_measured(study):
    measured = methods.neighbours(analysis.load("published/elpv")).data
    assert 'data-finding="neighbours:2"' in measured
    assert "No split by neighbouring images" in methods.neighbours(study).data
