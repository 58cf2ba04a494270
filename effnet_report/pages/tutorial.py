"""The page From your photos to a model."""

from IPython.display import HTML

from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import number
from effnet_report.pages.gaps import nothing_yet
from effnet_report.render.html import finding


def answer(analysis: Analysis) -> HTML:
    """What a study takes, from the one that is shown."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    made = [record.made for record in evidence.everything]
    hours = sum((one.cpu_seconds or one.seconds)["total"] for one in made) / 3600
    took = f"{number(hours)} hours" if hours >= 1 else f"{number(60 * hours)} minutes"
    return finding(
        f"The {len(evidence.everything)} runs behind this report took {took} of CPU time; a study "
        "of your own photos is made as large as the time you give it, and ends with such a report "
        "and a trained model."
    )
