"""Whether one record is complete, and consistent with its predictions and with itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import FREEZE
from effnet_core.study.schema import (
    AnyRecord,
    Candidate,
    Chosen,
    ClassicalModel,
    ClassicalRecord,
    Metrics,
    Record,
)
from effnet_report.evidence import predictions
from effnet_report.evidence.rates import rates_due

WHOLE = 1e-4  # largest distance of a count from a whole number, after arithmetic with percentages
ROUNDING = 1e-9  # share of a learning rate
HEAD_RATE = 1e-3  # of `fit.HEAD_RATE`, whose module imports PyTorch
# Of `classical.BASELINE`, whose module imports scikit-learn.
BASELINE = ("small pixels", "logistic regression", {"C": 1.0})
MOST_SPREAD = 55.0  # points: the standard deviation of a sample of five from 0 to 100


class Sound(NamedTuple):
    """A valid record, and what its predictions say of its images.

    Attributes:
        images: fingerprint of the names and labels of the validation and the test images.
        tests: the same of the test images.
        listed: the images by name.
    """

    record: AnyRecord
    images: str
    tests: str
    listed: predictions.Listed


def read(path: Path) -> Sound:
    """Read one record and check that it is complete and consistent.

    Raises:
        InputError: the record is damaged or contradicts itself.
    """
    record, content = records.load_whole(path)
    try:
        parsed = predictions.parse(content)
        predictions.check(record, parsed)
        if isinstance(record, Record):
            _check_history(record)
            _check_race(record)
        else:
            _check_winner(record)
        _check_losses(record)
        _check_facts(record)
        _check_times(record)
    except (InputError, ValueError) as error:
        raise InputError(
            f"{path} contradicts itself: {error}. Delete it and repeat the run, or restore it "
            "from git."
        ) from None
    return Sound(record, parsed.images, parsed.tests, parsed.listed)


def _check_history(record: Record) -> None:
    outcome = record.outcome
    history = outcome.history
    if [epoch.epoch for epoch in history] != list(range(1, len(history) + 1)):
        raise InputError("its epochs are not numbered 1, 2, 3")
    if not 0 < outcome.best_epoch <= len(history) <= record.settings.epochs:
        raise InputError("its best epoch was not trained, or more epochs than its settings allow")
    if len(history) != (last := _epochs_due(record)):
        raise InputError(
            f"it trained for {len(history)} epochs, and its settings stop training after {last}"
        )
    _check_head_first(record)
    epochs, images = [*history, *outcome.head_first], record.facts.validation_images
    if any(epoch.validation.images != images for epoch in epochs):
        raise InputError(f"an epoch was not validated on its {images} validation images")
    for epoch in epochs:
        _check_possible(epoch.validation)
    rates = [epoch.learning_rate for epoch in history]
    due = rates_due(record.settings, rates[0], [epoch.validation.loss for epoch in history])
    if rates[0] not in record.settings.rates or not np.allclose(rates, due, rtol=ROUNDING, atol=0):
        raise InputError("its learning rates are not those of its settings and schedules")
    if outcome.best_epoch != _chosen_epoch(record):
        raise InputError("its best epoch is not the one that its settings choose")
    if history[outcome.best_epoch - 1].validation != outcome.validation:
        raise InputError("its validation metrics are not those of its best epoch")
    for name, stated in outcome.best_of_cycle:
        if stated != max(getattr(epoch.validation, name) for epoch in history):
            raise InputError(f"its best {name} is not that of its epochs")


def _check_head_first(record: Record) -> None:
    """Check the epochs in which only the head trained."""
    epochs, wanted = record.outcome.head_first, record.settings.head_first
    if len(epochs) != wanted:
        raise InputError(
            f"its head trained alone for {len(epochs)} epochs, and its settings want {wanted}"
        )
    due = [(number, HEAD_RATE) for number in range(1, wanted + 1)]
    if [(epoch.epoch, epoch.learning_rate) for epoch in epochs] != due:
        raise InputError("the epochs of its head alone have other numbers or rates than they get")


def _check_possible(metrics: Metrics) -> None:
    """Check metrics behind which no predictions stand.

    The F1 score of a class lies below the mean of its precision and recall, so their averages do.
    """
    right = metrics.accuracy * metrics.images / 100
    if abs(right - round(right)) > WHOLE:
        raise InputError(f"no number of its {metrics.images} images gives one of its accuracies")
    scores = (metrics.accuracy, metrics.precision, metrics.recall, metrics.f1)
    for extreme in (0, 100):
        if extreme in scores and set(scores) != {extreme}:
            raise InputError(f"one of its scores is {extreme} % and another is not")
    if metrics.f1 > (metrics.precision + metrics.recall) / 2 + WHOLE:
        raise InputError("one of its F1 scores is above the mean of precision and recall")


def _epochs_due(record: Record) -> int:
    """The number of epochs after which the stopping rule ends a training with these scores."""
    settings, best, highest = record.settings, 0, -1.0
    for epoch in record.outcome.history:
        score = epoch.validation.score(settings.criterion)
        if score > highest:
            best, highest = epoch.epoch, score
        if epoch.epoch - best >= settings.patience:
            return epoch.epoch
    return settings.epochs


def _check_times(record: AnyRecord) -> None:
    phases = {"train", "total"} if isinstance(record, Record) else {"total"}
    # Older records have wall time only.
    for times in filter(None, (record.made.seconds, record.made.cpu_seconds)):
        if lacking := phases - times.keys():
            raise InputError(f"it lacks the time of {', '.join(sorted(lacking))}")
        if max(times.values()) > times["total"]:
            raise InputError("one of its phases takes longer than the run")


def _check_facts(record: AnyRecord) -> None:
    facts = record.facts
    if len(set(facts.classes)) < len(facts.classes):
        raise InputError("two of its classes have the same name")
    if any(
        stage.parameters < 0 or stage.boundary_values < 1 or not 0 <= stage.flop_share <= 1
        for stage in facts.stages
    ):
        raise InputError("a stage of its network has impossible numbers")
    if len(facts.stages) <= max(FREEZE):
        raise InputError(f"its network has {len(facts.stages)} stages, and some may be missing")
    if sum(stage.parameters for stage in facts.stages) > facts.total_parameters:
        raise InputError("its stages have more parameters than its network")
    freeze = record.settings.freeze
    frozen = sum(stage.parameters for stage in facts.stages[: freeze + 1]) if freeze else 0
    trained = facts.total_parameters - frozen if isinstance(record, Record) else 0
    if facts.trainable_parameters != trained:
        raise InputError(
            "it does not train the parameters that its network has outside of its frozen stages"
        )
    _check_drawn(record)


def _check_drawn(record: AnyRecord) -> None:
    """Check that training and validation have the images that were to be drawn for them.

    They may have more, because a drawn image brings its copies along. Groups stay whole, so with
    them only the sum of both is known.
    """
    settings, facts = record.settings, record.facts
    share, train = settings.validation_share, settings.train_images
    validation = round(train * share / (1 - share))
    fewer = facts.train_images + facts.validation_images < train + validation
    if not settings.groups:
        fewer |= facts.train_images < train or facts.validation_images < validation
    if fewer:
        raise InputError("it has fewer training images than its settings want")


def _check_losses(record: AnyRecord) -> None:
    losses = [record.outcome.validation.loss, record.outcome.test.loss]
    if isinstance(record, Record):
        for epoch in (*record.outcome.history, *record.outcome.head_first):
            losses += [epoch.train_loss, epoch.validation.loss]
    if min(losses) < 0:
        raise InputError("a loss of it is negative")


def _check_winner(record: ClassicalRecord) -> None:
    """Check that the model is the best of its candidates; the baseline has no rivals."""
    outcome = record.outcome
    tried = [_model(candidate) for candidate in outcome.candidates]
    alone = len(tried) == 1
    if (record.kind == "baseline") != alone or (alone and tried != [BASELINE]):
        raise InputError("its candidates are not those of its kind: the baseline is one alone")
    if record.kind != "baseline" and BASELINE[0] in {features for features, *_ in tried}:
        raise InputError("the baseline is among the candidates of the best classical model")
    if any(model in tried[:place] for place, model in enumerate(tried)):
        raise InputError("one of its candidates is listed twice")
    if not all(0 <= one.cv_sd <= MOST_SPREAD and one.seconds >= 0 for one in outcome.candidates):
        raise InputError("the spread or the time of a candidate is impossible")
    _check_best(outcome, outcome.candidates)
    if other := outcome.on_other_features:
        learned = outcome.on_learned_features
        _check_best(other, [c for c in outcome.candidates if c.on_learned_features != learned])
        if (other.validation.images, other.test.images) != (
            outcome.validation.images,
            outcome.test.images,
        ):
            raise InputError("its two models were evaluated on different numbers of images")
        _check_possible(other.validation)
        _check_possible(other.test)


def _model(model: ClassicalModel) -> tuple[str, str, dict[str, Any]]:
    return model.features, model.classifier, model.options


def _check_best(model: Chosen, candidates: Sequence[Candidate]) -> None:
    scores = [one.cv_accuracy for one in candidates if _model(one) == _model(model)]
    if not scores or max(scores) < max(one.cv_accuracy for one in candidates):
        raise InputError("its model is not the best of its candidates")


def _chosen_epoch(record: Record) -> int:
    history, settings = record.outcome.history, record.settings
    if settings.select == "last":
        return len(history)
    return max(history, key=lambda epoch: epoch.validation.score(settings.criterion)).epoch


def _check_race(record: Record) -> None:
    """Check that the rate with the lowest validation loss won the race, and trained on."""
    settings, heats, history = record.settings, record.outcome.race, record.outcome.history
    rates = settings.rates if len(settings.rates) > 1 else ()
    if tuple(heat.learning_rate for heat in heats) != rates:
        raise InputError("its race is not one of the learning rates in its settings")
    if not heats:
        return
    losses = {heat.learning_rate: heat.validation_loss for heat in heats}
    lowest = min((loss for loss in losses.values() if loss is not None), default=None)
    raced = history[min(settings.race_epochs, len(history)) - 1].validation.loss
    first = next((rate for rate, loss in losses.items() if loss == lowest), None)
    if lowest is None or history[0].learning_rate != first or raced != lowest:
        raise InputError("the learning rate with the lowest validation loss did not win its race")
