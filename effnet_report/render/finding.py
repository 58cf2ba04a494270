"""The sentences that open a page, and what stands where there is nothing to show."""

from collections.abc import Callable, Iterator
from functools import wraps

from IPython.display import HTML
from markupsafe import Markup

from effnet_report.evidence.evidence import Evidence
from effnet_report.render.html import link, paragraph

Draw = Callable[[Evidence], HTML]


def finding(*sentences: str) -> HTML:
    return paragraph(sentences, css="report-finding")


def nothing_yet(evidence: Evidence, what: str = "run") -> HTML:
    """In place of anything that needs a finished run."""
    return finding(
        f"No {what} of study {evidence.reference} has finished yet: there is nothing to show here.",
        Markup("Start the runs with <code>effnet sweep {}</code>.").format(evidence.design.name),
    )


def needs_runs(draw: Draw) -> Draw:
    """Say so in place of a drawing that has nothing to show yet."""

    @wraps(draw)
    def drawing(evidence: Evidence) -> HTML:
        return draw(evidence) if evidence.finished else nothing_yet(evidence)

    return drawing


def coverage(evidence: Evidence) -> Iterator[str]:
    """A warning when runs are missing, failed or damaged; nothing when all are there."""
    left = evidence.unfinished
    if left:
        numbers = ", ".join(str(n) for n in sorted({settings.number for settings in left}))
        failed = sum(settings.run_id in evidence.failures for settings in left)
        yield Markup(
            "{} of {} runs are not part of this ({} failed): configuration {}. See {}."
        ).format(
            len(left),
            len(evidence.planned),
            failed,
            numbers,
            link("reproducibility.html#missing", "what is missing"),
        )
