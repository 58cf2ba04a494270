"""The steps of one run, from settings to record, which `notebooks/train.ipynb` walks through."""

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from effnet_core import files, paths, weights
from effnet_core.data import augment
from effnet_core.data.datasets import Dataset, load_dataset
from effnet_core.data.duplicates import describe_duplicates, first_of_equals
from effnet_core.data.images import are_decoded, load_images
from effnet_core.data.splits import Split, split_dataset
from effnet_core.errors import InputError
from effnet_core.model.backbones import Backbone, load_backbone, weights_hash
from effnet_core.model.convolutions import move_to_device
from effnet_core.model.cost import stage_costs
from effnet_core.model.freezing import FrozenNetwork, count
from effnet_core.model.heads import build_head
from effnet_core.model.prefix import (
    Boundary,
    Pixels,
    cached_depths,
    computed_on,
    frozen_boundary,
    images_below,
)
from effnet_core.study import records
from effnet_core.study.code import code_fingerprint
from effnet_core.study.design import INCIDENTAL, PARAMETERS, Settings
from effnet_core.study.provenance import VERSIONS, Clock, check_unchanged
from effnet_core.study.schema import (
    BestOfCycle,
    Facts,
    Fingerprints,
    Outcome,
    Record,
    Stage,
)
from effnet_core.study.studies import load_study, override_lines, read_settings
from effnet_core.training import checkpoints
from effnet_core.training import fit as training
from effnet_core.training.determinism import make_reproducible
from effnet_core.training.evaluate import Evaluation, evaluate
from effnet_core.training.state import TrainingState


@dataclass(frozen=True)
class Run:
    """A run that has begun; no other process can train it at the same time.

    Attributes:
        changed: settings that differ from the study, as `name: was -> is`.
        weights_file: state of the file of initial weights when the run began; None without a file.
        lock: the claim on the run; not held by a repetition, which writes nothing.
    """

    settings: Settings
    changed: list[str]
    clock: Clock
    lock: FileLock
    weights_file: tuple[int, ...] | None


@dataclass(frozen=True)
class Data:
    """The resized images of a run and their split.

    Attributes:
        settings: settings of the run that the images were loaded for.
        images: shape (N, side, side, 3), uint8.
    """

    settings: Settings
    dataset: Dataset
    images: np.ndarray
    split: Split

    def facts(self) -> dict[str, Any]:
        """The part of a record's facts that describes the data."""
        return {
            "classes": self.dataset.classes,
            "train_images": len(self.split.train),
            "validation_images": len(self.split.validation),
            "test_images": len(self.split.test),
        }


@dataclass(frozen=True)
class Model:
    """A backbone cut at the frozen boundary, with its head, ready to train.

    Attributes:
        settings: settings of the run that the model was built for.
        initial: hash of the weights before training.
        boundary_note: a sentence about caching the activations at the boundary.
        backbone: the same network under timm's names, with the new head as its classifier.
    """

    settings: Settings
    initial: str
    network: FrozenNetwork
    boundary: Boundary
    boundary_note: str
    stages: list[Stage]
    backbone: Backbone
    trainable_parameters: int
    total_parameters: int


def begin(parameters: Mapping[str, Any], run_id: str | None = None) -> Run:
    """Check the parameters, make the run reproducible, and claim it.

    A process trains one run at a time, so an earlier claim of this process is released.

    Args:
        parameters: settings by name; other names are ignored, so a notebook passes `globals()`.
        run_id: name of the run to claim; by default the name of the configuration's run.

    Raises:
        InputError: a setting is wrong, the device is missing, another process trains the run, or
            its record was made with other settings.
    """
    clock = Clock()
    chosen = {name: parameters[name] for name in PARAMETERS if name in parameters}
    settings = read_settings(chosen)
    study = load_study(chosen.get("study", settings.study))
    make_reproducible(settings)
    changed = override_lines(settings, study)
    name = run_id or settings.run_id
    while _claimed:
        _claimed.pop().release(force=True)
    lock = records.claim(settings.study, name)
    _claimed.append(lock)
    records.recorded_run(settings, name)
    return Run(settings, changed, clock, lock, _weights_file(settings))


# The lock of the run that this process is training.
_claimed: list[FileLock] = []


def execute(parameters: Mapping[str, Any]) -> Record:
    """Train one run and write its record, with the same steps as the notebook."""
    run = begin(parameters)
    return record(run, *steps(run))


def repeat(settings: Settings, reference: str | None = None) -> tuple[Record, bytes]:
    """Train a run again from the beginning without writing anything.

    Args:
        reference: study folder with the record to repeat; by default the folder of its study.

    Returns:
        The record that the run would write, and the bytes of its predictions file.

    Raises:
        InputError: this machine lacks the data, the weights or the device of the settings.
    """
    run = begin_again(settings)
    return result(run, *steps(run), reference=reference)


def begin_again(settings: Settings) -> Run:
    """Begin a run without claiming it, because it writes nothing."""
    clock = Clock()
    make_reproducible(settings)
    lock = FileLock(records.lock_path(settings.study, settings.run_id))
    return Run(settings, [], clock, lock, _weights_file(settings))


def _weights_file(settings: Settings) -> tuple[int, ...] | None:
    """The state of the file of initial weights; None if they are no file of the user."""
    named = settings.weights in ("packaged", "hub", "none")
    path = Path(os.path.expanduser(settings.weights))  # noqa: PTH111  a user may not exist
    return None if named else files.state(path)


def check_same_weights(run: Run) -> None:
    """Make sure that the file of initial weights is as it was when the run began.

    Raises:
        InputError: it was changed or replaced.
    """
    if _weights_file(run.settings) != run.weights_file:
        raise InputError(
            f"The file {run.settings.weights} changed after the run began. Run all steps again."
        )


def steps(run: Run) -> "tuple[Data, Model, training.Fit, dict[str, Evaluation]]":
    """The steps between the beginning of a run and its record, in order."""
    data = load_data(run)
    model = build_model(run, data)
    fitted = train(run, data, model)
    return data, model, fitted, evaluate_parts(run, data, model)


def load_data(run: Run) -> Data:
    """Load the data set, split it for the seed of the run, and decode the images."""
    settings = run.settings
    with run.clock.phase("data"):
        dataset = load_dataset(
            settings.dataset, settings.data_dir, settings.labels, settings.groups
        )
        print(end="".join(f"{remark}\n" for remark in dataset.remarks))
        images = load_images(dataset, settings.image_size, settings.resize, settings.background)
        first = first_of_equals(images)
        if notice := describe_duplicates(dataset, first):
            print(notice)
        parts = split_dataset(dataset, settings, first)
    return Data(settings, dataset, images, parts)


def build_model(run: Run, data: Data) -> Model:
    """Load the backbone, freeze it as the settings say, and add a new head.

    Raises:
        InputError: the images were loaded for another run.
    """
    check_same_run(run, data.settings, "images")
    settings = run.settings
    with run.clock.phase("model"):
        backbone = load_backbone(settings.backbone, settings.weights, drop_path=settings.drop_path)
        stages = stage_costs(backbone.network, settings.image_size)
        network = _frozen(backbone, settings, len(data.dataset.classes))
        move_to_device(network, settings.device)
        if settings.compiled:
            network.suffix.compile()
        random_seed = settings.seed if settings.augment == "random" else None
        pixels = Pixels(data.images, backbone, settings.device, random_seed)
        rows = data.split.images + (augment.views(settings) - 1) * len(data.split.train)
        cached, note = cached_depths(settings, data.dataset, rows, backbone, stages)
        boundary = frozen_boundary(
            pixels, network.prefix, settings.freeze, settings.batch_size, cached
        )
    return Model(
        settings=settings,
        initial=weights_hash(network.state_dict()),
        network=network,
        boundary=boundary,
        stages=stages,
        boundary_note=note,
        backbone=backbone,
        trainable_parameters=count(network.trainable_parameters()),
        total_parameters=count(list(network.parameters())),
    )


def _frozen(backbone: Backbone, settings: Settings, classes: int) -> FrozenNetwork:
    """Divide the backbone at the frozen boundary; a new head becomes its classifier."""
    head = build_head(settings, backbone.features, classes)
    precision = getattr(torch, settings.precision)
    network = FrozenNetwork(
        backbone.network,
        head,
        settings.freeze,
        precision,
        keep_statistics=settings.norm_statistics == "pretrained",
    )
    backbone.network.classifier = head
    return network


def train(run: Run, data: Data, model: Model) -> training.Fit:
    """Fine-tune the model, printing one line per epoch; it ends with the weights of its best epoch.

    Training starts from the initial weights, even if the model was trained before, or resumes from
    the run's checkpoint.

    Raises:
        InputError: the images or the model belong to another run, or were changed.
    """
    check_same_run(run, data.settings, "images")
    check_same_run(run, model.settings, "weights of the model")
    _check_same_images(data, model)
    _check_decoded(data)
    if weights_hash(model.network.state_dict()) != model.initial:
        _restore(data, model)
        print("The model was trained before: training begins again with its initial weights.")
    if count(model.network.trainable_parameters()) != model.trainable_parameters:
        raise InputError(
            "Parameters of the model were frozen or thawed since it was built. Build it again; the "
            "setting freeze says how many stages are frozen."
        )
    model.network.train()  # its frozen part stays in evaluation mode
    print(model.boundary_note)
    with run.clock.phase("train"):
        checkpoint = _checkpoint(run, data, model) if run.lock.is_locked else None
        fitted = _fit(
            data,
            model,
            report=lambda state: print(_progress(run, state), flush=True),
            checkpoint=checkpoint,
        )
    _trained_on[fitted.final_weights] = (data.dataset.fingerprint, data.split.fingerprint)
    return fitted


# Data set and split of each training of this process, by the hash of its trained weights.
_trained_on: dict[str, tuple[str, str]] = {}


def _fit(
    data: Data,
    model: Model,
    report: Callable[[TrainingState], None],
    checkpoint: checkpoints.Checkpoint | None,
) -> training.Fit:
    return training.fit(
        model.network,
        model.boundary,
        data.dataset.labels,
        data.split.train,
        data.split.validation,
        settings=model.settings,
        report=report,
        checkpoint=checkpoint,
    )


def _restore(data: Data, model: Model) -> None:
    """Restore the initial weights of a model by building them again.

    Raises:
        InputError: the layers of the model, or the files of the weights, have changed.
    """
    settings = model.settings
    backbone = load_backbone(settings.backbone, settings.weights, drop_path=settings.drop_path)
    initial = _frozen(backbone, settings, len(data.dataset.classes)).state_dict()
    with suppress(RuntimeError):  # other layers
        model.network.load_state_dict(initial)
    if weights_hash(model.network.state_dict()) != model.initial:
        raise InputError("The model was changed since it was built. Build it again, then train.")


def check_same_run(run: Run, settings: Settings, what: str) -> None:
    """Make sure that the arguments of a step were made for its run.

    Args:
        settings: settings that an argument was made with.
        what: name of the argument, in the plural, for the message.

    Raises:
        InputError: the argument was made with other settings.
    """
    changed = [n for n, v in settings if v != getattr(run.settings, n) and n != "cache_gb"]
    if changed:
        raise InputError(
            f"The {what} belong to another run (other {', '.join(changed)}). Run the steps in "
            "order: begin, load_data, build_model, train, evaluate_parts, record."
        )


def _check_same_images(data: Data, model: Model) -> None:
    """Make sure that the model sees the images of the data, also if they were loaded again.

    Raises:
        InputError: it sees others, or was built for another number of classes.
    """
    seen = images_below(model.boundary)
    last_bias = [*model.backbone.network.classifier.parameters()][-1]
    if seen is not data.images and not np.array_equal(seen, data.images):
        changed = "images"
    elif len(last_bias) != len(data.dataset.classes):
        changed = "classes"
    else:
        return
    raise InputError(
        f"The {changed} changed after the model was built, and were loaded again. Run build_model "
        "again, and the steps after it."
    )


def _check_decoded(data: Data) -> None:
    """Make sure that the images are those of the files: the caches of all runs rely on it.

    Raises:
        InputError: they were changed after they were loaded.
    """
    settings = data.settings
    if not are_decoded(
        data.images, data.dataset, settings.image_size, settings.resize, settings.background
    ):
        raise InputError(
            "The pixels of the images were changed after they were loaded. Change the files, and "
            "run the steps again from the beginning."
        )


def check_evaluated(data: Data, evaluations: Mapping[str, Evaluation]) -> None:
    """Make sure that the predicted images and their labels are those of the data.

    Raises:
        InputError: the data were loaded again with other images or labels.
    """
    for part, evaluation in evaluations.items():
        indices = getattr(data.split, part)
        labels = data.dataset.labels[indices]
        if not (
            np.array_equal(evaluation.indices, indices)
            and np.array_equal(evaluation.labels, labels)
        ):
            raise InputError(
                f"The {part} images or their labels changed after they were predicted, when the "
                "data were loaded again. Run all steps after load_data again."
            )


def _progress(run: Run, state: TrainingState) -> str:
    """The line to print after an epoch."""
    epoch, trained = state.history[-1], state.race.epochs + len(state.history)
    seconds = float(run.clock.spent("train")[0]) / trained
    left = seconds * (run.settings.trained_epochs - trained)
    return (
        f"epoch {epoch.epoch}/{run.settings.epochs}  rate {epoch.learning_rate:.1e}  "
        f"loss {epoch.train_loss:.3f}  validation {epoch.validation.loss:.3f}, "
        f"{epoch.validation.accuracy:.1f} %  {seconds:.0f} s, at most {left:.0f} s left"
    )


def _checkpoint(run: Run, data: Data, model: Model) -> checkpoints.Checkpoint:
    """The checkpoint of a run, whose origin is everything that decides the outcome to the bit."""
    settings = run.settings
    origin = {
        "initial weights": model.initial,
        **settings.model_dump(exclude=INCIDENTAL),
        **fingerprints(data, model.backbone.fingerprint).model_dump(),
        "versions": VERSIONS,
        "processor": computed_on(settings),
    }
    path = paths.checkpoint(settings.study, settings.run_id)
    shared = records.first_epoch(settings) if len(settings.schedules) > 1 else None
    return checkpoints.Checkpoint(path, origin, run.clock, shared)


def evaluate_parts(run: Run, data: Data, model: Model) -> dict[str, Evaluation]:
    """Predict the validation and the test set with the trained model.

    Raises:
        InputError: the images or the model belong to another run.
    """
    check_same_run(run, data.settings, "images")
    check_same_run(run, model.settings, "weights of the model")
    class_weights = training.class_weights(data.dataset.labels[data.split.train], run.settings)
    with run.clock.phase("evaluate"):
        return {
            part: evaluate(
                model.network.suffix,
                model.boundary,
                data.dataset.labels,
                indices,
                run.settings.batch_size,
                class_weights=class_weights,
            )
            for part, indices in (
                ("validation", data.split.validation),
                ("test", data.split.test),
            )
        }


def record(
    run: Run, data: Data, model: Model, fitted: training.Fit, evaluations: dict[str, Evaluation]
) -> Record:
    """Write the record of a run, its predictions and its trained weights, and release the run.

    Raises:
        InputError: see `result` and `records.save`; or another process now trains the run.
    """
    made, predictions = result(run, data, model, fitted, evaluations)
    # The lock is released if the run was recorded before, or if another run has begun since.
    lock = run.lock if run.lock.is_locked else records.claim(made.settings.study, made.run_id)
    records.save(made, predictions)
    weights.save(made, model.backbone)
    records.drop_checkpoints(run.settings)
    lock.release(force=True)
    return made


def result(
    run: Run,
    data: Data,
    model: Model,
    fitted: training.Fit,
    evaluations: dict[str, Evaluation],
    *,
    reference: str | None = None,
) -> tuple[Record, bytes]:
    """The record of a run and the bytes of its predictions file.

    Args:
        reference: study folder whose records set the columns of the predictions; by default the
            folder of the run's study.

    Raises:
        InputError: an argument belongs to another run, the labels or the split were changed, or
            the predictions or the weights are not those at the end of the training.
    """
    check_same_run(run, data.settings, "images")
    check_same_run(run, model.settings, "weights of the model")
    made_from = fingerprints(data, model.backbone.fingerprint)
    _check_same_images(data, model)
    check_evaluated(data, evaluations)
    if _trained_on.get(fitted.final_weights) != (made_from.data, made_from.split):
        raise InputError(
            "The training images or their labels changed after the training, when the data were "
            "loaded again. Run all steps after load_data again."
        )
    best = fitted.history[fitted.best_epoch - 1]
    final_weights = weights_hash(model.network.suffix.state_dict())
    if (final_weights, evaluations["validation"].metrics) != (
        fitted.final_weights,
        best.validation,
    ):
        raise InputError(
            "The model was trained after it was evaluated. Run train, evaluate_parts and record "
            "again, in this order."
        )
    table = predictions_table(data, evaluations)
    folder = reference or run.settings.study
    table = records.like_recorded(table, folder, run.settings.run_id)
    predictions = records.predictions_csv(table)
    scores = [epoch.validation for epoch in fitted.history]
    made = Record(
        run_id=run.settings.run_id,
        number=run.settings.number,
        settings=run.settings.recorded(),
        facts=Facts(
            **data.facts(),
            trainable_parameters=model.trainable_parameters,
            total_parameters=model.total_parameters,
            stages=model.stages,
        ),
        outcome=Outcome(
            history=fitted.history,
            head_first=fitted.head_first,
            race=fitted.race,
            best_epoch=fitted.best_epoch,
            validation=evaluations["validation"].metrics,
            test=evaluations["test"].metrics,
            best_of_cycle=BestOfCycle(
                accuracy=max(s.accuracy for s in scores),
                precision=max(s.precision for s in scores),
                recall=max(s.recall for s in scores),
            ),
            final_weights=final_weights,
        ),
        fingerprints=made_from,
        predictions=hashlib.sha256(predictions).hexdigest(),
        made=run.clock.made(),
    )
    return made, predictions


def _check_unchanged_data(data: Data) -> None:
    """Make sure that nobody has changed the labels or mixed the parts since the data were loaded.

    The record would name other data than the ones that the model was trained on.
    """
    now = replace(data.dataset)
    vars(now)["digests"] = data.dataset.digests  # the files were read once, which is enough
    parts = np.concatenate([data.split.train, data.split.validation, data.split.test])
    if now.fingerprint != data.dataset.fingerprint or len(np.unique(parts)) < len(parts):
        raise InputError(
            "The labels or the parts of the images were changed after they were loaded. Change "
            "them where they are stored, and run the steps again from the beginning."
        )


def predictions_table(data: Data, evaluations: Mapping[str, Evaluation]) -> pd.DataFrame:
    """Predictions with one row per image, see `records.load_predictions`."""
    tables = [
        pd.DataFrame(
            {
                "part": part,
                "image": [data.dataset.names[index] for index in evaluation.indices],
                "label": evaluation.labels,
                "predicted": evaluation.predicted,
                "confidence": evaluation.confidence,
                "label_probability": np.take_along_axis(
                    evaluation.probabilities, evaluation.labels[:, None], axis=1
                )[:, 0],
            }
        )
        for part, evaluation in evaluations.items()
    ]
    return pd.concat(tables, ignore_index=True)


def fingerprints(data: Data, weights: str, purpose: str = "run") -> Fingerprints:
    """The fingerprints of everything that decides an outcome.

    Args:
        purpose: the code to fingerprint, a key of `code.PURPOSES`.

    Raises:
        InputError: the code on the disk has changed since this process imported it; or the labels
            or the split have changed since they were loaded.
    """
    check_unchanged()
    _check_unchanged_data(data)
    return Fingerprints(
        data=data.dataset.fingerprint,
        split=data.split.fingerprint,
        weights=weights,
        code=code_fingerprint(purpose),
    )
