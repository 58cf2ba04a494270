"""What is compared with what: the effects of a study, and those of the source's table."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from effnet_core.study.design import SOURCE_FACTORS
from effnet_report.inference import dunnett
from effnet_report.inference.seeds_and_images import (
    Estimate,
    Estimator,
    Family,
    satterthwaite,
    spread,
    t_interval,
    unknown,
)
from effnet_report.words import factor as factor_words
from effnet_report.words import full_level, level


class OneTable:
    """The source's table of single runs: are its effects consistent over its configurations?

    What depth and the combination of head and schedule leave unexplained is the residual variance.
    That says nothing about other trainings or other images, so there are no p-values.

    Args:
        table: one row a configuration: number, freeze, head, scheduler, accuracy.
        factors: those that are looked at.
    """

    def __init__(self, table: pd.DataFrame, factors: Sequence[str] = (*SOURCE_FACTORS,)) -> None:
        self.design = table
        self.factors = [*factors]
        self.accuracy = table["accuracy"].to_numpy(dtype=float)
        blocks = pd.get_dummies(table["head"] + table["scheduler"])
        terms = np.hstack([pd.get_dummies(table["freeze"]), blocks]).astype(float)
        fitted = terms @ np.linalg.lstsq(terms, self.accuracy)[0]
        freedom = len(table) - int(np.linalg.matrix_rank(terms))
        residual_variance = float(((self.accuracy - fitted) ** 2).sum()) / freedom
        self.pairs = Family(residual_variance, 0.0, freedom)

    def family(self, *_: str) -> Family:
        """The same for all contrasts."""
        return self.pairs

    def estimate(self, weights: np.ndarray, family: Family, *, looks: int = 1) -> Estimate:
        """A contrast with its consistency interval; see `Estimator.estimate`."""
        return replace(
            t_interval(
                float(weights @ self.accuracy),
                family.mean_square * float((weights**2).sum()),
                family.freedom,
                "consistency over the configurations of one table: t on what depth and head x "
                "schedule leave unexplained",
                seeds=1,
                looks=looks,
            ),
            p=math.nan,
        )


Compared = Estimator | OneTable


def levels(design: pd.DataFrame, factor: str) -> list[Any]:
    """A factor's levels, the one that the others are compared with first.

    Those of the source's factors are in its order, others as the study has them.
    """
    tried = list(dict.fromkeys(design[factor])) if factor in design else []
    if factor in SOURCE_FACTORS:
        return [level for level in SOURCE_FACTORS[factor] if level in tried]
    return tried


def varied(compared: Compared) -> list[str]:
    """The factors of which there are several levels."""
    return [factor for factor in compared.factors if len(levels(compared.design, factor)) > 1]


def level_weights(
    design: pd.DataFrame,
    factor: str,
    level: object,
    other: object,
    where: pd.Series | bool = True,
) -> np.ndarray:
    """One level of a factor minus another, in all configurations or in some."""
    one, rest = (where & (design[factor] == name) for name in (level, other))
    return one.to_numpy(dtype=float) / one.sum() - rest.to_numpy(dtype=float) / rest.sum()


def trend_weights(design: pd.DataFrame) -> np.ndarray:
    """Rise of a straight line over the depths, from the first to the last."""
    freeze = design["freeze"].to_numpy(dtype=float)
    away = freeze - freeze.mean()
    return (freeze.max() - freeze.min()) * away / (away**2).sum()


def each_level(compared: Compared, factor: str, looks: int = 1) -> dict[Any, Estimate]:
    """Every other level of a factor minus its first; of depths, nothing if none was not tried."""
    design = compared.design
    first, *others = levels(design, factor) or [None]
    if not others or (factor == "freeze" and first != 0):
        return {}
    family = compared.family(factor)
    return {
        other: compared.estimate(level_weights(design, factor, other, first), family, looks=looks)
        for other in others
    }


def levels_at_once(
    compared: Compared, factor: str, value: float = 0.0, looks: int = 1
) -> dict[Any, Estimate]:
    """Every other level minus the first; intervals and p hold for all of them at once.

    The p is of a result at least as far from `value`.
    Dunnett's t, not Bonferroni's, which is wider than need be for comparisons with one. Of one
    comparison it is Student's.
    """
    return dunnett.at_once(each_level(compared, factor), value, looks)


def trend(compared: Compared) -> Estimate:
    """From the shallowest to the deepest freeze, along a straight line."""
    if len(levels(compared.design, "freeze")) < 2:
        return unknown("only one freeze was tried")
    return compared.estimate(trend_weights(compared.design), compared.family("freeze"))


def choice(compared: Compared, factor: str) -> Estimate:
    """The second level of a factor minus its first."""
    if len(levels(compared.design, factor)) < 2:
        return unknown(f"only one {factor_words(factor)} was tried")
    return next(iter(each_level(compared, factor).values()))


def all_choices(compared: Compared) -> dict[str, Estimate]:
    """What each level changes against the first of its factor, all at once, in words.

    The chance that any of them stands out where none has an effect is one in twenty.
    """
    many = sum(len(each_level(compared, factor)) for factor in varied(compared))
    return {
        change_words(compared, factor, other): estimate
        for factor in varied(compared)
        for other, estimate in each_level(compared, factor, looks=many).items()
    }


CHANGES = {"head": "deeper head instead of one layer"}


def change_words(compared: Compared, factor: str, other: object) -> str:
    """As in `freeze 5 instead of 0`, `cosine instead of plateau`."""
    first = levels(compared.design, factor)[0]
    usual = f"{full_level(factor, other)} instead of {level(factor, first)}"
    return CHANGES.get(factor, usual)


def simple_effects(compared: Compared, factor: str, at: str) -> dict[tuple[Any, Any], Estimate]:
    """The effect of a factor at each level of another; the intervals hold for all at once.

    Returns:
        By the other factor's level and the level that is compared with the factor's first.
    """
    design = compared.design
    first, *others = levels(design, factor)
    pairs = [(at_level, other) for at_level in levels(design, at) for other in others]
    family = compared.family(factor, at)
    return {
        (at_level, other): compared.estimate(
            level_weights(design, factor, other, first, design[at] == at_level),
            family,
            looks=len(pairs),
        )
        for at_level, other in pairs
    }


def rivals(compared: Compared) -> dict[int, Estimate]:
    """Configuration 1 minus each of the others, by their numbers; the intervals hold all at once.

    Not the lead over the best of the others: it is selected from the data, so that its interval
    would not cover as promised.
    """
    numbers = compared.design["number"].to_numpy()
    if 1 not in numbers:
        return {}
    single = {
        int(other): compared.estimate((numbers == 1) * 1.0 - (numbers == other), compared.pairs)
        for other in numbers[numbers != 1]
    }
    return dunnett.at_once(single)


Differences = list[np.ndarray]


def chosen_minus_other(compared: Estimator, chosen: Differences, average: Differences) -> Estimate:
    """The chosen configurations minus another kind of model, by seed and image."""
    seeds, family = len(chosen), choice_family(compared, average)
    # Of two seeds alone the variance between them is too uncertain: images then set its least.
    if len(set(compared.correctness.test_sets)) < seeds or seeds <= 2:
        return compared.of_differences(chosen, family.times(1 / seeds))
    return t_interval(
        float(np.mean([d.mean() for d in chosen])),
        family.mean_square / seeds,
        family.freedom,
        "variance between seeds, which share no test images, so that it includes that of images; "
        "t with Satterthwaite's degrees of freedom",
        seeds=seeds,
        images=compared.correctness.images,
    )


def choice_family(compared: Estimator, average: Differences) -> Family:
    """Variance between seeds of a chosen configuration minus another kind of model.

    It is that of the mean of all configurations minus the other model, and that of one
    configuration around this mean.

    Args:
        compared: the study's configurations.
        average: by seed and image, their mean minus the other model, points.
    """
    parts = [compared.between(average)]
    if len(compared.design) > 1:
        parts.append(compared.pairs.times(1 - 1 / len(compared.design)))
    whole, freedom = satterthwaite([(part.mean_square, part.freedom) for part in parts])
    return Family(whole, sum(part.explained for part in parts), freedom)


def validation_minus_test(compared: Estimator, validation: list[np.ndarray]) -> Estimate:
    """Mean accuracy on the seeds' validation images minus that on the test images.

    Both are of the same models, so that how good a seed's models are cancels. What remains is
    which images they are judged on: every seed draws its own validation images.

    Args:
        compared: the study's configurations.
        validation: by seed, mean accuracy of the configurations on each image, per cent.
    """
    correctness, seeds = compared.correctness, len(validation)
    every = np.full(len(correctness.design), 1 / len(correctness.design))
    test = compared.differences(every)
    means = [v.mean() - t.mean() for v, t in zip(validation, test, strict=True)]
    images = spread(test, correctness.test_sets)
    parts = [(float(v.var(ddof=1)) / (len(v) * seeds**2), len(v) - 1) for v in validation]
    parts.append((images.images + images.noise, correctness.images - 1))
    variance, freedom = satterthwaite(parts)
    return t_interval(
        float(np.mean(means)),
        variance,
        freedom if seeds > 1 else math.nan,
        "runs of a seed averaged; variance of its validation images and of the test images",
        seeds=seeds,
        images=correctness.images,
    )


def saved(logs: np.ndarray, design: pd.DataFrame, n: int) -> Estimate:
    """The saving from logarithms of a cost, shape (seeds, configurations)."""
    weights = level_weights(design, "freeze", n, 0)
    seeds, depths = len(logs), design["freeze"].nunique()
    depth = design["freeze"].to_numpy()
    means = np.stack([logs[:, depth == f].mean(axis=1) for f in np.unique(depth)])
    apart = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    freedom = (depths - 1) * (seeds - 1)
    scale = len(design) / depths * float((weights**2).sum()) / seeds
    change = t_interval(
        float(weights @ logs.mean(axis=0)),
        scale * float((apart**2).sum()) / freedom if freedom else math.nan,
        freedom,
        "seed x freeze, of the logarithm",
        seeds=seeds,
    )
    low, effect, high = (
        100 * (1 - math.exp(log)) for log in (change.high, change.effect, change.low)
    )
    return replace(change, effect=effect, low=low, high=high)
