"""One run, from its settings to its record: the steps that `notebooks/train.ipynb` shows."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from effnet_core import paths, weights
from effnet_core.data import augment
from effnet_core.data.datasets import Dataset, load_dataset
from effnet_core.data.duplicates import describe_duplicates, first_of_equals
from effnet_core.data.images import load_images
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
    """A run that has begun: nobody else trains it until this process ends.

    Attributes:
        changed: what differs from the study, as `name: was -> is`.
        lock: the claim on the run; not held if it is only repeated, and then it writes nothing.
    """

    settings: Settings
    changed: list[str]
    clock: Clock
    lock: FileLock


@dataclass(frozen=True)
class Data:
    """The images of a run, resized, and which of them are for what.

    Attributes:
        settings: of the run that they were loaded for.
        images: shape (N, side, side, 3), uint8.
    """

    settings: Settings
    dataset: Dataset
    images: np.ndarray
    split: Split

    def facts(self) -> dict[str, Any]:
        """What every record says about its data."""
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
        settings: of the run that it was built for.
        initial: hash of its weights before training.
        boundary_note: whether the boundary's activations are kept on disk, and why not.
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

    What this process had begun before is released: a kernel trains one run at a time.

    Args:
        parameters: settings by name; a notebook passes its `globals()`, of which the names of
            settings are taken.
        run_id: what is claimed; the configuration's own if not given.

    Raises:
        InputError: a wrong setting, no such device, the run is being trained by another
            process, or its record was made with other settings.
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
    return Run(settings, changed, clock, lock)


# The lock of the run that this process has begun.
_claimed: list[FileLock] = []


def execute(parameters: Mapping[str, Any]) -> Record:
    """Train one run and leave its record: all steps of the notebook, which begins like this."""
    run = begin(parameters)
    return record(run, *steps(run))


def repeat(settings: Settings, reference: str | None = None) -> tuple[Record, bytes]:
    """Train once more from the start, and write nothing.

    Args:
        reference: folder of the record whose run is repeated, if not that of its study.

    Returns:
        The record that the run would leave, and its predictions file's bytes.

    Raises:
        InputError: the data, the weights or the device of the settings are not here.
    """
    run = begin_again(settings)
    return result(run, *steps(run), reference=reference)


def begin_again(settings: Settings) -> Run:
    """A run that claims nothing, because nothing of it will be written."""
    clock = Clock()
    make_reproducible(settings)
    return Run(settings, [], clock, FileLock(records.lock_path(settings.study, settings.run_id)))


def steps(run: Run) -> "tuple[Data, Model, training.Fit, dict[str, Evaluation]]":
    """What lies between a run's beginning and its record, in order."""
    data = load_data(run)
    model = build_model(run, data)
    fitted = train(run, data, model)
    return data, model, fitted, evaluate_parts(run, data, model)


def load_data(run: Run) -> Data:
    """The study's data set, its split for this run's seed, and the images as arrays."""
    settings = run.settings
    with run.clock.phase("data"):
        dataset = load_dataset(
            settings.dataset, settings.data_dir, settings.labels, settings.groups
        )
        images = load_images(dataset, settings.image_size, settings.resize, settings.background)
        first = first_of_equals(images)
        if notice := describe_duplicates(dataset, first):
            print(notice)
        parts = split_dataset(dataset, settings, first)
    return Data(settings, dataset, images, parts)


def build_model(run: Run, data: Data) -> Model:
    """The backbone with its weights, frozen as the settings say, and a new head.

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
    """The backbone cut at the boundary, with a new head, which becomes its classifier."""
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
    """Fine-tune, printing one line per epoch; the model keeps the weights that count.

    Training begins with the model's initial weights, also when it was trained before, or goes on
    from the checkpoint of a training that did.

    Raises:
        InputError: the images or the model belong to another run; or the model was changed.
    """
    check_same_run(run, data.settings, "images")
    check_same_run(run, model.settings, "weights of the model")
    if weights_hash(model.network.state_dict()) != model.initial:
        _restore(data, model)
        print("The model was trained before: training begins again with its initial weights.")
    print(model.boundary_note)
    with run.clock.phase("train"):
        checkpoint = _checkpoint(run, data, model) if run.lock.is_locked else None
        return _fit(
            data,
            model,
            report=lambda state: print(_progress(run, state), flush=True),
            checkpoint=checkpoint,
        )


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
    """Give a model its initial weights again, made as they were made before.

    Raises:
        InputError: it cannot be: its layers, or the files of the weights, are others now.
    """
    settings = model.settings
    backbone = load_backbone(settings.backbone, settings.weights, drop_path=settings.drop_path)
    initial = _frozen(backbone, settings, len(data.dataset.classes)).state_dict()
    with suppress(RuntimeError):  # other layers
        model.network.load_state_dict(initial)
    if weights_hash(model.network.state_dict()) != model.initial:
        raise InputError("The model was changed since it was built. Build it again, then train.")


def check_same_run(run: Run, settings: Settings, what: str) -> None:
    """Make sure that what a step was given was made for its run.

    Raises:
        InputError: it was made with other settings.
    """
    changed = [n for n, v in settings if v != getattr(run.settings, n) and n != "cache_gb"]
    if changed:
        raise InputError(
            f"The {what} belong to another run (other {', '.join(changed)}). Run the steps in "
            "order: begin, load_data, build_model, train, evaluate_parts, record."
        )


def _progress(run: Run, state: TrainingState) -> str:
    """The line that is printed after an epoch."""
    epoch, trained = state.history[-1], state.race.epochs + len(state.history)
    seconds = float(run.clock.spent("train")[0]) / trained
    left = seconds * (run.settings.trained_epochs - trained)
    return (
        f"epoch {epoch.epoch}/{run.settings.epochs}  rate {epoch.learning_rate:.1e}  "
        f"loss {epoch.train_loss:.3f}  validation {epoch.validation.loss:.3f}, "
        f"{epoch.validation.accuracy:.1f} %  {seconds:.0f} s, at most {left:.0f} s left"
    )


def _checkpoint(run: Run, data: Data, model: Model) -> checkpoints.Checkpoint:
    """Where this run's training goes on after a kill: on what decides its outcome to the bit."""
    settings = run.settings
    origin = {
        "initial weights": model.initial,
        **settings.model_dump(exclude={*INCIDENTAL, "scheduler"}),
        **fingerprints(data, model.backbone.fingerprint).model_dump(),
        "versions": VERSIONS,
        "processor": computed_on(settings),
    }
    path = paths.checkpoint(settings.study, settings.run_id)
    shared = records.first_epoch(settings) if len(settings.schedules) > 1 else None
    return checkpoints.Checkpoint(path, origin, run.clock, shared)


def evaluate_parts(run: Run, data: Data, model: Model) -> dict[str, Evaluation]:
    """Predictions of the trained model for `validation` and `test`.

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
    """Write the run's record, its predictions and its trained weights, and release the run.

    Raises:
        InputError: see `result` and `records.save`; or another process trains the run by now.
    """
    made, predictions = result(run, data, model, fitted, evaluations)
    # It was released if the run was recorded before, or another run has begun since.
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
    """The run's record and its predictions file's bytes, in the form of those in `reference`.

    Raises:
        InputError: what was given belongs to other runs, or the predictions and the weights are
            not those that the training ended with.
    """
    check_same_run(run, data.settings, "images")
    check_same_run(run, model.settings, "weights of the model")
    best = fitted.history[fitted.best_epoch - 1]
    final_weights = weights_hash(model.network.suffix.state_dict())
    if (final_weights, evaluations["validation"].metrics) != (
        fitted.final_weights,
        best.validation,
    ):
        raise InputError(
            "The model was trained further, or not to the end, after it was evaluated. Run train, "
            "evaluate_parts and record again, in this order."
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
        fingerprints=fingerprints(data, model.backbone.fingerprint),
        predictions=hashlib.sha256(predictions).hexdigest(),
        made=run.clock.made(),
    )
    return made, predictions


def predictions_table(data: Data, evaluations: Mapping[str, Evaluation]) -> pd.DataFrame:
    """One row per image, see `records.load_predictions`."""
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
    """What decided the outcome.

    Args:
        purpose: of `code.PURPOSES`: whose code decided it.

    Raises:
        InputError: the code on the disk is no longer the code that runs.
    """
    check_unchanged()
    return Fingerprints(
        data=data.dataset.fingerprint,
        split=data.split.fingerprint,
        weights=weights,
        code=code_fingerprint(purpose),
    )
