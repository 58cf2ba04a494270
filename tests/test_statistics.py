import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from effnet_report.evidence import source
from effnet_report.evidence.comparison import accuracy_interval
from effnet_report.inference import statistics


def runs(accuracy: np.ndarray, seeds: int = 1) -> pd.DataFrame:
    """The source's 28 configurations with accuracies of shape (28, seeds)."""
    design = source.results()[["number", "freeze", "head", "scheduler"]]
    tables = [
        design.assign(seed=seed, accuracy=np.reshape(accuracy, (28, seeds))[:, seed])
        for seed in range(seeds)
    ]
    return pd.concat(tables, ignore_index=True)


def share(flags) -> float:
    return float(np.mean(list(flags)))


def test_sign_flips_of_fishers_example():
    # Fisher, The Design of Experiments (1935), chapter 3: Darwin's maize, in eighths of an inch;
    # 1,726 of 32,768 signs are at least as extreme. Student's interval is 0.03 to 41.84.
    darwin = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    estimate = statistics.mean_difference(darwin)
    assert estimate.effect == pytest.approx(20.93, abs=0.005)
    assert estimate.p == pytest.approx(1726 / 32768)
    assert (estimate.low, estimate.high) == pytest.approx((0.03, 41.84), abs=3)
    assert estimate.n == 15


def test_differences_without_effect_are_found_as_often_as_promised():
    chance = np.random.default_rng(0)
    found = [statistics.mean_difference(chance.normal(size=8)) for _ in range(600)]
    assert share(e.p < 0.05 for e in found) == pytest.approx(0.05, abs=0.025)
    assert share(e.low < 0 < e.high for e in found) == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize("differences", [[], [1.5], [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_too_few_pairs_have_no_interval(differences):
    estimate = statistics.mean_difference(differences)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.p)


def test_matched_differences_of_a_balanced_table_average_to_the_difference_of_means():
    table = source.results()
    differences = statistics.matched_differences(table, "scheduler", "cosine", "plateau")
    means = table.groupby("scheduler")["accuracy"].mean()
    assert len(differences) == 14
    assert differences.mean() == pytest.approx(means["cosine"] - means["plateau"])


def test_a_missing_configuration_costs_its_pair_only():
    table = source.results().query("number != 3")
    assert len(statistics.matched_differences(table, "head", "mlp", "none")) == 13


def test_seeds_are_matched_and_then_averaged():
    table = runs(np.arange(84.0).reshape(28, 3), seeds=3)
    lonely = table.drop(table.query("number == 3 and seed == 2").index)
    for shown in (table, lonely):
        differences = statistics.matched_differences(shown, "head", "mlp", "none")
        assert len(differences) == 14
        assert differences.tolist() == pytest.approx([6.0] * 14)


def test_a_seed_that_is_good_for_all_changes_no_comparison():
    noise = np.random.default_rng(0).normal(size=(28, 3))
    lucky = noise + np.array([0, 5, -3])
    sd, freedom = statistics.chance(runs(noise, seeds=3))
    assert statistics.chance(runs(lucky, seeds=3)) == (pytest.approx(sd), freedom)
    assert freedom == 27 * 2
    assert sd == pytest.approx(1, abs=0.2)


def test_freeze_contrasts_are_differences_of_means_with_pooled_noise():
    table = source.results()
    contrasts = statistics.freeze_contrasts(table)
    means = table.groupby("freeze")["accuracy"].mean()
    assert list(contrasts) == [1, 2, 3, 4, 5, 6]
    for n, contrast in contrasts.items():
        assert contrast.effect == pytest.approx(means[n] - means[0])
    blocks = table.groupby(["head", "scheduler"])["accuracy"].transform("mean")
    depth = table.groupby("freeze")["accuracy"].transform("mean")
    residuals = table["accuracy"] - blocks - depth + table["accuracy"].mean()
    error = math.sqrt(2 / 4 * (residuals**2).sum() / 18)
    assert contrasts[6].high - contrasts[6].effect == pytest.approx(stats.t.ppf(0.975, 18) * error)


def test_contrasts_for_all_depths_at_once_are_wider():
    table = source.results()
    single = statistics.freeze_contrasts(table)[1]
    joint = statistics.freeze_contrasts(table, looks=6)[1]
    assert joint.low < single.low < single.high < joint.high
    assert joint.p == pytest.approx(min(1, 6 * single.p))


def test_contrasts_need_runs_without_freezing():
    assert statistics.freeze_contrasts(source.results().query("freeze > 0")) == {}


def test_depths_and_heads_that_never_met_are_not_compared():
    table = source.results()
    apart = table.query("(freeze == 0 and head == 'none') or (freeze == 1 and head == 'mlp')")
    assert statistics.freeze_contrasts(apart) == {}


def test_trend_of_a_straight_line_is_its_rise():
    table = source.results()
    table["accuracy"] = 90 - 0.5 * table["freeze"]
    estimate = statistics.freeze_trend(table)
    assert estimate.effect == pytest.approx(-3)
    assert estimate.high == pytest.approx(-3)
    assert estimate.p < 0.001


def test_pages_test_of_a_worked_example():
    # SciPy's own example for Page's test: ten students rate three ways of teaching; L = 133.5 and
    # exact p = 0.00182 for one direction.
    ratings = [
        *([3, 4, 3], [2, 2, 4], [3, 3, 5], [1, 3, 2], [2, 3, 2]),
        *([2, 4, 5], [1, 2, 4], [3, 4, 4], [2, 4, 5], [1, 3, 4]),
    ]
    rows = [
        {"number": 3 * block + place, "freeze": place, "head": f"h{block}", "scheduler": "x",
         "seed": 0, "accuracy": value}
        for block, line in enumerate(ratings)
        for place, value in enumerate(line)
    ]  # fmt: skip
    assert statistics.freeze_trend(pd.DataFrame(rows)).p == pytest.approx(2 * 0.00182, abs=1e-5)


def test_trends_and_contrasts_without_effect_are_found_as_often_as_promised():
    chance = np.random.default_rng(1)
    tables = [runs(chance.normal(90, 1, 28)) for _ in range(120)]
    trends = [statistics.freeze_trend(table) for table in tables]
    contrasts = [statistics.freeze_contrasts(table)[3] for table in tables]
    for found in (trends, contrasts):
        assert share(e.low < 0 < e.high for e in found) == pytest.approx(0.95, abs=0.05)
        assert share(e.p < 0.05 for e in found) == pytest.approx(0.05, abs=0.05)


def test_tukeys_interval_of_a_worked_example():
    # SciPy's example for Tukey's test: headache drugs; A minus B -4.6, from -8.249 to -0.951.
    drugs = [
        [24.5, 23.5, 26.4, 27.1, 29.9],
        [28.4, 34.2, 29.5, 32.2, 30.1],
        [26.1, 28.3, 24.3, 26.2, 27.8],
    ]
    rows = [
        {"number": n + 1, "freeze": n, "head": "none", "scheduler": "plateau",
         "seed": 5 * n + place, "accuracy": value}
        for n, drug in enumerate(drugs)
        for place, value in enumerate(drug)
    ]  # fmt: skip
    lead = statistics.lead_of(1, pd.DataFrame(rows))
    assert lead.effect == pytest.approx(-4.6)
    assert (lead.low, lead.high) == pytest.approx((-8.249, -0.951), abs=0.001)
    assert lead.p == pytest.approx(0.014, abs=0.001)


def test_lead_is_over_the_best_of_the_others():
    table = source.results()
    rest = table.query("number != 1")["accuracy"].max()
    lead = statistics.lead_of(1, table)
    assert lead.effect == pytest.approx(table["accuracy"][0] - rest)
    assert lead.low < lead.effect < lead.high


def test_lead_without_the_configuration_is_unknown():
    assert math.isnan(statistics.lead_of(1, source.results().query("number != 1")).effect)


def test_wilson_interval_of_newcombes_example():
    # Newcombe, Statistics in Medicine 1998, table I: 81 of 263.
    low, high = accuracy_interval(100 * 81 / 263, 263)
    assert (low, high) == pytest.approx((25.53, 36.62), abs=0.005)


def test_wilson_intervals_cover_as_often_as_promised():
    chance = np.random.default_rng(2)
    seen = chance.binomial(80, 0.85, 1000) / 80 * 100
    intervals = {value: accuracy_interval(value, 80) for value in np.unique(seen)}
    covered = share(intervals[value][0] < 85 < intervals[value][1] for value in seen)
    assert covered == pytest.approx(0.95, abs=0.02)


def test_paired_images_of_agrestis_example():
    # Agresti, Categorical Data Analysis, approval of a prime minister asked twice: 150 yes to no,
    # 86 no to yes of 1,600; interval about 0.02 to 0.06, McNemar's p 0.00003.
    differences = np.repeat([1.0, -1.0, 0.0], [150, 86, 1600 - 150 - 86])
    estimate = statistics.paired_images(differences)
    assert estimate.effect == pytest.approx(4.0)
    assert (estimate.low, estimate.high) == pytest.approx((2.1, 5.9), abs=0.1)
    assert estimate.p == pytest.approx(3e-5, abs=1e-5)


def test_models_that_never_disagree_keep_an_interval():
    estimate = statistics.paired_images(np.zeros(20))
    assert estimate.effect == 0
    assert estimate.low < 0 < estimate.high
    assert estimate.p == 1


def test_models_without_a_difference_are_told_apart_as_seldom_as_promised():
    chance = np.random.default_rng(3)
    draws = chance.choice([-1.0, 0.0, 1.0], size=(500, 200), p=[0.1, 0.8, 0.1])
    found = [statistics.paired_images(draw) for draw in draws]
    assert share(e.low < 0 < e.high for e in found) == pytest.approx(0.95, abs=0.025)
    assert share(e.p < 0.05 for e in found) == pytest.approx(0.04, abs=0.025)  # exact: a bit less


def test_sign_flips_over_several_seeds_agree_with_mcnemar_on_one():
    one = np.repeat([1.0, -1.0, 0.0], [30, 14, 156])
    several = np.append(one, [1 / 3, -1 / 3])
    p = statistics.paired_images(one).p
    assert statistics.paired_images(several).p == pytest.approx(p, abs=0.01)
    assert "McNemar" in statistics.paired_images(one).method
    assert "McNemar" not in statistics.paired_images(several).method


def test_two_sets_of_images_are_compared_as_often_as_promised():
    chance = np.random.default_rng(4)
    found = [
        statistics.between_images(
            pd.Series(chance.random(60) < 0.8, dtype=float),
            pd.Series(chance.random(80) < 0.8, dtype=float),
        )
        for _ in range(500)
    ]
    assert share(e.low < 0 < e.high for e in found) == pytest.approx(0.95, abs=0.025)
    assert found[0].n == 140


def test_holms_correction_of_a_worked_example():
    # Four p-values as in Holm, Scandinavian Journal of Statistics 1979, and most textbooks since.
    adjusted = statistics.holm([0.01, 0.04, math.nan, 0.03, 0.005])
    assert adjusted[:2] + adjusted[3:] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert math.isnan(adjusted[2])
    assert all(map(math.isnan, statistics.holm([math.nan])))


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_resolvable_difference_is_found_four_times_out_of_five(seeds):
    chance = np.random.default_rng(seeds)
    effect = statistics.resolvable(sd=2.0, pairs=14, seeds=seeds)
    pairs = chance.normal(0, 2, (2, 4000, 14, seeds)).mean(axis=-1)
    p = stats.ttest_1samp(pairs[0] - pairs[1] + effect, 0, axis=1).pvalue
    assert share(p < 0.05) == pytest.approx(0.8, abs=0.02)


def test_factor_effects_name_every_choice():
    effects = statistics.factor_effects(source.results())
    assert len(effects) == 8
    assert effects["cosine instead of plateau"].n == 14


def test_factor_means_cover_every_level():
    means = statistics.factor_means(source.results())
    assert list(means["configurations"]) == [4] * 7 + [14] * 4


def test_no_runs_give_no_numbers():
    nothing = source.results().iloc[:0]
    assert math.isnan(statistics.freeze_trend(nothing).effect)
    assert math.isnan(statistics.lead_of(1, nothing).effect)
    assert statistics.freeze_contrasts(nothing) == {}
    assert statistics.chance(nothing)[1] == 0
