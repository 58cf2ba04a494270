"""Effects that hold for other trainings and other images: seeds and test images are both random.

Configurations share a seed's split, head and order, and are judged on the same images: this is
the multi-reader multi-case problem of radiology, with seeds as readers and images as cases
(Dorfman, Berbaum and Metz, Investigative Radiology 27, 1992; degrees of freedom after Hillis,
Statistics in Medicine 26, 2007). Accuracies are per cent, effects are percentage points.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import stats

from effnet_report.evidence.correctness import Correctness

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """An effect with its 95 % interval; what the data do not allow is NaN.

    Attributes:
        p: probability of a result at least as far from no effect, or from the size that a claim
            is about, if that were the truth; from the same t as the interval.
        error: standard error.
        freedom: degrees of freedom of the t.
        seeds: that it rests on.
        images: different test images that it rests on.
        method: how it was computed, in words, or why it was not.
    """

    effect: float
    low: float
    high: float
    p: float
    error: float
    freedom: float
    seeds: int
    images: int
    method: str

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)


def errors_away(estimate: Estimate, value: float) -> float:
    """How far an effect is from a value, in standard errors."""
    away = abs(estimate.effect - value)
    if estimate.error:
        return away / estimate.error
    return math.inf if away else 0.0


def against(estimate: Estimate, value: float) -> Estimate:
    """The estimate with the p of a result at least as far from a value, were that the truth."""
    if not estimate.known:
        return estimate
    p = 2 * float(stats.t.sf(errors_away(estimate, value), estimate.freedom))
    return replace(estimate, p=p + 0 * estimate.p)  # a table of single runs has none


def unknown(method: str, effect: float = math.nan, *, seeds: int = 0, images: int = 0) -> Estimate:
    """An effect without interval, or no effect at all; `method` says why."""
    nan = math.nan
    return Estimate(effect, nan, nan, nan, nan, nan, seeds, images, method)


def t_interval(
    effect: float,
    variance: float,
    freedom: float,
    method: str,
    *,
    seeds: int,
    images: int = 0,
    looks: int = 1,
) -> Estimate:
    """Effect, interval and p from one t.

    Args:
        looks: number of effects that are looked at; the intervals and p of all of them then
            hold at once (Bonferroni).
    """
    if not freedom > 0:
        return unknown("one seed cannot say how much trainings differ", effect, seeds=seeds,
                       images=images)  # fmt: skip
    error = math.sqrt(variance)
    reach = float(stats.t.ppf(1 - (1 - LEVEL) / (2 * looks), freedom)) * error
    away = abs(effect)
    # Without any variance the smallest difference is certain, and no difference is none.
    p = 2 * float(stats.t.sf(away / error, freedom)) if error else float(away == 0)
    p = min(1.0, looks * p)
    if looks > 1:
        method += f"; for {looks} at once (Bonferroni)"
    low, high = effect - reach, effect + reach
    return Estimate(effect, low, high, p, error, float(freedom), seeds, images, method)


@dataclass(frozen=True)
class Family:
    """How much trainings differ in contrasts of one kind, on the scale of run accuracies.

    Attributes:
        mean_square: of the interaction with seeds, points squared.
        explained: what different test images alone would make it; 0 where seeds share theirs.
        freedom: its degrees of freedom.
    """

    mean_square: float
    explained: float
    freedom: float

    @property
    def beyond_images(self) -> float:
        """The part of the mean square that different test images do not explain."""
        return max(0.0, self.mean_square - self.explained)

    def times(self, scale: float) -> "Family":
        """The same, of contrasts with `scale` times the variance."""
        return Family(scale * self.mean_square, scale * self.explained, self.freedom)

    def moderated(self, pooled: "Family") -> "Family":
        """This family, of few degrees of freedom, shrunk towards one of many.

        The larger of the pooled mean square and a weighted mean of both, in which the own one of
        n degrees of freedom counts n / (n + 1): half with two seeds, nearly all with many. In
        simulations the intervals then cover 93 to 97 % from three seeds on, whether the factor
        varies between seeds as much as the others or twice as much.
        """
        if not 0 < self.freedom < pooled.freedom:
            return self
        own = self.freedom / (self.freedom + 1)
        parts = [
            (own * self.mean_square, self.freedom),
            ((1 - own) * pooled.mean_square, pooled.freedom),
        ]
        mixed, freedom = satterthwaite(parts)
        if mixed <= pooled.mean_square:
            return pooled
        return Family(mixed, own * self.explained + (1 - own) * pooled.explained, freedom)


@dataclass(frozen=True)
class Squares:
    """Sum of squares of an interaction with seeds.

    Attributes:
        total: points squared, on the scale of run accuracies.
        explained: what different test images alone would make it.
        freedom: its degrees of freedom.
    """

    total: float
    explained: float
    freedom: int

    def __sub__(self, part: "Squares") -> "Squares":
        """What a finer interaction holds beside a coarser one."""
        return Squares(
            self.total - part.total, self.explained - part.explained, self.freedom - part.freedom
        )

    @property
    def family(self) -> Family:
        if self.freedom < 1:
            return Family(math.nan, math.nan, 0)
        return Family(self.total / self.freedom, self.explained / self.freedom, self.freedom)


def satterthwaite(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """A sum of estimated variances, and its degrees of freedom (Biometrics Bulletin 2, 1946).

    Args:
        parts: the variances, each with its own degrees of freedom.
    """
    whole = sum(part for part, _ in parts)
    split = sum(part**2 / freedom for part, freedom in parts if freedom)
    return whole, whole**2 / split if split else min(freedom for _, freedom in parts)


@dataclass(frozen=True)
class Spread:
    """Variance of a mean difference.

    Attributes:
        images: what other images would change; more seeds cannot remove it.
        noise: the least that seeds can contribute: image x seed, which a test set shared by the
            seeds tells apart from the images. With folds it is part of `images`.
    """

    images: float
    noise: float


def spread(differences: Sequence[np.ndarray], test_sets: Sequence[int]) -> Spread:
    """Variance from images.

    Args:
        differences: by seed, one value an image, points.
        test_sets: which seeds share their images.
    """
    seeds, sets = len(differences), sorted(set(test_sets))
    if len(sets) > 1:  # each image is seen by the seeds of its own test set alone
        means = [
            np.mean(
                [d for d, k in zip(differences, test_sets, strict=True) if k == test_set], axis=0
            )
            for test_set in sets
        ]
        return Spread(float(np.mean([m.var(ddof=1) / len(m) for m in means])) / len(sets), 0.0)
    table = np.stack(differences)
    n = table.shape[1]
    if seeds == 1:  # image and image x seed cannot be separated
        return Spread(float(table[0].var(ddof=1)) / n if n > 1 else math.nan, 0.0)
    by_image, by_seed, mean = table.mean(axis=0), table.mean(axis=1, keepdims=True), table.mean()
    between = seeds * float(((by_image - mean) ** 2).sum()) / (n - 1)
    rest = float(((table - by_image - by_seed + mean) ** 2).sum()) / ((seeds - 1) * (n - 1))
    return Spread(max(0.0, between - rest) / (seeds * n), rest / (seeds * n))


class Estimator:
    """The estimator on the seeds of a study that have a run of every configuration."""

    def __init__(self, correctness: Correctness) -> None:
        self.correctness = correctness
        self.seeds = len(correctness.seeds)
        self.design = correctness.design
        self.factors = correctness.factors

    def differences(self, weights: np.ndarray) -> list[np.ndarray]:
        """A contrast of the configurations, by seed and image, points."""
        return [100 * weights @ part for part in self.correctness.right]

    def estimate(self, weights: np.ndarray, family: Family, *, looks: int = 1) -> Estimate:
        """A contrast of the configurations for other seeds and other images.

        Args:
            weights: one a configuration; their sum is 0.
            family: how much trainings differ in such contrasts.
            looks: see `t_interval`.
        """
        scale = float((weights**2).sum()) / self.seeds if self.seeds else math.nan
        return self.of_differences(self.differences(weights), family.times(scale), looks=looks)

    def of_differences(
        self,
        differences: Sequence[np.ndarray],
        seed_variance: Family,
        *,
        looks: int = 1,
    ) -> Estimate:
        """The mean of differences by seed and image.

        Args:
            differences: by seed, one value an image, points.
            seed_variance: of that mean.
            looks: see `t_interval`.
        """
        if not differences:
            return unknown("no seed has a run of every configuration yet")
        parts = spread(differences, self.correctness.test_sets)
        if self.correctness.folds:
            shown, variance = seed_variance.mean_square, seed_variance.beyond_images + parts.images
        else:
            shown = max(seed_variance.mean_square, parts.noise)
            variance = shown + parts.images
        freedom = seed_variance.freedom * ((variance / shown) ** 2 if shown > 0 else 1)
        return t_interval(
            float(np.mean([d.mean() for d in differences])),
            variance,
            freedom,
            "seeds and images both random (multi-reader multi-case), t with Hillis' degrees of "
            "freedom",
            seeds=len(differences),
            images=self.correctness.images,
            looks=looks,
        )

    @cached_property
    def pairs(self) -> Family:
        """Seed x configuration: for two configurations."""
        return self._interaction("number").family

    @cached_property
    def pooled(self) -> Family:
        """Seed x configuration, the factors of more than two levels aside.

        These have families of their own; those of two levels share this one, as far as their own
        variance allows it.
        """
        rest = self._interaction("number")
        for factor in self.correctness.factors:
            if self.design[factor].nunique() > 2:
                rest = rest - self._interaction(factor)
        return rest.family

    def family(self, factor: str, *at: str) -> Family:
        """For contrasts between the levels of a factor.

        Args:
            factor: seed x this factor.
            at: other factors, at one level of each of which the first is looked at.
        """
        own = self._interaction(factor, *at)
        if at:
            own = own - self._interaction(*at)
        if self.design[factor].nunique() > 2:
            return own.family
        return own.family.moderated(self.pooled)

    def between(self, differences: Sequence[np.ndarray]) -> Family:
        """Variance between the seeds' means."""
        if len(differences) < 2:
            return Family(math.nan, math.nan, 0)
        total = float(np.var([d.mean() for d in differences], ddof=1))
        explained = float(np.mean([d.var(ddof=1) / len(d) for d in differences]))
        return Family(total, explained if self.correctness.folds else 0.0, len(differences) - 1)

    def _interaction(self, *factors: str) -> "Squares":
        """The interaction of seeds with the cells of some factors."""
        if self.seeds < 2:
            return Squares(math.nan, math.nan, 0)
        cells = self.design.groupby(list(factors)).ngroup().to_numpy()
        levels, configurations = cells.max() + 1, len(cells)
        repeats = configurations / levels
        # Rows average the configurations of a cell, less the average of all.
        averages = (cells == np.arange(levels)[:, None]) / repeats - 1 / configurations
        means = averages @ self.correctness.accuracies.T
        apart = means - means.mean(axis=1, keepdims=True)
        explained = 0.0
        if self.correctness.folds:
            explained = float(np.mean(list(self._within(averages)))) * (self.seeds - 1)
        return Squares(
            repeats * float((apart**2).sum()),
            repeats * explained,
            (levels - 1) * (self.seeds - 1),
        )

    def _within(self, averages: np.ndarray) -> Iterator[float]:
        """By seed, the variance that images alone give to all cells' means together."""
        for part in self.correctness.right:
            by_image = 100 * averages @ part
            yield float(by_image.var(axis=1, ddof=1).sum()) / part.shape[1]
