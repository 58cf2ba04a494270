"""The studies that this book shows."""

from effnet_report.evidence import evidence
from effnet_report.inference import analysis
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.recipes import factors as of_recipe
from effnet_report.render.citations import About
from effnet_report.render.citations import about as about_images


def data_sets() -> list[Analysis]:
    """The studies that can be judged, the main one first, one per data set.

    A study on the same images as an earlier one is left out: it is no other data set.
    """
    studies: dict[str, Analysis] = {}
    for study in _all():
        if study.correctness.seeds:
            studies.setdefault(study.evidence.finished[0].fingerprints.data, study)
    return list(studies.values())


def main_and_others() -> list[Analysis]:
    """The main study, finished or not, and the others that can be judged."""
    main = analysis.load()
    judged = [study for study in data_sets() if study.evidence.reference != main.evidence.reference]
    return [main, *judged]


def recipes() -> list[Analysis]:
    """The studies that compare freezing at several recipes."""
    return [study for study in _all() if of_recipe(study) and "freeze" in factors_of(study)]


def factors_of(study: Analysis) -> list[str]:
    """Settings of which a study tries several levels."""
    return [name for name, levels in study.evidence.design.factors.items() if len(levels) > 1]


def about(study: Analysis) -> About:
    """A study's data set in plain words."""
    design = study.evidence.design
    return about_images(design.protocol, design.title)


def _all() -> list[Analysis]:
    return [analysis.load(reference) for reference in evidence.shown()]
