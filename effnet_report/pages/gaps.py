"""What a page says where runs or images are missing."""

from collections.abc import Callable, Iterator, Sequence
from functools import wraps

from IPython.display import HTML
from markupsafe import Markup

from effnet_report.evidence.evidence import Evidence
from effnet_report.inference.analysis import Analysis
from effnet_report.render.html import finding, link, paragraph

Draw = Callable[[Analysis], HTML]


def nothing_yet(evidence: Evidence, what: str = "run") -> HTML:
    """In place of anything that needs a finished run."""
    return finding(
        f"No {what} of study {evidence.reference} has finished yet: there is nothing to show here.",
        Markup("Start the runs with <code>effnet sweep {}</code>.").format(evidence.design.name),
    )


def not_measured(command: str) -> HTML:
    """In place of a measurement of its own, by the command that makes it."""
    words = Markup("Not measured yet. <code>{}</code> measures it.").format(command)
    return paragraph([words], "report-gap")


def needs_runs(draw: Draw) -> Draw:
    """Say so in place of a drawing that has nothing to show yet."""

    @wraps(draw)
    def drawing(analysis: Analysis) -> HTML:
        return draw(analysis) if analysis.evidence.finished else nothing_yet(analysis.evidence)

    return drawing


def coverage(evidence: Evidence) -> Iterator[str]:
    """A warning when runs are missing, failed or damaged; nothing when all are there."""
    left = evidence.unfinished
    if left:
        failed = sum(settings.run_id in evidence.failures for settings in left)
        yield Markup(
            "The study “{}” is not complete, so its results may change: {} of {} runs are missing "
            "({} failed): {}. See {}."
        ).format(
            evidence.design.title,
            len(left),
            len(evidence.planned),
            failed,
            "; ".join(_what_is_left(evidence)),
            link("reproducibility.html#missing", "what is missing"),
        )


def _what_is_left(evidence: Evidence) -> Iterator[str]:
    """Which seeds have no run at all, and which configurations the others lack."""
    left: dict[int, list[int]] = {}
    for settings in evidence.unfinished:
        left.setdefault(settings.seed, []).append(settings.number)
    alike: dict[str, list[int]] = {}
    for seed, numbers in left.items():
        whole = len(numbers) == len(evidence.design.configurations())
        what = "all" if whole else f"configuration {_ranges(numbers)}"
        alike.setdefault(what, []).append(seed)
    for what, seeds in alike.items():
        yield f"{what} of seed{'s' if len(seeds) > 1 else ''} {_ranges(seeds)}"


def _ranges(numbers: Sequence[int]) -> str:
    """Rising numbers in words, as in `1, 5 to 9`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    spans = [run if len(run) < 3 else [f"{run[0]} to {run[-1]}"] for run in runs]
    return ", ".join(str(value) for span in spans for value in span)


def no_images(evidence: Evidence) -> HTML:
    """In place of pictures, where the study's images are not on this machine."""
    return paragraph(
        [
            f"The images of {evidence.design.title} are not on the machine "
            "that built this page, so they cannot be shown."
        ]
    )
