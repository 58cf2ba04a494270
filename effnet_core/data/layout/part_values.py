"""Doubts about the values of a table's columns, and its paths, that seem to mean parts."""

from collections.abc import Sequence

import pandas as pd

from effnet_core.data.layout.parts import part_of, parts_among, parts_and_rest, words_of
from effnet_core.data.names import shown
from effnet_core.errors import InputError

# A column of more values than this names objects, not parts.
MOST_PARTS = 10
# Values that mean a part even if no other value does; `train` may be an object, `valid` a quality.
TELLING = {"test", "testing", "tst", "holdout", "validation", "evaluation"}
# Words of clinical studies. Folders of these names may be classes.
COHORTS = {"development": "train", "derivation": "train", "discovery": "train"}

DRAWN = "every seed of a study draws its own training, validation and test images"
REMEDY = (
    "give every image train, validation or test in a column part, and remove the rows of images "
    "that should not be used"
)


def check_complete(name: str, values: pd.Series, parts: Sequence[str], *, divides: bool) -> None:
    """Make sure that a column does not name parts for some images only.

    Args:
        parts: the part that each value means, or `""`.
        divides: whether the column's name says that it holds parts.

    Raises:
        InputError: it does, and its name, or a training part and another for most of the images,
            leave no doubt that parts are meant.
    """
    named = [part for part in parts if part]
    several = "train" in named and len(set(named)) > 1
    if named and (divides or (several and 2 * len(named) > len(parts))):
        first = values.iloc[next(row for row, part in enumerate(parts) if part)]
        odd = values.iloc[parts.index("")]
        raise InputError(
            f"Column {name} names parts, such as {first}, but not for {parts.count('')} images, "
            f"such as those with {_quoted(odd)}. {REMEDY[0].upper()}{REMEDY[1:]}; or remove the "
            "column if it means something else."
        )


def seeming_parts(name: str, values: pd.Series) -> list[str]:
    """A remark about a column some of whose values seem to mean parts of the data set."""
    counts = values.value_counts()
    meant = {value: part for value in counts.index if (part := _meant(value))}
    few = len(counts) <= MOST_PARTS or 2 * sum(counts[list(meant)]) > len(values)
    telling = [value for value in meant if part_of(value) and TELLING & {*words_of(value)}]
    if len(counts) < 2 or not few or not (telling or len(set(meant.values())) > 1):
        return []
    others = counts.index.drop([*meant])
    but = f", but not for those with {_quoted(others[0])}" if len(others) else ""
    return [
        f"Look twice: column {shown(name)} is not used. It seems to say which part of the data set "
        f"an image belongs to ({', '.join(map(shown, meant))}){but}. If so, {REMEDY}."
    ]


def _quoted(value: str) -> str:
    return repr(value) if value else "an empty cell"


def _meant(value: str) -> str:
    """The part that a value such as `internal test` seems to mean, or `""`."""
    parts, _ = parts_and_rest(value)
    parts += [COHORTS[word] for word in words_of(value) if word in COHORTS]
    return parts[0] if len(parts) == 1 else ""


def without_training(name: str, parts: Sequence[str]) -> list[str]:
    """A remark about a column of another name that is used but names no training images."""
    if "train" in parts:
        return []
    return [
        f"Look twice: column {shown(name)} is taken to say which part of the data set an image "
        f"belongs to ({', '.join(sorted(set(parts)))}), though it names no training images. Remove "
        "it if it means something else."
    ]


def folders_of_parts(images: Sequence[str]) -> list[str]:
    """A remark about images in folders of parts, in a table without a column that names parts."""
    folders = {folder for name in images for folder in name.split("/")[:-1]}
    parts = parts_among(sorted(folders))
    if len(set(parts.values())) < 2:
        return []
    return [
        f"Look twice: the images are in folders that are called like parts of a data set "
        f"({', '.join(map(shown, parts))}), but no column says so: {DRAWN}. To use the parts, "
        f"{REMEDY}."
    ]


def put_together(parts: Sequence[str]) -> list[str]:
    """Remarks about parts that a study does not keep apart."""
    remarks = []
    known = sorted({*parts} - {"", "unlabeled"})
    if len(known) > 1 and "test" not in known:
        remarks.append(f"The parts {', '.join(known)} are put together: {DRAWN}.")
    if "unlabeled" in parts:
        remarks.append(
            f"Look twice: {parts.count('unlabeled')} images are said to be unlabeled, but have "
            "labels, which are used. Remove their rows if these are not right."
        )
    return remarks
