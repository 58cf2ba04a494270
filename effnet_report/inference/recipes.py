"""The effect of freezing at each recipe: whether one conclusion holds for all of them."""

from itertools import product

import numpy as np
import pandas as pd

from effnet_core.study.design import SOURCE_FACTORS
from effnet_report import words
from effnet_report.evidence import smaller
from effnet_report.inference import contrasts
from effnet_report.inference.analysis import Analysis

Recipe = tuple[tuple[str, object], ...]  # a level of each setting of the recipe


def factors(study: Analysis) -> list[str]:
    """What a study compares beside the source's three choices."""
    design = study.evidence.design.factors
    return [
        name for name, levels in design.items() if len(levels) > 1 and name not in SOURCE_FACTORS
    ]


def compares_depths(study: Analysis) -> bool:
    """Whether a study has several depths."""
    return len(study.evidence.design.factors.get("freeze", [])) > 1


def compares_rates(study: Analysis) -> bool:
    """Whether a study trains several single learning rates, which are none that race."""
    rates = study.evidence.design.factors.get(smaller.RATE, [])
    return len(rates) > 1 and not any(isinstance(rate, tuple) for rate in rates)


def tuned(study: Analysis) -> Analysis:
    """The study with the learning rate of each run tuned on validation, where it compares rates.

    One rate for all depths would favour the depths that it happens to suit. A study that compares
    nothing else beside the depths is left as it is.
    """
    if not compares_rates(study) or factors(study) == [smaller.RATE]:
        return study
    return Analysis(smaller.with_tuned_rates(study.evidence))


def best(study: Analysis) -> Analysis:
    """The recipe with the best configuration on validation, as a study of the other choices.

    A study that compares no depths or no recipes is left as it is.
    """
    compared = tuned(study) if compares_depths(study) else study
    names = factors(compared)
    if not names or not compares_depths(study):
        return compared
    chosen = compared.evidence.best_settings
    return Analysis(smaller.at(compared.evidence, {name: getattr(chosen, name) for name in names}))


def races(study: Analysis) -> pd.DataFrame:
    """What a race of one epoch would have picked, where a study trained every rate to the end.

    Returns:
        One row per seed and configuration of the other factors: picked, the rate with the lowest
        validation loss after the first epoch; best, the rate with the highest validation score
        after all; behind, the difference of their validation scores, points.
    """
    evidence = study.evidence
    others = [name for name in evidence.factors if name != smaller.RATE]
    first = evidence.history[evidence.history["epoch"] == 1].set_index("run_id")
    runs = evidence.runs.assign(loss=evidence.runs["run_id"].map(first["validation_loss"]))
    rows = []
    for _, rates in runs.groupby(["seed", *others]):
        picked, best = rates.loc[rates["loss"].idxmin()], rates.loc[rates["validation"].idxmax()]
        rows.append(
            {
                "picked": picked[smaller.RATE],
                "best": best[smaller.RATE],
                "behind": best["validation"] - picked["validation"],
            }
        )
    return pd.DataFrame(rows)


def of(study: Analysis) -> list[Recipe]:
    """Every combination of the recipe's levels that a study trains."""
    design, names = study.correctness.design, factors(study)
    levels = [contrasts.levels(design, name) for name in names]
    return [tuple(zip(names, chosen, strict=True)) for chosen in product(*levels)]


def by_recipe(study: Analysis) -> pd.DataFrame:
    """The change of accuracy by every depth at every recipe; all intervals hold at once.

    Returns:
        One row per recipe and depth: recipe (in words), freeze, effect, low, high (points).
    """
    design = study.correctness.design
    recipes = of(study)
    depths = sorted(int(n) for n in design["freeze"].unique() if n)
    family = study.estimator.family("freeze", *factors(study))
    rows = []
    for recipe in recipes:
        at = np.all([design[name] == level for name, level in recipe], axis=0)
        for depth in depths:
            weights = contrasts.level_weights(design, "freeze", depth, 0, pd.Series(at))
            effect = study.estimator.estimate(weights, family, looks=len(recipes) * len(depths))
            rows.append(
                {
                    "recipe": in_words(recipe),
                    "freeze": depth,
                    "effect": effect.effect,
                    "low": effect.low,
                    "high": effect.high,
                }
            )
    return pd.DataFrame(rows)


def turns(table: pd.DataFrame) -> str:
    """Whether the deepest freeze is clearly better at one recipe and clearly worse at another."""
    deepest = table[table["freeze"] == table["freeze"].max()]
    better, worse = (deepest["low"] > 0).any(), (deepest["high"] < 0).any()
    return "turns" if better and worse else "holds"


def in_words(recipe: Recipe) -> str:
    """A recipe in words, as in `batch statistics, learning rate 1e-4 and no augmentation`."""
    *first, last = [words.full_level(name, level) for name, level in recipe]
    return f"{', '.join(first)} and {last}" if first else last
