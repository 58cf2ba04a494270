"""Coverage of the intervals on studies that are simulated from a generator fitted to real runs."""

import json

import numpy as np
import pandas as pd
import pytest

from bench import coverage
from bench.coverage import first_elpv
from effnet_core import paths
from effnet_core.errors import InputError
from effnet_report.evidence.correctness import Correctness
from effnet_report.inference import analysis, contrasts
from effnet_report.pages import methods

REPLICATES = 80
# Two-sided, so that not one of the fifteen intervals of a case falls below by chance: binomial,
# 95 % of 80 studies, 1 in 10,000.
LEAST = 85.0


@pytest.fixture(scope="module")
def fitted() -> coverage.Generator:
    return coverage.fit(first_elpv(), np.random.default_rng(0))


def test_the_generator_resembles_the_runs_it_was_fitted_to(fitted):
    rng = np.random.default_rng(1)
    real = first_elpv()
    runs = [coverage.study(fitted, 3, False, rng).estimator for _ in range(40)]
    assert fitted.accuracies.mean() == pytest.approx(real.accuracies.mean(), abs=0.1)
    made = np.mean([one.correctness.accuracies.mean() for one in runs])
    assert made == pytest.approx(real.accuracies.mean(), abs=0.8)
    wanted = coverage.Estimator(real)
    for family in (lambda one: one.family("freeze"), lambda one: one.pairs):
        made = np.mean([family(one).mean_square for one in runs])
        assert made == pytest.approx(family(wanted).mean_square, rel=0.25)
    apart = np.std([one.correctness.accuracies.mean() for one in runs])
    assert apart == pytest.approx(1.35, abs=0.5)  # 656 images, nearly the same for all runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "seeds", "folds"),
    [
        ("as measured", 4, True),
        ("no effects", 3, False),
        ("heads that vary more between seeds", 3, False),
        ("four factors", 3, False),
        ("balanced accuracy", 4, True),
    ],
)
def test_intervals_cover_new_seeds_and_new_images(fitted, kind, seeds, folds):
    generator = coverage.KINDS[kind](fitted)
    covered = coverage.coverage(generator, seeds, folds, REPLICATES, np.random.default_rng(2))
    depths = [f"freeze {n}" for n in ((2, 4, 6) if kind == "four factors" else range(1, 7))]
    assert {*depths, "trend", "classical", "optimism", "all choices"} <= set(covered)
    assert {name: share for name, share in covered.items() if share < LEAST} == {}
    assert np.mean(list(covered.values())) < 98.5  # nor wider than it need be


def test_what_a_race_picks_is_better_than_a_rate_drawn_by_lot(fitted):
    racing = coverage.KINDS["rates that race"](fitted)
    drawn = np.mean(coverage.ndtr(racing.thresholds), axis=1) * 100
    assert (racing.accuracies > drawn).all()
    assert racing.chosen(2, np.random.default_rng(0)).shape == (2, 28)


def test_configurations_as_units_would_not_cover(fitted):
    """The test above can fail: intervals from the scatter of configurations miss too often."""
    rng, null = np.random.default_rng(3), fitted.without_effects()
    inside = []
    for _ in range(REPLICATES):
        found = coverage.study(null, 3, False, rng).estimator.correctness
        table = found.design.assign(accuracy=found.accuracies.mean(axis=0))
        estimate = contrasts.each_level(contrasts.OneTable(table), "freeze")[5]
        inside.append(estimate.low <= 0 <= estimate.high)
    assert 100 * np.mean(inside) < LEAST


def test_folds_alone_cannot_fit_a_generator(fitted):
    found = first_elpv()
    folds = Correctness(found.design, found.seeds, found.right, [0, 1, 2])
    with pytest.raises(InputError, match="share a test set"):
        coverage.fit(folds, np.random.default_rng(0))


@pytest.mark.slow
def test_the_page_shows_what_was_simulated(fitted, tmp_path, monkeypatch):
    first = first_elpv()
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    monkeypatch.setenv("EFFNET_SITE", str(tmp_path / "site"))
    study = analysis.load("quick")
    assert "python -m bench.coverage" in methods.simulation(study).data
    monkeypatch.setattr(coverage, "SIZES", [(3, False), (4, True)])
    kinds = ("as measured", "no effects", "four factors")
    monkeypatch.setattr(coverage, "KINDS", {kind: coverage.KINDS[kind] for kind in kinds})
    monkeypatch.setattr(coverage, "REPLICATES", 4)
    monkeypatch.setattr(coverage, "first_elpv", lambda: first)
    coverage.main()
    shown = methods.simulation(study).data
    assert "share of 4 simulated studies, in per cent, over 3 seeds, 4 folds" in shown
    kept = pd.read_csv(tmp_path / "site" / "data" / "simulation.csv")
    written = json.loads((tmp_path / "simulation.json").read_text())
    assert written["study"] == "84 runs of elpv_source"
    assert len(kept) == sum(len(case["covered"]) for case in written["cases"])
    for case in written["cases"]:
        size = f"{case['seeds']} {'folds' if case['folds'] else 'seeds'}"
        rows = kept[(kept["studies"] == case["kind"]) & (kept["size"] == size)]
        assert dict(zip(rows["claim"], rows["covered"], strict=True)) == case["covered"]
