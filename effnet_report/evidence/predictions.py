"""Read and check predictions files quickly: 3,000 files per second."""

import hashlib
from dataclasses import dataclass

import numpy as np

from effnet_core.errors import InputError
from effnet_core.study.records import LABEL_PROBABILITY, PREDICTION_COLUMNS
from effnet_core.study.schema import AnyRecord

OLDER = (",".join(PREDICTION_COLUMNS) + "\n").encode()
HEADER = (",".join([*PREDICTION_COLUMNS, LABEL_PROBABILITY]) + "\n").encode()
COMMA = b","[0]
# Tolerance for sums of floating-point numbers in another order, per cent.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Predictions:
    """The predictions of a run, in the order of its file.

    Attributes:
        tested: shape (N,), bool: True for test images, False for validation images.
        labels, predicted: class indices, shape (N,).
        images: sha256 of part, name and label of every image.
    """

    tested: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    images: str


def parse(content: bytes) -> Predictions:
    """Read a predictions file in exactly the form that `records.predictions_csv` writes.

    Raises:
        ValueError: the file has another form.
    """
    lines = content.count(b"\nvalidation,") + content.count(b"\ntest,")
    data = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    newer, older = content.startswith(HEADER), content.startswith(OLDER)
    if not (newer or older) or not content.endswith(b"\n") or lines != len(ends) - 1:
        raise ValueError("not a table of validation and test images")
    starts, ends = ends[:-1] + 1, ends[1:]
    commas = np.flatnonzero(data == COMMA)
    last = np.searchsorted(commas, ends) - 1
    comma = commas[last - newer]
    predicted, before = _numbers(data, comma)
    labels, name_end = _numbers(data, before)
    written = (data[comma + 1] == ord("0")) | (data[comma + 1] == ord("1"))
    written &= (data[before] == COMMA) & (data[name_end] == COMMA)
    if not (written & (comma > starts)).all():
        raise ValueError("a line does not end in label, predicted and probabilities")
    unsaid = ends - commas[last] == 1
    if newer and not np.array_equal(unsaid, labels == predicted):
        raise ValueError("the label's probability is there for a right prediction, or is missing")
    inside = np.zeros(len(data), np.int8)
    inside[starts], inside[before] = 1, -1
    images = data[inside.cumsum(dtype=np.int8).view(bool)]
    return Predictions(data[starts] == ord("t"), labels, predicted, _sha256(images))


def _sha256(data: np.ndarray) -> str:
    return hashlib.sha256(data.tobytes()).hexdigest()


def _numbers(data: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The decimal numbers that end before `ends`, and the positions just before each."""
    values, places, scale = np.zeros(len(ends), np.int64), ends - 1, 1
    for _ in range(6):
        digits = data[places] - np.uint8(ord("0"))  # other characters become values above 9
        more = digits <= 9
        if not more.any():
            break
        values += scale * np.where(more, digits, 0)
        places = places - more
        scale *= 10
    if (places == ends - 1).any():
        raise ValueError("a number is missing")
    return values, places


def check(record: AnyRecord, predictions: Predictions) -> None:
    """Make sure that the metrics in a record follow from its predictions.

    Raises:
        InputError: the number of images, a class or a metric is wrong.
    """
    classes = len(record.facts.classes)
    parts = (
        (
            "validation",
            ~predictions.tested,
            record.facts.validation_images,
            record.outcome.validation,
        ),
        ("test", predictions.tested, record.facts.test_images, record.outcome.test),
    )
    for part, rows, images, stated in parts:
        labels, predicted = predictions.labels[rows], predictions.predicted[rows]
        if not len(labels) == images == stated.images:
            raise InputError(f"it names {images} {part} images, and predicts {len(labels)}")
        if max(labels.max(initial=0), predicted.max(initial=0)) >= classes:
            raise InputError(f"it predicts classes that its {classes} do not have")
        for name, value in recomputed(labels, predicted, classes).items():
            said = getattr(stated, name)
            if abs(said - value) > ROUNDING:
                raise InputError(
                    f"its {part} {name} is {said:.2f} %, and {value:.2f} % by its predictions"
                )


def recomputed(labels: np.ndarray, predicted: np.ndarray, classes: int) -> dict[str, float]:
    """Accuracy and macro averages over the classes that occur, per cent, as in scikit-learn.

    Computed from the confusion matrix, because scikit-learn takes 2 s to import and 5 ms per table.
    """
    cells = np.bincount(labels * classes + predicted, minlength=classes**2)
    matrix = cells.reshape(classes, classes)
    right, is_so, said_so = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    occurs = is_so + said_so > 0
    right, is_so, said_so = right[occurs], is_so[occurs], said_so[occurs]
    return {
        "accuracy": 100 * float(right.sum() / max(1, len(labels))),
        "precision": 100 * float((right / np.maximum(1, said_so)).mean()),
        "recall": 100 * float((right / np.maximum(1, is_so)).mean()),
        "f1": 100 * float((2 * right / (is_so + said_so)).mean()),
    }
