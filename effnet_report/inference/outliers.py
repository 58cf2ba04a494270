"""Runs far below the other seeds of their configuration, and what they do to a depth."""

import pandas as pd

from effnet_report.inference.advice import FEWEST

SCALE = 1.4826  # of a median of absolute deviations, for a normal distribution
FAR = 4.0  # standard deviations


def far_below(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that are far below the median of their configuration's seeds.

    Args:
        runs: `advice.complete` of a study.

    Returns:
        Their rows, with `below`: points below that median; none where a configuration has too few
        seeds to say what is usual.
    """
    if runs.empty or runs.groupby("number")["seed"].transform("size").min() < FEWEST:
        return runs.iloc[:0].assign(below=0.0)
    below = runs["accuracy"] - runs.groupby("number")["accuracy"].transform("median")
    # The deviation, whatever the far ones are; a run that is the median itself does not count.
    apart = below.abs()
    usual = SCALE * float(apart[apart > 0].median())
    return runs.assign(below=-below)[below < -FAR * usual]


def changes(runs: pd.DataFrame, odd: pd.DataFrame) -> pd.DataFrame:
    """The change of accuracy by each depth that odd runs have a part in, with and without them.

    Returns:
        One row per depth: freeze, all, without (points, against freezing nothing).
    """
    if "freeze" not in runs:
        return pd.DataFrame()
    touched = runs if 0 in {*odd["freeze"]} else odd
    depths = sorted({*touched["freeze"]} - {0})
    kept = runs.drop(odd.index)
    means = {"all": _means(runs), "without": _means(kept)}
    return pd.DataFrame(
        [
            {"freeze": freeze} | {name: mean[freeze] - mean[0] for name, mean in means.items()}
            for freeze in depths
            if all({0, freeze} <= {*mean.index} for mean in means.values())
        ]
    )


def _means(runs: pd.DataFrame) -> pd.Series:
    """Mean accuracy by depth, every configuration counting the same."""
    return runs.groupby(["freeze", "number"])["accuracy"].mean().groupby("freeze").mean()
