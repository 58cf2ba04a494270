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
    return frame.assign(test_accuracy=90 + rng.normal(0, 0.3, len(frame)))


def test_a_run_far_below_its_fellows_is_found_and_its_part_in_an_effect_told():
    frame = runs(5)
    assert outliers.far_below(frame).empty
    frame.loc[12, "test_accuracy"] -= 20  # of configuration 3
    odd = outliers.far_below(frame)
    assert odd.index.tolist() == [12]
    assert odd["below"].iloc[0] == pytest.approx(20, abs=1)
    (change,) = outliers.changes(frame, odd).itertuples()
    assert change.freeze == 2
    assert change.all - change.without == pytest.approx(-20 / 5 / 2, abs=0.3)


def test_of_few_seeds_none_is_called_unusual():
    frame = runs(2)
    frame.loc[0, "test_accuracy"] -= 50
    assert outliers.far_below(frame).empty
    assert outliers.far_below(frame.iloc[:0]).empty


def test_what_no_depth_has_changes_none():
    frame = runs(5)
    assert outliers.changes(frame, frame[frame["freeze"] == 0]).empty
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
