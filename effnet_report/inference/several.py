"""Several data sets side by side: a mean over these, and whether they agree. No meta-analysis."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from effnet_report.inference.seeds_and_images import (
    Estimate,
    satterthwaite,
    t_interval,
    unknown,
)


def mean_over(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of one effect over data sets, each with the same weight, for these sets alone.

    Its variance is the sum of theirs over the square of their number (Rice, Higgins and Lumley,
    JRSS A 181, 2018); degrees of freedom after Satterthwaite.
    """
    if len(estimates) < 2 or not all(estimate.known for estimate in estimates):
        return unknown("fewer than two data sets with an interval")
    variance, freedom = satterthwaite([(it.error**2, it.freedom) for it in estimates])
    return t_interval(
        float(np.mean([estimate.effect for estimate in estimates])),
        variance / len(estimates) ** 2,
        freedom,
        "equal weights, for these data sets alone",
        seeds=sum(estimate.seeds for estimate in estimates),
        images=sum(estimate.images for estimate in estimates),
    )


def cochran(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """Cochran's Q (Biometrics 10, 1954) and its p: by chance, if all effects were the same.

    Returns:
        NaN for both with fewer than two effects of known variance.
    """
    errors = np.array([estimate.error for estimate in estimates])
    if len(errors) < 2 or not (errors > 0).all():
        return math.nan, math.nan
    effects, weights = np.array([estimate.effect for estimate in estimates]), errors**-2
    q = float((weights * (effects - np.average(effects, weights=weights)) ** 2).sum())
    return q, float(stats.chi2.sf(q, len(errors) - 1))
