"""Effects with 95 % intervals. Accuracies are per cent, effects are percentage points.

Matched configurations differ in one factor and agree in the other two; their differences are
averaged with Student's t interval. Intervals are NaN where the data allow none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95
FACTORS = ["freeze", "head", "scheduler"]


@dataclass(frozen=True)
class Estimate:
    """An effect in percentage points, its 95 % interval, and what it rests on.

    Attributes:
        n: number of independent pieces of evidence: pairs, configurations or images.
        method: how effect and interval were computed, in words.
    """

    effect: float
    low: float
    high: float
    n: int
    method: str


def mean_difference(differences: Sequence[float] | np.ndarray | pd.Series) -> Estimate:
    """Mean of paired differences with Student's t interval."""
    values = np.asarray(differences, dtype=float)
    method = "mean over matched configurations, Student's t interval"
    if len(values) < 2:
        effect = float(values.mean()) if len(values) else math.nan
        return Estimate(effect, math.nan, math.nan, len(values), method)
    margin = stats.sem(values) * stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)
    mean = float(values.mean())
    return Estimate(mean, mean - float(margin), mean + float(margin), len(values), method)


def matched_differences(
    configurations: pd.DataFrame, factor: str, level: object, reference: object
) -> pd.Series:
    """Accuracy at one level of a factor minus accuracy at the reference level.

    Args:
        configurations: one row a configuration: freeze, head, scheduler, accuracy.
        factor: freeze, head or scheduler.
        level: of that factor.
        reference: the level to compare with.

    Returns:
        One value for each pair of configurations that agree in the other factors.
    """
    others = [name for name in FACTORS if name != factor]
    table = configurations.pivot(index=others, columns=factor, values="accuracy")
    table = table.reindex(columns=[reference, level])
    return (table[level] - table[reference]).dropna()


def factor_effects(configurations: pd.DataFrame) -> dict[str, Estimate]:
    """What each choice changes against the plainest: no frozen stages, no extra layers, plateau."""
    contrasts: dict[str, tuple[str, object, object]]
    contrasts = {f"freeze {n} instead of 0": ("freeze", n, 0) for n in range(1, 7)}
    contrasts["deeper head instead of one layer"] = ("head", "mlp", "none")
    contrasts["cosine instead of plateau"] = ("scheduler", "cosine", "plateau")
    return {
        name: mean_difference(matched_differences(configurations, *contrast))
        for name, contrast in contrasts.items()
    }


def factor_means(configurations: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest accuracy at each level of each factor, and how many there are."""
    tables = [
        configurations.groupby(factor)["accuracy"]
        .agg(configurations="size", mean="mean", lowest="min", highest="max")
        .rename_axis("level")
        .reset_index()
        .assign(factor=factor)
        for factor in FACTORS
    ]
    return pd.concat(tables)[["factor", "level", "configurations", "mean", "lowest", "highest"]]


def freeze_trend(configurations: pd.DataFrame) -> Estimate:
    """Change of accuracy from no frozen stage to the deepest freeze, along the fitted line."""
    method = "least-squares line over the freeze depths, from the first to the last"
    n, depths = len(configurations), configurations["freeze"]
    if n < 3 or depths.nunique() < 2:
        return Estimate(math.nan, math.nan, math.nan, n, method)
    line = stats.linregress(depths, configurations["accuracy"])
    span = depths.max() - depths.min()
    margin = line.stderr * stats.t.ppf((1 + LEVEL) / 2, n - 2)
    low, high = (line.slope - margin) * span, (line.slope + margin) * span
    return Estimate(float(line.slope * span), float(low), float(high), n, method)


def lead_of(number: int, configurations: pd.DataFrame) -> Estimate:
    """Lead of one configuration over the best of the others; negative when it is behind.

    How much a configuration varies by chance is taken from what the factors' main effects
    leave unexplained, so that single runs suffice.
    """
    method = "difference of two configurations; noise from what the main effects leave unexplained"
    accuracy = configurations.set_index("number")["accuracy"]
    levels = pd.get_dummies(configurations[FACTORS].astype(str), drop_first=True, dtype=float)
    design = np.column_stack([np.ones(len(levels)), levels])
    n = len(accuracy)
    if number not in accuracy.index or n < 2:
        return Estimate(math.nan, math.nan, math.nan, n, method)
    effect = float(accuracy[number] - accuracy.drop(number).max())
    fit, _, rank, _ = np.linalg.lstsq(design, accuracy.to_numpy(), rcond=None)
    if n == rank:
        return Estimate(effect, math.nan, math.nan, n, method)
    residuals = accuracy.to_numpy() - design @ fit
    noise = math.sqrt(2 * float(residuals @ residuals) / (n - rank))
    margin = noise * float(stats.t.ppf((1 + LEVEL) / 2, n - rank))
    return Estimate(effect, effect - margin, effect + margin, n, method)


def accuracy_interval(accuracy: float, images: int) -> tuple[float, float]:
    """Wilson's interval for an accuracy measured on a number of images, in per cent."""
    right = round(accuracy / 100 * images)
    interval = stats.binomtest(right, images).proportion_ci(LEVEL, method="wilson")
    return 100 * float(interval.low), 100 * float(interval.high)


def paired_accuracy(correct: np.ndarray, other: np.ndarray) -> Estimate:
    """Difference in accuracy of two models on the same images.

    Adds half an image to each of the four outcomes, so that the interval stays honest when
    the models hardly disagree (Agresti and Min, Statistics in Medicine 2005).

    Args:
        correct: whether the first model was right, by image.
        other: whether the second was, for the same images in the same order.
    """
    n = len(correct) + 2
    gained = float((correct & ~other).sum()) + 0.5
    lost = float((~correct & other).sum()) + 0.5
    centre = (gained - lost) / n
    error = math.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
    margin = float(stats.norm.ppf((1 + LEVEL) / 2)) * error
    effect = 100 * float(correct.mean() - other.mean())
    low, high = 100 * (centre - margin), 100 * (centre + margin)
    method = "same test images, Agresti and Min's interval for paired proportions"
    return Estimate(effect, low, high, len(correct), method)
