"""The estimator on 84 committed runs, against figures that were computed apart from it."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.coverage import first_elpv
from effnet_report.evidence import source
from effnet_report.evidence.correctness import Correctness, balanced
from effnet_report.inference import contrasts, dunnett, power
from effnet_report.inference.seeds_and_images import Estimator, Family, against, t_interval


@pytest.fixture(scope="module")
def elpv() -> Estimator:
    return Estimator(first_elpv())


def in_folds(found: Correctness, seeds: int) -> Correctness:
    """As if each seed had judged its own share of the images."""
    right = [part[:, s::seeds] for s, part in enumerate(found.right[:seeds])]
    return Correctness(found.design, found.seeds[:seeds], right, list(range(seeds)))


def freezing(compared, **how):
    """Every depth minus none."""
    return contrasts.each_level(compared, "freeze", **how)


def span(estimate) -> tuple[float, float, float]:
    return (estimate.effect, estimate.low, estimate.high)


def test_freeze_5_of_the_first_elpv(elpv):
    estimate = freezing(elpv)[5]
    assert elpv.family("freeze").mean_square == pytest.approx(1.5775, abs=5e-5)
    assert elpv.family("freeze").freedom == 12
    weights = contrasts.level_weights(elpv.design, "freeze", 5, 0)
    parts = power.spread(elpv.differences(weights), elpv.correctness.test_sets)
    assert parts.images == pytest.approx(0.392, abs=5e-4)
    assert elpv.family("freeze").mean_square * 0.5 / 3 == pytest.approx(0.263, abs=5e-4)
    assert estimate.error**2 == pytest.approx(0.655, abs=6e-4)
    assert estimate.freedom == pytest.approx(74.4, abs=0.05)
    assert span(estimate) == pytest.approx((1.45, -0.16, 3.06), abs=0.005)
    assert (estimate.seeds, estimate.images) == (3, 656)


def cautious(elpv: Estimator) -> Family:
    """Head and schedule as first proposed: seed x configuration, with the few degrees of freedom
    of seed x {head, schedule, both}. Its worked check holds; the intervals cover 98 to 100 %."""
    three = elpv._interaction("head", "scheduler").family
    assert three.mean_square < elpv.pairs.mean_square
    return Family(elpv.pairs.mean_square, 0.0, three.freedom)


def weights_of(elpv: Estimator, factor: str) -> np.ndarray:
    first, second = contrasts.levels(elpv.design, factor)
    return contrasts.level_weights(elpv.design, factor, second, first)


def test_head_and_schedule_of_the_first_elpv_as_first_proposed(elpv):
    head = elpv.estimate(weights_of(elpv, "head"), cautious(elpv))
    assert span(head) == pytest.approx((-0.36, -0.90, 0.18), abs=0.005)
    assert head.freedom == pytest.approx(9.3, abs=0.05)
    cosine = elpv.estimate(weights_of(elpv, "scheduler"), cautious(elpv))
    assert span(cosine) == pytest.approx((0.12, -0.40, 0.64), abs=0.005)


CHOICES = ("head", "scheduler")


def test_head_and_schedule_are_judged_by_what_differs_within_depths(elpv):
    """Their own mean square counts where it is larger."""
    accuracies, depth = elpv.correctness.accuracies, elpv.design["freeze"].to_numpy()
    within = accuracies - np.stack([accuracies[:, depth == n].mean(axis=1) for n in depth], axis=1)
    within -= within.mean(axis=0)
    assert elpv.pooled.freedom == 21 * 2
    assert elpv.pooled.mean_square == pytest.approx((within**2).sum() / 42)
    for factor in CHOICES:
        own, shown = elpv._interaction(factor).family, elpv.family(factor)
        mixed = own.mean_square * 2 / 3 + elpv.pooled.mean_square / 3
        assert shown.mean_square == pytest.approx(max(mixed, elpv.pooled.mean_square))
        assert own.freedom < shown.freedom <= elpv.pooled.freedom


def test_a_head_that_differs_more_between_seeds_is_not_pooled(elpv):
    """Of every seed, 40 images are wrong with one head alone, another head in another seed."""
    found = elpv.correctness
    right = [part.copy() for part in found.right]
    for seed, head in enumerate(["mlp", "none", "mlp"]):
        right[seed][(found.design["head"] == head).to_numpy(), : 40 * (seed + 1)] = False
    apart = Estimator(Correctness(found.design, found.seeds, right, [0, 0, 0]))
    own = apart._interaction("head").family
    assert apart.family("head").mean_square > 0.6 * own.mean_square
    assert apart.family("head").freedom < 4
    assert apart.family("head").mean_square > 10 * elpv.family("head").mean_square


def test_a_family_is_shrunk_less_the_more_seeds_it_rests_on():
    pooled = Family(1.0, 0.0, 200)
    shown = [Family(4.0, 0.0, seeds - 1).moderated(pooled) for seeds in (2, 3, 8)]
    assert [f.mean_square for f in shown] == pytest.approx([2.5, 3.0, 3.625])
    assert Family(0.5, 0.0, 2).moderated(pooled) == pooled
    alone = Family(0.5, 0.0, 2)
    assert alone.moderated(alone) == alone


def test_the_effect_of_a_factor_at_each_level_of_another(elpv):
    effects = contrasts.simple_effects(elpv, "head", "freeze")
    assert list(effects) == [(n, "mlp") for n in range(7)]
    means = elpv.correctness.accuracies.mean(axis=0)
    assert effects[2, "mlp"].effect == pytest.approx(means[10:12].mean() - means[8:10].mean())
    overall = contrasts.choice(elpv, "head").effect
    assert np.mean([e.effect for e in effects.values()]) == pytest.approx(overall)
    assert "for 7 at once" in effects[0, "mlp"].method
    freezing = contrasts.simple_effects(elpv, "freeze", "head")
    assert len(freezing) == 12
    family = elpv.family("freeze", "head")
    assert family.freedom == 6 * 2 * 2
    apart = 0.0
    for head in ("none", "mlp"):
        own = (elpv.design["head"] == head).to_numpy()
        depth = elpv.design["freeze"].to_numpy()[own]
        cells = np.stack(
            [elpv.correctness.accuracies[:, own][:, depth == n].mean(axis=1) for n in range(7)],
            axis=1,
        )
        cells -= cells.mean(axis=0)
        apart += 2 * ((cells - cells.mean(axis=1, keepdims=True)) ** 2).sum()
    assert family.mean_square == pytest.approx(apart / 24)


def test_balanced_accuracy_is_the_mean_of_what_images_add():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [80, 15, 5])
    right = rng.random((4, 100)) < 0.8
    added = balanced(right, labels)
    recalls = np.stack([right[:, labels == c].mean(axis=1) for c in range(3)])
    assert added.mean(axis=1) == pytest.approx(recalls.mean(axis=0), abs=1e-6)
    # Its variance is that of the recalls: how far classes are apart is no chance of images.
    spread = sum(right[:, labels == c].var(axis=1) / n for c, n in enumerate([80, 15, 5])) / 9
    assert added.var(axis=1) / 100 == pytest.approx(spread, rel=1e-4)
    equal = np.repeat([0, 1], 50)
    one = balanced(right, equal) - right
    assert np.ptp(one[:, equal == 0], axis=1) == pytest.approx(np.zeros(4), abs=1e-6)


@pytest.mark.slow
def test_the_pigeonhole_bootstrap_agrees(elpv):
    # Owen, Annals of Applied Statistics 1, 2007: seeds and images are drawn again, each apart.
    rng = np.random.default_rng(0)
    table = np.stack(elpv.differences(contrasts.level_weights(elpv.design, "freeze", 5, 0)))
    seeds, images = table.shape
    by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), 20_000) / seeds
    by_image = rng.multinomial(images, np.full(images, 1 / images), 20_000) / images
    drawn = ((by_seed @ table) * by_image).sum(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (low, high) == pytest.approx((-0.23, 3.14), abs=0.05)
    estimate = freezing(elpv)[5]
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.15)


@pytest.mark.parametrize(
    ("what", "seeds", "images", "folds", "expected"),
    [
        ("freeze 5", 3, 656, False, 1.62), ("freeze 5", 5, 656, False, 1.46),
        ("freeze 5", 8, 656, False, 1.38), ("freeze 5", 3, 10_000, False, 0.78),
        ("freeze 5", 5, 10_000, False, 0.61), ("freeze 5", 8, 10_000, False, 0.51),
        ("freeze 5", 4, 2_624, True, 1.11), ("freeze 5", 5, 2_624, True, 1.07),
        ("head", 3, 656, False, 0.54), ("head", 5, 656, False, 0.41),
        ("head", 8, 656, False, 0.34),
    ],
)  # fmt: skip
def test_half_widths_to_expect_of_studies_of_other_sizes(
    elpv, what, seeds, images, *, folds, expected
):
    weights, family = (
        (contrasts.level_weights(elpv.design, "freeze", 5, 0), elpv.family("freeze"))
        if what == "freeze 5"
        else (weights_of(elpv, "head"), cautious(elpv))
    )
    one_seed = family.times(float((weights**2).sum()))
    parts = power.components(elpv, elpv.differences(weights), one_seed)
    # Sizes that were not measured were simulated there, from a model of the runs.
    wide = 0.01 if (images, folds) == (656, False) else 0.035
    assert half_width(parts, seeds, images, folds=folds) == pytest.approx(expected, abs=wide)
    assert parts.smallest(seeds, images, folds=folds) > half_width(
        parts, seeds, images, folds=folds
    )


def half_width(parts, seeds, images, *, folds=False):
    """Half the width of the 95 % interval of a study of another size, points."""
    error, freedom = parts.error(seeds, images, folds=folds)
    return error * stats.t.ppf(0.975, freedom)


def test_no_number_of_seeds_goes_below_the_floor(elpv):
    weights = contrasts.level_weights(elpv.design, "freeze", 5, 0)
    one = Family(elpv.family("freeze").mean_square / 2, 0.0, elpv.family("freeze").freedom)
    parts = power.components(elpv, elpv.differences(weights), one)
    assert half_width(parts, 10**6, 656) == pytest.approx(1.23, abs=0.005)
    assert parts.floor(656) == pytest.approx(1.23 * (1.96 + 0.8416) / 1.96, abs=0.01)


def test_folds_of_one_seed_that_all_images_explain_add_no_seed_variance(elpv):
    """Trainings that differ by nothing but their images: all variance is that of images."""
    rng = np.random.default_rng(1)
    hard = rng.random((1, 4000)) < 0.8
    flips = rng.random((28, 4000)) < 0.1
    right = [(hard ^ flips)[:, s::4] for s in range(4)]
    folds = Estimator(Correctness(elpv.design, [0, 1, 2, 3], right, [0, 1, 2, 3]))
    whole = np.concatenate(folds.differences(contrasts.level_weights(elpv.design, "freeze", 5, 0)))
    estimate = freezing(folds)[5]
    assert estimate.error == pytest.approx(whole.std(ddof=1) / math.sqrt(4000), rel=0.35)
    assert estimate.images == 4000


def test_seeds_of_one_fold_share_its_images(elpv):
    """Twice the seeds on the same folds: no new images, so the images' share does not halve."""
    once = in_folds(elpv.correctness, 3)
    twice = Correctness(once.design, list(range(6)), once.right * 2, [0, 1, 2, 0, 1, 2])
    weights = contrasts.level_weights(elpv.design, "freeze", 5, 0)
    images = [
        power.spread(Estimator(found).differences(weights), found.test_sets).images
        for found in (once, twice)
    ]
    assert images[0] == pytest.approx(images[1])
    assert (once.images, twice.images) == (656, 656)


def test_one_seed_has_effects_without_intervals(elpv):
    found = elpv.correctness
    one = Estimator(Correctness(found.design, [0], found.right[:1], [0]))
    estimate = freezing(one)[5]
    assert estimate.effect == pytest.approx(
        one.correctness.accuracies[0][20:24].mean() - one.correctness.accuracies[0][:4].mean()
    )
    assert not estimate.known
    assert "one seed" in estimate.method


def test_equal_seeds_and_images_leave_no_doubt():
    estimate = t_interval(1.0, 0.0, 6, "", seeds=3)
    assert (estimate.low, estimate.high, estimate.p) == (1.0, 1.0, 0.0)
    assert t_interval(0.0, 0.0, 6, "", seeds=3).p == 1.0


def test_effects_for_all_at_once_are_wider_and_their_p_larger(elpv):
    single, joint = (
        freezing(elpv)[5],
        freezing(elpv, looks=6)[5],
    )
    assert joint.low < single.low < single.high < joint.high
    assert joint.p == pytest.approx(6 * single.p)


def test_all_choices_are_looked_at_at_once(elpv):
    effects = contrasts.all_choices(elpv)
    assert len(effects) == 8
    assert effects["freeze 5 instead of 0"].p == pytest.approx(8 * freezing(elpv)[5].p)
    assert effects["freeze 5 instead of 0"].low < freezing(elpv, looks=6)[5].low


@pytest.mark.parametrize(("comparisons", "freedom"), [(5, 20), (27, 54), (3, 7)])
def test_dunnetts_reach_covers_as_a_multivariate_t_says(comparisons, freedom):
    reach = dunnett.reach(comparisons, freedom)
    shape = np.full((comparisons, comparisons), 0.5) + 0.5 * np.eye(comparisons)
    bounds = np.full(comparisons, reach)
    law = stats.multivariate_t(shape=shape, df=freedom, seed=0)
    assert law.cdf(bounds, lower_limit=-bounds) == pytest.approx(0.95, abs=0.003)


def test_fewer_factors_are_compared_as_far_as_they_vary(elpv):
    found = elpv.correctness
    kept = found.design.query("head == 'none' and scheduler == 'cosine' and freeze < 2").index
    small = Estimator(
        Correctness(
            found.design.loc[kept].reset_index(drop=True), found.seeds,
            [part[kept] for part in found.right], found.test_sets,
        )
    )  # fmt: skip
    assert list(contrasts.all_choices(small)) == ["freeze 1 instead of 0"]
    assert freezing(small)[1].known
    assert "only one head" in contrasts.choice(small, "head").method
    deep = Estimator(
        Correctness(found.design.iloc[4:].reset_index(drop=True), found.seeds,
                    [part[4:] for part in found.right], found.test_sets)
    )  # fmt: skip
    assert freezing(deep) == {}
    assert contrasts.rivals(deep).keys() == set()
    assert contrasts.trend(deep).known


def test_a_saving_is_what_the_costs_are_apart(elpv):
    rng = np.random.default_rng(0)
    freeze = elpv.design["freeze"].to_numpy()
    logs = np.log(100 * 0.8**freeze) + 0.01 * rng.normal(size=(3, 28))
    estimate = contrasts.saved(logs, elpv.design, 2)
    assert estimate.effect == pytest.approx(36, abs=1)
    assert estimate.low < 36 < estimate.high
    assert estimate.freedom == 12
    assert math.isnan(contrasts.saved(logs[:1], elpv.design, 2).low)


def test_optimism_is_a_mean_over_runs(elpv):
    rng = np.random.default_rng(0)
    validation = [100.0 * (rng.random(492) < 0.86) for _ in range(3)]
    estimate = contrasts.validation_minus_test(elpv, validation)
    means = np.array([v.mean() for v in validation]) - elpv.correctness.accuracies.mean(axis=1)
    assert estimate.effect == pytest.approx(means.mean())
    # Trainings are no part of it: 3 x 492 validation images, and test images that are shared.
    test = elpv.correctness.accuracies.mean() / 100
    least = sum(v.var() for v in validation) / (492 * 9)
    most = least + 10_000 * test * (1 - test) / 656
    assert least < estimate.error**2 < most
    assert estimate.freedom > 656


def test_a_chosen_model_minus_a_classical_one_varies_as_all_do_and_one_of_them(elpv):
    average = elpv.differences(np.full(28, 1 / 28))
    family = contrasts.choice_family(elpv, average)
    between = elpv.correctness.accuracies.mean(axis=1).var(ddof=1)
    assert family.mean_square == pytest.approx(between + 27 / 28 * elpv.pairs.mean_square)
    assert 2 < family.freedom < 2 + 54


def test_every_rival_of_a_configuration_has_an_interval_and_all_hold_at_once(elpv):
    rivals = contrasts.rivals(elpv)
    means = elpv.correctness.accuracies.mean(axis=0)
    assert list(rivals) == list(range(2, 29))
    assert [r.effect for r in rivals.values()] == pytest.approx(list(means[0] - means[1:]))
    one = elpv.estimate(np.eye(28)[0] - np.eye(28)[9], elpv.pairs)
    joint = rivals[10]
    assert (joint.high - joint.effect) / joint.error == pytest.approx(
        dunnett.reach(27, math.floor(joint.freedom)), rel=1e-3
    )
    assert joint.high - joint.low > 1.3 * (one.high - one.low)
    assert joint.p > one.p


def test_all_depths_at_once_are_wider_than_one_and_narrower_than_bonferronis(elpv):
    single, joint = (
        freezing(elpv)[5],
        contrasts.levels_at_once(elpv, "freeze")[5],
    )
    bonferroni = freezing(elpv, looks=6)[5]
    assert bonferroni.low < joint.low < single.low < single.high < joint.high < bonferroni.high
    assert single.p < joint.p < bonferroni.p


def test_p_of_many_comparisons_is_below_one_in_twenty_where_the_interval_ends(elpv):
    joint = contrasts.levels_at_once(elpv, "freeze")
    for n, change in joint.items():
        for end in (change.low, change.high):
            assert contrasts.levels_at_once(elpv, "freeze", value=end)[n].p == pytest.approx(
                0.05, abs=0.002
            )


def test_p_of_one_comparison_is_students(elpv):
    single = contrasts.each_level(elpv, "head")
    assert dunnett.at_once(single) == single
    ((name, change),) = single.items()
    twice = dunnett.at_once(single, looks=2)[name]
    assert twice.method.endswith("; Student's t at 2 looks")
    assert twice.p == pytest.approx(2 * change.p, rel=0.05)  # the degrees of freedom are rounded


@pytest.mark.parametrize(("effect", "p"), [(1.0, 0.0), (0.5, 1.0)])
def test_what_never_varies_is_certain(effect, p):
    sure = t_interval(effect, 0.0, 5.0, "", seeds=3)
    assert against(sure, 0.5).p == p


def test_the_sources_table_is_judged_over_its_configurations():
    table = source.results()
    one = contrasts.OneTable(table)
    blocks = table.groupby(["head", "scheduler"])["accuracy"].transform("mean")
    depth = table.groupby("freeze")["accuracy"].transform("mean")
    residuals = table["accuracy"] - blocks - depth + table["accuracy"].mean()
    error = math.sqrt(2 / 4 * (residuals**2).sum() / 18)
    estimate = freezing(one)[6]
    means = table.groupby("freeze")["accuracy"].mean()
    assert estimate.effect == pytest.approx(means[6] - means[0])
    assert estimate.high - estimate.effect == pytest.approx(stats.t.ppf(0.975, 18) * error)
    assert math.isnan(estimate.p)


def test_the_trend_of_a_straight_line_is_its_rise():
    table = source.results()
    table["accuracy"] = 90 - 0.5 * table["freeze"]
    estimate = contrasts.trend(contrasts.OneTable(table))
    assert estimate.effect == pytest.approx(-3)
