"""Copy a study's records and notebooks to where the repository keeps published ones."""

import shutil
from pathlib import Path

import nbformat

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import PUBLISHED


def publish(study: str, first_seed: int, design: Path) -> tuple[int, int]:
    """Copy all valid records, their design, and the first seed's executed notebooks.

    Returns:
        Number of records and of notebooks copied.

    Raises:
        InputError: there are no records, or one of them is damaged.
    """
    found, damaged = records.load_study_records(study)
    if damaged:
        raise InputError(damaged[0])
    if not found:
        raise InputError(f"Study {study} has no records. Run `effnet sweep {study}` first.")
    target = f"{PUBLISHED}/{study}"
    paths.records(target).mkdir(parents=True, exist_ok=True)
    paths.executed(target).mkdir(parents=True, exist_ok=True)
    shutil.copy2(design, paths.design(target))
    notebooks = 0
    for record in found:
        path = records.record_path(study, record.run_id)
        for file in (records.predictions_path(path), path):
            shutil.copy2(file, paths.records(target))
        notebook = paths.executed(study) / f"{record.run_id}.ipynb"
        if record.settings.seed == first_seed and notebook.is_file():
            _copy_notebook(notebook, paths.executed(target) / notebook.name)
            notebooks += 1
    return len(found), notebooks


def _copy_notebook(source: Path, target: Path) -> None:
    """Copy, without the folders of this machine, which papermill notes in the metadata."""
    notebook = nbformat.read(source, as_version=4)
    papermill = notebook.metadata.papermill
    papermill.input_path = f"{paths.NOTEBOOKS.name}/{Path(papermill.input_path).name}"
    papermill.output_path = target.relative_to(paths.ROOT).as_posix()
    nbformat.write(notebook, target)
