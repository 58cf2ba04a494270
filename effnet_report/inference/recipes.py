"""The effect of freezing at each recipe: whether one conclusion holds for all of them."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from effnet_core.study.design import SOURCE_FACTORS
from effnet_core.study.studies import load_study
from effnet_report import words
from effnet_report.evidence import smaller
from effnet_report.evidence.correctness import Correctness
from effnet_report.inference import contrasts
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.seeds_and_images import Estimate, Estimator

Recipe = tuple[tuple[str, object], ...]  # a level of each setting of the recipe
SETTINGS = ("norm_statistics", "learning_rate", "augment", "early_stop_patience")  # of a recipe
STUDY = "study"  # factor of studies that are compared with each other


def factors(study: Analysis) -> list[str]:
    """What a study compares beside the source's three choices."""
    design = study.evidence.design.factors
    return [
        name for name, levels in design.items() if len(levels) > 1 and name not in SOURCE_FACTORS
    ]


def compares_depths(study: Analysis) -> bool:
    """Whether a study compares depths with freezing nothing."""
    depths = study.evidence.design.factors.get("freeze", [])
    return len(depths) > 1 and 0 in depths


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
    return _by_depth(study.estimator, {recipe: in_words(recipe) for recipe in of(study)})


def by_study(studies: Sequence[Analysis]) -> pd.DataFrame:
    """The same of studies that have one recipe each, see `comparable`."""
    names: dict[Recipe, str] = {
        ((STUDY, number),): recipe for number, recipe in enumerate(differences(studies))
    }
    return _by_depth(_together(studies), names)


def comparable(studies: Sequence[Analysis]) -> list[Analysis]:
    """Those of one recipe each that have the same configurations, and two seeds of equal split.

    The one whose recipe is most like the source's is last. Nothing, unless there are two with
    different recipes.
    """
    single = [study for study in studies if not factors(study) and compares_depths(study)]
    alike: dict[Recipe, Analysis] = {}
    for study in single:
        if _configurations(study).equals(_configurations(single[0])):
            alike.setdefault(recipe_of(study), study)
    whole = [*alike.values()]
    if len(whole) < 2 or len(common_seeds(whole)) < 2:
        return []
    return sorted(whole, key=likeness)


def likeness(study: Analysis) -> int:
    """How many settings of a study's recipe are the source's."""
    source, own = load_study("paper").protocol, study.evidence.design.protocol
    return sum(getattr(source, name) == getattr(own, name) for name in SETTINGS)


def ends(studies: Sequence[Analysis]) -> list[Analysis]:
    """Of `comparable` studies, the one least like the source's recipe and the one most like it."""
    return [studies[0], studies[-1]]


def is_like_the_source(study: Analysis) -> bool:
    """Whether a study compares depths at the source's statistics, patience and a single rate."""
    source, own = load_study("paper").protocol, study.evidence.design.protocol
    same = all(
        getattr(own, name) == getattr(source, name)
        for name in ("norm_statistics", "early_stop_patience")
    )
    return compares_depths(study) and not factors(study) and same and len(own.rates) == 1


def gain(studies: Sequence[Analysis], freeze: int) -> Estimate:
    """Accuracy of the first study at a depth, minus that of the last one, points."""
    compared = _together(studies)
    design = compared.design
    at = design["freeze"] == freeze
    weights = contrasts.level_weights(design, STUDY, 0, len(studies) - 1, at)
    return compared.estimate(weights, compared.family(STUDY, "freeze"))


def differences(studies: Sequence[Analysis]) -> list[str]:
    """What tells the recipe of each study from the others', in words; nothing if all agree."""
    recipes = [recipe_of(study) for study in studies]
    shared = set.intersection(*map(set, recipes))
    apart = [tuple(part for part in recipe if part not in shared) for recipe in recipes]
    return [in_words(parts) for parts in apart if parts]


def other_settings(studies: Sequence[Analysis]) -> list[str]:
    """Settings in which studies differ beside their recipe."""
    protocols = [study.evidence.design.protocol.model_dump() for study in studies]
    return [
        name
        for name in protocols[0]
        if name not in SETTINGS and len({str(protocol[name]) for protocol in protocols}) > 1
    ]


def recipe_of(study: Analysis) -> Recipe:
    """The recipe of a study that has one."""
    protocol = study.evidence.design.protocol
    return tuple((name, getattr(protocol, name)) for name in SETTINGS)


def difference(studies: Sequence[Analysis], freeze: int) -> Estimate:
    """What a depth changes in the first study, minus what it changes in the last, points."""
    compared = _together(studies)
    design = compared.design
    first, last = (
        contrasts.level_weights(design, "freeze", freeze, 0, design[STUDY] == number)
        for number in (0, len(studies) - 1)
    )
    return compared.estimate(first - last, compared.family("freeze", STUDY))


def _configurations(study: Analysis) -> pd.DataFrame:
    return study.correctness.design[[*SOURCE_FACTORS]].reset_index(drop=True)


def common_seeds(studies: Sequence[Analysis]) -> list[int]:
    """The seeds that all studies have complete and split in the same way."""
    splits = [
        {(run.settings.seed, run.fingerprints.split) for run in study.evidence.finished}
        for study in studies
    ]
    alike = {seed for seed, _ in set.intersection(*splits)}
    whole = [set(study.correctness.seeds) for study in studies]
    return sorted(alike.intersection(*whole))


def _together(studies: Sequence[Analysis]) -> Estimator:
    """The common seeds of several studies as if they were one, with the study as a factor."""
    parts, seeds = [study.correctness for study in studies], common_seeds(studies)
    design = pd.concat(
        [part.design.assign(**{STUDY: number}) for number, part in enumerate(parts)],
        ignore_index=True,
    )
    design["number"] = range(1, len(design) + 1)
    right = [
        np.concatenate([part.right[part.seeds.index(seed)] for part in parts]) for seed in seeds
    ]
    tests = [parts[0].test_sets[parts[0].seeds.index(seed)] for seed in seeds]
    return Estimator(Correctness(design, seeds, right, tests))


def _by_depth(compared: Estimator, recipes: dict[Recipe, str]) -> pd.DataFrame:
    """Every depth minus none at every recipe."""
    design = compared.design
    depths = sorted(int(n) for n in design["freeze"].unique() if n)
    family = compared.family("freeze", *[name for name, _ in next(iter(recipes))])
    rows = []
    for recipe, name in recipes.items():
        at = pd.Series(np.all([design[name] == level for name, level in recipe], axis=0))
        for depth in depths:
            weights = contrasts.level_weights(design, "freeze", depth, 0, at)
            effect = compared.estimate(weights, family, looks=len(recipes) * len(depths))
            rows.append(
                {
                    "recipe": name,
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
    return words.joined(words.full_level(name, level) for name, level in recipe)
