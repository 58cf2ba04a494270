import math

import numpy as np
import pandas as pd
import pytest

from effnet_core.report import published, statistics


def test_mean_difference_has_students_interval():
    estimate = statistics.mean_difference([1, 2, 3])
    # t(0.975, 2) = 4.3027, standard error 1 / sqrt(3)
    assert estimate.effect == pytest.approx(2)
    assert estimate.high == pytest.approx(2 + 4.3027 / math.sqrt(3), abs=1e-4)
    assert estimate.low + estimate.high == pytest.approx(4)
    assert estimate.n == 3


@pytest.mark.parametrize("differences", [[], [1.5]])
def test_too_few_pairs_have_no_interval(differences):
    estimate = statistics.mean_difference(differences)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


def test_matched_differences_of_a_balanced_table_average_to_the_difference_of_means():
    table = published.results()
    differences = statistics.matched_differences(table, "scheduler", "cosine", "plateau")
    means = table.groupby("scheduler")["accuracy"].mean()
    assert len(differences) == 14
    assert differences.mean() == pytest.approx(means["cosine"] - means["plateau"])


def test_a_missing_configuration_costs_its_pair_only():
    table = published.results().query("number != 3")
    assert len(statistics.matched_differences(table, "head", "mlp", "none")) == 13


def test_factor_effects_name_every_choice():
    effects = statistics.factor_effects(published.results())
    assert len(effects) == 8
    assert effects["freeze 6 instead of 0"].n == 4


def test_factor_means_cover_every_level():
    means = statistics.factor_means(published.results())
    assert list(means["configurations"]) == [4] * 7 + [14] * 4


def test_trend_of_a_straight_line_is_its_rise():
    table = published.results()
    table["accuracy"] = 90 - 0.5 * table["freeze"]
    estimate = statistics.freeze_trend(table)
    assert estimate.effect == pytest.approx(-3)
    assert estimate.high == pytest.approx(-3)


def test_lead_is_over_the_best_of_the_others():
    table = published.results()
    rest = table.query("number != 1")["accuracy"].max()
    lead = statistics.lead_of(1, table)
    assert lead.effect == pytest.approx(table["accuracy"][0] - rest)
    assert lead.low < lead.effect < lead.high


def test_lead_without_the_configuration_is_unknown():
    assert math.isnan(statistics.lead_of(1, published.results().query("number != 1")).effect)


def test_wilson_interval_of_newcombes_example():
    # Newcombe, Statistics in Medicine 1998, table I: 81 of 263.
    low, high = statistics.accuracy_interval(100 * 81 / 263, 263)
    assert (low, high) == pytest.approx((25.53, 36.62), abs=0.005)


def test_paired_accuracy_of_agrestis_example():
    # Agresti, Categorical Data Analysis, approval of a prime minister asked twice:
    # 794 both, 150 first only, 86 second only, 570 neither; interval about 0.02 to 0.06.
    counts = {(True, True): 794, (True, False): 150, (False, True): 86, (False, False): 570}
    pairs = np.array([pair for pair, n in counts.items() for _ in range(n)])
    estimate = statistics.paired_accuracy(pairs[:, 0], pairs[:, 1])
    assert estimate.effect == pytest.approx(4.0)
    assert (estimate.low, estimate.high) == pytest.approx((2.1, 5.9), abs=0.1)


def test_models_that_never_disagree_keep_an_interval():
    right = np.ones(20, dtype=bool)
    estimate = statistics.paired_accuracy(right, right)
    assert estimate.effect == 0
    assert estimate.low < 0 < estimate.high


def test_no_runs_give_no_numbers():
    nothing = pd.DataFrame(columns=["number", "freeze", "head", "scheduler", "accuracy"])
    assert math.isnan(statistics.freeze_trend(nothing).effect)
    assert math.isnan(statistics.lead_of(1, nothing).effect)
