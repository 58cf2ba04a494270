"""What is compared with what: the effects of a study, and those of the source's table."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

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


class OneTable:
    """A table of single runs: are its effects consistent over its configurations?

    What depth and the combination of head and schedule leave unexplained is the residual variance.
    That says nothing about other trainings or other images, so there are no p-values.

    Args:
        table: one row a configuration: number, freeze, head, scheduler, accuracy.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self.design = table
        self.accuracy = table["accuracy"].to_numpy(dtype=float)
        blocks = pd.get_dummies(table["head"] + table["scheduler"])
        terms = np.hstack([pd.get_dummies(table["freeze"]), blocks]).astype(float)
        fitted = terms @ np.linalg.lstsq(terms, self.accuracy)[0]
        freedom = len(table) - int(np.linalg.matrix_rank(terms))
        residual_variance = float(((self.accuracy - fitted) ** 2).sum()) / freedom
        self.depths = self.pairs = Family(residual_variance, 0.0, freedom)

    def choice(self, _: np.ndarray) -> Family:
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


def depth_weights(design: pd.DataFrame, n: int) -> np.ndarray:
    """Freezing n stages minus freezing none."""
    return _mean_where(design["freeze"] == n) - _mean_where(design["freeze"] == 0)


def choice_weights(design: pd.DataFrame, factor: str, level: str, other: str) -> np.ndarray:
    """One level of head or schedule minus the other."""
    return _mean_where(design[factor] == level) - _mean_where(design[factor] == other)


def trend_weights(design: pd.DataFrame) -> np.ndarray:
    """Rise of a straight line over the depths, from the first to the last."""
    freeze = design["freeze"].to_numpy(dtype=float)
    away = freeze - freeze.mean()
    return (freeze.max() - freeze.min()) * away / (away**2).sum()


def _mean_where(chosen: pd.Series) -> np.ndarray:
    return chosen.to_numpy(dtype=float) / chosen.sum()


def each_depth(compared: Compared, looks: int = 1) -> dict[int, Estimate]:
    """Every freeze against none; empty where none was not tried."""
    levels = sorted(compared.design["freeze"].unique())
    if 0 not in levels:
        return {}
    return {
        int(n): compared.estimate(depth_weights(compared.design, n), compared.depths, looks=looks)
        for n in levels[1:]
    }


def depths_at_once(compared: Compared, against: float = 0.0) -> dict[int, Estimate]:
    """Every freeze against none; intervals and p hold for all of them at once.

    Dunnett's t, not Bonferroni's, which is wider than need be for comparisons with one.
    """
    return dunnett.at_once(each_depth(compared), against)


def trend(compared: Compared) -> Estimate:
    """From the shallowest to the deepest freeze, along a straight line."""
    if compared.design["freeze"].nunique() < 2:
        return unknown("only one freeze was tried")
    return compared.estimate(trend_weights(compared.design), compared.depths)


CHOICES = {"head": ("mlp", "none"), "scheduler": ("cosine", "plateau")}


def choice(compared: Compared, factor: str, looks: int = 1) -> Estimate:
    """The second level of head or schedule minus the first."""
    if compared.design[factor].nunique() < 2:
        return unknown(f"only one {factor} was tried")
    weights = choice_weights(compared.design, factor, *CHOICES[factor])
    return compared.estimate(weights, compared.choice(weights), looks=looks)


def all_choices(compared: Compared) -> dict[str, Estimate]:
    """What each choice changes against nothing frozen, one linear layer and plateau, all at once.

    The chance that any of them stands out where none has an effect is one in twenty.
    """
    design = compared.design
    freezes = each_depth(compared)
    factors = [factor for factor in CHOICES if design[factor].nunique() > 1]
    looks = max(1, len(freezes) + len(factors))
    words = {
        "head": "deeper head instead of one layer",
        "scheduler": "cosine instead of plateau",
    }
    joint = {f"freeze {n} instead of 0": e for n, e in each_depth(compared, looks).items()}
    return joint | {words[factor]: choice(compared, factor, looks) for factor in factors}


def rivals(compared: Compared) -> dict[int, Estimate]:
    """Configuration 1 minus each of the others, by their numbers; the intervals hold all at once.

    Not the lead over the best of the others: which that is, is not known, so that an interval for
    it is wider than it promises.
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
    if len(set(compared.found.test_sets)) < seeds or seeds <= 2:
        return compared.of_differences(chosen, family.times(1 / seeds))
    return t_interval(
        float(np.mean([d.mean() for d in chosen])),
        family.mean_square / seeds,
        family.freedom,
        "variance between seeds: they share no test images, so that it holds that of the images; "
        "t with Satterthwaite's degrees of freedom",
        seeds=seeds,
        images=compared.found.images,
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
    found, seeds = compared.found, len(validation)
    every = np.full(len(found.design), 1 / len(found.design))
    test = compared.differences(every)
    means = [v.mean() - t.mean() for v, t in zip(validation, test, strict=True)]
    images = spread(test, found.test_sets)
    parts = [(float(v.var(ddof=1)) / (len(v) * seeds**2), len(v) - 1) for v in validation]
    parts.append((images.images + images.noise, found.images - 1))
    variance, freedom = satterthwaite(parts)
    return t_interval(
        float(np.mean(means)),
        variance,
        freedom if seeds > 1 else math.nan,
        "runs of a seed averaged; variance of its validation images and of the test images",
        seeds=seeds,
        images=found.images,
    )


def saved(logs: np.ndarray, design: pd.DataFrame, n: int) -> Estimate:
    """The saving from logarithms of a cost, shape (seeds, configurations)."""
    weights = depth_weights(design, n)
    seeds, levels = len(logs), design["freeze"].nunique()
    depth = design["freeze"].to_numpy()
    means = np.stack([logs[:, depth == f].mean(axis=1) for f in np.unique(depth)])
    apart = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    freedom = (levels - 1) * (seeds - 1)
    scale = len(design) / levels * float((weights**2).sum()) / seeds
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
