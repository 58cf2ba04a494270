"""Paths of the files that the report adds to records."""

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
