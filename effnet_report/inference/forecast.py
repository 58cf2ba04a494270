"""How wide the intervals of a study will be, from the variance in the published studies."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

from effnet_core import paths
from effnet_core.study.studies import PUBLISHED
from effnet_report.evidence.correctness import Correctness
from effnet_report.evidence.loader import load_design
from effnet_report.inference import analysis, contrasts, dunnett, power
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.power import Components
from effnet_report.inference.seeds_and_images import Estimator
from effnet_report.words import cell

# Without a published study: two depths disagree on one image in ten, and their difference varies
# by 1.4 points between trainings.
ASSUMED = Components(seed=2.0, image=1000.0, both=0.0, freedom=1.0)

# The recipe of the published studies: the level of each setting that is not compared.
RECIPE = {
    "head": "none",
    "scheduler": "cosine",
    "norm_statistics": "pretrained",
    "augment": "none",
}


def half_width(
    components: Components, depths: int, *, seeds: int, images: int, folds: bool
) -> float:
    """Half of the 95 % interval of a depth minus none, for all depths at once, points.

    Args:
        depths: number of depths that are compared, none included; at least 2.
        seeds: at least 2.
        images: different test images in all.
        folds: whether every seed has its own share of the test images.
    """
    error, freedom = replace(components, freedom=depths - 1).error(seeds, images, folds=folds)
    return dunnett.reach(depths - 1, dunnett.rounded(freedom)) * error


def published(asked: Collection[str], recipe: Mapping[str, Any]) -> tuple[Components, list[str]]:
    """Variance components of a depth minus none, the mean over published studies, and their names.

    Args:
        asked: factors beside the depth; their configurations are averaged, as in the new study.
        recipe: the level of each setting that the new study does not compare.
    """
    measured = {}
    for folder in sorted((paths.RESULTS / PUBLISHED).glob("*/")):
        reference = f"{PUBLISHED}/{folder.name}"
        design = load_design(reference)
        others = {name: recipe.get(name) for name in design.factors.keys() - {*asked, "freeze"}}
        comparable = all(level in design.factors[name] for name, level in others.items())
        if comparable and 0 in design.factors.get("freeze", []) and len(design.seeds) > 1:
            correctness = _restricted(analysis.load(reference).correctness, others)
            if len(correctness.seeds) > 1:
                measured[folder.name] = depth_components(Estimator(correctness))
    if not measured:
        return ASSUMED, []
    names = ("seed", "image", "both", "freedom")
    means = {name: fmean(getattr(parts, name) for parts in measured.values()) for name in names}
    return Components(**means), list(measured)


def whole(study: Analysis, compared: Estimator) -> float:
    """Half-width of a depth minus none when all seeds of a study are trained, points.

    Its own seeds say how much images and trainings vary. Of a single one only the images do; the
    published studies say the rest.

    Args:
        study: of several planned seeds and several depths, none included.
        compared: its complete seeds, at least one.
    """
    design, own = study.evidence.design, compared.correctness
    variance, seeds, folds = _own(study, compared), len(design.seeds), design.protocol.folds
    one_set = own.images / len(set(own.test_sets))
    return half_width(
        variance,
        own.design["freeze"].nunique(),
        seeds=seeds,
        images=round(one_set * (min(seeds, folds) if folds else 1)),
        folds=bool(folds),
    )


def _own(study: Analysis, compared: Estimator) -> Components:
    """The variance components of a study, as far as its complete seeds show them."""
    if compared.seeds > 1:
        return depth_components(compared)
    varied = {*contrasts.varied(compared)} - {"freeze"}
    usual, _ = published(varied, dict(study.evidence.design.protocol))
    # Of one seed, what images change in all trainings and in this one cannot be told apart.
    whole = _image_variance(compared)
    both = min(usual.both, whole)
    return replace(usual, image=whole - both, both=both)


def _image_variance(compared: Estimator) -> float:
    """Variance of one image's contribution to the deepest freeze minus none, points squared."""
    first, *_, last = contrasts.levels(compared.design, "freeze")
    weights = contrasts.level_weights(compared.design, "freeze", last, first)
    (differences,) = compared.differences(weights)
    return float(differences.var(ddof=1))


def _restricted(correctness: Correctness, levels: Mapping[str, Any]) -> Correctness:
    """The configurations with these levels, which are no factors any more."""
    design = correctness.design
    chosen = [True] * len(design)
    for name, level in levels.items():
        chosen &= (design[name] == cell(name, level)).to_numpy()
    design = design[chosen].drop(columns=list(levels)).reset_index(drop=True)
    return replace(correctness, design=design, right=[part[chosen] for part in correctness.right])


def depth_components(compared: Estimator) -> Components:
    """The components of the deepest freeze minus none."""
    first, *_, last = contrasts.levels(compared.design, "freeze")
    weights = contrasts.level_weights(compared.design, "freeze", last, first)
    one_seed = compared.family("freeze").times(float((weights**2).sum()))
    return power.components(compared, compared.differences(weights), one_seed)
