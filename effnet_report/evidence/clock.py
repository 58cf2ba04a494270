"""Time of a run per section of its notebook, from papermill's metadata."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import nbformat

TRAINING = "run.train("  # in the cell that only trains
HEADING = re.compile("^## (.+)", re.MULTILINE)
START = "start of the kernel, until the first cell"
REST = "between the cells, and until the notebook is saved"


def seconds_by_section(file: Path) -> dict[str, float]:
    """Seconds of an executed notebook per section, with `training` separate."""
    notebook = nbformat.read(file, as_version=4)
    whole = notebook.metadata.papermill
    cells = list(_timed(notebook))
    seconds = {START: seconds_between(whole.start_time, cells[0][1].start_time)}
    for section, cell in cells:
        seconds[section] = seconds.get(section, 0.0) + cell.duration
    return seconds | {REST: whole.duration - sum(seconds.values())}


def _timed(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, nbformat.NotebookNode]]:
    """Yield the section of each code cell and papermill's metadata about it."""
    section = "Settings and imports"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            section = next(iter(HEADING.findall(cell.source)), section)
        else:
            yield "training" if TRAINING in cell.source else section, cell.metadata.papermill


def seconds_between(start: str, end: str) -> float:
    """Seconds between two timestamps of papermill."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
