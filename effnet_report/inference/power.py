"""What a study of another size could resolve, from the variance components of this one."""

import math
from dataclasses import dataclass

from scipy import stats

from effnet_report.inference import contrasts
from effnet_report.inference.contrasts import Differences
from effnet_report.inference.seeds_and_images import LEVEL, Estimator, Family, spread
from effnet_report.words import full_level, level

POWER = 0.8
NAMES = {"head": "heads", "scheduler": "schedules"}


@dataclass(frozen=True)
class Components:
    """Variance of one seed's and one image's contribution to a contrast, points squared.

    Attributes:
        seed: between trainings, whatever the images.
        image: between images, whatever the training; more seeds never remove it.
        both: between images of one training beyond that. Folds cannot tell it from `image`, and
            then hold all of it there.
        freedom: degrees of freedom of the variance between seeds, for each seed after the first.
    """

    seed: float
    image: float
    both: float
    freedom: float

    def error(self, seeds: int, images: int, *, folds: bool = False) -> tuple[float, float]:
        """Standard error of a study, and its degrees of freedom.

        Args:
            seeds: at least 2.
            images: different test images in all.
            folds: every seed has its own share of the images, else all have all of them.
        """
        own = self.both / images if folds else self.both / (seeds * images)
        shown = self.seed / seeds + own + (self.image / images if folds else 0)
        variance = self.seed / seeds + own + self.image / images
        # Without anything between seeds, the variance is that of many images: a normal law.
        freedom = self.freedom * (seeds - 1) * (variance / shown) ** 2 if shown else math.inf
        return math.sqrt(variance), freedom

    def smallest(self, seeds: int, images: int, *, folds: bool = False) -> float:
        """Smallest true difference whose interval excludes zero four times out of five."""
        error, freedom = self.error(seeds, images, folds=folds)
        quantiles = stats.t.ppf([(1 + LEVEL) / 2, POWER], freedom)
        return error * float(quantiles.sum())

    def floor(self, images: int) -> float:
        """What `smallest` comes to with any number of seeds."""
        return math.sqrt(self.image / images) * float(
            stats.norm.ppf([(1 + LEVEL) / 2, POWER]).sum()
        )


def components(compared: Estimator, differences: Differences, seed_variance: Family) -> Components:
    """Take the variance of a mean difference apart.

    Args:
        compared: at least two seeds.
        differences: by seed, one value an image, points.
        seed_variance: of one seed's mean difference.
    """
    correctness, seeds = compared.correctness, len(differences)
    parts = spread(differences, correctness.test_sets)
    freedom = seed_variance.freedom / (seeds - 1)
    if correctness.folds:
        return Components(
            seed_variance.beyond_images, parts.images * correctness.images, 0.0, freedom
        )
    both = parts.noise * seeds * correctness.images
    seed = max(0.0, seed_variance.mean_square - both / correctness.images)
    return Components(seed, parts.images * correctness.images, both, freedom)


def measured(
    compared: Estimator, against: tuple[Differences, Differences] | None
) -> dict[str, Components]:
    """The components of a study's comparisons, as far as it has two seeds and the factors.

    Args:
        compared: the study's configurations.
        against: see `Analysis.against_classical`.
    """
    if compared.seeds < 2:
        return {}
    split = {}
    for factor in contrasts.varied(compared):
        first, *_, last = contrasts.levels(compared.design, factor)
        weights = contrasts.level_weights(compared.design, factor, last, first)
        one_seed = compared.family(factor).times(float((weights**2).sum()))
        name = NAMES.get(factor, f"{full_level(factor, last)} and {level(factor, first)}")
        split[name] = components(compared, compared.differences(weights), one_seed)
    if against:
        chosen, average = against
        one_seed = contrasts.choice_family(compared, average)
        split["fine-tuned and classical"] = components(compared, chosen, one_seed)
    return split
