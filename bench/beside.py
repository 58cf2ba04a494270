"""Where a run's time goes beside its training, by what papermill noted in executed notebooks."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import nbformat
import pandas as pd
from IPython.display import HTML

from effnet_core import paths
from effnet_report.numbers import number
from effnet_report.render.html import paragraph, table

STUDY = "published/quick"
TRAINING = "run.train("  # in the one cell that only trains
HEADING = re.compile("^## (.+)", re.MULTILINE)
START = "start of the kernel, until the first cell"
REST = "between the cells, and until the notebook is saved"


def show() -> HTML:
    """The median of the runs of `quick`, by section of the notebook."""
    found = [parts(file) for file in sorted(paths.executed(STUDY).glob("*-seed0.ipynb"))]
    trained = pd.DataFrame(one for one in found if "training" in one)
    if trained.empty:
        return paragraph(["No executed notebook of", STUDY, "is here."], "report-gap")
    typical = trained.median().drop("training")
    frame = typical.rename_axis("part").rename("seconds").reset_index()
    return table(
        frame,
        "beside-training",
        finding=(
            f"Beside its training a run takes {number(typical.sum())} s; the longest part of that "
            f"is “{typical.idxmax()}”, {number(typical.max())} s."
        ),
        caption=(
            f"Median wall time of {len(trained)} runs of a sweep of quick, two side by side, by "
            "section of the notebook, figures included; of Training its figure alone. The fixed "
            "cost above leaves out the evaluation too. A typed run imports first what a sweep "
            "imports once for all."
        ),
        decimals=2,
    )


def parts(file: Path) -> dict[str, float]:
    """Seconds of an executed notebook by section, `training` apart; papermill's own clock."""
    notebook = nbformat.read(file, as_version=4)
    whole = notebook.metadata.papermill
    cells = list(_timed(notebook))
    found = {START: seconds_between(whole.start_time, cells[0][1].start_time)}
    for section, cell in cells:
        found[section] = found.get(section, 0.0) + cell.duration
    return found | {REST: whole.duration - sum(found.values())}


def _timed(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, nbformat.NotebookNode]]:
    """Code cells: the section that each belongs to, and what papermill noted of it."""
    section = "Settings and imports"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            section = next(iter(HEADING.findall(cell.source)), section)
        else:
            yield "training" if TRAINING in cell.source else section, cell.metadata.papermill


def seconds_between(start: str, end: str) -> float:
    """Of two moments as papermill notes them."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
