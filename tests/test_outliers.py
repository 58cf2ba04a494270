"""Runs far below the other seeds of their configuration."""

import numpy as np
import pandas as pd
import pytest
from factories import save_run, use_folders, write_study

from effnet_core.study.studies import load_study
from effnet_report.inference import analysis, outliers
from effnet_report.pages import answer, results


def runs(seeds: int) -> pd.DataFrame:
    """Four configurations of two depths, with 90 % and some scatter."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"number": number, "freeze": 2 * (number > 2), "seed": seed}
        for number in (1, 2, 3, 4)
        for seed in range(seeds)
    )
    return frame.assign(accuracy=90 + rng.normal(0, 0.3, len(frame)))


def test_a_run_far_below_its_fellows_is_found_and_its_part_in_an_effect_told():
    frame = runs(5)
    assert outliers.far_below(frame).empty
    frame.loc[12, "accuracy"] -= 20  # of configuration 3
    odd = outliers.far_below(frame)
    assert odd.index.tolist() == [12]
    assert odd["below"].iloc[0] == pytest.approx(20, abs=1)
    (change,) = outliers.changes(frame, odd).itertuples()
    assert change.freeze == 2
    assert change.all - change.without == pytest.approx(-20 / 5 / 2, abs=0.3)


def test_of_few_seeds_none_is_called_unusual():
    frame = runs(2)
    frame.loc[0, "accuracy"] -= 50
    assert outliers.far_below(frame).empty
    assert outliers.far_below(frame.iloc[:0]).empty


@pytest.mark.parametrize("seeds", [3, 4, 5])
def test_ordinary_scatter_is_nothing_unusual(seeds):
    """With three seeds, a third of the runs are the medians themselves."""
    rng, found, trials = np.random.default_rng(1), 0, 100
    frame = pd.concat(
        [runs(seeds).assign(number=lambda f, n=n: f["number"] + 4 * n) for n in range(7)]
    )
    frame = frame.reset_index(drop=True)
    for _ in range(trials):
        found += len(outliers.far_below(frame.assign(accuracy=90 + rng.normal(0, 1, len(frame)))))
    assert found < 0.005 * trials * len(frame)


def test_equal_accuracies_are_nothing_unusual():
    frame = runs(5).assign(accuracy=90.0)
    assert outliers.far_below(frame).empty
    frame.loc[3:5, "accuracy"] = 89.5  # an image of a small test set
    assert outliers.far_below(frame).empty


def test_a_failed_run_with_nothing_frozen_has_a_part_in_all_depths():
    frame = runs(5)
    frame.loc[0, "accuracy"] -= 20
    (change,) = outliers.changes(frame, outliers.far_below(frame)).itertuples()
    assert change.all - change.without == pytest.approx(20 / 5 / 2, abs=0.3)
    assert outliers.changes(frame.drop(columns="freeze"), frame.iloc[:1]).empty


def test_failed_runs_are_told_on_results_and_on_the_first_page(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    monkeypatch.setenv("EFFNET_STUDY", "elpv")
    write_study("elpv")
    failed = next(s for s in load_study("elpv").runs() if (s.freeze, s.seed) == (1, 3))
    save_run(failed, accuracy=30)
    study = analysis.load("elpv")
    told = results.far_below(study).data
    assert failed.run_id in told
    assert "Without it, freezing 1 stage changes accuracy by" in told
    assert 'data-finding="far-below:elpv"' in answer.limits([study]).data
