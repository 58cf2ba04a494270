"""Small real things that many tests need: settings, a few images, a record, own folders."""

import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import effnet_core  # isort: skip  # noqa: F401  before NumPy is loaded: it says with what
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings as hypothesis_settings

from effnet_core import paths
from effnet_core.data.datasets import digits
from effnet_core.data.images import decode
from effnet_core.study import records
from effnet_core.study.design import Settings
from effnet_core.study.records import Metrics, Record
from effnet_core.training import checkpoints

pytest_plugins = ["campaign"]
# Results must not depend on how many cores the machine has, nor may tests fight over them.
torch.set_num_threads(1)
hypothesis_settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis_settings.load_profile("steady")


@pytest.fixture
def own_folders(tmp_path, monkeypatch) -> Path:
    """Records and caches go to a temporary folder, which is returned."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    return tmp_path


@pytest.fixture
def every_epoch_saved(monkeypatch):
    """Checkpoints are written however short an epoch is."""
    monkeypatch.setattr(checkpoints, "WORTH_SAVING", 0.0)


@pytest.fixture
def make_settings():
    """Settings of a small run on the digits; each can be changed."""

    def make(**changes) -> Settings:
        small = {
            "study": "small",
            "dataset": "digits",
            "image_size": 32,
            "weights": "none",
            "learning_rate": 1e-3,
            "epochs": 2,
            "freeze": 3,
            "head": "none",
            "scheduler": "plateau",
            "seed": 0,
        }
        return Settings(**(small | changes))

    return make


@pytest.fixture(scope="session")
def small_images() -> tuple[np.ndarray, np.ndarray]:
    """24 zeros and ones at 32 x 32: images, shape (24, 32, 32, 3), uint8, and labels."""
    dataset = digits()
    chosen = np.flatnonzero(dataset.labels < 2)[:24]
    images = np.stack([decode(dataset.images[index], 32) for index in chosen])
    return images, dataset.labels[chosen]


@pytest.fixture
def make_metrics():
    """Metrics with one accuracy, a loss, and everything else equal to the accuracy."""

    def make(accuracy: float, loss: float = 1.0) -> Metrics:
        return Metrics(
            images=4,
            loss=loss,
            accuracy=accuracy,
            precision=accuracy,
            recall=accuracy,
            f1=accuracy,
        )

    return make


@pytest.fixture
def make_record(make_settings, make_metrics):
    """A whole record with its predictions file's bytes."""

    def make(accuracy: float = 75.0, image: str = "a/1.png", **changes) -> tuple[Record, bytes]:
        settings = make_settings(**changes)
        rows = [("validation", image, 0, 0, 0.9), ("test", "b/2.png", 1, 0, 0.6)]
        predictions = records.predictions_csv(
            pd.DataFrame(rows, columns=records.PREDICTION_COLUMNS)
        )
        scores = make_metrics(accuracy).model_dump()
        content = {
            "run_id": settings.run_id,
            "number": settings.number,
            "settings": settings.model_dump(),
            "facts": {
                "classes": ["a", "b"],
                "train_images": 9,
                "validation_images": 3,
                "test_images": 4,
                "trainable_parameters": 10,
                "total_parameters": 20,
                "stages": [],
            },
            "outcome": {
                "history": [
                    {"epoch": 1, "learning_rate": 1e-3, "train_loss": 0.7, "validation": scores}
                ],
                "best_epoch": 1,
                "validation": scores,
                "test": scores,
                "best_of_cycle": {"accuracy": accuracy, "precision": accuracy, "recall": accuracy},
                "final_weights": "f" * 64,
            },
            "fingerprints": dict.fromkeys(("data", "split", "weights", "code"), "0" * 64),
            "predictions": hashlib.sha256(predictions).hexdigest(),
            "made": {
                "started": "2026-01-01T00:00:00+00:00",
                "finished": "2026-01-01T00:01:00+00:00",
                "seconds": {"total": 60.0},
                "cpu_seconds": {"total": 50.0},
                "peak_memory_mb": 500.0,
                "commit": "unknown",
                "versions": {"torch": torch.__version__},
                "hardware": {"cores": "2"},
            },
        }
        return Record.model_validate(content), predictions

    return make


class Clone:
    """A copy of the project's code in a temporary folder, and commands run in it.

    Commands are the installed ones; PYTHONPATH makes them import the copy, whose folders for
    results, caches and executed notebooks are then its own.
    """

    TINY = """
        title: Two configurations of a few digits
        seeds: [0]
        factors: {freeze: [5, 6], head: [none], scheduler: [plateau]}
        protocol: {dataset: digits, max_images: 120, image_size: 32, weights: none, epochs: 2}
        """

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("bench", "effnet_core", "effnet_report", "notebooks", "studies"):
            ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            shutil.copytree(paths.ROOT / folder, root / folder, ignore=ignored)
        (root / "studies" / "tiny.yml").write_text(textwrap.dedent(self.TINY))
        saving = root / "effnet_core" / "training" / "checkpoints.py"
        every = saving.read_text().replace("WORTH_SAVING = 10.0", "WORTH_SAVING = 0.0")
        saving.write_text(every)  # its epochs take no time, and can be gone on from

    @property
    def environment(self) -> dict[str, str]:
        # Rich and papermill word things by the width of the terminal.
        return os.environ | {"PYTHONPATH": str(self.root), "COLUMNS": "200"}

    def run(self, *command: str, **options) -> subprocess.CompletedProcess:
        """Run a command of this environment in the copy, its streams piped."""
        program = Path(sys.executable).with_name(command[0])
        return subprocess.run(
            [program, *command[1:]],
            cwd=self.root,
            env=self.environment,
            text=True,
            check=False,
            **({"capture_output": True, "stdin": subprocess.DEVNULL} | options),
        )

    def files(self) -> set[str]:
        """Everything that runs have left, hidden files aside."""
        left = [*self.root.glob("results/**/*"), *self.root.glob("book/runs/**/*")]
        names = [path.relative_to(self.root) for path in left if path.is_file()]
        return {n.as_posix() for n in names if not any(p.startswith(".") for p in n.parts)}


@pytest.fixture
def clone(tmp_path) -> Clone:
    return Clone(tmp_path / "clone")
