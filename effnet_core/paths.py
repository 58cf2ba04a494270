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
    """The design that committed records were made by."""
    return records(study) / "study.yml"


def executed(study: str) -> Path:
    """Folder of a study's executed notebooks; under `book/`, where Jupyter Book can see it."""
    return EXECUTED / study


def checkpoint(study: str, run_id: str) -> Path:
    """What a run that was killed goes on from."""
    return CACHE / "checkpoints" / study / f"{run_id}.pt"


def first_epoch(study: str, run_id: str) -> Path:
    """What runs that differ only in their schedule go on from."""
    return CACHE / "epochs" / study / f"{run_id}.pt"


def weights(study: str, run_id: str) -> Path:
    """The trained weights of a run."""
    return CACHE / "weights" / study / f"{run_id}.safetensors"


def calibration(study: str) -> Path:
    """How the best run's probabilities were calibrated; the features it needs lie beside it."""
    return records(study) / "calibration.json"


def verification(study: str, processor: str) -> Path:
    """What came out when runs were last repeated on a kind of processor, as the report shows it."""
    return records(study) / f"verification-{processor}.json"


def verifications(study: str) -> list[Path]:
    """The same of all kinds of processors on which runs of a study were repeated."""
    return sorted(records(study).glob("verification-*.json"))


def verified_here(study: str) -> Path:
    """The same of committed records, as it came out on a reader's machine; outside of git."""
    return CACHE / "verified" / f"{study}.json"


def bench() -> Path:
    """What the benchmark measured."""
    return RESULTS / "bench.json"


def processors() -> Path:
    """Whether other processors give the same bits."""
    return RESULTS / "processors.json"


def gpu() -> Path:
    """What was measured on a GPU."""
    return RESULTS / "gpu.json"


def coverage() -> Path:
    """How often intervals cover the truth in simulated studies."""
    return RESULTS / "simulation.json"


def cluster() -> Path:
    """What was simulated of a cluster."""
    return RESULTS / "cluster.json"
