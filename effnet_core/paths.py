"""Every folder of the project, named once."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

STUDIES = ROOT / "studies"
NOTEBOOKS = ROOT / "notebooks"
TRAIN_NOTEBOOK = NOTEBOOKS / "train.ipynb"
CLASSICAL_NOTEBOOK = NOTEBOOKS / "classical.ipynb"

RESULTS = ROOT / "results"
BOOK = ROOT / "book"
EXECUTED = BOOK / "runs"
CACHE = ROOT / ".cache"


def records(study: str) -> Path:
    """Folder of a study's records. The name may hold a slash, as in `published/quick`."""
    return RESULTS / study


def design(study: str) -> Path:
    """Copy of the design file beside the records that were made with it."""
    return records(study) / "study.yml"


def executed(study: str) -> Path:
    """Folder of a study's executed notebooks; under `book/`, where Jupyter Book can see it."""
    return EXECUTED / study


def checkpoint(study: str, run_id: str) -> Path:
    """Checkpoint from which an interrupted run resumes."""
    return CACHE / "checkpoints" / study / f"{run_id}.pt"


def first_epoch(study: str, run_id: str) -> Path:
    """Checkpoint after the first epoch, shared by runs that differ only in their schedule."""
    return CACHE / "epochs" / study / f"{run_id}.pt"


def weights(study: str, run_id: str) -> Path:
    """The trained weights of a run."""
    return CACHE / "weights" / study / f"{run_id}.safetensors"
