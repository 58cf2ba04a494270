"""Several studies side by side: what is counted, averaged, and not said."""

import math
import re
from dataclasses import replace

import pytest
from factories import fingerprints, save_run, use_folders

from effnet_core import paths
from effnet_core.study.studies import load_study
from effnet_report.inference import analysis
from effnet_report.inference.seeds_and_images import unknown
from effnet_report.inference.several import cochran, mean_over
from effnet_report.numbers import DASH, p_value
from effnet_report.pages import elsewhere
from effnet_report.pages import shown as pages_shown

YAML = """
title: {title}
seeds: [0, 1, 2]
protocol: {{dataset: digits, image_size: 32}}
"""


def estimate(effect, error, freedom=20.0):
    low, high = effect - 2 * error, effect + 2 * error
    return replace(unknown("", effect), low=low, high=high, error=error, freedom=freedom)


def test_the_mean_weighs_data_sets_equally_however_precise_they_are():
    mean = mean_over([estimate(1.0, 0.3), estimate(4.0, 0.4)])
    assert mean.effect == pytest.approx(2.5)
    assert mean.error == pytest.approx(0.25)  # the root of 0.09 + 0.16, over 2
    assert mean.freedom == pytest.approx(0.25**2 / (0.09**2 / 20 + 0.16**2 / 20))
    assert mean.low < 2.5 - 2 * 0.25 < 2.5 + 2 * 0.25 < mean.high


def test_a_mean_needs_two_known_effects():
    assert not mean_over([estimate(1.0, 0.3)]).known
    assert not mean_over([estimate(1.0, 0.3), unknown("no")]).known
    assert all(math.isnan(value) for value in cochran([estimate(1.0, 0.3), unknown("no")]))


def test_cochrans_q_is_the_squared_difference_over_its_variance_for_two():
    q, p = cochran([estimate(1.0, 0.3), estimate(2.0, 0.4)])
    assert q == pytest.approx(1 / 0.25)
    assert p == pytest.approx(0.0455, abs=1e-4)  # of z = 2
    assert cochran([estimate(1.0, 0.3)] * 3)[0] == pytest.approx(0)


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Make studies with records, and have the book name them."""
    use_folders(tmp_path, monkeypatch)
    monkeypatch.setattr(paths, "STUDIES", tmp_path)

    def show(**data: str) -> dict:
        for name, letter in data.items():
            (tmp_path / f"{name}.yml").write_text(YAML.format(title=f"Pictures of {name}"))
            monkeypatch.setattr(
                "factories.fingerprints",
                lambda seed, letter=letter: fingerprints(seed).model_copy(
                    update={"data": letter * 64}
                ),
            )
            for settings in load_study(name).runs() if letter else ():
                save_run(settings)
        monkeypatch.setenv("EFFNET_STUDY", ",".join(data))
        return elsewhere.studies()

    (tmp_path / "paper.yml").write_bytes((paths.ROOT / "studies/paper.yml").read_bytes())
    return show


@pytest.mark.slow
def test_two_data_sets_are_counted_with_all_words(shown, monkeypatch):
    found = shown(cats="a", dogs="b")
    text = elsewhere.answer(found).data
    assert "2 data sets were trained with the same configurations" in text
    assert ": Pictures of cats; Pictures of dogs" in text
    assert "too few to speak about images in general" in text
    monkeypatch.setattr(elsewhere, "FEWEST", 2)
    assert "too few" not in elsewhere.answer(found).data
    table = elsewhere.verdicts(found).data
    assert 'data-finding="agreed:' in table
    assert "Pictures of dogs, cosine instead of plateau" in elsewhere.forest(found).data
    assert "mean over these sets, cosine instead of plateau" in elsewhere.forest(found).data
    assert re.search(r"<td[^>]*>[\d.]+ on 1</td>", elsewhere.means(found).data)
    assert "are here yet" not in text


@pytest.mark.slow
def test_what_is_missing_of_a_study_is_said(shown):
    shown(cats="a", dogs="b")
    for path in paths.records("dogs").glob("*seed2*.json"):
        path.unlink()
    found = elsewhere.studies()
    said = elsewhere.answer(found).data
    assert "Pictures of dogs has 56 of 84 runs so far" in said
    assert "Pictures of cats only" not in said


@pytest.mark.parametrize(("p", "text"), [(0.0123, "0.012"), (0.0004, "< 0.001"), (math.nan, DASH)])
def test_no_p_value_is_shown_as_nothing(p, text):
    assert p_value(p) == text


@pytest.mark.slow
def test_the_same_images_are_no_other_data_set(shown):
    found = shown(cats="a", again="a")
    assert list(found) == ["Pictures of cats"]
    said = elsewhere.answer(found).data
    assert "one data set: Pictures of cats" in said
    assert "where two data sets have them" in elsewhere.verdicts(found).data
    assert "Left out: Pictures of again, which has the same images as another study." in said


def test_studies_of_one_title_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "STUDIES", tmp_path)
    use_folders(tmp_path, monkeypatch)
    monkeypatch.setenv("EFFNET_STUDY", "cats,dogs,birds")
    for name, title in (("cats", "Pictures"), ("dogs", "Pictures"), ("birds", "Birds")):
        text = YAML.format(title=title).replace("digits,", "imagefolder, data_dir: .,")
        (tmp_path / f"{name}.yml").write_text(text)
    studies = [analysis.load(name) for name in ("cats", "dogs", "birds")]
    titles = [pages_shown.title(study) for study in studies]
    assert titles == ["Pictures (cats)", "Pictures (dogs)", "Birds"]
    assert [pages_shown.about(study).name for study in studies] == titles
    monkeypatch.setattr(pages_shown, "data_sets", lambda: studies)
    assert list(elsewhere.studies().values()) == studies


@pytest.mark.slow
def test_a_study_without_records_is_left_out(shown):
    found = shown(cats="a", none="")
    said = elsewhere.answer(found).data
    assert "one data set" in said
    assert "Left out: Pictures of none, which has no seed with a run of every" in said
    assert "What each choice changes on Pictures of cats" in elsewhere.forest(found).data
