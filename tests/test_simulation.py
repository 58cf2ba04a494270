"""Coverage of the intervals on studies that are simulated from a generator fitted to real runs."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_report.evidence.correctness import Correctness
from effnet_report.inference import simulation
from effnet_report.inference.simulation import first_elpv
from effnet_report.pages import conclusions

REPLICATES = 80
# Two-sided, so that not one of the fifteen intervals of a case falls below by chance: binomial,
# 95 % of 80 studies, 1 in 10,000.
LEAST = 85.0


@pytest.fixture(scope="module")
def fitted() -> simulation.Generator:
    return simulation.fit(first_elpv(), np.random.default_rng(0))


def test_the_generator_resembles_the_runs_it_was_fitted_to(fitted):
    rng = np.random.default_rng(1)
    real = first_elpv()
    runs = [simulation.study(fitted, 3, False, rng).estimator for _ in range(40)]
    assert fitted.accuracies.mean() == pytest.approx(real.accuracies.mean(), abs=0.1)
    made = np.mean([one.found.accuracies.mean() for one in runs])
    assert made == pytest.approx(real.accuracies.mean(), abs=0.8)
    wanted = simulation.Estimator(real)
    for family in ("depths", "pairs"):
        made = np.mean([getattr(one, family).mean_square for one in runs])
        assert made == pytest.approx(getattr(wanted, family).mean_square, rel=0.25)
    apart = np.std([one.found.accuracies.mean() for one in runs])
    assert apart == pytest.approx(1.35, abs=0.5)  # 656 images, nearly the same for all runs


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "folds"), [(3, False), (4, True)])
@pytest.mark.parametrize("effects", [True, False], ids=["effects", "none"])
def test_intervals_cover_new_seeds_and_new_images(fitted, seeds, folds, effects):
    generator = fitted if effects else fitted.without_effects()
    rng = np.random.default_rng(2)
    covered = simulation.coverage(generator, seeds, folds, REPLICATES, rng)
    assert set(covered) == {
        *(f"freeze {n}" for n in range(1, 7)), "trend", "head", "schedule", "classical",
        "optimism", "time or memory", "all depths", "configuration 1", "all choices",
    }  # fmt: skip
    assert {name: share for name, share in covered.items() if share < LEAST} == {}
    assert np.mean(list(covered.values())) < 98.5  # nor wider than it need be


def test_configurations_as_units_would_not_cover(fitted):
    """The test above can fail: intervals from the scatter of configurations miss too often."""
    rng, null = np.random.default_rng(3), fitted.without_effects()
    inside = []
    for _ in range(REPLICATES):
        found = simulation.study(null, 3, False, rng).analysis.found
        table = found.design.assign(accuracy=found.accuracies.mean(axis=0))
        estimate = simulation.contrasts.each_depth(simulation.contrasts.OneTable(table))[5]
        inside.append(estimate.low <= 0 <= estimate.high)
    assert 100 * np.mean(inside) < LEAST


def test_folds_alone_cannot_fit_a_generator(fitted):
    found = first_elpv()
    folds = Correctness(found.design, found.seeds, found.right, [0, 1, 2])
    with pytest.raises(InputError, match="share a test set"):
        simulation.fit(folds, np.random.default_rng(0))


@pytest.mark.slow
def test_the_page_shows_what_was_simulated(fitted, tmp_path, monkeypatch):
    first = first_elpv()
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    monkeypatch.setenv("EFFNET_SITE", str(tmp_path / "site"))
    assert "python -m effnet_report.inference.simulation" in conclusions.simulation().data
    monkeypatch.setattr(simulation, "CASES", [(3, False), (4, True)])
    monkeypatch.setattr(simulation, "REPLICATES", 4)
    monkeypatch.setattr(simulation, "first_elpv", lambda: first)
    simulation.main()
    shown = conclusions.simulation().data
    assert simulation.title(2, True) == "2 of 4 folds"
    outside = re.search(r"Less than 93 %: (.+?)\. More than 97 %.+?: (.+?)\.", shown)
    assert "(3 seeds" in outside[2]  # of 4 studies, all or at most three quarters
    assert "Per cent of 4 studies, lowest and highest over 3 seeds, 4 folds" in shown
    kept = pd.read_csv(tmp_path / "site" / "data" / "simulation.csv", index_col="claim")
    written = json.loads((tmp_path / "simulation.json").read_text())
    assert written["study"] == "84 runs of elpv"
    for case in written["cases"]:
        effects = "measured effects" if case["effects"] else "no effects"
        column = f"{effects}, {simulation.title(case['seeds'], case['folds'])}"
        assert kept[column].to_dict() == pytest.approx(case["covered"])
