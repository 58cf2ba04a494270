"""Two studies of the same images with other recipes, compared as if they were one."""

import shutil

import numpy as np
import pytest
from bs4 import BeautifulSoup
from factories import use_folders, write_study

from effnet_core import paths
from effnet_report.inference import analysis, recipes
from effnet_report.pages import answer_cards, recipe

KEPT = "norm_statistics: pretrained"
# What both have of the source's protocol.
SOURCE = {
    "learning_rate: [1.0e-4, 3.0e-4]": "learning_rate: 1.0e-4",
    "early_stop_patience: null": "early_stop_patience: 2",
}
FACTORS = "factors: {freeze: [0, 3, 6], head: [none], scheduler: [plateau, cosine]}\n"
PILOT = (
    "factors: {freeze: [0, 6], norm_statistics: [batch, pretrained], head: [none], "
    "scheduler: [cosine]}\n"
)


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """Studies `kept` and `source` of three depths, and the `pilot` that compares both recipes."""
    use_folders(tmp_path, monkeypatch)
    folder = paths.RESULTS.parent / "studies"
    shutil.copytree(paths.STUDIES, folder)
    monkeypatch.setattr(paths, "STUDIES", folder)
    quick = (folder / "quick.yml").read_text()
    for setting, of_the_source in SOURCE.items():
        assert setting in quick
        quick = quick.replace(setting, of_the_source)
    assert KEPT in quick
    batch = quick.replace(KEPT, "norm_statistics: batch")
    for name, text, factors in (
        ("kept", quick, FACTORS), ("source", batch, FACTORS), ("pilot", quick, PILOT)
    ):  # fmt: skip
        assert "seeds: [0]\n" in text
        written = text.replace("seeds: [0]\n", f"seeds: [0, 1]\n{factors}")
        (folder / f"{name}.yml").write_text(written)
        write_study(name)
    monkeypatch.setenv("EFFNET_STUDY", "kept,pilot,source")
    return [analysis.load(name) for name in ("kept", "source")]


def test_each_study_has_the_effects_that_it_has_alone(studies):
    assert recipes.comparable(studies) == studies
    table = recipes.by_study(studies).set_index(["recipe", "freeze"])
    assert len(table) == 2 * 2
    for study, name in zip(studies, ("pretrained statistics", "batch statistics"), strict=True):
        for freeze, alone in study.noninferiority.changes.items():
            row = table.loc[(name, freeze)]
            assert row["effect"] == pytest.approx(alone.effect)
            assert row["low"] < row["effect"] < row["high"]
    apart = recipes.difference(studies, 6)
    deepest = table.xs(6, level="freeze")["effect"]
    assert apart.effect == pytest.approx(deepest.iloc[0] - deepest.iloc[1])


def test_the_gain_of_a_recipe_is_that_of_the_mean_accuracies(studies):
    kept, source = (study.correctness for study in studies)
    for freeze in (0, 6):
        own, theirs = (
            part.accuracies[:, (part.design["freeze"] == freeze).to_numpy()].mean()
            for part in (kept, source)
        )
        gain = recipes.gain(studies, freeze)
        assert gain.effect == pytest.approx(own - theirs)
        assert gain.low < gain.effect < gain.high
    changed = recipes.gain(studies, 6).effect - recipes.gain(studies, 0).effect
    assert recipes.difference(studies, 6).effect == pytest.approx(changed)


def test_a_study_does_not_differ_from_itself(studies):
    kept = studies[0]
    apart = recipes.difference([kept, kept], 6)
    assert apart.effect == 0
    assert apart.low < 0 < apart.high
    assert np.isclose(apart.low, -apart.high)


def test_studies_of_one_recipe_or_other_configurations_are_not_compared(studies):
    kept, source = studies
    assert recipes.comparable([kept, kept]) == []
    assert recipes.comparable([kept]) == []
    assert recipes.comparable([kept, analysis.load("pilot"), source]) == [kept, source]


def test_the_page_compares_them_and_names_the_source_last(studies):
    shown = recipe.studies()
    assert [study.evidence.reference for study in shown] == ["pilot"]
    drawn = recipe.between_studies().data
    gain = recipes.gain(studies, 0).effect
    assert f"{abs(gain):.1f} points" in recipe.answer(shown).data
    assert 'data-finding="recipe:' in drawn
    assert "pretrained statistics" in drawn
    assert "batch statistics" in drawn
    first, *_ = recipes.by_study(studies).itertuples()
    assert first.recipe == "pretrained statistics"
    source = studies[1].noninferiority.changes[6].effect
    assert f"{abs(source):.1f} points" in recipe.source_alone(shown).data


def test_a_table_has_both_recipes_and_their_difference(studies):
    _, *rows = BeautifulSoup(recipe.both_ways().data, "html.parser").find_all("tr")
    kept, source, difference = (
        np.array([shown_number(cell.text) for cell in row.find_all("td")[2:]]) for row in rows
    )
    assert np.allclose(kept - source, difference, atol=0.151)  # all are rounded
    for column, freeze in enumerate((0, 6)):
        assert difference[column] == round(recipes.gain(studies, freeze).effect, 1)
    assert difference[2] == round(recipes.difference(studies, 6).effect, 1)


def shown_number(text):
    """The first number of a cell."""
    return float(text.split()[0].replace("\N{MINUS SIGN}", "-"))


def test_a_card_says_at_which_depths_the_other_rate_won():
    study = analysis.load("published/elpv")
    runs = [r for r in study.evidence.finished if r.settings.seed in study.correctness.seeds]
    low, high = (
        [r.settings.freeze for r in runs if r.outcome.history[0].learning_rate == rate]
        for rate in study.evidence.design.protocol.rates
    )
    said = answer_cards._rate(study)
    assert f"1e-4 in {len(low)} runs" in said
    assert f"3e-4 in {len(high)} (of freeze {', '.join(map(str, sorted(set(high))))})" in said
