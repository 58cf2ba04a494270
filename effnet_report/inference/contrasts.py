"""What is compared with what: the effects of a study, and those of the source's table."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from statistics import fmean

import numpy as np
import pandas as pd

from effnet_core.study.schema import AnyRecord
from effnet_report.evidence.correctness import (
    chosen_on_validation,
    correctness,
    validation_shares,
    without_training,
)
from effnet_report.evidence.evidence import Evidence
from effnet_report.inference import dunnett
from effnet_report.inference.seeds_and_images import (
    Analysis,
    Estimate,
    Family,
    interval,
    satterthwaite,
    spread,
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
        """A contrast with its consistency interval; see `Analysis.estimate`."""
        return replace(
            interval(
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


Compared = Analysis | OneTable


@cache
def analysis(evidence: Evidence) -> Analysis:
    """The estimator on a study's test images."""
    return Analysis(correctness(evidence))


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


def depths(compared: Compared, looks: int = 1) -> dict[int, Estimate]:
    """Every freeze against none; empty where none was not tried."""
    levels = sorted(compared.design["freeze"].unique())
    if 0 not in levels:
        return {}
    return {
        int(n): compared.estimate(depth_weights(compared.design, n), compared.depths, looks=looks)
        for n in levels[1:]
    }


def all_depths(compared: Compared, against: float = 0.0) -> dict[int, Estimate]:
    """Every freeze against none; intervals and p hold for all of them at once.

    Dunnett's t, not Bonferroni's, which is wider than need be for comparisons with one.
    """
    return dunnett.at_once(depths(compared), against)


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
    freezes = depths(compared)
    factors = [factor for factor in CHOICES if design[factor].nunique() > 1]
    looks = max(1, len(freezes) + len(factors))
    words = {
        "head": "deeper head instead of one layer",
        "scheduler": "cosine instead of plateau",
    }
    joint = {f"freeze {n} instead of 0": e for n, e in depths(compared, looks).items()}
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


def over_classical(evidence: Evidence, *, each_seed: bool = True) -> Estimate:
    """Fine-tuned minus classical on the same images, both chosen on validation images.

    Args:
        evidence: a study.
        each_seed: each seed takes the configuration with its own best validation accuracy. Else
            all take the one with the best mean, whose lead carries the luck of these trainings.
    """
    parts = against_classical(evidence, each_seed=each_seed)
    if parts is None:
        return unknown("a seed lacks its fine-tuned models, or the one without fine-tuning")
    return chosen_minus_other(analysis(evidence), *parts)


Differences = list[np.ndarray]


def against_classical(
    evidence: Evidence, *, each_seed: bool = True
) -> tuple[Differences, Differences] | None:
    """By seed and image, the chosen configuration, and all on average, minus the other model.

    The other model is the baseline or the best classical one, chosen on validation too.
    """
    found, kinds = correctness(evidence), evidence.classical.values()

    def validated(records: Sequence[AnyRecord]) -> float:
        return fmean(record.outcome.validation.accuracy for record in records)

    theirs = without_training(evidence, found, max(kinds, key=validated, default=[]))
    if not found.seeds or set(theirs) != set(found.seeds):
        return None
    chosen = chosen_on_validation(evidence, each_seed=each_seed)
    rows = [
        (100.0 * right, 100.0 * theirs[seed], place)
        for right, seed, place in zip(found.right, found.seeds, chosen, strict=True)
    ]
    return (
        [right[place] - other for right, other, place in rows],
        [right.mean(axis=0) - other for right, other, _ in rows],
    )


def chosen_minus_other(compared: Analysis, chosen: Differences, average: Differences) -> Estimate:
    """The chosen configurations minus another kind of model, from `against_classical`."""
    seeds, family = len(chosen), choice_family(compared, average)
    # Of two seeds alone the variance between them is too uncertain: images then set its least.
    if len(set(compared.found.test_sets)) < seeds or seeds <= 2:
        return compared.of_differences(chosen, family.times(1 / seeds))
    return interval(
        float(np.mean([d.mean() for d in chosen])),
        family.mean_square / seeds,
        family.freedom,
        "variance between seeds: they share no test images, so that it holds that of the images; "
        "t with Satterthwaite's degrees of freedom",
        seeds=seeds,
        images=compared.found.images,
    )


def choice_family(compared: Analysis, average: Differences) -> Family:
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


def optimism(evidence: Evidence) -> Estimate:
    """Validation accuracy at the best epoch minus test accuracy: the mean over the runs."""
    found = correctness(evidence)
    if not found.seeds:
        return unknown("no seed has a run of every configuration yet")
    validation = [100 * share for share in validation_shares(evidence, found)]
    return validation_minus_test(analysis(evidence), validation)


def validation_minus_test(compared: Analysis, validation: list[np.ndarray]) -> Estimate:
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
    return interval(
        float(np.mean(means)),
        variance,
        freedom if seeds > 1 else math.nan,
        "runs of a seed averaged; variance of its validation images and of the test images",
        seeds=seeds,
        images=found.images,
    )


def saving(evidence: Evidence, cost: str, n: int) -> Estimate:
    """How much of a cost a freeze saves against freezing nothing, for other trainings, per cent.

    Args:
        evidence: a study.
        cost: column of its runs, above zero.
        n: frozen stages.
    """
    found = correctness(evidence)
    if not found.seeds or not {0, n} <= set(found.design["freeze"]) or n == 0:
        return unknown("there is nothing to compare")
    table = evidence.runs.pivot(index="seed", columns="number", values=cost).astype(float)
    logs = np.log(table.loc[found.seeds, found.design["number"]].to_numpy())
    return saved(logs, found.design, n)


def saved(logs: np.ndarray, design: pd.DataFrame, n: int) -> Estimate:
    """The saving from logarithms of a cost, shape (seeds, configurations)."""
    weights = depth_weights(design, n)
    seeds, levels = len(logs), design["freeze"].nunique()
    depth = design["freeze"].to_numpy()
    means = np.stack([logs[:, depth == f].mean(axis=1) for f in np.unique(depth)])
    apart = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    freedom = (levels - 1) * (seeds - 1)
    scale = len(design) / levels * float((weights**2).sum()) / seeds
    change = interval(
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
