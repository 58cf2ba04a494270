"""Would more images help? Accuracy at a quarter, half and all of the training images, and a fit.

The error of a network falls about as a power of the number of its training images (Hestness et
al., 2017). Three sizes cannot show where that ends, so the forecast goes no further than twice
the images that there are.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from effnet_core import files, run
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.schema import Record
from effnet_core.study.studies import read_settings
from effnet_report.evidence import loader, locations, soundness
from effnet_report.evidence.choice import best_run
from effnet_report.evidence.correctness import contributions
from effnet_report.evidence.evidence import Evidence
from effnet_report.evidence.evidence import load as load_evidence
from effnet_report.evidence.growth import Growth
from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import duration, number
from effnet_report.sweep.sweep import check_images

SHARES = (4, 2)  # a quarter and half of the training images
FURTHEST = 1000  # additional training images, at most
RESAMPLES = 2000


def more_images(study: str, console: Console) -> None:
    """Train the best configuration on fewer images, and forecast what more would give.

    Args:
        study: a folder of records that this machine can repeat.
        console: to print to.

    Raises:
        InputError: no run has finished, the images or their split have changed, or too few are
            left.
    """
    evidence = load_evidence(study)
    best = best_run(evidence.finished)
    if best is None:
        raise InputError(f"No run of {study} has finished. Start them: effnet sweep {study}")
    check_images(evidence.design, loader.load(study))
    whole = best.facts.train_images
    sizes = [whole // share for share in SHARES]
    seconds = best.made.seconds["total"] * sum(sizes) / whole
    console.print(
        f"Training the best configuration on {' and on '.join(map(str, sizes))} of its "
        f"{whole} images, which takes about {duration(seconds)}."
    )
    runs = [*(_trained(best, study, size) for size in sizes), best]
    growth = forecast(evidence, runs, _scatter(Analysis(evidence)))
    path = locations.growth(evidence.design.name)
    files.write(path, (growth.model_dump_json(indent=1) + "\n").encode())
    for size, accuracy in zip(growth.sizes, growth.accuracy, strict=True):
        console.print(f"{size:7,} training images: {number(accuracy)} %")
    console.print(growth.sentence)
    console.print(f"Written: {path}")


def _trained(best: Record, study: str, size: int) -> Record:
    """The same run on fewer images; an existing record is used."""
    settings = best.settings
    shared = {"study": settings.study, "seed": settings.seed, "train_images": size}
    parameters = settings.levels | shared
    fewer = read_settings(parameters)
    whole = fewer.model_copy(
        update={"study": settings.study, "train_images": settings.train_images}
    )
    if changed := records.differences(settings, whole):
        raise InputError(
            f"The file of study {settings.study} has changed since its runs: {', '.join(changed)}. "
            "Restore it, or give the changed study another name."
        )
    record = records.recorded_run(fewer, fewer.run_id)
    if not isinstance(record, Record):
        record = run.execute(parameters)
    _check_alike(best, study, record)
    return record


def _check_alike(best: Record, study: str, fewer: Record) -> None:
    """Make sure that a run on fewer images can stand beside the one on all of them.

    Raises:
        InputError: it saw other images or other weights, or contradicts itself.
    """
    path = records.record_path(fewer.settings.study, fewer.run_id)
    there = records.record_path(study, best.run_id)
    tests = {soundness.read(one).tests for one in (path, there)}
    if len(tests) > 1 or _shared(fewer) != _shared(best):
        raise InputError(
            f"{path} is of other images, other test images or other weights than {best.run_id}. "
            f"Move {path.parent} away; the run is then trained again."
        )


def _shared(record: Record) -> tuple[object, ...]:
    """What runs share that differ only in the number of training images."""
    facts, prints = record.facts, record.fingerprints
    network = facts.stages, facts.trainable_parameters, facts.total_parameters
    return prints.data, prints.weights, facts.classes, *network


def _scatter(study: Analysis) -> float:
    """Standard deviation of a run's accuracy beyond its test images, points; 0 if unknown."""
    beyond = study.estimator.pairs.beyond_images if len(study.correctness.seeds) > 1 else 0.0
    return math.sqrt(beyond)


def forecast(evidence: Evidence, runs: list[Record], scatter: float) -> Growth:
    """Fit a power law to the error by number of training images.

    The interval is that of other test images, drawn with replacement, and of other trainings.

    Args:
        evidence: the study of the last run.
        runs: the same configuration on more and more images, judged on the same test images.
        scatter: standard deviation of a run's accuracy between trainings, points.
    """
    criterion = evidence.design.protocol.criterion
    folders = [*(record.settings.study for record in runs[:-1]), evidence.reference]
    right = np.stack(
        [
            100 * _by_image(records.record_path(folder, record.run_id), criterion)
            for folder, record in zip(folders, runs, strict=True)
        ]
    )
    sizes = [record.facts.train_images for record in runs]
    more = min(FURTHEST, sizes[-1])
    rng = np.random.default_rng(0)
    images = right.shape[1]
    drawn = np.stack(
        [
            right[:, rng.integers(images, size=images)].mean(axis=1)
            + scatter * rng.standard_normal(len(runs))
            for _ in range(RESAMPLES)
        ]
    )
    gain = _gain(sizes, more, images)
    low, high = np.quantile(gain(drawn), [0.025, 0.975])
    means = right.mean(axis=1)
    return Growth(
        run_id=runs[-1].run_id,
        final_weights=runs[-1].outcome.final_weights,
        metric=evidence.metric,
        sizes=sizes,
        accuracy=[float(mean) for mean in means],
        more=more,
        gain=float(gain(means[None])[0]),
        low=float(low),
        high=float(high),
    )


def _by_image(path: Path, criterion: str) -> np.ndarray:
    table = records.load_predictions(path)
    test = table[table["part"] == "test"].set_index("image").sort_index()
    return contributions(test, criterion).astype(float)


def _gain(sizes: list[int], more: int, images: int) -> Callable[[np.ndarray], np.ndarray]:
    """Points that a fitted power law adds, for rows of accuracies by size, per cent."""
    logs = np.log(sizes)
    away = logs - logs.mean()
    least = 50 / images  # half an image, as the logarithm of no error is infinite
    further = math.log(sizes[-1] + more)

    def gain(accuracies: np.ndarray) -> np.ndarray:
        errors = np.log(np.clip(100 - accuracies, least, 100))
        slope = errors @ away / (away**2).sum()
        middle = errors.mean(axis=1)
        now, then = (
            np.minimum(np.exp(middle + slope * (x - logs.mean())), 100)  # no error is larger
            for x in (logs[-1], further)
        )
        return now - then

    return gain
