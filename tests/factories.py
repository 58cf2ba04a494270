"""Small real runs, and synthetic studies: records that no training made, in the true schema."""

import hashlib
import os
import pickle
import struct
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image

from effnet_core import paths, run
from effnet_core.data.datasets import Dataset
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import Settings
from effnet_core.study.schema import (
    AnyRecord,
    BestOfCycle,
    Candidate,
    ClassicalOutcome,
    ClassicalRecord,
    Epoch,
    Facts,
    Fingerprints,
    Heat,
    Made,
    Metrics,
    Outcome,
    Record,
    Stage,
)
from effnet_core.study.studies import load_study
from effnet_report.baseline import classical
from effnet_report.baseline.classical import BASELINE, Trial
from effnet_report.evidence.predictions import recomputed
from effnet_report.evidence.rates import rates_due

# The published studies; those that take seconds to read are left to the whole suite.
_READ_FAST = {"quick", "elpv_source"}
PUBLISHED = [
    path.name if path.name in _READ_FAST else pytest.param(path.name, marks=pytest.mark.slow)
    for path in sorted((Path(__file__).parents[1] / "results/published").iterdir())
]
NEVER = "# Parameters\nraise SystemExit('a run page is executed by papermill, never by the book')"
TEST_IMAGES, VALIDATION_IMAGES = 200, 60
CLASSES = ["functional", "<b>defective</b>"]

# A real run of half a second, of the smallest network that has seven stages.
SMALL = {
    "study": "quick",
    "backbone": "tinynet_e",
    "freeze": 6,
    "dataset": "digits",
    "max_images": 80,
    "image_size": 32,
    "weights": "none",
    "epochs": 2,
    "early_stop_patience": 2,
    "batch_size": 16,
    "norm_statistics": "batch",
    "learning_rate": 3e-4,
}
# The same with a fold of every class for the classical comparison, and a part of its grid.
SMALL_CLASSICAL = {name: SMALL[name] for name in SMALL if name not in ("freeze", "epochs")}
SMALL_CLASSICAL |= {"max_images": 160}
SMALL_GRID = [
    Trial("HOG", "k-NN", {"n_neighbors": 3}),
    Trial("HOG", "logistic regression", {"C": 0.1}),
    Trial("pixels + PCA", "random forest", {"min_samples_leaf": 1}),
]


def once(tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path], Any]) -> Any:
    """What `make` gives for a new folder, made by one of the processes that test, for all."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, made = shared / make.__name__, shared / f"{make.__name__}.pickle"
    with FileLock(shared / f"{make.__name__}.lock"):
        if not made.is_file():
            made.write_bytes(pickle.dumps(make(folder)))
        return pickle.loads(made.read_bytes())


def train(**changes) -> Record:
    """Train and record; any of the small run's settings can be changed."""
    return run.execute(SMALL | changes)


def train_classical(**changes) -> list[ClassicalRecord]:
    """The steps of the classical notebook on small data."""
    this = run.begin(SMALL_CLASSICAL | changes, records.classical_id(0))
    data = run.load_data(this)
    return classical.record(
        this,
        data,
        baseline=classical.compare(this, data, "baseline", [BASELINE]),
        classical=classical.compare(this, data, "grid", SMALL_GRID),
    )


def use_folders(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let records, executed notebooks and the finished site live under a temporary folder."""
    monkeypatch.setattr(paths, "RESULTS", root / "results")
    monkeypatch.setattr(paths, "EXECUTED", root / "runs")
    monkeypatch.setenv("EFFNET_SITE", str(root / "site"))


def write_study(name: str = "quick", *, skip: tuple[int, ...] = (), classical: bool = True) -> None:
    """Leave records and executed notebooks of a study, as `effnet sweep` would.

    Args:
        name: a study in `studies/`.
        skip: configuration numbers, 1..28, to leave out.
        classical: whether to add the baseline and the best classical model.
    """
    for settings in load_study(name).runs():
        if settings.number not in skip:
            save_run(settings)
            write_notebook(settings)
    if classical:
        for settings in {one.seed: one for one in load_study(name).runs()}.values():
            save_classical(settings, "baseline", accuracy=70)
            save_classical(settings, "classical", accuracy=80)


def save_run(settings: Settings, accuracy: float | None = None) -> Record:
    """A finished run; accuracy in per cent, by default plausible for its configuration."""
    own = Path(__file__).parents[1] / "results"
    assert own != paths.RESULTS, "made-up records go to a folder of the test's own: use_folders"
    if accuracy is None:
        rng = np.random.default_rng(100 * settings.number + settings.seed)
        accuracy = 85 - 0.2 * settings.freeze**2 + rng.normal(0, 1)
    record, data = made_up(settings.model_dump_json(), accuracy)
    records.record_path(settings.study, record.run_id).unlink(missing_ok=True)
    records.save(record, data)
    return record


@cache
def made_up(settings_json: str, accuracy: float) -> tuple[Record, bytes]:
    """A finished run that no training made: its record and its predictions file's bytes."""
    settings = Settings.model_validate_json(settings_json)
    rng = np.random.default_rng(100 * settings.number + settings.seed)
    fold = settings.seed % settings.folds if settings.folds else 0
    table = predictions(accuracy, rng, fold)
    looks: list[pd.DataFrame] = []
    history: list[Epoch] = []
    while not _finished(history, settings):
        number = len(history) + 1
        gap = 4 / number if number <= 4 else 4.0 + number  # four epochs improve, the others do not
        looks.append(predictions(accuracy - gap, rng, fold))
        epoch = Epoch(
            epoch=number,
            learning_rate=rates_due(settings, settings.rates[0], [0.4] * number)[-1],
            train_loss=0.7 / number,
            validation=metrics(looks[-1], "validation"),
        )
        history.append(epoch)
    seen = looks[_best(history, settings).epoch - 1]
    shown = pd.concat([seen[seen["part"] == "validation"], table[table["part"] == "test"]])
    return run_record(settings, history, metrics(table, "test"), shown)


def _finished(history: list[Epoch], settings: Settings) -> bool:
    """Whether training ends after these epochs."""
    if not history or len(history) == settings.epochs:
        return bool(history)
    return len(history) - _best(history, settings).epoch >= settings.patience


def _best(history: list[Epoch], settings: Settings) -> Epoch:
    return max(history, key=lambda epoch: epoch.validation.score(settings.criterion))


def _race(settings: Settings, history: list[Epoch]) -> list[Heat]:
    """A race that the first rate has won."""
    lowest = history[min(settings.race_epochs, len(history)) - 1].validation.loss
    heats = [
        Heat(learning_rate=rate, validation_loss=lowest + place)
        for place, rate in enumerate(settings.rates)
    ]
    return heats if len(heats) > 1 else []


def run_record(
    settings: Settings, history: list[Epoch], test: Metrics, table: pd.DataFrame
) -> tuple[Record, bytes]:
    """A run's record and its predictions file's bytes."""
    best, scores = _best(history, settings), [epoch.validation for epoch in history]
    data = records.predictions_csv(table)
    record = Record(
        run_id=settings.run_id,
        number=settings.number,
        settings=settings.recorded(),
        facts=facts(settings, settings.freeze),
        outcome=Outcome(
            history=history,
            race=_race(settings, history),
            best_epoch=best.epoch,
            validation=best.validation,
            test=test,
            best_of_cycle=BestOfCycle(
                accuracy=max(score.accuracy for score in scores),
                precision=max(score.precision for score in scores),
                recall=max(score.recall for score in scores),
            ),
            final_weights=hashlib.sha256(settings.run_id.encode()).hexdigest(),
        ),
        fingerprints=fingerprints(settings.seed),
        predictions=hashlib.sha256(data).hexdigest(),
        made=made(train=20.0 - 2 * settings.freeze),
    )
    return record, data


def read_all(study: str) -> tuple[list[AnyRecord], list[str]]:
    """All records of a study that are whole, and a message for each other file."""
    whole, damaged = [], []
    for path in records.record_files(study):
        try:
            whole.append(records.load(path))
        except InputError as error:
            damaged.append(str(error))
    return whole, damaged


def save_classical(settings: Settings, kind: str, accuracy: float) -> ClassicalRecord:
    """The baseline or the best classical model."""
    fold = settings.seed % settings.folds if settings.folds else 0
    table = predictions(accuracy, np.random.default_rng(0), fold)
    data = records.predictions_csv(table)
    best = BASELINE if kind == "baseline" else Trial("hog", "svm", {"C": 1.0})
    models = [
        best._replace(features=f, classifier=c) for f in ("pixels", "hog") for c in ("svm", "knn")
    ]
    models = [BASELINE] if kind == "baseline" else models
    candidates = [
        Candidate(**model._asdict(), cv_accuracy=accuracy, cv_sd=1.5, seconds=2.0)
        for model in models
    ]
    record = ClassicalRecord(
        kind=kind,
        run_id=f"{kind}-seed{settings.seed}",
        settings=settings,
        facts=facts(settings, None),
        outcome=ClassicalOutcome(
            **best._asdict(),
            candidates=candidates,
            validation=metrics(table, "validation"),
            test=metrics(table, "test"),
        ),
        fingerprints=fingerprints(settings.seed),
        predictions=hashlib.sha256(data).hexdigest(),
        made=made(train=1.0),
    )
    records.record_path(settings.study, record.run_id).unlink(missing_ok=True)
    records.save(record, data)
    return record


def dataset(counts: Sequence[int]) -> Dataset:
    """Blank images in mixed order, so many of each class."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    return Dataset(
        name="made-up",
        classes=[f"class {number}" for number in range(len(counts))],
        labels=labels.astype(np.int64),
        names=[f"image {number}" for number in range(len(labels))],
        subgroups=[],
        images=np.zeros((len(labels), 8, 8), np.uint8),
    )


def save_deep_planes(path: Path) -> None:
    """Save a TIFF of 8 x 8 pixels, 16 bits a channel, one plane per colour."""
    planes, side = np.full((3, 8, 8), 1000, "<u2").tobytes(), 8
    after = 8 + len(planes) + 2 + 10 * 12 + 4  # header, planes and tags
    tags = [(256, side), (257, side), (258, after), (259, 1), (262, 2), (273, after + 6)]
    tags += [(277, 3), (278, side), (279, after + 18), (284, 2)]
    counts = {258: 3, 273: 3, 279: 3}
    kinds = {273: 4, 279: 4}  # others are short numbers
    listed = [struct.pack("<HHII", tag, kinds.get(tag, 3), counts.get(tag, 1), value)
              for tag, value in tags]  # fmt: skip
    lists = struct.pack("<3H3I3I", 16, 16, 16, 8, 136, 264, 128, 128, 128)
    head = b"II*\0" + struct.pack("<I", 8 + len(planes))
    path.write_bytes(head + planes + struct.pack("<H", 10) + b"".join(listed) + bytes(4) + lists)
    with Image.open(path) as image:
        assert (image.mode, image.size) == ("RGB", (8, 8))


def write_notebook(settings: Settings) -> None:
    """An executed notebook as papermill leaves it."""
    configuration = settings.model_dump(include={"study", "freeze", "head", "scheduler", "seed"})
    notebook = nbformat.v4.new_notebook(
        metadata={"papermill": {"parameters": configuration}},
        cells=[
            nbformat.v4.new_markdown_cell("# One run\n\nWhat it is."),
            nbformat.v4.new_code_cell(NEVER),
        ],
    )
    path = paths.executed(settings.study) / f"{settings.run_id}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def predictions(accuracy: float, rng: np.random.Generator, fold: int = 0) -> pd.DataFrame:
    """Predictions that are right as often as wanted, three of ten images in the second class.

    Each fold has other test images.
    """
    sizes = {"validation": VALIDATION_IMAGES, "test": TEST_IMAGES}
    tables = []
    for part, size in sizes.items():
        label = (np.arange(size) % 10 < 3).astype(int)
        wrong = rng.permutation(size) >= round(size * accuracy / 100)
        tables.append(
            pd.DataFrame(
                {
                    "part": part,
                    "image": [f"{part}-{fold * size + n}" for n in range(size)],
                    "label": label,
                    "predicted": np.where(wrong, 1 - label, label),
                    "confidence": 0.9,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def metrics(table: pd.DataFrame, part: str) -> Metrics:
    shown = table[table["part"] == part]
    scores = recomputed(shown["label"].to_numpy(), shown["predicted"].to_numpy(), len(CLASSES))
    return Metrics(images=len(shown), loss=0.4, **scores)


def even_metrics(accuracy: float, loss: float = 1.0) -> Metrics:
    """One accuracy, a loss, and everything else equal to the accuracy."""
    scores = dict.fromkeys(("accuracy", "precision", "recall", "f1"), accuracy)
    return Metrics(images=4, loss=loss, **scores)


def facts(settings: Settings, freeze: int | None) -> Facts:
    """Those of a network, of which stages are frozen; None: all of it, for a classical model."""
    held_out = VALIDATION_IMAGES + TEST_IMAGES
    parameters = [1_000, 2_000, 20_000, 60_000, 250_000, 500_000, 1_800_000, 700_000, 400_000]
    shares = [0.03, 0.05, 0.2, 0.15, 0.12, 0.15, 0.18, 0.08, 0.04]
    names = ["stem", *(f"stage {n}" for n in range(1, 8)), "final convolution"]
    total, frozen = 4_000_000, sum(parameters[: freeze + 1]) if freeze else 0
    return Facts(
        classes=CLASSES,
        # All folds together test every image once.
        train_images=settings.folds * TEST_IMAGES - held_out if settings.folds else 180,
        validation_images=VALIDATION_IMAGES,
        test_images=TEST_IMAGES,
        trainable_parameters=0 if freeze is None else total - frozen,
        total_parameters=total,
        stages=[
            Stage(name=name, parameters=count, flop_share=share, boundary_values=1000)
            for name, count, share in zip(names, parameters, shares, strict=True)
        ],
    )


def fingerprints(seed: int) -> Fingerprints:
    return Fingerprints(data="a" * 64, split=f"{seed:064x}", weights="b" * 64, code="c" * 64)


def made(train: float) -> Made:
    return Made(
        started="2025-01-01T00:00:00Z",
        finished="2025-01-01T00:01:00Z",
        seconds={"train": train, "total": train + 5},
        cpu_seconds={"train": 0.9 * train, "total": 0.9 * (train + 5)},
        peak_memory_mb=800.0,
        commit="0123456",
        versions={"python": "3.11", "torch": "2.14.1"},
        hardware={"cpu": "a processor", "memory": "24 GiB"},
    )
