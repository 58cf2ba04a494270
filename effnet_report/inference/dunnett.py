"""Many-to-one comparisons (Dunnett, JASA 50, 1955): intervals and p that hold at once.

SciPy's test takes samples of its own and no variances that were estimated otherwise.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from scipy import optimize, special

from effnet_report.inference.seeds_and_images import LEVEL, Estimate, against, errors_away

# Where the integrals of the distribution are evaluated.
PLACES, SHARES = np.polynomial.hermite_e.hermegauss(32)
QUANTILES = (np.arange(100) + 0.5) / 100


def at_once(
    single: Mapping[int, Estimate], value: float = 0.0, looks: int = 1
) -> dict[int, Estimate]:
    """Effects with intervals and p that hold for all of them.

    Args:
        single: the effects, each with its own interval.
        value: the effect that p is about; 0 is no effect.
        looks: how often they are looked at while the study grows; intervals and p hold at all
            looks at once (Bonferroni).
    """
    many = len(single)
    return {name: _joint(estimate, many, value, looks) for name, estimate in single.items()}


def _joint(estimate: Estimate, many: int, value: float, looks: int) -> Estimate:
    """One of several effects."""
    if not estimate.known:
        return estimate
    if many == looks == 1:
        return against(estimate, value)
    freedom = rounded(estimate.freedom)
    wide = reach(many, freedom, looks) * estimate.error
    p = min(1.0, looks * p_value(errors_away(estimate, value), many, freedom))
    how = f"Dunnett's t for {many} comparisons with one" if many > 1 else "Student's t"
    return replace(
        estimate,
        low=estimate.effect - wide,
        high=estimate.effect + wide,
        p=p + 0 * estimate.p,  # a table of single runs has none
        method=f"{estimate.method}; {how}" + (f" at {looks} looks" if looks > 1 else ""),
    )


def rounded(freedom: float) -> int:
    """Degrees of freedom cut to two digits, at least 1, so that a reach serves many intervals."""
    whole = max(1, int(min(freedom, 10_000)))
    cut = 10 ** max(0, len(str(whole)) - 2)
    return whole // cut * cut


def p_value(t: float, comparisons: int, freedom: float) -> float:
    """Chance that any of several comparisons with one is as far from zero, if none differs.

    Two-sided, for means of equal variance: correlation 1/2.
    """
    if math.isinf(t):
        return 0.0
    scale = np.sqrt(2 * special.gammaincinv(freedom / 2, QUANTILES) / freedom)[:, None]
    wide = math.sqrt(2) * t * scale  # chi squared is twice a gamma variable
    inside = special.ndtr(PLACES + wide) - special.ndtr(PLACES - wide)
    return 1 - float((inside**comparisons @ SHARES).mean() / math.sqrt(2 * math.pi))


@cache
def reach(comparisons: int, freedom: float, looks: int = 1) -> float:
    """How many standard errors the intervals of several comparisons with one reach."""
    missed = (1 - LEVEL) / looks
    return float(optimize.brentq(lambda t: p_value(t, comparisons, freedom) - missed, 0.5, 5000))
