"""Read and check predictions files quickly: 3,000 files per second."""

import csv
import hashlib
import io
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from effnet_core.errors import InputError
from effnet_core.study.records import LABEL_PROBABILITY, PREDICTION_COLUMNS
from effnet_core.study.schema import AnyRecord

OLDER = (",".join(PREDICTION_COLUMNS) + "\n").encode()
HEADER = (",".join([*PREDICTION_COLUMNS, LABEL_PROBABILITY]) + "\n").encode()
COMMA = b","[0]
DECIMALS = 6  # of the probabilities in older files
END_OF_ONE = np.frombuffer(b",\ne", np.uint8)
DIGIT = np.isin(np.arange(256), np.frombuffer(b"0123456789", np.uint8))
# Tolerance for sums of floating-point numbers in another order, per cent.
ROUNDING = 1e-6


class Listed(NamedTuple):
    """The images of a predictions file; files of one list share the same one.

    Attributes:
        labels: index of the class by name, as written.
        test_names: names of the test images; the others are validation images.
    """

    labels: dict[str, str]
    test_names: frozenset[str]


@dataclass(frozen=True)
class Predictions:
    """The predictions of a run, in the order of its file.

    Attributes:
        tested: shape (N,), bool: True for test images, False for validation images.
        labels, predicted: class indices, shape (N,).
        images: sha256 of part, name and label of every image.
        tests: sha256 of part, name and label of the test images.
        listed: the images by name.
    """

    tested: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    images: str
    tests: str
    listed: Listed


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
    written = _probable(data, comma) & (data[before] == COMMA) & (data[name_end] == COMMA)
    numbers = _between(data, comma, ends)
    if not (written & (comma > starts)).all() or not _are_probabilities(numbers, newer=newer):
        raise ValueError("a line does not end in label, predicted and probabilities")
    unsaid = ends - commas[last] == 1
    if newer and not np.array_equal(unsaid, labels == predicted):
        raise ValueError("the label's probability is there for a right prediction, or is missing")
    tested = data[starts] == ord("t")
    # With the end of the line in front, as two lines in one would else have the same bytes.
    images = _between(data, starts - 1, before)
    first = int((before - starts + 1)[~tested].sum())
    if not np.array_equal(tested, np.sort(tested)):
        raise ValueError("the validation images do not precede the test images")
    fingerprint = _sha256(images)
    listed = _list_images(fingerprint, content, tested, labels)
    return Predictions(tested, labels, predicted, fingerprint, _sha256(images[first:]), listed)


def _between(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The bytes from each start to before its end, one after another."""
    inside = np.zeros(len(data), np.int8)
    inside[starts], inside[ends] = 1, -1
    return data[inside.cumsum(dtype=np.int8).view(bool)]


def _are_probabilities(written: np.ndarray, *, newer: bool) -> bool:
    """Whether numbers are written as Python writes floats from 0 to 1: `0.25`, `1.5e-05`, `1`.

    Args:
        written: their bytes, a comma before each; nothing may stand for a number.
        newer: whether each line has two: the confidence, which `_probable` looks at too, and the
            probability of the label.
    """
    text = np.pad(written, (2, 2), constant_values=COMMA)
    comma, dot, power, minus = (text == ord(sign) for sign in ",.e-")
    digit = DIGIT[text]
    before, after = np.roll(digit, 1), np.roll(digit, -1)
    zero = (text == ord("0")) & np.roll(comma, 1)  # the first digit of a number
    right = comma | digit
    right |= dot & before & after & np.roll(comma, 2)
    right |= power & before & np.roll(minus, -1)
    right |= minus & np.roll(power, 1) & after
    right &= ~zero | np.roll(dot | comma, -1)
    number = comma.cumsum()  # which one a byte belongs to
    powers = number[power]
    large = number[digit & np.roll(comma, 1) & ~zero]
    large = large[~np.isin(large, powers)]  # not below 1
    return bool(
        right.all()
        and (np.diff(powers) > 0).all()
        and (not newer or (large % 2 == 1).all())  # the two commas in front make it odd
    )


def _probable(data: np.ndarray, comma: np.ndarray) -> np.ndarray:
    """Whether the numbers that follow begin with 0, or are 1, 1.000000 or in `e` notation."""
    probable = data[comma + 1] == ord("0")
    ones = np.flatnonzero(data[comma + 1] == ord("1"))
    decimals = comma[ones, None] + 3 + np.arange(DECIMALS)
    rounded = (data[np.minimum(decimals, len(data) - 1)] == ord("0")).all(axis=1)
    probable[ones] = rounded | np.isin(data[comma[ones] + 2], END_OF_ONE)
    return probable


def _sha256(data: np.ndarray) -> str:
    return hashlib.sha256(data.tobytes()).hexdigest()


def _list_images(images: str, content: bytes, tested: np.ndarray, numbers: np.ndarray) -> Listed:
    """The images by name; checks once per list of images that all names are text and differ.

    Args:
        images: sha256 of the list of images.
        tested, numbers: as read line by line, see `Predictions`; a name with a line break in it
            would be several lines.
    """
    if images in _lists:
        return _lists[images]
    try:
        header, *rows = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"a name cannot be read ({error})") from None
    if any(len(row) != len(header) for row in rows):
        raise ValueError("a line has another number of columns")
    read = [(part == "test", label) for part, _, label, *_ in rows]
    if read != [*zip(tested.tolist(), map(str, numbers.tolist()), strict=True)]:
        raise ValueError("a name has a line break in it, or a label is no plain number")
    labels = {name: label for _, name, label, *_ in rows}
    if len(labels) < len(rows):
        raise ValueError("it names an image twice")
    test_names = frozenset(name for part, name, *_ in rows if part == "test")
    _lists[images] = Listed(labels, test_names)
    return _lists[images]


# Each list of images that was checked, by its sha256; the records of a seed share a list.
_lists: dict[str, Listed] = {}


def _numbers(data: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The decimal numbers that end before `ends`, and the positions just before each."""
    values, places, scale = np.zeros(len(ends), np.int64), ends - 1, 1
    for _ in range(6):
        digits = data[places] - np.uint8(ord("0"))  # other characters become values above 9
        more = digits <= 9
        if not more.any():
            break
        values[more] += scale * digits[more].astype(np.int64)
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
            claimed = getattr(stated, name)
            if abs(claimed - value) > ROUNDING:
                raise InputError(
                    f"its {part} {name} is {claimed:.2f} %, and {value:.2f} % by its predictions"
                )


def recomputed(labels: np.ndarray, predicted: np.ndarray, classes: int) -> dict[str, float]:
    """Accuracy and macro averages over the classes that occur, per cent, as in scikit-learn.

    Computed here, because scikit-learn takes 2 s to import and 5 ms per table.
    """
    counted = (labels[labels == predicted], labels, predicted)
    right, is_so, said_so = (np.bincount(some, minlength=classes) for some in counted)
    occurs = is_so + said_so > 0
    right, is_so, said_so = right[occurs], is_so[occurs], said_so[occurs]
    return {
        "accuracy": 100 * float(right.sum() / max(1, len(labels))),
        "precision": 100 * float((right / np.maximum(1, said_so)).mean()),
        "recall": 100 * float((right / np.maximum(1, is_so)).mean()),
        "f1": 100 * float((2 * right / (is_so + said_so)).mean()),
    }
