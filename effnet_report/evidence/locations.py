"""Paths of the files that the report adds to records, and of what the benchmarks measured."""

from pathlib import Path

from effnet_core import paths

PREVIEW = "figures/preview.png"  # on the site: what other sites show beside a link to it


def calibration(study: str) -> Path:
    """The calibration of the best run's probabilities; the features it needs lie beside it."""
    return paths.records(study) / "calibration.json"


def growth(study: str) -> Path:
    """What more training images would give."""
    return paths.records(study) / "growth.json"


def verification(study: str, processor: str) -> Path:
    """The result of the last repetition of a study's runs on one kind of processor."""
    return paths.records(study) / f"verification-{processor}.json"


def verifications(study: str) -> list[Path]:
    """The results of repetitions on all kinds of processors."""
    return sorted(paths.records(study).glob("verification-*.json"))


def verified_here(study: str) -> Path:
    """The result of repeating committed records on a reader's machine; outside of git."""
    return paths.CACHE / "verified" / f"{study}.json"


def bench() -> Path:
    """Timings of our sweep and of other training loops."""
    return paths.RESULTS / "bench.json"


def processors() -> Path:
    """A comparison of results on different processors."""
    return paths.RESULTS / "processors.json"


def gpu() -> Path:
    """Timings on a GPU."""
    return paths.RESULTS / "gpu.json"


def photos() -> Path:
    """How long studies of some numbers of photos take."""
    return paths.RESULTS / "photos.json"


def planted() -> Path:
    """What audits found of planted label errors."""
    return paths.RESULTS / "audit.json"


def consecutive() -> Path:
    """What models have right if neighbouring solar cells stay on one side of a split."""
    return paths.RESULTS / "consecutive.json"


def coverage() -> Path:
    """How often intervals cover the truth in simulated studies."""
    return paths.RESULTS / "simulation.json"


def cluster() -> Path:
    """Simulated times of a study on a cluster."""
    return paths.RESULTS / "cluster.json"
