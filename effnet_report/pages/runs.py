"""The page Runs: every run of the book's studies, with its page."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.design import Settings
from effnet_report import words
from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import number
from effnet_report.pages.gaps import coverage
from effnet_report.render.html import apart, finding, link, table

MOST_COLUMNS = 8  # that a page has room for


def answer(studies: Sequence[Analysis]) -> HTML:
    """How many runs there are to look at, and which of the main study's are missing."""
    pages = [
        study.evidence.page(settings.run_id)
        for study in studies
        for settings in study.evidence.planned
    ]
    return finding(
        f"{len(pages) - pages.count(None)} of {len(pages)} runs have a page of their own: the "
        "executed notebook with the images, the model, every epoch and the worst mistakes. Of a "
        "published study, the runs of its first seed have one.",
        *apart(coverage(studies[0].evidence)),
    )


def run_grids(studies: Sequence[Analysis]) -> HTML:
    """The runs of each study of the book."""
    return HTML(Markup().join(Markup(run_grid(study).data) for study in studies))


def run_grid(analysis: Analysis) -> HTML:
    """All runs on one screen: the first factor by all others, each run with its test accuracy."""
    evidence = analysis.evidence
    accuracy = evidence.runs.set_index("run_id")["test_accuracy"]

    def word(run: str) -> str:
        known = run in accuracy
        return f"{number(accuracy[run])}\u00a0%" if known else evidence.status(run)

    def cell(runs: list[Settings]) -> Markup:
        there = [run for run in runs if evidence.status(run.run_id) != "missing"]
        cells = [link(evidence.page(run.run_id), word(run.run_id)) for run in there]
        if left := len(runs) - len(there):
            cells.append("missing" if left == 1 else f"{left} missing")
        return Markup(", ").join(cells)

    first, *others = evidence.factors
    grid: dict[str, dict[str, list[Settings]]] = {}
    for settings in evidence.planned:
        levels = settings.levels
        row = grid.setdefault(words.level(first, levels[first]), {})
        column = words.configuration({name: levels[name] for name in others}) or "test accuracy"
        row.setdefault(column, []).append(settings)
    frame = pd.DataFrame(
        {words.factor(first): level} | {column: cell(runs) for column, runs in row.items()}
        for level, row in grid.items()
    )
    if len(frame.columns) > MOST_COLUMNS:  # the same on its side
        frame = frame.set_index(words.factor(first)).T.add_prefix(f"{words.factor(first)}: ")
        frame = frame.rename_axis("configuration").reset_index()
    return table(
        frame,
        f"run-grid-{evidence.reference.rsplit('/', 1)[-1]}",
        finding=f"{evidence.design.title}: {len(evidence.finished)} of {len(evidence.planned)} "
        "runs are finished.",
        caption="Test accuracy, one entry per seed; a link leads to the run's page.",
    )
